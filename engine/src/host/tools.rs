//! `casemate:agent/tools`: the tools of a sandbox, called by name with JSON.

use casemate_host_bindings::agent::tools::{self, Error, ToolCall, ToolDefinition};
use casemate_host_bindings::agent::types;
use futures_util::future::join_all;

use super::{Host, RefusedAction};
use crate::call::ErrorKind;
use crate::effect::Outcome;
use crate::json::{Reader, Unreadable};
use crate::limits::{LimitExceeded, LimitKind};

impl types::Host for Host {}

impl tools::Host for Host {
    async fn available(&mut self) -> wasmtime::Result<Vec<ToolDefinition>> {
        self.serving();
        let listed = self.handover.run(self.scope.list_tools()).await.unwrap_or_default();
        self.charge(listed.len().saturating_mul(1_000));
        let definitions = listed.into_iter().map(|tool| ToolDefinition {
            name: tool.name,
            description: tool.description,
            input_schema: tool.input_schema.to_string(),
        });
        Ok(definitions.collect())
    }

    async fn call(&mut self, name: String, input: String) -> wasmtime::Result<Result<String, Error>> {
        self.serving();
        let reader = Reader::new(self.copy_limit);
        Ok(self.call_tool(name, &input, &reader).await)
    }

    async fn call_all(&mut self, calls: Vec<ToolCall>) -> wasmtime::Result<Vec<Result<String, Error>>> {
        self.serving();
        let asked = calls.len();
        let allowed = self.scope.fan_out(asked);
        let started = {
            let reader = Reader::new(self.copy_limit);
            let calls = calls.into_iter().take(allowed);
            join_all(calls.map(|call| self.call_tool(call.name, &call.input, &reader)).collect::<Vec<_>>())
        };
        let exceeded = (allowed < asked).then(|| self.handover.run(self.scope.exceed_fan_out(asked)));
        let mut results = started.await;
        if let Some(exceeded) = exceeded {
            let exceeded = exceeded.await.map_or(Err(Error::Cancelled), told);
            results.resize(asked, exceeded);
        }
        Ok(results)
    }
}

impl Host {
    /// Hands one call over; it is under way from here on.
    fn call_tool(
        &mut self,
        name: String,
        input: &str,
        reader: &Reader,
    ) -> impl Future<Output = Result<String, Error>> + Send + use<> {
        self.charge(input.len());
        let answer = match reader.read(input) {
            Ok(input) => {
                let (refusals, outcome) = (self.refusals.clone(), self.scope.call(&name, input));
                Ok(self.handover.run(async move {
                    let outcome = outcome.await;
                    if let Outcome::Denied(denial) = &outcome {
                        refusals.add_denied(RefusedAction::Call, &name, denial);
                    }
                    // Written here, since a result can be nested deeper than the guest's stack allows.
                    told(outcome)
                }))
            }
            Err(error) => Err(unreadable(error, "the input", self.copy_limit)),
        };
        async move { answer?.await.unwrap_or(Err(Error::Cancelled)) }
    }
}

/// What is told of JSON that was not read: what it was, within `limit` bytes.
pub(super) fn unreadable(error: Unreadable, what: &str, limit: usize) -> Error {
    match error {
        Unreadable::NotJson(error) => Error::InvalidInput(format!("{what} is not JSON: {error}")),
        Unreadable::TooLarge => {
            let max = limit as u64;
            Error::LimitExceeded(LimitExceeded::new(LimitKind::HostCallBytes, max, max).to_string())
        }
    }
}

fn told(outcome: Outcome) -> Result<String, Error> {
    match outcome {
        Outcome::Result(value) => Ok(value.to_string()),
        other => Err(error_of(&other)),
    }
}

/// An outcome without a result, as guests know it.
pub(super) fn error_of(outcome: &Outcome) -> Error {
    let text = outcome.message();
    match outcome {
        Outcome::Denied(_) => Error::Denied(text),
        Outcome::NotFound(_) => Error::NotFound(text),
        Outcome::InvalidInput(_) => Error::InvalidInput(text),
        Outcome::LimitExceeded(_) => Error::LimitExceeded(text),
        // A limit that the tool itself told of.
        Outcome::Failed(failure) if failure.kind == ErrorKind::LimitExceeded => Error::LimitExceeded(text),
        Outcome::Failed(_) | Outcome::Result(_) => Error::Failed(text),
        Outcome::Cancelled => Error::Cancelled,
    }
}
