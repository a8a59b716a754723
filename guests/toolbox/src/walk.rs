//! The files below a folder, in order, as `grep` and `glob` see them.

use crate::failure::{Attempt, explain};
use crate::path_glob::PathGlob;
use ignore::WalkBuilder;
use std::path::{Path, PathBuf};

/// Whether files count whose names begin with a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hidden {
    Skipped,
    Included,
}

impl Hidden {
    /// Hidden files count for a pattern that speaks of them.
    pub(crate) fn as_named_by(pattern: &PathGlob) -> Self {
        if pattern.names_hidden() { Self::Included } else { Self::Skipped }
    }
}

/// What a walk comes upon.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    File(PathBuf),
    /// A file or folder that cannot be looked at.
    Unreadable,
}

/// Walks through the files at or below `path`; links are not followed.
///
/// Ignore files count whether or not there is a repository, for its `.git` may
/// well be outside the granted folder. Settings of a user are not looked for.
pub(crate) fn walk(path: &Path, hidden: Hidden) -> Result<impl Iterator<Item = Found> + use<>, String> {
    path.metadata().map_err(|error| explain(Attempt::Open, path, &error))?;
    let walk = WalkBuilder::new(path)
        .require_git(false)
        .git_global(false)
        .hidden(hidden == Hidden::Skipped)
        .sort_by_file_name(Ord::cmp)
        .build();
    Ok(walk.filter_map(|entry| match entry {
        Err(_) => Some(Found::Unreadable),
        Ok(entry) => entry.file_type().is_some_and(|kind| kind.is_file()).then(|| Found::File(entry.into_path())),
    }))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;

    /// A folder with a bit of everything, and its path.
    pub(crate) fn tree() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("src");
        for (name, content) in [
            (".gitignore", "*.log\n/target\n"),
            (".hidden", "needle"),
            ("a.rs", "fn a() {}\n// a Needle\nfn b() {}\n"),
            ("big.log", "needle"),
            ("deep/.ignore", "secret.rs\n"),
            ("deep/b.rs", "one\nneedle 1\ntwo\nneedle 2\nthree\n"),
            ("deep/c.bin", "needle\0"),
            ("deep/secret.rs", "needle"),
            ("deep/x.log", "needle"),
            ("target/d.rs", "needle"),
        ] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
        (folder, root)
    }

    #[track_caller]
    fn check(path: &str, hidden: Hidden, expected: &[&str]) {
        let (_folder, root) = tree();
        let found: Vec<_> = walk(&root.join(path), hidden).unwrap().collect();
        let expected: Vec<_> = expected.iter().map(|name| Found::File(root.join(name))).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn ignored_and_hidden_files_and_links_are_passed_over() {
        check("", Hidden::Skipped, &["a.rs", "deep/b.rs", "deep/c.bin"]);
        check("", Hidden::Included, &[".gitignore", ".hidden", "a.rs", "deep/.ignore", "deep/b.rs", "deep/c.bin"]);
    }

    #[test]
    fn ignore_files_above_count() {
        check("deep", Hidden::Skipped, &["deep/b.rs", "deep/c.bin"]);
    }

    #[test]
    fn a_file_that_is_named_is_found() {
        check("big.log", Hidden::Skipped, &["big.log"]);
        check(".hidden", Hidden::Skipped, &[".hidden"]);
    }

    #[test]
    fn nothing_there_is_an_error() {
        let (_folder, root) = tree();
        let path = root.join("none");
        assert_eq!(
            walk(&path, Hidden::Skipped).err(),
            Some(format!("cannot open `{}`: there is no such file or folder", path.display()))
        );
    }
}
