//! Where in a document that people write something stands.

use std::ops::Range;

/// Line and column, in characters, from 1, of where `span` begins; of the beginning where nothing is known.
pub(crate) fn place(text: &str, span: Option<Range<usize>>) -> (usize, usize) {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}
