//! The host `tools.internal`: tools for code that knows only HTTP.
//!
//! `http://tools.internal/NAME/PATH?QUERY` calls the tool that is shown as NAME. A tool of a whole base URL gets
//! `{path, method, payload, query, headers}`, and its response is the response; any other gets the body as its input.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use casemate_policy::{HostName, RequestLine, ToolSource};
use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use serde_json::{Map, Value, json};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::effect::Outcome;
use crate::gate::Scope;
use crate::host::{Refusals, RefusedAction};
use crate::json::Reader;
use crate::limits::Limits;
use crate::tool::Tool;
use crate::tool::http::{is_json, joined, may_be_set};

/// The host that stands for the tools.
const HOST: &str = "tools.internal";

pub(super) fn is_meant(line: &RequestLine) -> bool {
    matches!(line.origin().host(), HostName::Name(name) if name == HOST)
}

/// The variables by which a guest finds its tools: `TOOL_URL_STRIPE_API` for the tool `stripe-api`. Where two names
/// come to one variable, the first has it.
pub(crate) fn variables(scope: &Scope) -> Vec<(String, String)> {
    let mut variables = BTreeMap::new();
    for (name, _) in scope.available() {
        let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
        let variable = format!("TOOL_URL_{}", name.chars().map(letter).collect::<String>());
        variables.entry(variable).or_insert_with(|| format!("http://{HOST}/{}", escaped(&name)));
    }
    variables.into_iter().collect()
}

/// A name as one part of a path.
fn escaped(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, PART).to_string()
}

/// What a part of a path cannot hold as it is; of a tool's name only `/` and `#`, and `%` itself.
const PART: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'/').add(b'#').add(b'%');

/// Calls the tool that is meant.
pub(super) fn call(
    scope: &Scope,
    refusals: &Refusals,
    line: RequestLine,
    request: Request<WasiBody>,
    limits: &Limits,
) -> impl Future<Output = Result<Response<WasiBody>, Error>> + Send + use<> {
    let (scope, refusals) = (scope.clone(), refusals.clone());
    let (most, reader) = (limits.http.request_bytes, Reader::new(limits.host_call_bytes));
    async move {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, usize::try_from(most).unwrap_or(usize::MAX)).collect().await;
        let body = match body {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(Error::HttpRequestBodySize(Some(most))),
            Err(_) => return Err(Error::ConnectionTerminated),
        };
        let (name, path) = parts(line.path());
        let base = scope.tools().get(&name).is_some_and(takes_requests);
        let Ok(text) = std::str::from_utf8(&body) else {
            return Ok(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is not UTF-8: tools take text"));
        };
        let input = if base {
            Ok(whole(&line, path, &head, text, &reader))
        } else if text.is_empty() {
            Ok(json!({}))
        } else {
            reader.read(text)
        };
        let Ok(input) = input else {
            return Ok(problem(StatusCode::BAD_REQUEST, "the body is not JSON"));
        };
        let outcome = scope.call(&name, input).await;
        if let Outcome::Denied(denial) = &outcome {
            refusals.add_denied(RefusedAction::Call, &name, denial);
        }
        Ok(response(outcome, base))
    }
}

fn takes_requests(tool: &Tool) -> bool {
    matches!(&tool.identity().source, ToolSource::Http { operation: None, .. })
}

/// The name of the tool, and the path behind it.
fn parts(path: &str) -> (String, &str) {
    let path = path.trim_start_matches('/');
    let (name, rest) = path.find('/').map_or((path, ""), |slash| path.split_at(slash));
    (percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned(), rest)
}

/// The input of a tool that takes whole requests.
fn whole(line: &RequestLine, path: &str, head: &http::request::Parts, body: &str, reader: &Reader) -> Value {
    let path = if path.is_empty() { "/" } else { path };
    let mut input = Map::new();
    input.insert("path".to_owned(), path.into());
    input.insert("method".to_owned(), line.method().into());
    let json = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(is_json);
    let payload = match json.then(|| reader.read(body)) {
        // As a value these two would be sent as something else.
        Some(Ok(payload)) if !payload.is_string() && !payload.is_null() => payload,
        _ if body.is_empty() => Value::Null,
        _ => body.into(),
    };
    input.insert("payload".to_owned(), payload);
    let mut parameters = Map::new();
    for (name, value) in url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()) {
        match parameters.get_mut(&*name) {
            None => drop(parameters.insert(name.into_owned(), value.into())),
            Some(Value::Array(values)) => values.push(value.into()),
            Some(first) => *first = json!([first.take(), value]),
        }
    }
    input.insert("query".to_owned(), parameters.into());
    // A key that a client writes out of habit is not the tool's.
    let habit = |name: &str| name == "authorization" || (!may_be_set(name) && !name.starts_with("x-"));
    let passed = head.headers.keys().filter(|name| !habit(name.as_str()));
    let passed = passed.map(|name| (name.to_string(), Value::from(joined(&head.headers, name))));
    input.insert("headers".to_owned(), passed.collect::<Map<_, _>>().into());
    input.into()
}

fn response(outcome: Outcome, base: bool) -> Response<WasiBody> {
    match outcome {
        Outcome::Result(value) if base => passed_on(&value),
        Outcome::Result(value) => with_body(StatusCode::OK, Some("application/json"), value.to_string().into()),
        Outcome::Failed(failure) if base && failure.value.get("status").is_some() => passed_on(&failure.value),
        Outcome::Failed(failure) => problem(StatusCode::BAD_GATEWAY, &failure.message),
        Outcome::Denied(denial) => problem(StatusCode::FORBIDDEN, &denial.reason),
        Outcome::NotFound(text) => problem(StatusCode::NOT_FOUND, &text),
        Outcome::InvalidInput(text) => problem(StatusCode::BAD_REQUEST, &text),
        Outcome::LimitExceeded(limit) => problem(StatusCode::TOO_MANY_REQUESTS, &limit.to_string()),
        Outcome::Cancelled => problem(StatusCode::SERVICE_UNAVAILABLE, "the call was stopped"),
    }
}

/// The response that the tool got.
fn passed_on(value: &Value) -> Response<WasiBody> {
    let status = value.get("status").and_then(Value::as_u64);
    let status = status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
    let (body, kind) = match value.get("body") {
        None | Some(Value::Null) => (Bytes::new(), None),
        Some(Value::String(text)) => (text.clone().into(), Some("text/plain; charset=utf-8")),
        Some(json) => match json.get("base64").and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok()) {
            Some(bytes) => (bytes.into(), Some("application/octet-stream")),
            None => (json.to_string().into(), Some("application/json")),
        },
    };
    let mut response = with_body(status.unwrap_or(StatusCode::OK), kind, body);
    for (name, value) in value.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        let value = value.as_str().and_then(|value| HeaderValue::from_str(value).ok());
        name.zip(value).map(|(name, value)| response.headers_mut().insert(name, value));
    }
    response
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response<WasiBody> {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    with_body(status, Some("application/problem+json"), body.to_string().into())
}

fn with_body(status: StatusCode, kind: Option<&'static str>, body: Bytes) -> Response<WasiBody> {
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}
