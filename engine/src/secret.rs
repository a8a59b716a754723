//! Secrets: values that the host puts into requests on their way out, and that no guest ever holds.
//!
//! A guest has at most a name, or a placeholder made of it. What a value is, is asked of its source at each use and kept
//! no longer than that, but for masking it in what comes back.

mod environment;
mod file;
#[cfg(feature = "keyring")]
mod keyring;
mod place;
mod tokens;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use casemate_policy::{HostGrant, RequestLine, is_secret_name};
use secrecy::{ExposeSecret as _, SecretString};

use crate::egress::Scrubber;

pub use environment::EnvironmentSecret;
pub use file::{FileSecret, SecretFolder, SecretFolderError};
#[cfg(feature = "keyring")]
pub use keyring::KeyringSecret;
pub(crate) use place::name_of;
pub use place::{InvalidPlace, SecretPlace};
pub(crate) use tokens::Tokens;

/// What [`SecretSource::read`] answers with: the value, or `None` where there is none.
pub type SecretFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<SecretString>, SecretReadError>> + Send + 'a>>;

/// Where a value comes from. It is asked at each use, so what is set or removed there counts at once.
pub trait SecretSource: Send + Sync {
    /// The value as it is now.
    fn read(&self) -> SecretFuture<'_>;

    /// Where that is, for people: ``the environment variable `STRIPE_KEY` ``.
    fn place(&self) -> String;
}

/// A source that could not be asked. It holds nothing of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
#[non_exhaustive]
pub struct SecretReadError {
    /// What went wrong.
    pub why: String,
}

impl SecretReadError {
    /// Says what went wrong, without any part of a value.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }
}

/// A secret: its name, where its value comes from, and into which requests it may be put, and where.
///
/// ```
/// use casemate::{EnvironmentSecret, Secret, SecretPlace};
///
/// let key = Secret::new("STRIPE_KEY", EnvironmentSecret::new("STRIPE_API_KEY"))?
///     .bound_to("https://api.stripe.com".parse()?, SecretPlace::bearer());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Secret {
    name: String,
    source: Arc<dyn SecretSource>,
    bindings: Vec<(HostGrant, SecretPlace)>,
}

/// Not a name for a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be the name of a secret: it takes up to 64 letters, digits and `_`, and no digit first")]
#[non_exhaustive]
pub struct SecretNameError {
    /// What was given.
    pub name: String,
}

/// Why a secret has no value that could be used. It holds nothing of the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// There is none.
    #[error("the secret `{name}` has no value: {place} is not there")]
    Missing {
        /// Its name.
        name: String,
        /// Where it was looked for.
        place: String,
    },
    /// Its source failed.
    #[error("the secret `{name}` cannot be read from {place}: {why}")]
    Unreadable {
        /// Its name.
        name: String,
        /// Where it was looked for.
        place: String,
        /// What went wrong.
        why: String,
    },
    /// A value that cannot stand in a request.
    #[error("the value of the secret `{name}`, from {place}, cannot be used: {why}")]
    Unusable {
        /// Its name.
        name: String,
        /// Where it comes from.
        place: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Longer values would not fit the head of a request.
const LONGEST: usize = 8 << 10;

impl Secret {
    /// A secret that is bound to nothing: only tools that name it can use it.
    pub fn new(name: impl Into<String>, source: impl SecretSource + 'static) -> Result<Self, SecretNameError> {
        let name = name.into();
        if !is_secret_name(&name) {
            return Err(SecretNameError { name });
        }
        Ok(Self { name, source: Arc::new(source), bindings: Vec::new() })
    }

    /// Puts it into requests that `requests` covers, at that place. It is put into no other requests.
    ///
    /// Methods and paths of `requests` count; its addresses and its question do not.
    #[must_use]
    pub fn bound_to(mut self, requests: HostGrant, place: SecretPlace) -> Self {
        self.bindings.push((requests, place));
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its value comes from, for people.
    pub fn source(&self) -> String {
        self.source.place()
    }

    /// Where it goes, by the requests that it is bound to.
    pub fn bindings(&self) -> &[(HostGrant, SecretPlace)] {
        &self.bindings
    }

    /// The places where it goes into that request.
    pub(crate) fn places<'a>(&'a self, request: &'a RequestLine) -> impl Iterator<Item = &'a SecretPlace> {
        self.bindings.iter().filter(|(requests, _)| requests.covers(request)).map(|(_, place)| place)
    }

    /// Asks its source whether there is a value that can be used.
    pub async fn check(&self) -> Result<(), SecretError> {
        self.value().await.map(drop)
    }

    /// Its value as it is now.
    pub(crate) async fn value(&self) -> Result<SecretString, SecretError> {
        let (name, place) = (self.name.clone(), self.source.place());
        let value = match self.source.read().await {
            Ok(Some(value)) => value,
            Ok(None) => return Err(SecretError::Missing { name, place }),
            Err(error) => return Err(SecretError::Unreadable { name, place, why: error.why }),
        };
        match fault(value.expose_secret()) {
            None => Ok(value),
            Some(why) => Err(SecretError::Unusable { name, place, why }),
        }
    }
}

/// What is wrong with a value.
pub(crate) fn fault(value: &str) -> Option<&'static str> {
    if value.len() < Scrubber::SHORTEST {
        return Some("it is shorter than 8 bytes, and could not be masked in what comes back");
    }
    if value.len() > LONGEST {
        return Some("it is longer than 8 KiB");
    }
    if value.chars().any(char::is_control) {
        return Some("it holds a line break or another control character");
    }
    value.trim().len().ne(&value.len()).then_some("it begins or ends with a blank")
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, source, bindings } = self;
        f.debug_struct("Secret")
            .field("name", name)
            .field("source", &source.place())
            .field("bindings", bindings)
            .finish()
    }
}

/// The secrets of a Gate; clones are the same, and can be changed while it works.
#[derive(Clone, Default)]
pub struct Secrets(Arc<RwLock<BTreeMap<String, Arc<Secret>>>>);

impl Secrets {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a secret, in the place of one of its name if there is one.
    pub fn set(&self, secret: Secret) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(secret.name.clone(), Arc::new(secret));
    }

    /// Takes a secret away; whoever uses it from now on is told that it is not there. Says whether it was.
    pub fn revoke(&self, name: &str) -> bool {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name).is_some()
    }

    /// The secrets, by name.
    pub fn list(&self) -> Vec<Secret> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.values().map(|secret| Secret::clone(secret)).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Secret>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// The names only.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list().iter().map(|secret| secret.name.clone())).finish()
    }
}

/// What stands for a secret where a guest writes one: `casemate-secret-NAME`.
///
/// A sandbox that is granted a secret finds this in the variable of the secret's name. It needs no escape in a URL or a
/// header.
pub(crate) fn placeholder(name: &str) -> String {
    format!("{PLACEHOLDER}{name}")
}

const PLACEHOLDER: &str = "casemate-secret-";

/// The names of the secrets that a text has placeholders of.
pub(crate) fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(PLACEHOLDER).filter_map(|(at, mark)| {
        let rest = text.get(at + mark.len()..)?;
        let length = rest.bytes().take_while(|byte| *byte == b'_' || byte.is_ascii_alphanumeric()).count();
        rest.get(..length).filter(|name| is_secret_name(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_found_wherever_it_stands() {
        let found: Vec<_> =
            placeholders("Bearer casemate-secret-A_1, casemate-secret-, casemate-secret-9 casemate-secret-B").collect();
        assert_eq!(found, ["A_1", "B"]);
        assert_eq!(placeholders(&placeholder("KEY")).collect::<Vec<_>>(), ["KEY"]);
    }

    #[test]
    fn a_value_that_cannot_be_used_is_told_without_it() {
        let long = "x".repeat(LONGEST + 1);
        for value in ["", "short", "with\nbreak", "eight\u{0}bytes", " blank before", "blank after ", &long] {
            assert!(fault(value).is_some(), "{value:?}");
        }
        assert_eq!(fault("long enough"), None);
    }
}
