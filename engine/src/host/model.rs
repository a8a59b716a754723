//! `casemate:agent/model`: the models of a sandbox, asked by name with a conversation.

use casemate_host_bindings::ChatRequest;
use casemate_host_bindings::agent::model::{self, ChatRequest as Asked, ChatResponse, Error};
use casemate_host_bindings::agent::types::{Content, Message};

use super::tools::{error_of, unreadable};
use super::{Host, RefusedAction};
use crate::effect::Outcome;
use crate::json::Reader;

impl model::Host for Host {
    async fn chat(&mut self, request: Asked) -> wasmtime::Result<Result<ChatResponse, Error>> {
        self.serving();
        Ok(self.ask(request).await)
    }
}

impl Host {
    /// Hands one chat over; it is under way from here on.
    fn ask(&mut self, request: Asked) -> impl Future<Output = Result<ChatResponse, Error>> + Send + use<> {
        self.charge(size(&request));
        let answer = read(request, self.copy_limit).map(|request| {
            let name = request.model.clone().or_else(|| self.scope.models().default_name().map(str::to_owned));
            let (refusals, answer) = (self.refusals.clone(), self.scope.chat(request));
            self.handover.run(async move {
                let answer = answer.await;
                if let Err(Outcome::Denied(denial)) = &answer {
                    refusals.add_denied(RefusedAction::Chat, &name.unwrap_or_default(), denial);
                }
                // Written here, since JSON can be nested deeper than the guest's stack allows.
                answer.map(ChatResponse::from).map_err(|outcome| error_of(&outcome))
            })
        });
        async move { answer?.await.unwrap_or(Err(Error::Cancelled)) }
    }
}

fn read(request: Asked, limit: usize) -> Result<ChatRequest, Error> {
    let reader = Reader::new(limit);
    let request = ChatRequest::from_wit(request, &|text| reader.read(text))
        .map_err(|error| unreadable(error, "a part of the conversation", limit))?;
    if let Some(temperature) =
        request.temperature.filter(|temperature| !(temperature.is_finite() && *temperature >= 0.0))
    {
        return Err(Error::InvalidInput(format!("the temperature is from 0 on, and this is {temperature}")));
    }
    Ok(request)
}

/// The bytes of all texts, and some for each part.
fn size(request: &Asked) -> usize {
    const PART: usize = 100;
    let tools = request.tools.iter().map(|tool| PART + tool.description.len() + tool.input_schema.len());
    request.messages.iter().map(message_size).chain(tools).fold(0, usize::saturating_add)
}

fn message_size(message: &Message) -> usize {
    const PART: usize = 100;
    let parts = message.content.iter().map(|part| {
        PART + match part {
            Content::Text(text) => text.len(),
            Content::Image(image) => image.location.len(),
            Content::Thinking(thought) => thought.text.len() + thought.signature.as_ref().map_or(0, String::len),
            Content::ToolCall(call) => call.input.len(),
            Content::ToolResult(result) => result.output.len(),
        }
    });
    parts.fold(PART, usize::saturating_add)
}
