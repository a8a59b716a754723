//! The text of a document: JSON or YAML.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::{UserMessageFormatter, budget, options};

/// How deep YAML is nested at most. Without optimisation, each level takes some 25 KiB of the stack.
const MAX_DEPTH: usize = 48;

/// What aliases may make of a short text.
const MAX_VALUES: usize = 100_000;

/// The value of `text`. An error names line and column.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    if !text.trim_start().starts_with('{') {
        return yaml(text);
    }
    // What looks like JSON and is not may be YAML still; if it is neither, it was to be JSON.
    json(text).or_else(|why| yaml(text).map_err(|_| why))
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map(|Unique(value)| value).map_err(|error| error.to_string())
}

fn yaml(text: &str) -> Result<Value, String> {
    // Without aliases, there is no value that does not take up a byte.
    let values = text.len().max(MAX_VALUES);
    let options = options! {
        budget: budget! { max_depth: MAX_DEPTH, max_nodes: values, max_events: values.saturating_mul(4) },
        // Only what is a number or a boolean in every version of YAML; `no` and `0755` are text.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let value = serde_saphyr::from_str_with_options(text, options);
    value.map(|Unique(value)| value).map_err(|error| error.render_with_formatter(&UserMessageFormatter))
}

/// A value without two members of the same name. JSON alone would keep the last, and YAML takes `200` and `'200'` for
/// different ones.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                // Not a custom error: of those, the one who reads YAML does not know where they are.
                let duplicate = format!("duplicate key `{name}`");
                return Err(A::Error::invalid_value(Unexpected::Other(&duplicate), &"each key once"));
            }
            let Unique(value) = members.next_value()?;
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn reads(text: &str, expected: Value) {
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn json_and_yaml_are_read() {
        let expected = json!({"a": [1, {"b": null}], "c": "d"});
        reads("{\"a\": [1, {\"b\": null}],\n\t\"c\": \"d\"}", expected.clone());
        reads("\u{feff}{\"a\": [1, {\"b\": null}], \"c\": \"d\"}", expected.clone());
        reads("# YAML\n---\na:\n- 1\n- b: ~\nc: d\n", expected.clone());
        reads(" {a: [1, {b: null}], c: d,}", expected);
        reads("a: |\n  b\n  c\nd: >-\n  e\n  f\n", json!({"a": "b\nc\n", "d": "e f"}));
        reads(
            "a: &a {b: 1}\nc: *a\nd:\n  <<: *a\n  e: 2\n",
            json!({"a": {"b": 1}, "c": {"b": 1}, "d": {"e": 2, "b": 1}}),
        );
        reads("", json!(null));
    }

    #[test]
    fn numbers_are_exact_and_what_looks_like_one_is_text() {
        let exact = json!([u64::MAX, i64::MIN, 9_007_199_254_740_993_u64]);
        reads(&exact.to_string(), exact.clone());
        reads(&json!({"a": exact}).to_string(), json!({"a": exact}));
        reads("[0.1, 1.10, 1e3, -0.5]", json!([0.1, 1.1, 1000.0, -0.5]));
        reads(
            "[no, on, y, 0755, 1_000, 3.1.0, 2020-01-01]",
            json!(["no", "on", "y", "0755", "1_000", "3.1.0", "2020-01-01"]),
        );
        reads("200: a\n4XX: b\ntrue: c\n", json!({"200": "a", "4XX": "b", "true": "c"}));
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        assert_eq!(read(text), Err(expected.to_owned()));
    }

    #[test]
    fn an_error_says_where_it_is() {
        refused("{\"a\": 1\n\"b\": 2}", "expected `,` or `}` at line 2 column 1");
        refused("a:\n  b: 1\n c: 2\n", "while parsing a block mapping, did not find expected key at line 3, column 2");
        refused("a: 1\nb: [1\n", "unclosed bracket '[' at line 2, column 4");
        refused("a: *b", "reference to unknown value at line 1, column 4");
        refused("a: &a [*a]", "Recursive reference not allowed here at line 1, column 8");
        refused("a: !include b.yaml", "unsupported tag `!include` at line 1, column 13");
        refused("a: .nan", "value `.nan` is not a finite number at line 1, column 4");
        refused("[a]: 1", "expected string scalar at line 1, column 1");
        refused("a: 1\n---\nb: 2\n", "only single YAML document expected but multiple found at line 3, column 1");
    }

    #[test]
    fn no_key_is_there_twice() {
        let unique = "invalid value: duplicate key `a`, expected each key once";
        refused("{\"a\": 1,\n\"a\": 2}", &format!("{unique} at line 2 column 3"));
        refused("a: 1\nb: 2\na: 3\n", "duplicate mapping key `a` is not allowed here at line 3, column 1");
        let unique = "invalid value: duplicate key `200`, expected each key once";
        refused("200: a\n'200': b\n", &format!("{unique} at line 2, column 1"));
    }

    #[track_caller]
    fn too_large(text: &str) {
        let error = read(text).expect_err("too large");
        assert!(error.starts_with("YAML document too large or too complex"), "{error}");
    }

    #[test]
    fn a_text_grows_only_so_much() {
        let tenfold = |n: usize| format!("a{}: &a{} [{}]\n", n + 1, n + 1, format!("*a{n},").repeat(10));
        too_large(&["a0: &a0 [x]\n".to_owned()].into_iter().chain((0..20).map(tenfold)).collect::<String>());
        too_large(&format!("a: &a {}\nb: [{}]\n", "x".repeat(1_000_000), "*a,".repeat(1_000)));
        too_large(&format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1)));
        assert!(read(&format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH))).is_ok());
        let all = read(&format!("[{}]", "a:,".repeat(MAX_VALUES))).expect("a list");
        assert_eq!(all.as_array().map(Vec::len), Some(MAX_VALUES));
    }
}
