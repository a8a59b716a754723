//! A request's way through the Gate: it may leave, its host may be looked up, its secrets may be used.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use casemate_policy::{HostGrant, HostName, RequestLine};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::Instrument as _;

use super::admit::Numbered;
use super::permit::{Permit, Record};
use super::scope::Scope;
use crate::effect::{Denial, Failure, Fetch, Outcome, SecretUse};
use crate::egress::{EgressError, Masks, OutBody, Pace, Progress};
use crate::event::Subject;
use crate::journal::{End, PastEffect, recorded_outcome};
use crate::limits::{LimitExceeded, LimitKind};
use crate::perform::{self, Watched};
use crate::secret::{Secret, SecretPlace, name_of, placeholders};
use crate::tool::http::{Token, response_of};

/// A request that somebody wants to send.
pub(crate) struct Outgoing {
    pub(crate) line: RequestLine,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: OutBody,
    pub(crate) secrets: Wanted,
    pub(crate) request_bytes: u64,
    pub(crate) pace: Pace,
}

/// Which secrets are put into a request.
pub(crate) enum Wanted {
    /// All that are granted and bound to requests such as this one.
    Bound,
    /// That one, there, where it is bound to such requests or to none.
    Named {
        name: String,
        place: SecretPlace,
    },
    /// That one, to buy a token with: the response is for the host alone, and comes as it is.
    Payment {
        name: String,
        place: SecretPlace,
    },
    /// What that one buys.
    Token(Arc<Token>),
    None,
}

/// What was put into a request.
enum Put {
    Something,
    Nothing,
}

/// Why a request has no response.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The Gate did not let it out.
    Stopped(Outcome),
    /// It left, and failed.
    Failed(EgressError),
}

impl From<Unanswered> for Outcome {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Stopped(outcome) => outcome,
            Unanswered::Failed(error) => perform::outcome_of(&error),
        }
    }
}

impl Scope {
    /// Sends a request, if it may leave; the effect has its number from here on.
    pub(crate) fn fetch(
        &self,
        outgoing: Outgoing,
    ) -> impl Future<Output = Result<Response<Watched>, Unanswered>> + Send + use<> {
        let (id, scope) = (self.tree().next_effect(), self.clone());
        let span = tracing::debug_span!("effect", id, request = %outgoing.line);
        // Resolvers, dialers and sources can be an embedder's own.
        // Boxed, since a guest's stack holds what is made here until the driver has it.
        let sending = AssertUnwindSafe(Box::pin(scope.send(id, None, outgoing))).catch_unwind();
        let failed = || Unanswered::Stopped(Outcome::Failed(Failure::new("the request could not be sent").into()));
        async move { sending.await.unwrap_or_else(|_panic| Err(failed())) }.instrument(span)
    }

    /// What is refused before it is an effect that could be decided is recorded all the same, as long as there is room
    /// for it in the budget.
    pub(crate) fn refuse_request(&self, authority: &str, outcome: Outcome) {
        if self.account().spend_request().is_ok() {
            let subject = Subject::Host(super::scope::shortened(authority));
            Record::new(self.tree().clone(), self.tree().next_effect(), subject, false).settle(outcome);
        }
    }

    /// The same for a request of a run's agent, as the effect that was numbered before.
    pub(crate) fn refuse_exchange(&self, id: u64, target: &str, outcome: Outcome) {
        // One that is beyond the budget adds nothing to it.
        let _ = self.account().spend_request();
        let subject = Subject::Host(super::scope::shortened(target));
        Record::new(self.tree().clone(), id, subject, false).settle(outcome);
    }

    /// Sends a request as the effect that was numbered before, and waits for the whole response.
    pub(crate) async fn fetch_whole(
        &self,
        id: u64,
        past: Option<Box<PastEffect>>,
        outgoing: Outgoing,
    ) -> Result<Whole, Outcome> {
        match Box::pin(self.clone().send(id, past, outgoing)).await {
            Ok(response) => Whole::of(response).await,
            // A person said so.
            Err(Unanswered::Stopped(Outcome::Result(value))) => Ok(Whole::told(&value)),
            Err(unanswered) => Err(unanswered.into()),
        }
    }

    async fn send(
        self,
        id: u64,
        past: Option<Box<PastEffect>>,
        outgoing: Outgoing,
    ) -> Result<Response<Watched>, Unanswered> {
        let Outgoing { line, mut query, mut headers, body, secrets, request_bytes, pace } = outgoing;
        let fetch = Numbered { id, effect: Fetch::new(line, query.as_deref()) };
        // That its host cannot be looked up, or is not granted any more, says nothing of what may have left before.
        let past = match past {
            Some(past) => Some(self.cleared(&fetch, past).await.map_err(Unanswered::Stopped)?),
            None => None,
        };
        if !past.as_ref().is_some_and(|past| past.begun) {
            self.within(&fetch, |_, account| account.spend_request()).map_err(Unanswered::Stopped)?;
        }
        // A name that may not be reached is not looked up either: that alone could tell somebody something.
        self.check_grant(&fetch).map_err(Unanswered::Stopped)?;
        self.check_supposed(&fetch).map_err(Unanswered::Stopped)?;
        let fetch = self.look_up(fetch, pace).await?;
        let permit = self.admit_from(fetch, past).await.map_err(Unanswered::Stopped)?;
        let pays = matches!(secrets, Wanted::Payment { .. });
        match self.put_secrets(id, &permit, secrets, &mut headers, &mut query).await {
            Err(outcome) => return Err(Unanswered::Stopped(permit.give_up(outcome))),
            Ok(Put::Something) => {
                // A value that is echoed piece by piece would not be recognised.
                headers.remove(header::RANGE);
                headers.remove(header::IF_RANGE);
            }
            Ok(Put::Nothing) => {}
        }
        let path = permit.effect().request.path();
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let request = Request::builder().method(permit.effect().request.method()).uri(target);
        let progress = Progress::new();
        let body = Counted { body, left: request_bytes, max: request_bytes, progress: progress.clone() }.boxed_unsync();
        let Ok(mut request) = request.body(body) else {
            let text = "this cannot be written as a request".to_owned();
            return Err(Unanswered::Stopped(permit.give_up(Outcome::InvalidInput(text))));
        };
        *request.headers_mut() = headers;
        let egress = &self.gate().inner.egress;
        let masks = if pays { Masks::default() } else { egress.masks(permit.effect().request.origin()) };
        let sent = perform::fetch(permit, &egress.client, request, (pace, progress), masks).await;
        sent.map_err(Unanswered::Failed)
    }

    /// Rules see where a name leads. Where they deny the request whatever that is, the name is not looked up.
    fn check_supposed(&self, fetch: &Numbered<Fetch>) -> Result<(), Outcome> {
        let request = &fetch.effect.request;
        if matches!(request.origin().host(), HostName::Address(_)) {
            return Ok(());
        }
        let classes = self.reach().hosts_covering(request).flat_map(HostGrant::classes);
        let mut supposed = classes.map(|class| fetch.effect.supposing(class)).peekable();
        let Some(first) = supposed.peek().map(|fetch| fetch.supposing(fetch.class())) else { return Ok(()) };
        if supposed.all(|effect| self.would_deny(&effect)) {
            self.rule(&Numbered { id: fetch.id, effect: first })?;
        }
        Ok(())
    }

    async fn look_up(&self, fetch: Numbered<Fetch>, pace: Pace) -> Result<Numbered<Fetch>, Unanswered> {
        // Dropped with this future, it records that whoever asked is gone.
        let record = self.record_of(&fetch);
        let found = match fetch.effect.request.origin().host() {
            HostName::Address(address) => Ok(vec![*address]),
            HostName::Name(name) => self.gate().inner.egress.client.look_up(name, pace.look_up).await,
        };
        match found {
            Ok(found) => {
                record.close();
                let Numbered { id, effect } = fetch;
                Ok(Numbered { id, effect: effect.leading_to(&found, self.reach()) })
            }
            Err(error) => {
                record.settle(perform::outcome_of(&error));
                Err(Unanswered::Failed(error))
            }
        }
    }

    /// Each secret is an effect of its own.
    async fn put_secrets(
        &self,
        id: u64,
        permit: &Permit<Fetch>,
        wanted: Wanted,
        headers: &mut HeaderMap,
        query: &mut Option<String>,
    ) -> Result<Put, Outcome> {
        let line = &permit.effect().request;
        if let Wanted::Token(token) = wanted {
            return self.put_token(id, permit, &token, headers).await;
        }
        let uses = self.uses(line, wanted)?;
        check_placeholders(self, line, &uses, headers, query.as_deref())?;
        let put = if uses.is_empty() { Put::Nothing } else { Put::Something };
        for (secret, place) in uses {
            let effect = SecretUse::new(secret.name(), place.to_string(), (id, permit.effect()));
            let admitted = self.admit(Numbered { id: self.tree().next_effect(), effect }).await?;
            self.check_current(&secret)?;
            let value = perform::reveal(admitted, &secret).await?;
            self.gate().inner.egress.mask(line.origin(), &value);
            if !place.put(&value, headers, query) {
                let text = format!("the secret `{}` cannot be written into the {place}", secret.name());
                return Err(Outcome::InvalidInput(text));
            }
        }
        Ok(put)
    }

    /// A token is used for each request in the name of the secret that bought it.
    async fn put_token(
        &self,
        id: u64,
        permit: &Permit<Fetch>,
        token: &Token,
        headers: &mut HeaderMap,
    ) -> Result<Put, Outcome> {
        let egress = &self.gate().inner.egress;
        let name = token.secret();
        let secret = egress.secrets.get(name).ok_or_else(|| missing(name))?;
        let effect = SecretUse::new(name, "header `authorization`, as a token".to_owned(), (id, permit.effect()));
        self.admit(Numbered { id: self.tree().next_effect(), effect }).await?.reveal().close();
        self.check_current(&secret)?;
        let kept = egress.tokens.get(token.purpose(), &secret);
        let value = if let Some(value) = kept {
            value
        } else {
            // Boxed, since buying one is sending a request too.
            let buying: BoxFuture<'_, _> = Box::pin(token.buy(self));
            let (value, until) = buying.await?;
            egress.tokens.keep(token.purpose(), secret, value.clone(), until);
            value
        };
        egress.mask(permit.effect().request.origin(), &value);
        if SecretPlace::bearer().put(&value, headers, &mut None) {
            Ok(Put::Something)
        } else {
            Err(Outcome::Failed(Failure::new("the token cannot stand in a header").into()))
        }
    }

    /// A token that a server does not take is of no use any more.
    pub(crate) fn forget_token(&self, token: &Token) {
        self.gate().inner.egress.tokens.forget(token.purpose());
    }

    /// A person may have been asked for long.
    fn check_current(&self, secret: &Arc<Secret>) -> Result<(), Outcome> {
        let now = self.gate().inner.egress.secrets.get(secret.name());
        if now.is_some_and(|now| Arc::ptr_eq(&now, secret)) {
            return Ok(());
        }
        let text = format!("the secret `{}` was changed or revoked meanwhile", secret.name());
        Err(Outcome::Failed(Failure::new(text).into()))
    }

    /// The secrets that go into such a request, and where each goes.
    fn uses(&self, line: &RequestLine, wanted: Wanted) -> Result<Vec<(Arc<Secret>, SecretPlace)>, Outcome> {
        let secrets = &self.gate().inner.egress.secrets;
        match wanted {
            Wanted::None | Wanted::Token(_) => Ok(Vec::new()),
            Wanted::Bound => {
                let granted = self.reach().secrets().iter().filter_map(|grant| secrets.get(grant.name()));
                let placed = granted.flat_map(|secret| {
                    let places: Vec<_> = secret.places(line).cloned().collect();
                    places.into_iter().map(move |place| (secret.clone(), place))
                });
                Ok(placed.collect())
            }
            Wanted::Named { name, place } | Wanted::Payment { name, place } => {
                let secret = secrets.get(&name).ok_or_else(|| missing(&name))?;
                if !secret.bindings().is_empty() && secret.places(line).next().is_none() {
                    return Err(not_bound(&name, line));
                }
                Ok(vec![(secret, place)])
            }
        }
    }
}

fn missing(name: &str) -> Outcome {
    let text = format!("there is no secret `{name}`: declare it with `--secret {name}=…`");
    Outcome::Failed(Failure::new(text).into())
}

fn not_bound(name: &str, line: &RequestLine) -> Outcome {
    Outcome::Denied(Denial::new(format!("the secret `{name}` is not bound to requests such as `{line}`")).into())
}

/// A placeholder is replaced where its secret goes, and nowhere else; what is written elsewhere is told, not sent.
fn check_placeholders(
    scope: &Scope,
    line: &RequestLine,
    uses: &[(Arc<Secret>, SecretPlace)],
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<(), Outcome> {
    let goes = |name: &str, there: &dyn Fn(&SecretPlace) -> bool| {
        let mut own = uses.iter().filter(|(secret, _)| secret.name() == name).map(|(_, place)| place).peekable();
        if scope.reach().find_secret(name).is_none() {
            return Err(Outcome::Denied(Denial::secret_not_granted(name).into()));
        }
        let Some(first) = own.peek() else { return Err(not_bound(name, line)) };
        let reason = format!("the secret `{name}` goes into the {first} only");
        if own.any(there) { Ok(()) } else { Err(Outcome::Denied(Denial::new(reason).into())) }
    };
    for name in placeholders(line.path()) {
        goes(name, &|_| false)?;
    }
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        let parameter = name_of(pair);
        for name in placeholders(pair) {
            goes(name, &|place| place.is_parameter(&parameter))?;
        }
    }
    for (header, value) in headers {
        for name in placeholders(&String::from_utf8_lossy(value.as_bytes())) {
            goes(name, &|place| place.is_header(header))?;
        }
    }
    Ok(())
}

/// A body that breaks off where it is too long.
struct Counted {
    body: OutBody,
    left: u64,
    max: u64,
    progress: Progress,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = EgressError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, EgressError>>> {
        let polled = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let length = match &polled {
            Some(Ok(frame)) => frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => 0,
        };
        let Some(left) = self.left.checked_sub(length) else {
            let used = self.max.saturating_sub(self.left).saturating_add(length);
            return Poll::Ready(Some(Err(LimitExceeded::new(LimitKind::RequestBytes, used, self.max).into())));
        };
        self.left = left;
        self.progress.note();
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// A response that is all there, as it is recorded and told again.
#[derive(Serialize, Deserialize)]
pub(crate) struct Whole {
    status: u16,
    headers: Vec<(String, String)>,
    /// In base64.
    body: String,
}

impl Whole {
    async fn of(response: Response<Watched>) -> Result<Self, Outcome> {
        let (head, body) = response.into_parts();
        let (bytes, record) = body.whole().await?;
        let headers = head.headers.iter();
        let headers = headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let whole = Self { status: head.status.as_u16(), headers: headers.collect(), body: STANDARD.encode(&bytes) };
        if let Some(record) = record {
            record.settle_whole(whole.status, bytes.len() as u64, json!(whole));
        }
        Ok(whole)
    }

    /// What a person says came back.
    fn told(value: &Value) -> Self {
        let response = response_of(value);
        let headers = response.headers().iter();
        let headers = headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        Self { status: response.status().as_u16(), headers: headers.collect(), body: STANDARD.encode(response.body()) }
    }

    /// As it came before.
    pub(crate) fn recorded(end: &End) -> Result<Self, Outcome> {
        if let Some(Ok(whole)) = end.answer.as_ref().map(|answer| Self::deserialize(&**answer)) {
            return Ok(whole);
        }
        match recorded_outcome(end) {
            Outcome::Result(value) => Ok(Self::told(&value)),
            outcome => Err(outcome),
        }
    }

    pub(crate) fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(STANDARD.decode(&self.body).unwrap_or_default().into());
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_GATEWAY);
        for (name, value) in self.headers {
            let (name, value) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value));
            if let (Ok(name), Ok(value)) = (name, value) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}
