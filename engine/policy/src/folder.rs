use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

use crate::GrantError;

/// What a guest may do in a granted folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// List folders and read files.
    #[default]
    ReadOnly,
    /// Also create, change, rename and remove files and folders.
    ReadWrite,
}

impl Access {
    /// The mode as it is written after `HOST::GUEST:`.
    pub fn flag(self) -> &'static str {
        match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
        }
    }
}

/// A host folder that a guest sees under a path of its own.
///
/// Neither a symlink nor `..` nor an absolute path leads out of it: that is kept by the sandbox, not by this type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Folder {
    host: PathBuf,
    guest: String,
    access: Access,
}

impl Folder {
    /// Maps the host folder `host` to the absolute path `guest` inside the sandbox.
    ///
    /// Fails when `guest` is not an absolute path free of `.`, `..` and NUL, or when `host` is empty. A trailing `/`
    /// of `guest` is dropped.
    pub fn new(host: impl Into<PathBuf>, guest: &str, access: Access) -> Result<Self, GrantError> {
        let host = host.into();
        if host.as_os_str().is_empty() {
            return Err(GrantError::EmptyHostPath);
        }
        let guest = clean_guest_path(guest).ok_or_else(|| GrantError::GuestPath { path: guest.to_owned() })?;
        Ok(Self { host, guest, access })
    }

    /// The folder on the host, as it was given.
    pub fn host(&self) -> &Path {
        &self.host
    }

    /// The absolute path under which the guest sees it, without a trailing `/`.
    pub fn guest(&self) -> &str {
        &self.guest
    }

    /// What the guest may do there.
    pub fn access(&self) -> Access {
        self.access
    }

    /// The same folder with another access.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    pub(crate) fn rebase(&mut self, base: &Path) {
        self.host = base.join(&self.host);
    }
}

/// Writes `HOST::GUEST:ro` or `HOST::GUEST:rw`, which [`Folder::from_str`] reads.
impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}:{}", self.host.display(), self.guest, self.access.flag())
    }
}

/// Reads `HOST::GUEST`, `HOST::GUEST:ro` or `HOST::GUEST:rw`; without a mode the folder is read-only.
impl FromStr for Folder {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (host, rest) = text.split_once("::").ok_or_else(|| GrantError::FolderForm { text: text.to_owned() })?;
        let (guest, access) = match rest.rsplit_once(':') {
            Some((guest, "ro")) => (guest, Access::ReadOnly),
            Some((guest, "rw")) => (guest, Access::ReadWrite),
            Some((_, mode)) => return Err(GrantError::Mode { mode: mode.to_owned() }),
            None => (rest, Access::ReadOnly),
        };
        Self::new(host, guest, access)
    }
}

fn clean_guest_path(path: &str) -> Option<String> {
    let inner = path.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let sound =
        !path.contains('\0') && (inner.is_empty() || inner.split('/').all(|part| !matches!(part, "" | "." | "..")));
    sound.then(|| format!("/{inner}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str) {
        assert_eq!(text.parse::<Folder>().expect(text).to_string(), shown);
    }

    #[track_caller]
    fn refused(text: &str, message: &str) {
        assert_eq!(text.parse::<Folder>().expect_err(text).to_string(), message);
    }

    #[test]
    fn the_flag_reads_back_what_it_writes() {
        check(".::/src", ".::/src:ro");
        check(".::/src:ro", ".::/src:ro");
        check("/data dir::/:rw", "/data dir::/:rw");
        check("C:/x::/y/", "C:/x::/y:ro");
    }

    #[test]
    fn a_malformed_flag_says_what_is_wrong() {
        refused("/src", "`/src` is not of the form HOST::GUEST[:ro|:rw]");
        refused(".::/src:rx", "`rx` is not an access mode: use `ro` or `rw`");
        refused(".::src", "guest path `src` must be absolute, without `.`, `..` or empty parts");
        refused(".::/a/../b", "guest path `/a/../b` must be absolute, without `.`, `..` or empty parts");
        refused("::/a", "the host path of a folder is empty");
    }
}
