//! A request's way through the Gate: it may leave, its host may be looked up, its secrets may be used.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use casemate_policy::{HostName, RequestLine};
use futures_util::FutureExt as _;
use http::header::HeaderMap;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tracing::Instrument as _;

use super::admit::Numbered;
use super::permit::{Permit, Record};
use super::scope::Scope;
use crate::effect::{Denial, Failure, Fetch, Outcome, SecretUse};
use crate::egress::{EgressError, OutBody, Pace};
use crate::event::Subject;
use crate::limits::{LimitExceeded, LimitKind};
use crate::perform::{self, Watched};
use crate::secret::{Secret, SecretPlace, name_of, placeholders};

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
    None,
}

/// Why a request has no response.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The Gate did not let it out.
    Stopped(Outcome),
    /// It left, and failed.
    Failed(EgressError),
}

impl Scope {
    /// Sends a request, if it may leave; the effect has its number from here on.
    pub(crate) fn fetch(
        &self,
        outgoing: Outgoing,
    ) -> impl Future<Output = Result<Response<Watched>, Unanswered>> + Send + use<> {
        let (id, scope) = (self.gate().next_effect(), self.clone());
        let span = tracing::debug_span!("effect", id, request = %outgoing.line);
        // Resolvers, dialers and sources can be an embedder's own.
        let sending = AssertUnwindSafe(async move { scope.send(id, outgoing).await }).catch_unwind();
        let failed = || Unanswered::Stopped(Outcome::Failed(Failure::new("the request could not be sent").into()));
        async move { sending.await.unwrap_or_else(|_panic| Err(failed())) }.instrument(span)
    }

    /// What asks for something that cannot be a request is recorded, and refused.
    pub(crate) fn refuse_request(&self, authority: &str, reason: String) {
        let subject = Subject::Host(super::scope::shortened(authority));
        let record = Record::new(self.tree().clone(), self.gate().next_effect(), subject, false);
        record.settle(Outcome::InvalidInput(reason));
    }

    async fn send(self, id: u64, outgoing: Outgoing) -> Result<Response<Watched>, Unanswered> {
        let Outgoing { line, mut query, mut headers, body, secrets, request_bytes, pace } = outgoing;
        let fetch = Numbered { id, effect: Fetch::new(line, query.as_deref()) };
        // A name that may not be reached is not looked up either: that alone could tell somebody something.
        self.check_grant(&fetch).map_err(Unanswered::Stopped)?;
        let fetch = self.look_up(fetch, pace).await?;
        let permit = self.admit(fetch).await.map_err(Unanswered::Stopped)?;
        if let Err(outcome) = self.put_secrets(id, &permit, secrets, &mut headers, &mut query).await {
            return Err(Unanswered::Stopped(permit.give_up(outcome)));
        }
        let path = permit.effect().request.path();
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let request = Request::builder().method(permit.effect().request.method()).uri(target);
        let body = Counted { body, left: request_bytes, max: request_bytes }.boxed_unsync();
        let Ok(mut request) = request.body(body) else {
            let text = "this cannot be written as a request".to_owned();
            return Err(Unanswered::Stopped(permit.give_up(Outcome::InvalidInput(text))));
        };
        *request.headers_mut() = headers;
        let inner = &self.gate().inner;
        perform::fetch(permit, &inner.client, request, pace, inner.scrubber()).await.map_err(Unanswered::Failed)
    }

    async fn look_up(&self, fetch: Numbered<Fetch>, pace: Pace) -> Result<Numbered<Fetch>, Unanswered> {
        let found = match fetch.effect.request.origin().host() {
            HostName::Address(address) => Ok(vec![*address]),
            HostName::Name(name) => self.gate().inner.client.look_up(name, pace.connect).await,
        };
        match found {
            Ok(found) => {
                let Numbered { id, effect } = fetch;
                Ok(Numbered { id, effect: effect.leading_to(&found, self.reach()) })
            }
            Err(error) => {
                self.record_of(&fetch).settle(perform::outcome_of(&error));
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
    ) -> Result<(), Outcome> {
        let line = &permit.effect().request;
        let uses = self.uses(line, wanted)?;
        check_placeholders(self, line, &uses, headers, query.as_deref())?;
        for (secret, place) in uses {
            let effect = SecretUse::new(secret.name(), place.to_string(), (id, permit.effect()));
            let admitted = self.admit(Numbered { id: self.gate().next_effect(), effect }).await?;
            let value = perform::reveal(admitted, &secret).await?;
            self.mask(&value);
            if !place.put(&value, headers, query) {
                let text = format!("the secret `{}` cannot be written into the {place}", secret.name());
                return Err(Outcome::InvalidInput(text));
            }
        }
        Ok(())
    }

    /// The secrets that go into such a request, and where each goes.
    fn uses(&self, line: &RequestLine, wanted: Wanted) -> Result<Vec<(Arc<Secret>, SecretPlace)>, Outcome> {
        let secrets = &self.gate().inner.secrets;
        match wanted {
            Wanted::None => Ok(Vec::new()),
            Wanted::Bound => {
                let granted = self.reach().secrets().iter().filter_map(|grant| secrets.get(grant.name()));
                let placed = granted.flat_map(|secret| {
                    let places: Vec<_> = secret.places(line).cloned().collect();
                    places.into_iter().map(move |place| (secret.clone(), place))
                });
                Ok(placed.collect())
            }
            Wanted::Named { name, place } => {
                let missing = || format!("there is no secret `{name}`: declare it with `--secret {name}=…`");
                let secret = secrets.get(&name).ok_or_else(|| Outcome::Failed(Failure::new(missing()).into()))?;
                if !secret.bindings().is_empty() && secret.places(line).next().is_none() {
                    return Err(not_bound(&name, line));
                }
                Ok(vec![(secret, place)])
            }
        }
    }
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
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
