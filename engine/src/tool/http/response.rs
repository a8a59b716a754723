//! What a tool tells of a response.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use super::request::is_json;
use crate::json::Reader;

/// Bytes of memory that the value of a body may take.
const LARGEST_VALUE: usize = 64 << 20;

/// The status, the headers in `keep` and the content type, and the body: JSON as itself, other text as a string, the
/// rest as `{"base64": …}`, and null where there is none.
pub(crate) fn to_json(status: u16, headers: &HeaderMap, body: &[u8], keep: &[HeaderName]) -> Value {
    let kept = keep.iter().chain([&header::CONTENT_TYPE]).filter(|name| headers.contains_key(*name));
    let kept: Value = kept.map(|name| (name.to_string(), joined(headers, name))).collect();
    json!({"status": status, "headers": kept, "body": content(&joined(headers, &header::CONTENT_TYPE), body)})
}

/// JSON Schema (2020-12) of that, where the body is of `body`.
pub(crate) fn schema(mut body: Value) -> Value {
    // References are from the root of a schema.
    let definitions = body.as_object_mut().and_then(|body| body.shift_remove("$defs"));
    let mut schema = json!({
        "type": "object",
        "properties": {
            "status": {"type": "integer"},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}},
            "body": body,
        },
        "required": ["status", "headers", "body"],
        "additionalProperties": false,
    });
    if let (Some(definitions), Some(schema)) = (definitions, schema.as_object_mut()) {
        schema.insert("$defs".to_owned(), definitions);
    }
    schema
}

pub(crate) fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    values.collect::<Vec<_>>().join(", ")
}

fn content(content_type: &str, body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    let Ok(text) = std::str::from_utf8(body) else { return json!({"base64": BASE64_STANDARD.encode(body)}) };
    // What takes far more room as a value stays a text.
    let json = is_json(content_type).then(|| Reader::new(LARGEST_VALUE).read(text).ok()).flatten();
    json.unwrap_or_else(|| text.into())
}

/// The response that a value tells of, as this module tells of responses.
pub(crate) fn response_of(value: &Value) -> Response<Bytes> {
    let status = value.get("status").and_then(Value::as_u64);
    let status = status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
    let (body, kind) = match value.get("body") {
        None | Some(Value::Null) => (Bytes::new(), None),
        Some(Value::String(text)) => (text.clone().into(), Some("text/plain; charset=utf-8")),
        Some(json) => {
            match json.get("base64").and_then(Value::as_str).and_then(|text| BASE64_STANDARD.decode(text).ok()) {
                Some(bytes) => (bytes.into(), Some("application/octet-stream")),
                None => (json.to_string().into(), Some("application/json")),
            }
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status.unwrap_or(StatusCode::OK);
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    for (name, value) in value.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        let value = value.as_str().and_then(|value| HeaderValue::from_str(value).ok());
        name.zip(value).map(|(name, value)| response.headers_mut().insert(name, value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn body_is(content_type: &str, body: &[u8], expected: Value) {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().expect("a value"))]);
        let expected = json!({"status": 200, "headers": {"content-type": content_type}, "body": expected});
        assert_eq!(to_json(200, &headers, body, &[]), expected);
    }

    #[test]
    fn a_body_is_json_or_text_or_bytes() {
        body_is("application/json", b"{\"a\": 1.10}", json!({"a": 1.1}));
        body_is("application/problem+json; charset=utf-8", b"null", json!(null));
        body_is("application/json", b"{\"a\": ", json!("{\"a\": "));
        body_is("application/json", b"\xff", json!({"base64": "/w=="}));
        body_is("text/html", b"{}", json!("{}"));
        body_is("image/png", b"\x89PNG", json!({"base64": "iVBORw=="}));
        body_is("application/json", b"", json!(null));
    }

    #[test]
    fn headers_are_kept_by_name() {
        let headers: HeaderMap = [("link", "<a>"), ("link", "<b>"), ("set-cookie", "s=1"), ("x-a", "é")]
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")))
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            });
        let keep = ["link", "x-a", "x-b"].map(HeaderName::from_static);
        let expected = json!({"status": 404, "headers": {"link": "<a>, <b>", "x-a": "é"}, "body": null});
        assert_eq!(to_json(404, &headers, b"", &keep), expected);
    }
}
