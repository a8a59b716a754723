//! Does what the Gate admitted: every function here takes a permit by value.

mod chat;
#[cfg(feature = "http")]
mod fetch;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use crate::effect::{Failure, Outcome, ToolCall};
use crate::gate::Permit;

pub(crate) use chat::chat;
#[cfg(feature = "http")]
pub(crate) use fetch::{Watched, fetch, outcome_of, reveal};

/// Calls the tool. A tool that panics has failed, like any other that fails.
pub(crate) async fn perform(permit: Permit<ToolCall>) -> Outcome {
    let (invocation, record) = permit.begin();
    let work = AssertUnwindSafe(async move { invocation.perform().await }).catch_unwind();
    let outcome = work.await.unwrap_or_else(|_panic| Outcome::Failed(Failure::new("the tool panicked").into()));
    record.settle(outcome)
}
