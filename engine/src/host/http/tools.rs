//! The host `tools.internal`: tools for code that knows only HTTP.
//!
//! `http://tools.internal/NAME/PATH?QUERY` calls the tool that is shown as NAME. A tool of a whole base URL gets
//! `{path, method, payload, query, headers}`, and its response is the response; any other gets the body as its input.

use std::collections::BTreeMap;

use bytes::Bytes;
use casemate_policy::{HostName, RequestLine, ToolSource};
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use serde_json::{Map, Value, json};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::effect::Outcome;
use crate::gate::Scope;
use crate::host::{Refusals, RefusedAction};
use crate::journal::{End, PastEffect, recorded_outcome};
use crate::json::Reader;
use crate::limits::Limits;
use crate::tool::Tool;
use crate::tool::http::{is_json, joined, may_be_set, response_of};

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
    let (scope, refusals, limits) = (scope.clone(), refusals.clone(), *limits);
    async move {
        let most = limits.http.request_bytes;
        let (head, body) = request.into_parts();
        let body = Limited::new(body, usize::try_from(most).unwrap_or(usize::MAX)).collect().await;
        let body = match body {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(Error::HttpRequestBodySize(Some(most))),
            Err(_) => return Err(Error::ConnectionTerminated),
        };
        let meant = Meant::new(&scope, &line, &head, &body, &limits);
        let outcome = match &meant.input {
            Ok(input) => scope.call(&meant.name, input.clone()).await,
            Err(_) => Outcome::Cancelled,
        };
        Ok(whole_body(meant.noted(outcome, &refusals)))
    }
}

/// The call that a request stands for.
pub(super) struct Meant {
    name: String,
    /// Whether the tool takes whole requests.
    base: bool,
    /// What the tool is called with, or what is wrong with the request.
    input: Result<Value, Response<Bytes>>,
}

impl Meant {
    pub(super) fn new(
        scope: &Scope,
        line: &RequestLine,
        head: &http::request::Parts,
        body: &Bytes,
        limits: &Limits,
    ) -> Self {
        let reader = Reader::new(limits.host_call_bytes);
        let (name, path) = parts(line.path());
        let base = scope.tools().get(&name).is_some_and(takes_requests);
        let input = match std::str::from_utf8(body) {
            Err(_) => Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is not UTF-8: tools take text")),
            Ok(text) if base => Ok(whole(line, path, head, text, &reader)),
            Ok("") => Ok(json!({})),
            Ok(text) => reader.read(text).map_err(|_| problem(StatusCode::BAD_REQUEST, "the body is not JSON")),
        };
        Self { name, base, input }
    }

    /// Calls it as an effect of a run's agent.
    pub(super) async fn made(
        self,
        scope: &Scope,
        refusals: &Refusals,
        id: u64,
        past: Option<Box<PastEffect>>,
    ) -> Response<Bytes> {
        let outcome = match &self.input {
            Ok(input) => scope.call_at(id, past, &self.name, input.clone()).await,
            Err(problem) => scope.refuse_call(id, &self.name, refusal(problem)),
        };
        self.noted(outcome, refusals)
    }

    /// What the agent was told before: whether the tool takes whole requests is recorded, and may be otherwise by now.
    pub(super) fn repeated(self, end: &End) -> Response<Bytes> {
        let (base, outcome) = (end.source.as_ref().is_some_and(is_base), recorded_outcome(end));
        match (self.input, outcome) {
            (Err(problem), Outcome::InvalidInput(reason)) if reason == refusal(&problem) => problem,
            (_, outcome) => response(outcome, base),
        }
    }

    fn noted(self, outcome: Outcome, refusals: &Refusals) -> Response<Bytes> {
        if let Outcome::Denied(denial) = &outcome {
            refusals.add_denied(RefusedAction::Call, &self.name, denial);
        }
        self.response(outcome)
    }

    /// What a guest is told of that outcome.
    fn response(self, outcome: Outcome) -> Response<Bytes> {
        match self.input {
            Ok(_) => response(outcome, self.base),
            Err(problem) => problem,
        }
    }
}

/// A response whose body is all there.
pub(super) fn whole_body(response: Response<Bytes>) -> Response<WasiBody> {
    response.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync())
}

fn takes_requests(tool: &Tool) -> bool {
    is_base(&tool.identity().source)
}

fn is_base(source: &ToolSource) -> bool {
    matches!(source, ToolSource::Http { operation: None, .. })
}

/// What is recorded of a request that cannot be a call.
fn refusal(problem: &Response<Bytes>) -> String {
    format!("the request is answered with {}", problem.status())
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

fn response(outcome: Outcome, base: bool) -> Response<Bytes> {
    match outcome {
        Outcome::Result(value) if base => response_of(&value),
        Outcome::Result(value) => with_body(StatusCode::OK, Some("application/json"), value.to_string().into()),
        Outcome::Failed(failure) if base && failure.value.get("status").is_some() => response_of(&failure.value),
        Outcome::Failed(failure) => problem(StatusCode::BAD_GATEWAY, &failure.message),
        Outcome::Denied(denial) => problem(StatusCode::FORBIDDEN, &denial.reason),
        Outcome::NotFound(text) => problem(StatusCode::NOT_FOUND, &text),
        Outcome::InvalidInput(text) => problem(StatusCode::BAD_REQUEST, &text),
        Outcome::LimitExceeded(limit) => problem(StatusCode::TOO_MANY_REQUESTS, &limit.to_string()),
        Outcome::Cancelled => problem(StatusCode::SERVICE_UNAVAILABLE, "the call was stopped"),
    }
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response<Bytes> {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    with_body(status, Some("application/problem+json"), body.to_string().into())
}

fn with_body(status: StatusCode, kind: Option<&'static str>, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}
