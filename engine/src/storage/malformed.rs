//! What no storage takes, whoever asks.

use super::{AppendError, StorageError, StoredEntry};
use crate::component::ContentHash;
use crate::gate::ApprovalId;

/// Why what was asked does not fit together.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("entry {found} stands where entry {expected} belongs")]
    Numbers { expected: u64, found: u64 },
    #[error("there is no blob `{0}`")]
    NoBlob(ContentHash),
    #[error("message {consumed} cannot be used up: the last in the inbox is {last}")]
    NoMessage { consumed: u64, last: u64 },
    #[error("there is an approval `{0}` already")]
    SameApproval(ApprovalId),
    #[error("`{0}` is no cursor of this storage")]
    Cursor(String),
}

impl From<Malformed> for AppendError {
    fn from(malformed: Malformed) -> Self {
        Self::Refused(Box::new(malformed))
    }
}

impl From<Malformed> for StorageError {
    fn from(malformed: Malformed) -> Self {
        Self::Refused(Box::new(malformed))
    }
}

/// The number after these entries, which begin with `first`.
pub(super) fn numbered(first: u64, entries: &[StoredEntry]) -> Result<u64, Malformed> {
    let mut expected = first;
    for entry in entries {
        if entry.sequence != expected {
            return Err(Malformed::Numbers { expected, found: entry.sequence });
        }
        expected = expected.saturating_add(1);
    }
    Ok(expected)
}

/// The last message that is used up, after `consumed` more are to be.
pub(super) fn used_up(before: u64, consumed: Option<u64>, last: u64) -> Result<u64, Malformed> {
    match consumed {
        Some(consumed) if consumed > last => Err(Malformed::NoMessage { consumed, last }),
        Some(consumed) => Ok(consumed.max(before)),
        None => Ok(before),
    }
}
