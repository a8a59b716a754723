//! Tools for text, which describe themselves.

use casemate_sdk::{export_tools, tool};
use serde::Serialize;
use similar::algorithms::{Capture, Replace, myers};
use similar::{DiffOp, DiffTag};
use std::ops::Range;

export_tools!(word_count, slugify, diff_lines);

/// How much there is of a text.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Words, as white space parts them.
    words: usize,
    /// Lines; the last one counts where it is not empty.
    lines: usize,
    /// Characters, as Unicode counts them.
    characters: usize,
}

/// Counts the words, lines and characters of a text.
#[tool]
pub fn word_count(text: &str) -> Count {
    Count { words: text.split_whitespace().count(), lines: text.lines().count(), characters: text.chars().count() }
}

/// Makes of a title what can stand in an address: "Hello, World!" becomes "hello-world".
///
/// Letters and digits of all scripts stay, in lower case; all else becomes one "-" between them.
#[tool]
pub fn slugify(
    /// The title.
    text: &str,
    /// The most characters that there may be. Words beyond them are left out.
    longest: Option<usize>,
) -> Result<String, String> {
    let lower = text.to_lowercase();
    let longest = longest.unwrap_or(usize::MAX);
    let mut slug = String::new();
    for word in lower.split(|part: char| !part.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let separator = if slug.is_empty() { "" } else { "-" };
        if slug.chars().count() + separator.len() + word.chars().count() > longest {
            break;
        }
        slug.extend([separator, word]);
    }
    if slug.is_empty() { Err(format!("nothing of `{text}` can stand in a slug")) } else { Ok(slug) }
}

/// Lines that took the place of others.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Change<'a> {
    /// Where in the old text, from line 1 on.
    line: usize,
    /// What was there.
    removed: Vec<&'a str>,
    /// What is there now.
    added: Vec<&'a str>,
}

/// Finds the lines in which two texts differ.
#[tool]
pub fn diff_lines<'a>(
    /// The old text.
    before: &'a str,
    /// The new text.
    after: &'a str,
) -> Vec<Change<'a>> {
    let before: Vec<&str> = before.lines().collect();
    let after: Vec<&str> = after.lines().collect();
    let mut capture = Replace::new(Capture::new());
    let Ok(()) = myers::diff(&mut capture, &before, 0..before.len(), &after, 0..after.len());
    let operations = capture.into_inner().into_ops().into_iter();
    operations
        .filter(|operation| operation.tag() != DiffTag::Equal)
        .map(|found| change(&found, &before, &after))
        .collect()
}

fn change<'a>(operation: &DiffOp, before: &[&'a str], after: &[&'a str]) -> Change<'a> {
    let lines = |text: &[&'a str], range: Range<usize>| text.get(range).unwrap_or_default().to_vec();
    let range = operation.old_range();
    Change { line: range.start + 1, removed: lines(before, range), added: lines(after, operation.new_range()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_sdk::{Error, json};

    #[test]
    fn words_lines_and_characters_are_counted() {
        assert_eq!(word_count("Grüße aus\nBern\n"), Count { words: 3, lines: 2, characters: 15 });
        assert_eq!(WORD_COUNT.invoke(json!({"text": ""})), Ok(json!({"words": 0, "lines": 0, "characters": 0})));
    }

    #[track_caller]
    fn check_slug(text: &str, longest: Option<usize>, slug: &str) {
        assert_eq!(slugify(text, longest).as_deref(), Ok(slug));
    }

    #[test]
    fn a_slug_has_letters_and_digits_only() {
        check_slug("Hello, World!", None, "hello-world");
        check_slug("  --Ünï 2 --", None, "ünï-2");
        check_slug("Hello, World!", Some(11), "hello-world");
        check_slug("Hello, World!", Some(10), "hello");
    }

    #[test]
    fn what_has_no_slug_fails() {
        let reason = "nothing of `!?` can stand in a slug";
        assert_eq!(SLUGIFY.invoke(json!({"text": "!?"})), Err(Error::Failed(reason.into())));
    }

    #[track_caller]
    fn check_diff(before: &str, after: &str, changes: &[(usize, &[&str], &[&str])]) {
        let found = diff_lines(before, after);
        let found: Vec<_> = found.iter().map(|change| (change.line, &change.removed[..], &change.added[..])).collect();
        assert_eq!(found, changes);
    }

    #[test]
    fn lines_that_differ_are_found() {
        check_diff("a\nb\nc\n", "a\nb\nc\n", &[]);
        check_diff("a\nb\nc\n", "a\nx\nc\n", &[(2, &["b"], &["x"])]);
        check_diff("a\nc\n", "a\nb\nc\nd\n", &[(2, &[], &["b"]), (3, &[], &["d"])]);
        check_diff("a\nb\n", "", &[(1, &["a", "b"], &[])]);
    }
}
