//! `casemate:agent/tools`: the tools of a sandbox, called by name with JSON.

use casemate_host_bindings::agent::tools::{self, Error, ToolCall, ToolDefinition};
use casemate_host_bindings::agent::types;
use futures_util::future::join_all;

use super::{Host, RefusedAction};
use crate::effect::Outcome;
use crate::json::{Reader, Unreadable};
use crate::limits::{LimitExceeded, LimitKind};

impl types::Host for Host {}

impl tools::Host for Host {
    async fn available(&mut self) -> wasmtime::Result<Vec<ToolDefinition>> {
        self.serving();
        let available = self.scope.available();
        self.charge(available.len().saturating_mul(1_000));
        let definitions = available.into_iter().map(|(name, tool)| ToolDefinition {
            name,
            description: tool.about().to_owned(),
            input_schema: tool.input_schema().to_string(),
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
        let (allowed, exceeded) = self.scope.fan_out(calls.len());
        let excess = calls.len() - allowed;
        let started = {
            let reader = Reader::new(self.copy_limit);
            let calls = calls.into_iter().take(allowed);
            join_all(calls.map(|call| self.call_tool(call.name, &call.input, &reader)).collect::<Vec<_>>())
        };
        let mut results = started.await;
        results.extend(std::iter::repeat_n(Err(Error::LimitExceeded(exceeded.to_string())), excess));
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
            Err(Unreadable::NotJson(error)) => Err(Error::InvalidInput(format!("the input is not JSON: {error}"))),
            Err(Unreadable::TooLarge) => {
                let max = self.copy_limit as u64;
                Err(Error::LimitExceeded(LimitExceeded::new(LimitKind::HostCallBytes, max, max).to_string()))
            }
        };
        async move { answer?.await.unwrap_or(Err(Error::Cancelled)) }
    }
}

fn told(outcome: Outcome) -> Result<String, Error> {
    match outcome {
        Outcome::Result(value) => Ok(value.to_string()),
        Outcome::Denied(denial) => Err(Error::Denied(denial.reason)),
        Outcome::NotFound(text) => Err(Error::NotFound(text)),
        Outcome::InvalidInput(text) => Err(Error::InvalidInput(text)),
        Outcome::LimitExceeded(limit) => Err(Error::LimitExceeded(limit.to_string())),
        Outcome::Failed(failure) => Err(Error::Failed(failure.message)),
        Outcome::Cancelled => Err(Error::Cancelled),
    }
}
