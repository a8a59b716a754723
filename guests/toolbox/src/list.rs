//! `list-dir`: one folder, sorted.

use crate::bindings::exports::casemate::toolbox::files::{Entry, Kind, Listing};
use crate::failure::{Attempt, explain};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Error;
use std::path::Path;

const MAX_ENTRIES: usize = 2000;

/// Lists the folder at `path`.
pub(crate) fn list(path: &Path) -> Result<Listing, String> {
    let failed = |error: Error| explain(Attempt::List, path, &error);
    let (names, truncated) = first_names(path).map_err(failed)?;
    let entries = names.into_iter().map(|name| entry(path, &name)).collect::<Result<_, _>>().map_err(failed)?;
    Ok(Listing { entries, truncated })
}

/// The names that sort first; no more than those are held, however many there are.
fn first_names(path: &Path) -> Result<(BTreeSet<OsString>, bool), Error> {
    let mut names = BTreeSet::new();
    let mut truncated = false;
    for entry in fs::read_dir(path)? {
        names.insert(entry?.file_name());
        if names.len() > MAX_ENTRIES {
            names.pop_last();
            truncated = true;
        }
    }
    Ok((names, truncated))
}

fn entry(folder: &Path, name: &OsString) -> Result<Entry, Error> {
    let metadata = folder.join(name).symlink_metadata()?;
    let (kind, size) = match metadata.file_type() {
        kind if kind.is_file() => (Kind::File, metadata.len()),
        kind if kind.is_dir() => (Kind::Directory, 0),
        kind if kind.is_symlink() => (Kind::Symlink, 0),
        _ => (Kind::Other, 0),
    };
    Ok(Entry { name: name.to_string_lossy().into_owned(), kind, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn entries_are_sorted_and_of_a_kind() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b.txt"), "four").unwrap();
        fs::write(folder.path().join(".hidden"), "").unwrap();
        fs::create_dir(folder.path().join("c")).unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.path().join("a")).unwrap();

        let listing = list(folder.path()).unwrap();
        let entries: Vec<_> =
            listing.entries.iter().map(|entry| (entry.name.as_str(), entry.kind, entry.size)).collect();
        assert_eq!(
            entries,
            [(".hidden", Kind::File, 0), ("a", Kind::Symlink, 0), ("b.txt", Kind::File, 4), ("c", Kind::Directory, 0),]
        );
        assert!(!listing.truncated);
    }

    #[test]
    fn a_large_folder_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=MAX_ENTRIES {
            fs::write(folder.path().join(format!("{number:05}")), "").unwrap();
        }
        let listing = list(folder.path()).unwrap();
        assert_eq!(listing.entries.len(), MAX_ENTRIES);
        assert_eq!(listing.entries[0].name, "00000");
        assert!(listing.truncated);
    }

    #[test]
    fn a_file_has_no_entries() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(
            list(file.path()).unwrap_err(),
            format!("cannot list `{}`: it is not a folder, or a part of its path is not", file.path().display())
        );
    }
}
