//! `casemate:agent/tools`: the tools of a sandbox, called by name with JSON.

use casemate_host_bindings::agent::tools::{self, Error, ToolCall, ToolDefinition};
use casemate_host_bindings::agent::types;
use futures_util::future::join_all;

use super::Host;
use crate::effect::{Denial, Outcome};
use crate::json;

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
        self.charge(input.len());
        Ok(self.call_tool(&name, &input).await)
    }

    async fn call_all(&mut self, calls: Vec<ToolCall>) -> wasmtime::Result<Vec<Result<String, Error>>> {
        self.serving();
        let (allowed, exceeded) = self.scope.fan_out(calls.len());
        let excess = calls.len() - allowed;
        for call in &calls {
            self.charge(call.input.len());
        }
        let started: Vec<_> = calls.iter().take(allowed).map(|call| self.call_tool(&call.name, &call.input)).collect();
        let mut results = join_all(started).await;
        results.extend(std::iter::repeat_n(Err(Error::LimitExceeded(exceeded.to_string())), excess));
        Ok(results)
    }
}

impl Host {
    /// Hands one call over; it is under way from here on.
    fn call_tool(&self, name: &str, input: &str) -> impl Future<Output = Result<String, Error>> + Send + use<> {
        let (refusals, called) = (self.refusals.clone(), name.to_owned());
        let answer = match json::parse(input) {
            Ok(input) => Ok(self.handover.run(self.scope.call(name, input))),
            Err(error) => Err(Error::InvalidInput(format!("the input is not JSON: {error}"))),
        };
        async move {
            let outcome = answer?.await.unwrap_or(Outcome::Cancelled);
            if let Outcome::Denied(denial) = &outcome {
                refusals.add_denied_call(&called, denial);
            }
            told(outcome)
        }
    }
}

fn told(outcome: Outcome) -> Result<String, Error> {
    match outcome {
        Outcome::Result(value) => Ok(value.to_string()),
        Outcome::Denied(Denial { reason, .. }) => Err(Error::Denied(reason)),
        Outcome::NotFound(text) => Err(Error::NotFound(text)),
        Outcome::InvalidInput(text) => Err(Error::InvalidInput(text)),
        Outcome::LimitExceeded(limit) => Err(Error::LimitExceeded(limit.to_string())),
        Outcome::Failed(failure) => Err(Error::Failed(failure.message)),
        Outcome::Cancelled => Err(Error::Cancelled),
    }
}
