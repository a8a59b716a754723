//! The proof that an effect was admitted. It cannot be made, copied or kept outside the Gate.

use std::sync::Arc;
use std::time::Instant;

use casemate_host_bindings::ChatResponse;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::scope::{Scope, Tree};
use crate::call::ErrorKind;
use crate::effect::{Chat, Effect, Outcome, ToolCall};
#[cfg(feature = "http")]
use crate::effect::{Fetch, SecretUse};
use crate::event::{EventKind, Subject};
#[cfg(feature = "http")]
use crate::journal::Trace;
use crate::json::text_len;

/// An admitted effect that is not yet performed. It ends in exactly one outcome; dropped, it was cancelled.
#[must_use = "an admitted effect is performed, or recorded as cancelled"]
pub(crate) struct Permit<E> {
    effect: E,
    scope: Scope,
    record: Record,
}

impl<E: Effect> Permit<E> {
    pub(super) fn new(effect: E, scope: Scope, record: Record) -> Self {
        Self { effect, scope, record }
    }
}

impl<E: Effect> Permit<E> {
    pub(super) fn effect(&self) -> &E {
        &self.effect
    }
}

#[cfg(feature = "http")]
impl<E: Effect> Permit<E> {
    /// Ends it before anything was done.
    pub(super) fn give_up(self, outcome: Outcome) -> Outcome {
        self.record.settle(outcome)
    }
}

#[cfg(feature = "http")]
impl Permit<Fetch> {
    /// Turns the proof into the deed: where the request may go, and where its outcome goes.
    pub(crate) fn depart(self) -> (Fetch, Record) {
        (self.effect, self.record.started())
    }
}

#[cfg(feature = "http")]
impl Permit<SecretUse> {
    /// Turns the proof into the deed, of which only a failure is still to be recorded.
    pub(crate) fn reveal(self) -> Record {
        self.record
    }
}

impl Permit<Chat> {
    /// Turns the proof into the deed: whom to ask what, and where the answer goes.
    pub(crate) fn speak(self) -> (Chat, Record) {
        (self.effect, self.record.started())
    }
}

impl Permit<ToolCall> {
    /// Turns the proof into the deed: what a provider takes, and where its outcome goes.
    pub(crate) fn begin(self) -> (Invocation, Record) {
        (Invocation { effect: self.effect, scope: self.scope }, self.record.started())
    }
}

/// The one chance to do the work of an admitted effect.
pub(crate) struct Invocation {
    effect: ToolCall,
    scope: Scope,
}

impl Invocation {
    /// Has the tool do it.
    pub(crate) fn perform(self) -> BoxFuture<'static, Outcome> {
        let tool = self.effect.tool.clone();
        tool.provide(self)
    }

    pub(crate) fn input(&self) -> &Value {
        &self.effect.input
    }

    /// The caller's.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }
}

/// Where the one outcome of an effect goes.
pub(crate) struct Record {
    tree: Arc<Tree>,
    id: u64,
    subject: Subject,
    /// Whether what is wrong with its arguments is not to be shown.
    hides: bool,
    /// Whether there is no outcome yet.
    open: bool,
    started: Instant,
}

impl Record {
    pub(super) fn new(tree: Arc<Tree>, id: u64, subject: Subject, hides: bool) -> Self {
        Self { tree, id, subject, hides, open: true, started: Instant::now() }
    }

    fn started(mut self) -> Self {
        self.started = Instant::now();
        self
    }

    /// Records the outcome, which is withheld where the budget has no room for it.
    pub(crate) fn settle(mut self, outcome: Outcome) -> Outcome {
        let outcome = self.within_budget(outcome);
        self.publish(&outcome);
        outcome
    }

    /// Records that a response was there, or as much of it as anybody wanted.
    #[cfg(feature = "http")]
    pub(crate) fn settle_fetched(mut self, status: u16, received: u64) {
        self.open = false;
        let (id, duration) = (self.id, self.started.elapsed());
        let host = self.subject.name().to_owned();
        tracing::debug!(id, host, status, received, "fetched");
        self.tree.publish(|| EventKind::Fetched { id, host, status, received, duration });
    }

    /// Records what a model answered, and spends what it took.
    pub(crate) fn settle_chat(mut self, response: &ChatResponse) {
        self.open = false;
        self.tree.account().spend_tokens(&response.usage);
        let (id, duration) = (self.id, self.started.elapsed());
        let model = self.subject.name().to_owned();
        tracing::debug!(id, model, usage = ?response.usage, "answered");
        self.tree.publish(|| {
            let ChatResponse { message, stop_reason, usage, model: answered_by } = response.clone();
            EventKind::ChatResult { id, model, answered_by, message, stop_reason, usage, duration }
        });
    }

    /// Records a response that is all there, with what an agent is told of it.
    #[cfg(feature = "http")]
    pub(super) fn settle_whole(mut self, status: u16, received: u64, answer: Value) {
        self.open = false;
        let (id, duration) = (self.id, self.started.elapsed());
        let host = self.subject.name().to_owned();
        let trace = Trace { answer: Some(Arc::new(answer)), ..Trace::default() };
        self.tree.publish_with(trace, || EventKind::Fetched { id, host, status, received, duration });
    }

    /// Ends without an outcome of its own: what follows is recorded elsewhere.
    pub(crate) fn close(mut self) {
        self.open = false;
    }

    fn within_budget(&self, outcome: Outcome) -> Outcome {
        let bytes = match &outcome {
            Outcome::Result(value) => text_len(value),
            Outcome::Failed(failure) => text_len(&failure.value),
            Outcome::InvalidInput(text) => text.len() as u64,
            _ => return outcome,
        };
        match self.tree.account().spend_result(bytes) {
            Ok(()) => outcome,
            Err(limit) => Outcome::LimitExceeded(limit),
        }
    }

    fn publish(&mut self, outcome: &Outcome) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let (id, duration) = (self.id, self.started.elapsed());
        tracing::debug!(id, subject = %self.subject, outcome = outcome.kind(), "settled");
        if let Outcome::Result(output) = outcome {
            let tool = self.subject.name().to_owned();
            return self.tree.publish(|| EventKind::ToolResult { id, tool, output: output.clone(), duration });
        }
        self.tree.publish_told(outcome, || {
            let (kind, message) = shown(outcome, self.hides);
            EventKind::Error { id, subject: self.subject.clone(), kind, message }
        });
    }
}

/// What those who watch are told of an outcome without a result: more than the guest of what went wrong on the host,
/// and nothing of an input that is redacted.
fn shown(outcome: &Outcome, hides: bool) -> (ErrorKind, String) {
    let message = || outcome.message();
    match outcome {
        Outcome::Denied(_) => (ErrorKind::Denied, message()),
        Outcome::NotFound(_) => (ErrorKind::NotFound, message()),
        Outcome::InvalidInput(_) if hides => (ErrorKind::InvalidInput, "the input does not fit".to_owned()),
        Outcome::InvalidInput(_) => (ErrorKind::InvalidInput, message()),
        Outcome::LimitExceeded(_) => (ErrorKind::LimitExceeded, message()),
        Outcome::Failed(failure) => (failure.kind, failure.detail.clone().unwrap_or_else(message)),
        Outcome::Result(_) => (ErrorKind::ToolError, message()),
        Outcome::Cancelled => (ErrorKind::Cancelled, message()),
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.publish(&Outcome::Cancelled);
    }
}
