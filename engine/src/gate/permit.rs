//! The proof that an effect was admitted. It cannot be made, copied or kept outside the Gate.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::Scope;
use super::budget::Account;
use crate::call::ErrorKind;
use crate::effect::{Effect, Outcome};
use crate::event::{EventKind, Events};
use crate::json::text_len;
use crate::tool::Tool;

/// An admitted effect that is not yet performed. It ends in exactly one outcome; dropped, it was cancelled.
#[must_use = "an admitted effect is performed, or recorded as cancelled"]
pub(crate) struct Permit {
    effect: Effect,
    scope: Scope,
    record: Record,
}

impl Permit {
    pub(super) fn new(effect: Effect, scope: Scope, record: Record) -> Self {
        Self { effect, scope, record }
    }

    /// Turns the proof into the deed: what a provider takes, and where its outcome goes.
    pub(crate) fn begin(self) -> (Invocation, Record) {
        (Invocation { effect: self.effect, scope: self.scope }, self.record.started())
    }
}

/// The one chance to do the work of an admitted effect.
pub(crate) struct Invocation {
    effect: Effect,
    scope: Scope,
}

impl Invocation {
    pub(crate) fn tool(&self) -> &Tool {
        &self.effect.tool
    }

    pub(crate) fn input(&self) -> &Value {
        &self.effect.input
    }

    /// The caller's.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }
}

/// Where the one outcome of an effect goes.
pub(crate) struct Record {
    events: Events,
    account: Arc<Account>,
    id: u64,
    tool: Option<String>,
    started: Instant,
}

impl Record {
    pub(super) fn new(events: Events, account: Arc<Account>, id: u64, tool: &str) -> Self {
        Self { events, account, id, tool: Some(tool.to_owned()), started: Instant::now() }
    }

    fn started(mut self) -> Self {
        self.started = Instant::now();
        self
    }

    /// Records the outcome, which is withheld where the budget has no room for it.
    pub(crate) fn settle(mut self, outcome: Outcome) -> Outcome {
        let outcome = self.within_budget(outcome);
        self.publish(&outcome);
        outcome
    }

    /// Ends without an outcome of its own: what follows is recorded elsewhere.
    pub(super) fn close(mut self) {
        self.tool = None;
    }

    fn within_budget(&self, outcome: Outcome) -> Outcome {
        let Outcome::Result(value) = &outcome else { return outcome };
        match self.account.spend_result(text_len(value)) {
            Ok(()) => outcome,
            Err(limit) => Outcome::LimitExceeded(limit),
        }
    }

    fn publish(&mut self, outcome: &Outcome) {
        let Some(tool) = self.tool.take() else { return };
        let (id, duration) = (self.id, self.started.elapsed());
        tracing::debug!(id, tool, outcome = outcome.kind(), "settled");
        self.events.publish(|| match outcome {
            Outcome::Result(output) => EventKind::ToolResult { id, tool, output: output.clone(), duration },
            other => EventKind::Error { id, tool, kind: error_kind(other), message: other.message() },
        });
    }
}

fn error_kind(outcome: &Outcome) -> ErrorKind {
    match outcome {
        Outcome::Denied(_) => ErrorKind::Denied,
        Outcome::NotFound(_) => ErrorKind::NotFound,
        Outcome::InvalidInput(_) => ErrorKind::InvalidInput,
        Outcome::LimitExceeded(_) => ErrorKind::LimitExceeded,
        Outcome::Result(_) | Outcome::Failed(_) => ErrorKind::ToolError,
        Outcome::Cancelled => ErrorKind::Cancelled,
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.publish(&Outcome::Cancelled);
    }
}
