//! Ways around in a document.

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// How far a chain of references is followed. Those of real documents have one link.
const MAX_LINKS: usize = 8;

/// `value`, or what it refers to.
pub(super) fn resolved<'a>(document: &'a Value, value: &'a Value) -> Result<&'a Value, String> {
    let mut value = value;
    for _ in 0..MAX_LINKS {
        let Some(target) = text(value, "$ref") else { return Ok(value) };
        value = pointed(document, target)?.1;
    }
    Err("a reference leads to no end".to_owned())
}

/// What the reference `target` is of, with the pointer to it.
pub(super) fn pointed<'a>(document: &'a Value, target: &str) -> Result<(String, &'a Value), String> {
    let pointer = target.strip_prefix('#').ok_or_else(|| format!("`{target}` is not in the document"))?;
    let pointer = percent_decode_str(pointer).decode_utf8_lossy().into_owned();
    let value = document.pointer(&pointer).ok_or_else(|| format!("`{target}` leads to nothing"))?;
    Ok((pointer, value))
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

pub(super) fn is_true(value: &Value, key: &str) -> bool {
    value.get(key) == Some(&Value::Bool(true))
}
