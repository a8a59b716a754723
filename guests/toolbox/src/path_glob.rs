//! Patterns for paths, as `grep` and `glob` take them.

use globset::{GlobBuilder, GlobMatcher};
use std::path::Path;

/// A pattern, matched against paths below the folder that is looked through.
#[derive(Debug)]
pub(crate) struct PathGlob {
    glob: GlobMatcher,
    subject: Subject,
    names_hidden: bool,
}

/// What a pattern speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// The name of a file, wherever it is: the pattern has no slash.
    Name,
    /// The path below the folder.
    Path,
    /// The same, or the whole path: the pattern begins with a slash.
    Anchored,
}

impl PathGlob {
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
        let (subject, text) = match pattern.strip_prefix('/') {
            Some(rest) => (Subject::Anchored, rest),
            None if pattern.contains('/') => (Subject::Path, pattern),
            None => (Subject::Name, pattern),
        };
        let glob = GlobBuilder::new(text)
            .literal_separator(true)
            .build()
            .map_err(|error| format!("`{pattern}` is not a glob: {}", error.kind()))?;
        Ok(Self { glob: glob.compile_matcher(), subject, names_hidden: text.split('/').any(is_hidden) })
    }

    /// Whether a file matches that was found below `folder`.
    pub(crate) fn matches(&self, folder: &Path, file: &Path) -> bool {
        let below = file.strip_prefix(folder).unwrap_or(file);
        match self.subject {
            Subject::Name => file.file_name().is_some_and(|name| self.glob.is_match(name)),
            Subject::Path => self.glob.is_match(below),
            Subject::Anchored => {
                let whole = file.strip_prefix("/").unwrap_or(file);
                self.glob.is_match(below) || self.glob.is_match(whole)
            }
        }
    }

    /// Whether the pattern asks for hidden files.
    pub(crate) fn names_hidden(&self) -> bool {
        self.names_hidden
    }
}

fn is_hidden(name: &str) -> bool {
    name.starts_with('.') && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, file: &str, matches: bool) {
        let glob = PathGlob::new(pattern).unwrap();
        assert_eq!(glob.matches(Path::new("/src"), Path::new(file)), matches);
    }

    #[test]
    fn a_pattern_without_a_slash_is_for_names() {
        check("*.rs", "/src/a.rs", true);
        check("*.rs", "/src/deep/er/a.rs", true);
        check("*.rs", "/src/a.rs.txt", false);
        check("*.{rs,toml}", "/src/Cargo.toml", true);
    }

    #[test]
    fn a_pattern_with_a_slash_is_for_paths() {
        check("engine/*.rs", "/src/engine/a.rs", true);
        check("engine/*.rs", "/src/engine/src/a.rs", false);
        check("engine/**/*.rs", "/src/engine/a.rs", true);
        check("engine/**/*.rs", "/src/engine/src/a.rs", true);
        check("**/*.rs", "/src/a.rs", true);
        check("./engine/*.rs", "/src/engine/a.rs", true);
        check("engine/*.rs", "/src/other/engine/a.rs", false);
    }

    #[test]
    fn a_leading_slash_is_the_folder_or_the_root() {
        check("/*.rs", "/src/a.rs", true);
        check("/*.rs", "/src/deep/a.rs", false);
        check("/src/**/*.rs", "/src/deep/a.rs", true);
    }

    #[test]
    fn hidden_files_must_be_named() {
        let check = |pattern, named| {
            assert_eq!(PathGlob::new(pattern).unwrap().names_hidden(), named, "{pattern}");
        };
        check(".github/**", true);
        check("**/.env", true);
        check("**/*.rs", false);
        check("./a", false);
    }

    #[test]
    fn a_malformed_pattern_is_an_error() {
        assert_eq!(PathGlob::new("a/[b").unwrap_err(), "`a/[b` is not a glob: unclosed character class; missing ']'");
    }
}
