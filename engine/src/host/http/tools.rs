//! The host `tools.internal`: tools for code that knows only HTTP.
//!
//! `http://tools.internal/NAME/PATH?QUERY` calls the tool that is shown as NAME. A tool of a whole base URL gets
//! `{path, method, payload, query, headers}`, and its response is the response; any other gets the body as its input.

use std::collections::BTreeMap;

use bytes::Bytes;
use casemate_policy::{HostName, RequestLine, ToolSource};
use http::header::{self, HeaderMap};
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
use crate::tool::http::may_be_set;

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
        let input = if base {
            Ok(whole(&line, path, head.uri.query(), &head.headers, &body, &reader))
        } else if body.is_empty() {
            Ok(json!({}))
        } else {
            reader.read(&String::from_utf8_lossy(&body))
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
fn whole(
    line: &RequestLine,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &Bytes,
    reader: &Reader,
) -> Value {
    let path = if path.is_empty() { "/" } else { path };
    let mut input = Map::new();
    input.insert("path".to_owned(), path.into());
    input.insert("method".to_owned(), line.method().into());
    let json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let text = String::from_utf8_lossy(body);
    let payload = match json.then(|| reader.read(&text)) {
        Some(Ok(payload)) => payload,
        _ if text.is_empty() => Value::Null,
        _ => text.into(),
    };
    input.insert("payload".to_owned(), payload);
    let mut parameters = Map::new();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match parameters.get_mut(&*name) {
            None => drop(parameters.insert(name.into_owned(), value.into())),
            Some(Value::Array(values)) => values.push(value.into()),
            Some(first) => *first = json!([first.take(), value]),
        }
    }
    input.insert("query".to_owned(), parameters.into());
    // A key that a client writes out of habit is not the tool's.
    let passed = headers.iter().filter(|(name, _)| **name != header::AUTHORIZATION && may_be_set(name.as_str()));
    let passed = passed.filter_map(|(name, value)| Some((name.to_string(), Value::from(value.to_str().ok()?))));
    input.insert("headers".to_owned(), passed.collect::<Map<_, _>>().into());
    input.into()
}

fn response(outcome: Outcome, base: bool) -> Response<WasiBody> {
    match outcome {
        Outcome::Result(value) if base => passed_on(&value),
        Outcome::Result(value) => with_body(StatusCode::OK, "application/json", value.to_string()),
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
    let status = value
        .get("status")
        .and_then(Value::as_u64)
        .and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
    let (body, kind) = match value.get("body") {
        None | Some(Value::Null) => (String::new(), None),
        Some(Value::String(text)) => (text.clone(), None),
        Some(json) => (json.to_string(), Some("application/json")),
    };
    let told = value.pointer("/headers/content-type").and_then(Value::as_str);
    with_body(status.unwrap_or(StatusCode::OK), told.or(kind).unwrap_or("text/plain; charset=utf-8"), body)
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response<WasiBody> {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    with_body(status, "application/problem+json", body.to_string())
}

fn with_body(status: StatusCode, kind: &str, body: String) -> Response<WasiBody> {
    let mut response = Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}
