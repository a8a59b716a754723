//! The body of a response on its way in.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Pace;
use super::decode::Gunzip;
use super::error::{EgressError, Phase};
use super::pool::Back;
use super::scrub::{Masks, ScrubStream};
use crate::limits::{LimitExceeded, LimitKind};

/// A body that is bounded in time and size, decoded and scrubbed. Trailers are dropped.
pub(crate) struct Inbound {
    incoming: Incoming,
    gunzip: Option<Box<Gunzip>>,
    masks: Masks,
    scrub: ScrubStream,
    received: u64,
    /// Bytes that came, before they were decoded: those that become nothing count too.
    coded: u64,
    pace: Pace,
    ends: Instant,
    /// Made at the first wait, and set anew at each.
    timer: Option<Pin<Box<Sleep>>>,
    waits: bool,
    state: State,
}

enum State {
    Open(Back),
    /// All came, and what was held back for scrubbing is still to be handed on.
    Whole,
    Ended,
}

impl Inbound {
    /// The headers that no longer hold are taken from the head.
    pub(super) fn new(
        incoming: Incoming,
        head: &mut http::response::Parts,
        pace: Pace,
        ends: Instant,
        masks: &Masks,
        back: Back,
    ) -> Result<Self, EgressError> {
        let scrubber = masks.now();
        // Of the codings that belong to the connection, its client undoes one.
        let transfer = said(&head.headers, &header::TRANSFER_ENCODING);
        if !matches!(transfer.to_ascii_lowercase().as_str(), "" | "chunked") {
            return Err(EgressError::Coding { coding: scrubber.scrub_text(transfer) });
        }
        let coding = said(&head.headers, &header::CONTENT_ENCODING);
        let gunzip = match coding.to_ascii_lowercase().as_str() {
            "" | "identity" => None,
            // Nothing to undo: a body that is not there may still be spoken of.
            _ if incoming.is_end_stream() => None,
            "gzip" | "x-gzip" => {
                head.headers.remove(header::CONTENT_ENCODING);
                head.headers.remove(header::CONTENT_LENGTH);
                Some(Box::new(Gunzip::new()))
            }
            // The server says this too, and what it says may be an echo.
            _ => return Err(EgressError::Coding { coding: scrubber.scrub_text(coding) }),
        };
        let announced = incoming.size_hint().lower();
        if gunzip.is_none() && announced > pace.response_bytes {
            return Err(too_large(announced, pace.response_bytes));
        }
        let mut body = Self {
            incoming,
            gunzip,
            masks: masks.clone(),
            scrub: scrubber.stream(),
            received: 0,
            coded: 0,
            pace,
            ends,
            timer: None,
            waits: false,
            state: State::Open(back),
        };
        if body.incoming.is_end_stream() {
            body.end();
        }
        Ok(body)
    }

    /// All came: the connection is free for others.
    fn end(&mut self) {
        if let State::Open(back) = std::mem::replace(&mut self.state, State::Whole) {
            back.go();
        }
    }

    /// Bytes that were handed on, decoded.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The next bytes as they come, decoded and not yet scrubbed; `None` at the end.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, EgressError>>> {
        loop {
            if let Some(gunzip) = &mut self.gunzip {
                match gunzip.pull() {
                    Ok(None) => {}
                    Ok(Some(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
            let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
                return self.poll_timer(cx).map(|error| Some(Err(error)));
            };
            self.waits = false;
            let Some(frame) = frame else {
                let whole = self.gunzip.as_mut().map_or(Ok(()), |gunzip| gunzip.finish());
                return Poll::Ready(whole.err().map(Err));
            };
            let bytes = match frame {
                Ok(frame) => frame.into_data().unwrap_or_default(),
                Err(error) => return Poll::Ready(Some(Err(EgressError::of(&error)))),
            };
            self.coded = self.coded.saturating_add(bytes.len() as u64);
            match &mut self.gunzip {
                Some(_) if self.coded > self.pace.response_bytes => {
                    return Poll::Ready(Some(Err(too_large(self.coded, self.pace.response_bytes))));
                }
                Some(gunzip) => gunzip.push(bytes),
                None if bytes.is_empty() => {}
                None => return Poll::Ready(Some(Ok(bytes))),
            }
        }
    }

    /// Ready when nothing came for too long, or when the whole took too long.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<EgressError> {
        let next = Instant::now() + self.pace.idle;
        let until = next.min(self.ends);
        if !std::mem::replace(&mut self.waits, true) {
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(until),
                None => self.timer = Some(Box::pin(sleep_until(until))),
            }
        }
        let Some(timer) = &mut self.timer else { return Poll::Pending };
        ready!(timer.as_mut().poll(cx));
        let waiting_for = if Instant::now() >= self.ends { Phase::End } else { Phase::NextBytes };
        Poll::Ready(EgressError::TimedOut { waiting_for })
    }

    fn poll_scrubbed(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, EgressError>>> {
        loop {
            match &self.state {
                State::Ended => return Poll::Ready(None),
                State::Whole => {
                    self.state = State::Ended;
                    self.scrub.know(self.masks.now());
                    let held = self.scrub.finish();
                    return Poll::Ready((!held.is_empty()).then_some(Ok(held)));
                }
                State::Open(_) if Instant::now() >= self.ends => {
                    return Poll::Ready(Some(Err(EgressError::TimedOut { waiting_for: Phase::End })));
                }
                State::Open(_) => {}
            }
            match ready!(self.poll_bytes(cx)) {
                Some(Ok(bytes)) => {
                    self.received = self.received.saturating_add(bytes.len() as u64);
                    if self.received > self.pace.response_bytes {
                        return Poll::Ready(Some(Err(too_large(self.received, self.pace.response_bytes))));
                    }
                    self.scrub.know(self.masks.now());
                    let bytes = self.scrub.push(bytes);
                    if self.gunzip.is_none() && self.incoming.is_end_stream() {
                        // Whoever knows the length may not ask for more.
                        self.end();
                    }
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.end(),
            }
        }
    }
}

/// All that a header says which is a list, however many lines it takes.
fn said(headers: &HeaderMap, name: &HeaderName) -> String {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    values.join(", ")
}

fn too_large(used: u64, max: u64) -> EgressError {
    LimitExceeded::new(LimitKind::ResponseBytes, used, max).into()
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = EgressError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, EgressError>>> {
        let polled = ready!(self.poll_scrubbed(cx));
        if matches!(polled, Some(Err(_))) {
            // What was held back may be the first part of a value: it is dropped, and the connection with it.
            self.state = State::Ended;
        }
        Poll::Ready(polled.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }
}
