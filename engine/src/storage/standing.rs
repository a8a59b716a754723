//! Where a run stands when something is to be appended, and whether it may be.

use super::malformed::{numbered, used_up};
use super::{Append, AppendError, Head};

/// What an append is compared with.
pub(super) struct Standing {
    pub(super) head: Head,
    /// Whether any worker owns the run.
    pub(super) is_owned: bool,
}

/// What an append comes to, as far as the run alone is asked.
pub(super) struct Admitted {
    /// The next number after it.
    pub(super) next: u64,
    /// The last message that is used up then.
    pub(super) consumed: u64,
}

impl Standing {
    /// Looks in the order that [`Storage::append`](super::Storage::append) promises.
    pub(super) fn admit(&self, append: &Append) -> Result<Admitted, AppendError> {
        let Head { epoch, next, inbox, consumed_inbox } = self.head;
        if !self.is_owned || append.epoch != epoch {
            return Err(AppendError::Fenced { epoch });
        }
        if next > append.expected_next {
            return Err(AppendError::Conflict { next });
        }
        if next < append.expected_next {
            return Err(AppendError::WentBack { next });
        }
        let next = numbered(next, &append.entries)?;
        let consumed = used_up(consumed_inbox, append.consumed_inbox, inbox)?;
        Ok(Admitted { next, consumed })
    }
}
