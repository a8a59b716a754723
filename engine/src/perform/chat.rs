//! Asks models.

use std::panic::AssertUnwindSafe;

use casemate_host_bindings::ChatResponse;
use futures_util::FutureExt as _;

use crate::effect::{Chat, Failure, Outcome};
use crate::gate::Permit;
use crate::model::{ChatContext, ModelError};

/// Has the model answer. A model that panics has failed, like any other that fails.
pub(crate) async fn chat(permit: Permit<Chat>, context: ChatContext) -> Result<ChatResponse, Outcome> {
    let (Chat { model, request, .. }, record) = permit.speak();
    let work = AssertUnwindSafe(async move { model.chat(request, context).await }).catch_unwind();
    match work.await {
        Ok(Ok(response)) => {
            record.settle_chat(&response);
            Ok(response)
        }
        Ok(Err(error)) => Err(record.settle(outcome_of(error))),
        Err(_panic) => Err(record.settle(Outcome::Failed(Failure::new("the model panicked").into()))),
    }
}

fn outcome_of(error: ModelError) -> Outcome {
    let told = error.to_string();
    match error {
        ModelError::InvalidRequest { .. } | ModelError::ContextTooLong { .. } => Outcome::InvalidInput(told),
        ModelError::Unavailable { detail } => {
            let detail = Some(format!("{told}: {detail}"));
            Outcome::Failed(Failure { detail, ..Failure::new(told) }.into())
        }
        ModelError::RateLimited { .. } | ModelError::Failed { .. } => Outcome::Failed(Failure::new(told).into()),
    }
}
