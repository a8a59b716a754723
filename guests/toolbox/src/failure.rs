//! Errors of the file system, as sentences for a reader who cannot look.
//!
//! WASI has few words for "no": a path outside every granted folder is not
//! found, and writing in a read-only folder is as little permitted as following
//! a link out of it. What was meant is found out by asking again.

use crate::grants;
use std::fmt;
use std::io::{Error, ErrorKind};
use std::path::Path;

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    Open,
    Read,
    Write,
    List,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::List => "list",
        })
    }
}

/// Says why something failed at `path`.
pub(crate) fn explain(attempt: Attempt, path: &Path, error: &Error) -> String {
    let reason = match error.kind() {
        _ if !grants::cover(path) => grants::missing(),
        ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        ErrorKind::PermissionDenied if leads_out(path) => "it leads out of the granted folder".to_owned(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem if attempt == Attempt::Write => {
            "the folder is read-only".to_owned()
        }
        ErrorKind::IsADirectory => "it is a folder".to_owned(),
        ErrorKind::NotADirectory => "it is not a folder, or a part of its path is not".to_owned(),
        kind => kind.to_string(),
    };
    refuse(attempt, path, &reason)
}

/// Says why something was not done at `path`.
pub(crate) fn refuse(attempt: Attempt, path: &Path, reason: &str) -> String {
    format!("cannot {attempt} `{}`: {reason}", path.display())
}

/// Whether even a look at the path is refused: at itself if it exists, else at where it would be.
fn leads_out(path: &Path) -> bool {
    let refused = |path: &Path| match path.metadata() {
        Ok(_) => Some(false),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Some(true),
        Err(_) => None,
    };
    path.ancestors().find_map(refused).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_given_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let check = |attempt, kind: ErrorKind, reason: &str| {
            assert_eq!(
                explain(attempt, &path, &kind.into()),
                format!("cannot {attempt} `{}`: {reason}", path.display())
            );
        };
        check(Attempt::Open, ErrorKind::NotFound, "there is no such file or folder");
        check(Attempt::Write, ErrorKind::PermissionDenied, "the folder is read-only");
        check(Attempt::Write, ErrorKind::ReadOnlyFilesystem, "the folder is read-only");
        check(Attempt::Read, ErrorKind::PermissionDenied, "permission denied");
        check(Attempt::Write, ErrorKind::StorageFull, "no storage space");
    }
}
