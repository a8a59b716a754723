//! `edit-file`: text for text, and nothing if there is doubt which text.

use crate::bindings::exports::casemate::toolbox::files::Edited;
use crate::diff;
use crate::failure::{Attempt, explain, refuse};
use crate::read::open;
use crate::write::replace;
use std::io::Read;
use std::path::Path;

/// The largest file that is edited; it is in memory a few times over.
const MAX_SIZE: u64 = 8 << 20;

/// How many line numbers an error lists.
const MAX_LISTED: usize = 10;

/// What to replace by what.
#[derive(Debug)]
pub(crate) struct Edit<'a> {
    pub(crate) old: &'a str,
    pub(crate) new: &'a str,
    pub(crate) scope: Scope,
}

/// Where to replace it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In the one place where it is; more than one is an error.
    One,
    /// Everywhere.
    All,
}

/// Edits the file at `path`.
pub(crate) fn edit(path: &Path, edit: &Edit<'_>) -> Result<Edited, String> {
    let content = load(path)?;
    let (replacements, edited) =
        edit.apply(&content).map_err(|reason| format!("cannot edit `{}`: {reason}", path.display()))?;
    // Before the file changes, so that running out of fuel here changes nothing.
    let diff = diff::unified(&path.to_string_lossy(), &content, &edited, replacements.saturating_mul(edit.lines()));
    replace(path, edited.as_bytes())?;
    Ok(Edited { replacements: replacements as u64, diff })
}

fn load(path: &Path) -> Result<String, String> {
    let mut content = Vec::new();
    open(path)?.take(MAX_SIZE + 1).read_to_end(&mut content).map_err(|error| explain(Attempt::Read, path, &error))?;
    if content.len() as u64 > MAX_SIZE {
        return Err(format!("cannot edit `{}`: it is larger than 8 MiB", path.display()));
    }
    String::from_utf8(content).map_err(|_| refuse(Attempt::Read, path, "it is not UTF-8 text"))
}

impl Edit<'_> {
    /// The content after the edit, and how many replacements there were.
    fn apply(&self, content: &str) -> Result<(usize, String), String> {
        if self.old.is_empty() {
            return Err("`old` is empty; use `write-file` to write a whole file".to_owned());
        }
        if self.old == self.new {
            return Err("`old` and `new` are the same".to_owned());
        }
        match (self.scope, content.matches(self.old).count()) {
            (_, 0) => Err(self.absent(content)),
            (Scope::One, 1) => self.replace_only(content),
            (Scope::One, _) => Err(self.ambiguous(content)),
            (Scope::All, count) => Ok((count, content.replace(self.old, self.new))),
        }
    }

    /// `aa` is once in `aaa` for who counts from the left, and twice for who wants to know which.
    fn replace_only(&self, content: &str) -> Result<(usize, String), String> {
        if places(content, self.old).nth(1).is_some() {
            return Err(self.ambiguous(content));
        }
        Ok((1, content.replacen(self.old, self.new, 1)))
    }

    fn ambiguous(&self, content: &str) -> String {
        let places: Vec<usize> = places(content, self.old).collect();
        format!(
            "`old` is there {} times, on {}; give more of the text around one of them, or set `all`",
            places.len(),
            lines_at(content, &places)
        )
    }

    /// Says what may be the matter, as far as a look at the file tells.
    fn absent(&self, content: &str) -> String {
        if content.contains("\r\n") && content.replace("\r\n", "\n").contains(self.old) {
            return "`old` is not there as given: the lines of the file end with CR LF".to_owned();
        }
        match self.nearest_line(content) {
            Some(number) => format!(
                "`old` is not there as given; its first line is like line {number} of the file, \
                 so look for white space or lines that differ"
            ),
            None => "`old` is not there; read the file to see what is".to_owned(),
        }
    }

    /// The first line of the file that is the first line of `old` but for white space around it.
    fn nearest_line(&self, content: &str) -> Option<usize> {
        let first = self.old.lines().map(str::trim).find(|line| !line.is_empty())?;
        let index = content.lines().position(|line| line.trim() == first)?;
        Some(index + 1)
    }

    /// How many lines one replacement can change, on both sides.
    fn lines(&self) -> usize {
        self.old.lines().count().max(1) + self.new.lines().count().max(1)
    }
}

/// Where `text` begins in `content`, also where it overlaps itself.
fn places(content: &str, text: &str) -> impl Iterator<Item = usize> {
    let step = text.chars().next().map_or(1, char::len_utf8);
    let mut from = 0;
    std::iter::from_fn(move || {
        let place = from + content.get(from..)?.find(text)?;
        from = place + step;
        Some(place)
    })
}

fn lines_at(content: &str, places: &[usize]) -> String {
    let mut listed = Vec::new();
    let (mut line, mut counted) = (1, 0);
    for place in places.iter().take(MAX_LISTED) {
        line += content.get(counted..*place).unwrap_or_default().matches('\n').count();
        counted = *place;
        listed.push(line.to_string());
    }
    let more = if places.len() > MAX_LISTED { " and more" } else { "" };
    format!("lines {}{more}", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(content: &str, old: &str, new: &str, scope: Scope) -> Result<(usize, String), String> {
        Edit { old, new, scope }.apply(content)
    }

    #[track_caller]
    fn refused(content: &str, old: &str, message: &str) {
        assert_eq!(apply(content, old, "new", Scope::One).unwrap_err(), message);
    }

    #[test]
    fn text_is_replaced_exactly() {
        let check = |content, scope, count, edited: &str| {
            let expected = Ok((count, edited.to_owned()));
            assert_eq!(apply(content, "a.b", "$1", scope), expected);
        };
        check("x a.b y\naxb", Scope::One, 1, "x $1 y\naxb");
        check("a.b a.b", Scope::All, 2, "$1 $1");
        check("a.b", Scope::All, 1, "$1");
    }

    #[test]
    fn doubt_about_the_place_is_an_error() {
        refused(
            "a\nb\na a\n",
            "a",
            "`old` is there 3 times, on lines 1, 3, 3; \
             give more of the text around one of them, or set `all`",
        );
        refused(
            "aaa",
            "aa",
            "`old` is there 2 times, on lines 1, 1; \
             give more of the text around one of them, or set `all`",
        );
        refused(
            &"a\n".repeat(12),
            "a",
            "`old` is there 12 times, on lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and more; \
             give more of the text around one of them, or set `all`",
        );
    }

    #[test]
    fn text_that_is_not_there_comes_with_a_hint() {
        refused("a", "b", "`old` is not there; read the file to see what is");
        refused(
            "x\n    fn a() {\n",
            "\tfn a() {\n",
            "`old` is not there as given; its first line is like line 2 of the file, \
             so look for white space or lines that differ",
        );
        refused("a\r\nb\r\n", "a\nb", "`old` is not there as given: the lines of the file end with CR LF");
    }

    #[test]
    fn an_edit_that_is_none_is_an_error() {
        refused("a", "", "`old` is empty; use `write-file` to write a whole file");
        refused("new", "new", "`old` and `new` are the same");
    }

    #[test]
    fn the_file_changes_only_when_the_edit_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let run = |old, new| edit(&path, &Edit { old, new, scope: Scope::One });

        assert!(run("three", "four").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");

        let edited = run("two", "2").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n2\n");
        let name = path.display();
        assert_eq!(
            (edited.replacements, edited.diff),
            (1, format!("--- {name}\n+++ {name}\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"))
        );
    }

    #[test]
    fn only_text_of_some_size_is_edited() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let check = |content: &[u8], message: &str| {
            std::fs::write(&path, content).unwrap();
            let edit = edit(&path, &Edit { old: "a", new: "b", scope: Scope::One });
            assert_eq!(edit.unwrap_err(), message.replace("PATH", &path.display().to_string()));
        };
        check(b"a\xff", "cannot read `PATH`: it is not UTF-8 text");
        check(&vec![b'a'; (8 << 20) + 1], "cannot edit `PATH`: it is larger than 8 MiB");
    }
}
