use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use secrecy::SecretString;

use super::Secret;

/// Tokens that were bought with secrets, by what they are for; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Tokens(Arc<Mutex<HashMap<String, Kept>>>);

struct Kept {
    /// A token is no longer of use where its secret was replaced or revoked.
    secret: Arc<Secret>,
    value: SecretString,
    until: Instant,
}

impl Tokens {
    pub(crate) fn get(&self, purpose: &str, secret: &Arc<Secret>) -> Option<SecretString> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, kept| kept.until > Instant::now());
        all.get(purpose).filter(|kept| Arc::ptr_eq(&kept.secret, secret)).map(|kept| kept.value.clone())
    }

    pub(crate) fn keep(&self, purpose: &str, secret: Arc<Secret>, value: SecretString, until: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(purpose.to_owned(), Kept { secret, value, until });
    }

    pub(crate) fn forget(&self, purpose: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(purpose);
    }
}
