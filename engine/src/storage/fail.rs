//! The two ways in which every operation of a storage can fail.

use super::{AppendError, Cause, StorageError};

pub(crate) trait Fail: Sized {
    /// Surely not done.
    fn refused(cause: Cause) -> Self;
    /// Perhaps done.
    fn unknown(cause: Cause) -> Self;
}

impl Fail for StorageError {
    fn refused(cause: Cause) -> Self {
        Self::Refused(cause)
    }

    fn unknown(cause: Cause) -> Self {
        Self::Unknown(cause)
    }
}

impl Fail for AppendError {
    fn refused(cause: Cause) -> Self {
        Self::Refused(cause)
    }

    fn unknown(cause: Cause) -> Self {
        Self::Unknown(cause)
    }
}
