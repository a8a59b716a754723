//! How much of a tool's result a model sees.

use crate::json;
use serde_json::Value;

/// A result of no more than so many characters, but for a note of what was left out.
///
/// Two thirds of them are the head, since most texts say first what they are about.
pub(super) fn trimmed(result: Value, tool: &str, limit: usize) -> Value {
    let text = match result {
        Value::String(text) => text,
        other => {
            let text = json::written(&other);
            if fits(&text, limit) {
                return other;
            }
            text
        }
    };
    if fits(&text, limit) { text.into() } else { shortened(&text, tool, limit).into() }
}

fn fits(text: &str, limit: usize) -> bool {
    text.len() <= limit || text.chars().count() <= limit
}

fn shortened(text: &str, tool: &str, limit: usize) -> String {
    let length = text.chars().count();
    let tail = limit / 3;
    let head = limit - tail;
    let cut = length - limit;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!(
        "{start}\n\n[{cut} of {length} characters were left out here. If `{tool}` only reads, call it again for the \
         part that is needed: with a range, a filter or a limit, where it takes one.]\n\n{end}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(result: Value, limit: usize, start: &str, end: &str, note: &str) {
        let Value::String(text) = trimmed(result, "grep", limit) else { panic!("a trimmed result is text") };
        assert!(text.starts_with(&format!("{start}\n\n[")), "{text}");
        assert!(text.ends_with(&format!("]\n\n{end}")), "{text}");
        assert!(text.contains(note), "{text}");
    }

    #[test]
    fn what_fits_stays_what_it_is() {
        assert_eq!(trimmed(json!({"a": [1, 2]}), "grep", 11), json!({"a": [1, 2]}));
        assert_eq!(trimmed(json!("äöü"), "grep", 3), json!("äöü"));
        assert_eq!(trimmed(json!(""), "grep", 0), json!(""));
    }

    #[test]
    fn of_what_does_not_fit_head_and_tail_are_kept() {
        check(json!("abcdefghij"), 6, "abcd", "ij", "[4 of 10 characters were left out here. If `grep` only reads");
        check(json!({"a": [1, 2]}), 9, r#"{"a":["#, "2]}", "[2 of 11 characters");
        check(json!("äöüäöü"), 3, "äö", "ü", "[3 of 6 characters");
        check(json!("abc"), 0, "", "", "[3 of 3 characters");
    }
}
