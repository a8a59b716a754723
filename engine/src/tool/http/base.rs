//! A whole API as one tool: its caller names the path.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{HeaderName, Method};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::path::canonical;
use super::request::{METHODS, Prepared, header_name, header_value, is_json, method};
use super::response;

/// JSON Schema (2020-12) of its input.
pub(crate) fn input_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "path": {
                "type": "string",
                "pattern": "^/",
                "description": "Below the base URL, percent-encoded where needed; without the query",
            },
            "method": {"type": "string", "enum": METHODS.map(|method| method.to_string()), "default": "POST"},
            "payload": {"description": "The body: a string goes as it is, null not at all, the rest as JSON"},
            "query": {
                "type": "object",
                "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
                "description": "Not percent-encoded",
            },
            "headers": {
                "type": "object",
                "propertyNames": {"pattern": "^[^A-Z]+$"},
                "additionalProperties": {"type": "string"},
                "description": "Under names in lower case",
            },
        },
        "required": ["path"],
        "additionalProperties": false,
    })
}

/// JSON Schema (2020-12) of what [`response::to_json`] makes of a response.
pub(crate) fn output_schema() -> Value {
    response::schema(json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    path: String,
    #[serde(default = "post")]
    method: String,
    #[serde(default)]
    payload: Value,
    #[serde(default)]
    query: Map<String, Value>,
    #[serde(default)]
    headers: Map<String, Value>,
}

const MOST_HEADERS: usize = 90;

fn post() -> String {
    Method::POST.to_string()
}

/// The request that `input` asks for.
pub(crate) fn prepare(input: &Value) -> Result<Prepared, String> {
    let input = Input::deserialize(input).map_err(|error| error.to_string())?;
    let method = method(&input.method)?;
    if matches!(method, Method::GET | Method::HEAD) && !input.payload.is_null() {
        return Err(format!("a {method} request has no payload: use `query`, or another method"));
    }
    let path = canonical(&input.path)?.to_owned();
    if input.headers.len() > MOST_HEADERS {
        return Err(format!("there are more than {MOST_HEADERS} headers"));
    }
    let mut headers = input.headers.iter().map(header).collect::<Result<HeaderMap, String>>()?;
    let body = body(input.payload, &mut headers)?;
    Ok(Prepared { method, path, query: query(input.query)?, headers, body })
}

/// A header under the one spelling of its name, so that a rule need not know others.
fn header((name, value): (&String, &Value)) -> Result<(HeaderName, HeaderValue), String> {
    let header = header_name(name)?;
    if header.as_str() != name {
        return Err(format!("header `{name}` has to be written `{header}`"));
    }
    let value = value.as_str().ok_or_else(|| format!("header `{name}` has to be a string, not `{value}`"))?;
    Ok((header, header_value(name, value)?))
}

fn query(query: Map<String, Value>) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for (name, value) in query {
        let values = if let Value::Array(items) = value { items } else { vec![value] };
        for value in values {
            let Value::String(value) = value else {
                return Err(format!("`{name}` of the query has to be a string or a list of strings, not `{value}`"));
            };
            pairs.push((name.clone(), value));
        }
    }
    Ok(pairs)
}

fn body(payload: Value, headers: &mut HeaderMap) -> Result<Option<Bytes>, String> {
    let (bytes, default) = match payload {
        Value::Null => return Ok(None),
        Value::String(text) => (text.into(), "text/plain; charset=utf-8"),
        json => {
            check_json(headers)?;
            (json.to_string().into(), "application/json")
        }
    };
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(default));
    Ok(Some(bytes))
}

fn check_json(headers: &HeaderMap) -> Result<(), String> {
    let said = headers.get(header::CONTENT_TYPE).and_then(|said| said.to_str().ok());
    match said.filter(|said| !is_json(said)) {
        Some(said) => Err(format!("the payload goes as JSON, not as `{said}`: write it as a string")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method, path, query, headers, body.
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)], Option<&'a str>);

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn prepares(input: Value, expected: Row<'_>) {
        let prepared = prepare(&input).expect("a request");
        let query: Vec<_> = prepared.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let headers = prepared.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text")));
        let headers: Vec<_> = headers.collect();
        let body = prepared.body.as_ref().map(|body| std::str::from_utf8(body).expect("text"));
        assert_eq!((prepared.method.as_str(), prepared.path.as_str(), &query[..], &headers[..], body), expected);
    }

    #[test]
    fn input_becomes_a_request() {
        prepares(json!({"path": "/v1/x"}), ("POST", "/v1/x", &[], &[], None));
        prepares(
            json!({"path": "/", "method": "GET", "query": {"b": "1", "a": ["2", "&"]}, "headers": {"x-a": "b"}}),
            ("GET", "/", &[("b", "1"), ("a", "2"), ("a", "&")], &[("x-a", "b")], None),
        );
        prepares(json!({"path": "/", "payload": null}), ("POST", "/", &[], &[], None));
    }

    #[test]
    fn a_payload_is_text_or_json() {
        let json = [("content-type", "application/json")];
        prepares(json!({"path": "/", "payload": {"a": [1]}}), ("POST", "/", &[], &json, Some("{\"a\":[1]}")));
        prepares(json!({"path": "/", "payload": false}), ("POST", "/", &[], &json, Some("false")));
        let text = [("content-type", "text/plain; charset=utf-8")];
        prepares(json!({"path": "/", "payload": "{}"}), ("POST", "/", &[], &text, Some("{}")));
        let patch = [("content-type", "application/merge-patch+json")];
        let headers = json!({"content-type": "application/merge-patch+json"});
        prepares(
            json!({"path": "/", "method": "PATCH", "payload": {}, "headers": headers}),
            ("PATCH", "/", &[], &patch, Some("{}")),
        );
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let headers = json!({"content-type": "application/x-www-form-urlencoded"});
        prepares(json!({"path": "/", "payload": "a=b", "headers": headers}), ("POST", "/", &[], &form, Some("a=b")));
    }

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn refused(input: Value, expected: &str) {
        assert_eq!(prepare(&input), Err(expected.to_owned()));
    }

    #[test]
    fn what_is_not_in_the_schema_is_refused() {
        refused(json!({}), "missing field `path`");
        refused(
            json!({"path": "/", "Path": "/admin"}),
            "unknown field `Path`, expected one of `path`, `method`, `payload`, `query`, `headers`",
        );
        refused(json!({"path": "/a/%2e%2e/b"}), "path `/a/%2e%2e/b` has a segment `.` or `..`");
        refused(json!({"path": "/%61"}), "path `/%61` has to be written `/a`");
        refused(
            json!({"path": "/", "method": "get"}),
            "unknown method `get`, expected one of `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE`, `OPTIONS`",
        );
        refused(
            json!({"path": "/", "method": "GET", "payload": 1}),
            "a GET request has no payload: use `query`, or another method",
        );
        refused(
            json!({"path": "/", "query": {"a": 1}}),
            "`a` of the query has to be a string or a list of strings, not `1`",
        );
        refused(
            json!({"path": "/", "query": {"a": [["b"]]}}),
            "`a` of the query has to be a string or a list of strings, not `[\"b\"]`",
        );
    }

    #[test]
    fn headers_are_plain_and_the_callers_own() {
        let with = |name: &str, value: Value| json!({"path": "/", "headers": {name: value}, "payload": {}});
        refused(with("X-A", json!("b")), "header `X-A` has to be written `x-a`");
        refused(with("x-a", json!(1)), "header `x-a` has to be a string, not `1`");
        refused(with("host", json!("b")), "header `host` is not the caller's to set");
        refused(
            with("x-http-method-override", json!("DELETE")),
            "header `x-http-method-override` is not the caller's to set",
        );
        refused(
            with("x-a", json!("b\nc")),
            "header `x-a` cannot be `b\\nc`: write visible ASCII, with spaces only between words",
        );
        refused(
            with("content-type", json!("text/plain")),
            "the payload goes as JSON, not as `text/plain`: write it as a string",
        );
    }
}
