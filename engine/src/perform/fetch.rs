//! Sends admitted requests.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use secrecy::SecretString;

use crate::effect::{Failure, Fetch, Outcome, SecretUse};
use crate::egress::{Departure, EgressError, HttpClient, Inbound, Masks, OutBody, Pace, Progress};
use crate::gate::{Permit, Record};
use crate::secret::Secret;

/// Sends the request to the addresses that it was admitted for.
pub(crate) async fn fetch(
    permit: Permit<Fetch>,
    client: &HttpClient,
    request: Request<OutBody>,
    (pace, progress): (Pace, Progress),
    masks: Masks,
) -> Result<Response<Watched>, EgressError> {
    let (fetch, record) = permit.depart();
    let departure = Departure {
        origin: fetch.request.origin().clone(),
        addresses: fetch.addresses,
        request,
        pace,
        masks,
        progress,
    };
    match client.send(departure).await {
        Ok(response) => {
            let status = response.status().as_u16();
            Ok(response.map(|inbound| Watched { inbound, status, record: Some(record) }))
        }
        Err(error) => {
            record.settle(outcome_of(&error));
            Err(error)
        }
    }
}

/// Reads the value of the secret.
pub(crate) async fn reveal(permit: Permit<SecretUse>, secret: &Secret) -> Result<SecretString, Outcome> {
    let record = permit.reveal();
    match secret.value().await {
        Ok(value) => {
            record.close();
            Ok(value)
        }
        Err(error) => {
            let told = format!("the secret `{}` has no value that can be used", secret.name());
            Err(record.settle(with_detail(told, &error)))
        }
    }
}

pub(crate) fn outcome_of(error: &EgressError) -> Outcome {
    let told = match error {
        EgressError::Limit(limit) => return Outcome::LimitExceeded(*limit),
        EgressError::LookUp { host, .. } => format!("`{host}` cannot be looked up"),
        EgressError::Connect { .. } => "the server cannot be reached".to_owned(),
        EgressError::Certificate { .. } => "the server's certificate is refused".to_owned(),
        EgressError::Tls { .. } => "the server cannot be spoken to over TLS".to_owned(),
        other => return Outcome::Failed(Failure::new(other.to_string()).into()),
    };
    with_detail(told, error)
}

/// What the host looks like from inside is told to those who watch only.
fn with_detail(told: String, error: &impl std::fmt::Display) -> Outcome {
    Outcome::Failed(Failure { detail: Some(error.to_string()), ..Failure::new(told) }.into())
}

/// A response whose end is recorded: when it is there, or when nobody wants the rest.
pub(crate) struct Watched {
    inbound: Inbound,
    status: u16,
    record: Option<Record>,
}

impl Watched {
    /// All of it, and where that is still to be recorded; or the outcome, recorded, where it breaks off.
    pub(crate) async fn whole(mut self) -> Result<(Bytes, Option<Record>), Outcome> {
        let record = self.record.take();
        match (&mut self.inbound).collect().await {
            Ok(body) => Ok((body.to_bytes(), record)),
            Err(error) => {
                let outcome = outcome_of(&error);
                Err(match record {
                    Some(record) => record.settle(outcome),
                    None => outcome,
                })
            }
        }
    }

    fn settle(&mut self, failed: Option<&EgressError>) {
        let Some(record) = self.record.take() else { return };
        match failed {
            Some(error) => drop(record.settle(outcome_of(error))),
            None => record.settle_fetched(self.status, self.inbound.received()),
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = EgressError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, EgressError>>> {
        let polled = Pin::new(&mut self.inbound).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Err(error))) => self.settle(Some(error)),
            Poll::Ready(None) => self.settle(None),
            _ if self.inbound.is_end_stream() => self.settle(None),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inbound.is_end_stream()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.settle(None);
    }
}
