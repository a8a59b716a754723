//! The JSON that a call begins with: in the argument, in a file, or on standard input.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use crate::source;

/// Whether reading `text` takes standard input.
pub(crate) fn is_stdin(text: &str) -> bool {
    text == "-"
}

/// Reads JSON, `@FILE`, or `-` for standard input.
pub(crate) fn parse(text: &str) -> anyhow::Result<Value> {
    let (text, place) = match text.strip_prefix('@') {
        Some(path) => (source::read_text(Path::new(path))?, path),
        None if is_stdin(text) => {
            let mut input = String::new();
            std::io::stdin().read_to_string(&mut input).context("cannot read standard input")?;
            (input, "standard input")
        }
        None => (text.to_owned(), "the argument"),
    };
    serde_json::from_str(&text).with_context(|| format!("the input in {place} is not JSON"))
}
