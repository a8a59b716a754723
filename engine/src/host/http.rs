//! `wasi:http`: each request of a guest is an effect, and leaves through the Gate's client if it does.
//!
//! A request to `http://tools.internal/NAME/…` goes nowhere: it is the call of a tool.

mod exchange;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use casemate_policy::{RequestLine, Scheme};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::{Refusals, RefusedAction};
use crate::component::Component;
use crate::driver::Handover;
use crate::effect::{Denial, Outcome};
use crate::egress::{EgressError, OutBody, Pace, Phase};
use crate::gate::{Outgoing, Scope, Unanswered, Wanted};
use crate::journal::Exchange;
use crate::limits::{LimitExceeded, LimitKind, Limits};
use crate::secret::placeholder;
use exchange::Asked;

pub(crate) use exchange::link;

/// What a sandbox finds in its environment without being given it: where its tools are, and for each secret that it may
/// use a placeholder in the variable of the secret's name. What was granted under such a name stays.
pub(crate) fn variables(scope: &Scope, component: &Component) -> Vec<(String, String)> {
    let reach = scope.reach();
    let secrets = reach.secrets().iter().map(|grant| (grant.name().to_owned(), placeholder(grant.name())));
    let finds_tools = !scope.tools().is_empty() && component.speaks_http();
    let tools = if finds_tools { tools::variables(scope) } else { Vec::new() };
    let granted = |name: &str| reach.variables().iter().any(|(known, _)| known == name);
    secrets.chain(tools).filter(|(name, _)| !granted(name)).collect()
}

/// The way out of one sandbox.
pub(crate) struct Http {
    scope: Scope,
    handover: Handover,
    refusals: Refusals,
    limits: Limits,
    /// Exchanges that may still be begun.
    exchanges: Arc<Semaphore>,
    /// The exchange of a run's agent that was begun last.
    begun: Option<Exchange>,
}

/// A request that is none, or one too many.
struct Refused {
    authority: String,
    outcome: Outcome,
    error: Error,
}

type Transfer = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Result<(Response<WasiBody>, Transfer), Error>;

impl Http {
    pub(crate) fn new(scope: Scope, handover: Handover, refusals: Refusals, limits: Limits) -> Self {
        let exchanges = usize::try_from(limits.http.connections).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { scope, handover, refusals, limits, exchanges: Arc::new(Semaphore::new(exchanges)), begun: None }
    }

    /// Where a request goes, and its place among those that are under way.
    fn begin(&self, request: &Request<WasiBody>) -> Result<(RequestLine, OwnedSemaphorePermit), Refused> {
        let uri = request.uri();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let line = uri
            .scheme_str()
            .unwrap_or_default()
            .parse::<Scheme>()
            .and_then(|scheme| RequestLine::new(request.method().as_str(), scheme, authority, uri.path()));
        let line = line.map_err(|error| {
            let reason = error.to_string();
            self.refusals.add_denied(RefusedAction::Request, authority, &Denial::new(reason.clone()));
            let (authority, outcome) = (authority.to_owned(), Outcome::InvalidInput(reason));
            Refused { authority, outcome, error: Error::HttpRequestUriInvalid }
        })?;
        let Ok(exchange) = self.exchanges.clone().try_acquire_owned() else {
            let max = u64::from(self.limits.http.connections);
            let limit = LimitExceeded::new(LimitKind::Connections, max.saturating_add(1), max);
            let reason = Denial::new(limit.to_string());
            self.refusals.add_denied(RefusedAction::Request, &line.to_string(), &reason);
            let (authority, outcome) = (line.origin().host().to_string(), Outcome::LimitExceeded(limit));
            return Err(Refused { authority, outcome, error: Error::ConnectionLimitReached });
        };
        Ok((line, exchange))
    }

    fn outgoing(&self, line: RequestLine, request: Request<WasiBody>, options: Option<RequestOptions>) -> Outgoing {
        let (head, body) = request.into_parts();
        Outgoing {
            line,
            query: head.uri.query().map(str::to_owned),
            headers: head.headers,
            body: leaving(body),
            secrets: Wanted::Bound,
            request_bytes: self.limits.http.request_bytes,
            pace: shortened(Pace::new(&self.limits.http), options),
        }
    }
}

impl WasiHttpHooks for Http {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _transfer: Transfer,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        let begun = self.begin(&request);
        if let Some(journal) = self.scope.own_journal().cloned() {
            let (asked, held) = match begun {
                Ok((line, held)) if tools::is_meant(&line) => (Asked::Tool { line, request }, Some(held)),
                Ok((line, held)) => (Asked::Network(self.outgoing(line, request, options)), Some(held)),
                Err(refused) => (Asked::Refused(refused), None),
            };
            let answer = self.exchange(journal, asked, held);
            return Box::new(async move { Ok((answer.await?, nothing())) });
        }
        let (line, exchange) = match begun {
            Ok(begun) => begun,
            Err(Refused { authority, outcome, error }) => {
                self.scope.refuse_request(&authority, outcome);
                return Box::new(std::future::ready(Err(error)));
            }
        };
        if tools::is_meant(&line) {
            let call = tools::call(&self.scope, &self.refusals, line, request, &self.limits);
            let answer = self.handover.run(async move {
                let _held = exchange;
                call.await
            });
            return Box::new(async move { Ok((answer.await.ok_or(Error::ConnectionTerminated)??, nothing())) });
        }
        let (refusals, target) = (self.refusals.clone(), line.to_string());
        let sent = self.scope.fetch(self.outgoing(line, request, options));
        // The place is held by the deed, not by the guest's waiting for it.
        let answer = self.handover.run(async move { (sent.await, exchange) });
        Box::new(async move {
            let (response, exchange) = answer.await.ok_or(Error::ConnectionTerminated)?;
            let response = response.map_err(|error| {
                match &error {
                    Unanswered::Stopped(Outcome::Denied(denial)) => {
                        refusals.add_denied(RefusedAction::Request, &target, denial);
                    }
                    // A secret without a value, which is for the host to mend.
                    Unanswered::Stopped(Outcome::Failed(failure)) => {
                        let reason = failure.detail.as_ref().unwrap_or(&failure.message);
                        refusals.add_denied(RefusedAction::Request, &target, &Denial::new(reason.clone()));
                    }
                    Unanswered::Stopped(_) | Unanswered::Failed(_) => {}
                }
                told(&error)
            })?;
            Ok((response.map(|body| held(body, exchange)), nothing()))
        })
    }

    /// The client writes its own.
    fn set_host_header(&mut self) -> bool {
        false
    }
}

/// A response and its body end together, so there is nothing else to wait for.
fn nothing() -> Transfer {
    Box::new(std::future::ready(Ok(())))
}

fn leaving(body: WasiBody) -> OutBody {
    body.map_err(|_broken_off| EgressError::RequestBody).boxed_unsync()
}

/// A body that keeps its place among the exchanges of its sandbox.
fn held(
    body: impl http_body::Body<Data = bytes::Bytes, Error = EgressError> + Send + 'static,
    exchange: OwnedSemaphorePermit,
) -> WasiBody {
    body.map_err(move |error| {
        let _held = &exchange;
        code(&error)
    })
    .boxed_unsync()
}

/// A guest can only be less patient than we are.
fn shortened(pace: Pace, options: Option<RequestOptions>) -> Pace {
    let Some(options) = options else { return pace };
    let least = |own: Duration, asked: Option<Duration>| asked.map_or(own, |asked| asked.min(own));
    Pace {
        connect: least(pace.connect, options.connect_timeout),
        first_byte: least(pace.first_byte, options.first_byte_timeout),
        idle: least(pace.idle, options.between_bytes_timeout),
        ..pace
    }
}

fn told(error: &Unanswered) -> Error {
    match error {
        Unanswered::Failed(error) => code(error),
        Unanswered::Stopped(Outcome::LimitExceeded(_)) => Error::ConnectionLimitReached,
        Unanswered::Stopped(Outcome::InvalidInput(_)) => Error::HttpRequestUriInvalid,
        Unanswered::Stopped(Outcome::Failed(failure)) => Error::InternalError(Some(failure.message.clone())),
        Unanswered::Stopped(_) => Error::HttpRequestDenied,
    }
}

fn code(error: &EgressError) -> Error {
    match error {
        EgressError::LookUp { .. } => Error::DnsError { rcode: None, info_code: None },
        EgressError::Connect { .. } => Error::ConnectionRefused,
        EgressError::Certificate { .. } => Error::TlsCertificateError,
        EgressError::Tls { .. } => Error::TlsProtocolError,
        EgressError::TimedOut { waiting_for: Phase::Connection } => Error::ConnectionTimeout,
        EgressError::TimedOut { waiting_for: Phase::NextBytes } => Error::ConnectionReadTimeout,
        EgressError::TimedOut { .. } => Error::HttpResponseTimeout,
        EgressError::Closed => Error::HttpResponseIncomplete,
        EgressError::HeadTooLarge => Error::HttpResponseHeaderSectionSize(None),
        EgressError::Protocol { .. } => Error::HttpProtocolError,
        EgressError::Coding { coding } => Error::HttpResponseContentCoding(Some(coding.clone())),
        EgressError::Limit(limit) if limit.limit == LimitKind::ResponseBytes => {
            Error::HttpResponseBodySize(Some(limit.used))
        }
        EgressError::Limit(limit) => Error::HttpRequestBodySize(Some(limit.used)),
        EgressError::RequestHead => Error::HttpRequestHeaderSectionSize(None),
        EgressError::RequestBody => Error::ConnectionTerminated,
    }
}
