//! `glob`: files by their paths.

use crate::bindings::exports::casemate::toolbox::files::GlobResult;
use crate::failure::{Attempt, refuse};
use crate::path_glob::PathGlob;
use crate::walk::{Found, Hidden, walk};
use std::path::PathBuf;

const MAX_PATHS: usize = 1000;

/// Lists the files below `folders` that match.
pub(crate) fn glob(pattern: &str, folders: &[PathBuf]) -> Result<GlobResult, String> {
    let pattern = PathGlob::new(pattern)?;
    let hidden = Hidden::as_named_by(&pattern);
    let mut result = GlobResult { paths: Vec::new(), truncated: false };
    if folders.is_empty() {
        return Err("there is nothing to look in: no folder is granted".to_owned());
    }
    for folder in folders {
        if folder.is_file() {
            return Err(refuse(Attempt::List, folder, "it is not a folder"));
        }
        for found in walk(folder, hidden)? {
            let Found::File(path) = found else { continue };
            if !pattern.matches(folder, &path) {
                continue;
            }
            if result.paths.len() == MAX_PATHS {
                result.truncated = true;
                return Ok(result);
            }
            result.paths.push(path.to_string_lossy().into_owned());
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::tests::tree;

    #[track_caller]
    fn check(pattern: &str, expected: &[&str]) {
        let (_folder, root) = tree();
        let result = glob(pattern, std::slice::from_ref(&root)).unwrap();
        let expected: Vec<_> = expected.iter().map(|name| root.join(name).display().to_string()).collect();
        assert_eq!((result.paths, result.truncated), (expected, false));
    }

    #[test]
    fn files_are_found_by_pattern() {
        check("*.rs", &["a.rs", "deep/b.rs"]);
        check("deep/*", &["deep/b.rs", "deep/c.bin"]);
        check(".hid*", &[".hidden"]);
        check("*.log", &[]);
    }

    #[test]
    fn many_files_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=MAX_PATHS {
            std::fs::write(folder.path().join(format!("{number:05}")), "").unwrap();
        }
        let result = glob("*", &[folder.path().to_owned()]).unwrap();
        assert_eq!((result.paths.len(), result.truncated), (MAX_PATHS, true));
    }

    #[test]
    fn there_must_be_a_folder() {
        assert_eq!(glob("*", &[]).err().as_deref(), Some("there is nothing to look in: no folder is granted"));
        let (_folder, root) = tree();
        let file = root.join("a.rs");
        assert_eq!(
            glob("*", std::slice::from_ref(&file)).err(),
            Some(format!("cannot list `{}`: it is not a folder", file.display()))
        );
    }
}
