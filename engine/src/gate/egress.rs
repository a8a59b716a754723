//! What a Gate has for the way out: a client, secrets, and what it remembers of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use casemate_policy::Origin;
use secrecy::{ExposeSecret as _, SecretString};

use crate::egress::{HttpClient, Masks, Scrubber};
use crate::secret::{Secrets, Tokens};

/// The way out of one Gate; clones are the same.
#[derive(Clone, Default)]
pub(super) struct Egress {
    pub(super) client: HttpClient,
    pub(super) secrets: Secrets,
    pub(super) tokens: Tokens,
    masks: Arc<Mutex<HashMap<Origin, Masked>>>,
}

/// The values that a server was sent, which are masked in all that comes back from it.
///
/// They are kept by server: what is masked, and what is held back since it may begin a value, tells whoever chooses the
/// text something of the value. A server that was sent it knows it all.
#[derive(Default)]
struct Masked {
    values: VecDeque<SecretString>,
    masks: Masks,
}

/// Servers from which nothing was hidden are forgotten beyond so many.
const MOST_SERVERS: usize = 1_000;
/// How many values of one server are masked; those sent last.
const MOST: usize = 64;

impl Egress {
    /// Masks a value from now on in what comes back from that server.
    pub(super) fn mask(&self, origin: &Origin, value: &SecretString) {
        let mut all = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        let Masked { values, masks } = all.entry(origin.clone()).or_default();
        if values.iter().any(|known| known.expose_secret() == value.expose_secret()) {
            return;
        }
        values.push_back(value.clone());
        if values.len() > MOST {
            values.pop_front();
            masks.set(values.iter().fold(Scrubber::default(), |scrubber, value| scrubber.with(value)));
        } else {
            masks.set(masks.now().with(value));
        }
    }

    /// What masks what comes back from that server.
    pub(super) fn masks(&self, origin: &Origin) -> Masks {
        let mut all = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_SERVERS {
            all.retain(|_, masked| !masked.values.is_empty());
        }
        all.entry(origin.clone()).or_default().masks.clone()
    }
}
