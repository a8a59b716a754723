//! Sends admitted requests.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};

use crate::effect::{Failure, Fetch, Outcome, SecretUse};
use crate::egress::{Departure, EgressError, HttpClient, Inbound, OutBody, Pace, Scrubber};
use crate::gate::{Permit, Record};
use crate::secret::{Secret, SecretError};
use secrecy::SecretString;

/// Sends the request to the addresses that it was admitted for.
pub(crate) async fn fetch(
    permit: Permit<Fetch>,
    client: &HttpClient,
    request: Request<OutBody>,
    pace: Pace,
    scrubber: Scrubber,
) -> Result<Response<Watched>, EgressError> {
    let (fetch, record) = permit.depart();
    let departure =
        Departure { origin: fetch.request.origin().clone(), addresses: fetch.addresses, request, pace, scrubber };
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
pub(crate) async fn reveal(permit: Permit<SecretUse>, secret: &Secret) -> Result<SecretString, SecretError> {
    let record = permit.reveal();
    match secret.value().await {
        Ok(value) => {
            record.close();
            Ok(value)
        }
        Err(error) => {
            record.settle(Outcome::Failed(Failure::new(error.to_string()).into()));
            Err(error)
        }
    }
}

pub(crate) fn outcome_of(error: &EgressError) -> Outcome {
    match error {
        EgressError::Limit(limit) => Outcome::LimitExceeded(*limit),
        other => Outcome::Failed(Failure::new(other.to_string()).into()),
    }
}

/// A response whose end is recorded: when it is there, or when nobody wants the rest.
pub(crate) struct Watched {
    inbound: Inbound,
    status: u16,
    record: Option<Record>,
}

impl Watched {
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
