//! Calls of an HTTP tool: each is one request, and those that redirects ask for.

use std::sync::Arc;

use bytes::Bytes;
use casemate_host_bindings::{parameters_from_schema, shape_from_schema};
use casemate_policy::{Grants, RequestLine};
use futures_util::future::BoxFuture;
use http::header;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use url::Url;

use super::request::Prepared;
use super::{HttpAuth, HttpTool, base, response};
use crate::effect::{Failure, Outcome};
use crate::egress::Pace;
use crate::gate::{Invocation, Outgoing, Scope, Unanswered, Wanted};
use crate::perform::{Watched, outcome_of};
use crate::tool::{KnownFrom, Provide, Tool, ToolSignature, Toolset, Widening};

#[derive(Clone)]
pub(super) struct Endpoint(Arc<HttpTool>);

/// Characters of a body that a message of its failure holds.
const MOST_SHOWN: usize = 1_000;
/// The answers that say where to go instead.
const REDIRECTS: [StatusCode; 5] = [
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];
/// Redirects of one call that are followed.
const MOST_REDIRECTS: usize = 5;

impl Endpoint {
    pub(super) fn new(tool: HttpTool) -> Self {
        Self(Arc::new(tool))
    }

    async fn call(&self, invocation: &Invocation) -> Result<Outcome, Outcome> {
        let tool = &self.0;
        let prepared = match &tool.operation {
            Some(operation) => operation.prepare(invocation.input()),
            None => base::prepare(invocation.input()),
        };
        let prepared = prepared.and_then(|prepared| tool.check_free(&prepared).map(|()| prepared));
        let prepared = prepared.map_err(Outcome::InvalidInput)?;
        let reach = tool.reach().map_err(|error| failed(error.to_string()))?;
        let scope = invocation.scope().child(Arc::new(reach), Toolset::new(), Arc::default());
        let response = self.exchange(&scope, prepared).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| outcome_of(&error))?.to_bytes();
        let status = head.status.as_u16();
        let value = response::to_json(status, &head.headers, &body, &tool.kept_headers());
        if status < 400 {
            return Ok(Outcome::Result(value.into()));
        }
        let body = value.get("body").map(ToString::to_string).unwrap_or_default();
        let shown = body.char_indices().nth(MOST_SHOWN).and_then(|(end, _)| body.get(..end)).unwrap_or(&body);
        let failure = Failure::new(format!("the server answered with status {}: {shown}", head.status));
        Err(Outcome::Failed(Failure { value, ..failure }.into()))
    }

    /// Sends the request, and follows redirects of what only reads. A tool of a whole base follows none: which path may
    /// be asked for was decided by its input.
    async fn exchange(&self, scope: &Scope, prepared: Prepared) -> Result<Response<Watched>, Outcome> {
        let tool = &self.0;
        let follows = tool.operation.is_some() && matches!(prepared.method, Method::GET | Method::HEAD);
        let mut url = prepared.url(&tool.url);
        let mut hops = 0;
        loop {
            let outgoing = self.outgoing(&url, &prepared)?;
            let response = scope.fetch(outgoing).await.map_err(|error| match error {
                Unanswered::Stopped(Outcome::Denied(denial)) if hops > 0 => {
                    failed(format!("the server redirected to `{url}`, which was denied: {}", denial.reason))
                }
                other => other.into(),
            })?;
            if let HttpAuth::Token(token) = &tool.auth
                && response.status() == StatusCode::UNAUTHORIZED
            {
                scope.forget_token(token);
            }
            let moved = REDIRECTS.contains(&response.status());
            let next = response.headers().get(header::LOCATION).filter(|_| moved);
            let next = next.filter(|_| follows).and_then(|next| url.join(next.to_str().ok()?).ok());
            let Some(next) = next else { return Ok(response) };
            hops += 1;
            if hops > MOST_REDIRECTS {
                return Err(failed(format!("the server redirected more than {MOST_REDIRECTS} times")));
            }
            url = next;
        }
    }

    fn outgoing(&self, url: &Url, prepared: &Prepared) -> Result<Outgoing, Outcome> {
        let tool = &self.0;
        let line = line(&prepared.method, url).map_err(Outcome::InvalidInput)?;
        let home = *line.origin() == tool.origin;
        let secrets = match &tool.auth {
            HttpAuth::Key { secret, place } if home => Wanted::Named { name: secret.clone(), place: place.clone() },
            HttpAuth::Token(token) if home => Wanted::Token(token.clone()),
            HttpAuth::None | HttpAuth::Key { .. } | HttpAuth::Token(_) => Wanted::None,
        };
        Ok(Outgoing {
            line,
            query: url.query().map(str::to_owned),
            headers: prepared.headers.clone(),
            body: body(prepared.body.clone().unwrap_or_default()),
            secrets,
            request_bytes: tool.limits.request_bytes,
            pace: Pace::new(&tool.limits),
        })
    }
}

pub(super) fn line(method: &Method, url: &Url) -> Result<RequestLine, String> {
    let line =
        url.scheme().parse().and_then(|scheme| RequestLine::new(method.as_str(), scheme, url.authority(), url.path()));
    line.map_err(|error| error.to_string())
}

pub(super) fn body(bytes: Bytes) -> crate::egress::OutBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn failed(message: String) -> Outcome {
    Outcome::Failed(Failure::new(message).into())
}

impl HttpTool {
    /// Refuses a request that says already what only the tool may say.
    fn check_free(&self, prepared: &Prepared) -> Result<(), String> {
        let taken = match &self.auth {
            HttpAuth::None => false,
            HttpAuth::Key { place, .. } => {
                prepared.headers.keys().any(|name| place.is_header(name))
                    || prepared.query.iter().any(|(name, _)| place.is_parameter(name))
            }
            HttpAuth::Token(_) => prepared.headers.contains_key(header::AUTHORIZATION),
        };
        if taken { Err("the tool has credentials of its own: leave them out of the input".to_owned()) } else { Ok(()) }
    }

    fn kept_headers(&self) -> Vec<header::HeaderName> {
        // What is not followed is told.
        let location = self.operation.is_none().then_some(header::LOCATION);
        self.response_headers.iter().cloned().chain(location).collect()
    }
}

impl Provide for Endpoint {
    fn provide(&self, invocation: Invocation) -> BoxFuture<'static, Outcome> {
        let endpoint = self.clone();
        Box::pin(async move { endpoint.call(&invocation).await.unwrap_or_else(|outcome| outcome) })
    }

    fn signature(&self) -> Result<ToolSignature, String> {
        let operation = self.0.operation.as_ref().ok_or("its input has no types")?;
        let parameters = parameters_from_schema(operation.input_schema()).map_err(|error| error.to_string())?;
        let result = shape_from_schema(operation.output_schema()).map_err(|error| error.to_string())?;
        Ok(ToolSignature { parameters, result: Some(result), known_from: KnownFrom::Schema })
    }

    fn narrows(&self, _caller: &Grants) -> Result<(), Widening> {
        Ok(())
    }

    fn brings(&self) -> Vec<Tool> {
        Vec::new()
    }
}
