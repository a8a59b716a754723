use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::effect::Denial;

/// Enough to explain what a guest was missing; one that keeps trying adds no more.
const MAX_KEPT: usize = 32;

/// Something that the host refused a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refused {
    /// What the guest tried.
    pub what: RefusedAction,
    /// On what: a path as the guest sees it, a protocol, a name, a URL, a tool or a model.
    pub target: String,
    /// Why, where that is not a matter of folders or the closed network.
    pub reason: Option<String>,
    /// The flag of the binary, or the line of policy, that would allow it, where there is one.
    pub allow: Option<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.what, self.target)?;
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        match (&self.allow, &self.reason) {
            (Some(flag), _) => write!(f, " (allow it with `{flag}`)"),
            (None, None) => write!(f, " (the network is closed to guests)"),
            (None, Some(_)) => Ok(()),
        }
    }
}

/// What a guest tried and was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RefusedAction {
    /// Open or look at something outside its folders.
    Open,
    /// Change something in a read-only folder.
    Write,
    /// Make a socket.
    Socket,
    /// Resolve a name.
    Resolve,
    /// Send an HTTP request.
    Request,
    /// Call a tool.
    Call,
    /// Ask a model.
    Chat,
}

impl fmt::Display for RefusedAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Write => "write",
            Self::Socket => "socket",
            Self::Resolve => "resolve",
            Self::Request => "request",
            Self::Call => "call",
            Self::Chat => "chat with",
        })
    }
}

/// What one sandbox was refused so far; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Refusals(Arc<Mutex<Vec<Refused>>>);

impl Refusals {
    pub(crate) fn add(&self, what: RefusedAction, target: String, allow: Option<String>) {
        self.keep(Refused { what, target, reason: None, allow });
    }

    /// What the Gate denied is refused too.
    pub(crate) fn add_denied(&self, what: RefusedAction, target: &str, denial: &Denial) {
        let (reason, allow) = (Some(denial.reason.clone()), denial.allow.clone());
        self.keep(Refused { what, target: target.to_owned(), reason, allow });
    }

    fn keep(&self, refused: Refused) {
        tracing::debug!(%refused, "refused");
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_KEPT && !all.contains(&refused) {
            all.push(refused);
        }
    }

    pub(crate) fn take(&self) -> Vec<Refused> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
