//! `write-file`, and putting content in place of other content.
//!
//! A file that exists is written over where it stands. To write a new one and
//! rename it would be safer against a crash, but WASI can neither read nor set
//! permissions: scripts would stop being executable, and a private file would
//! become one for everybody. So the old content is kept until the new one is
//! in, and put back if it does not get there.

use crate::bindings::exports::casemate::toolbox::files::{Change, Written};
use crate::failure::{Attempt, explain, refuse};
use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The largest content that is kept to be put back.
const MAX_KEPT: u64 = 8 << 20;

/// Writes the file at `path`, and the folders it needs.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<Written, String> {
    let change = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => {
            return Err(refuse(Attempt::Write, path, "it is a folder"));
        }
        Ok(_) => {
            replace(path, content)?;
            Change::Replaced
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create(path, content).map_err(|error| explain(Attempt::Write, path, &error))?;
            Change::Created
        }
        Err(error) => return Err(explain(Attempt::Write, path, &error)),
    };
    Ok(Written { change, bytes: content.len() as u64 })
}

/// Puts `content` in the place of what the file at `path` has now.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), String> {
    let failed = |error| explain(Attempt::Write, path, &error);
    // Opened for writing alone first: that is the right that may be missing.
    let mut file = OpenOptions::new().write(true).open(path).map_err(failed)?;
    let old = keep(path).map_err(failed)?;
    let Err(error) = overwrite(&mut file, content) else {
        return Ok(());
    };
    let restored = old.is_some_and(|old| overwrite(&mut file, &old).is_ok());
    let message = explain(Attempt::Write, path, &error);
    Err(if restored { message } else { format!("{message}; its old content is lost") })
}

fn keep(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let mut old = Vec::new();
    File::open(path)?.take(MAX_KEPT + 1).read_to_end(&mut old)?;
    Ok((old.len() as u64 <= MAX_KEPT).then_some(old))
}

/// Writes first and cuts after, so that content put back finds its space still there.
fn overwrite(file: &mut File, content: &[u8]) -> Result<(), Error> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(content)?;
    file.flush()?;
    file.set_len(content.len() as u64)
}

/// A file that cannot be written whole is not left behind.
fn create(path: &Path, content: &[u8]) -> Result<(), Error> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let Err(error) = file.write_all(content).and_then(|()| file.flush()) else {
        return Ok(());
    };
    drop(file);
    fs::remove_file(path)?;
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_created_with_its_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c.txt");
        let written = write(&path, b"text").unwrap();
        assert_eq!((written.change, written.bytes), (Change::Created, 4));
        assert_eq!(fs::read(&path).unwrap(), b"text");
    }

    #[test]
    fn a_shorter_content_leaves_nothing_of_the_longer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "a long content").unwrap();
        assert_eq!(write(&path, b"short").unwrap().change, Change::Replaced);
        assert_eq!(fs::read(&path).unwrap(), b"short");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_stay() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (script, link) = (folder.path().join("script"), folder.path().join("link"));
        fs::write(&script, "old").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("script", &link).unwrap();

        write(&link, b"new").unwrap();
        assert_eq!(fs::read(&script).unwrap(), b"new");
        assert_eq!(fs::metadata(&script).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_folder_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            write(folder.path(), b"").unwrap_err(),
            format!("cannot write `{}`: it is a folder", folder.path().display())
        );
    }

    #[test]
    fn a_file_is_no_parent() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        let path = folder.path().join("a/b");
        assert_eq!(
            write(&path, b"").unwrap_err(),
            format!("cannot write `{}`: it is not a folder, or a part of its path is not", path.display())
        );
    }
}
