//! As much JSON as the inputs of a few tools want.

use std::fmt::Write as _;

/// A text as JSON.
pub fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            // Writing to a `String` does not fail.
            '\0'..'\x20' => _ = write!(json, "\\u{:04x}", u32::from(character)),
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

/// The text that some JSON is, if nothing in it is escaped.
///
/// A text that is handed on from call to call would double its backslashes with each.
pub fn unquoted(json: &str) -> Option<&str> {
    let text = json.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains(['"', '\\'])).then_some(text)
}
