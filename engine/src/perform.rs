//! Does what the Gate admitted: every function here takes a permit by value.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use crate::effect::{Failure, Outcome};
use crate::gate::Permit;

/// Calls the tool. A tool that panics has failed, like any other that fails.
pub(crate) async fn perform(permit: Permit) -> Outcome {
    let (invocation, record) = permit.begin();
    let work = AssertUnwindSafe(async move { invocation.perform().await }).catch_unwind();
    let outcome = work.await.unwrap_or_else(|_panic| Outcome::Failed(Failure::new("the tool panicked").into()));
    record.settle(outcome)
}
