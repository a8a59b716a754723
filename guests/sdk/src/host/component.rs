//! Effects as imports of the component, its exports as what the macros implement, and conversions between the records
//! of the contract and ours.

use crate::bindings::agent::casemate::agent::{model, run, tools, types};
use crate::bindings::agent::exports::casemate::agent::handler;
use crate::bindings::provider::exports::casemate::agent::provider;
use crate::chat::{Answer, Chat, StopReason, Usage};
use crate::effects::Error;
use crate::json;
use crate::message::{Content, Image, Message, Outcome, Role, Thought, ToolCall, ToolDefinition, ToolResult};
use crate::request::{Agent, Request};
use crate::run::{Budget, Context, ContextFile};
use crate::tool::{self, Provider};
use serde_json::Value;

pub(crate) fn context() -> Context {
    run::context().into()
}

pub(crate) fn available_tools() -> Vec<ToolDefinition> {
    tools::available().into_iter().map(ToolDefinition::from).collect()
}

pub(crate) fn call_tool(name: &str, input: &Value) -> Result<Value, Error> {
    outcome(tools::call(name, &json::written(input)))
}

pub(crate) fn call_all(calls: &[ToolCall]) -> Vec<Result<Value, Error>> {
    let calls: Vec<_> = calls.iter().map(types::ToolCall::from).collect();
    tools::call_all(&calls).into_iter().map(outcome).collect()
}

pub(crate) fn chat(chat: &Chat) -> Result<Answer, Error> {
    Ok(model::chat(&chat.into())?.into())
}

pub(crate) fn thinking(text: &str) {
    run::thinking(text);
}

pub(crate) fn output(text: &str) {
    run::output(text);
}

pub(crate) fn ask(question: &str) -> Result<String, Error> {
    Ok(run::ask(question)?)
}

fn outcome(result: Result<String, types::Error>) -> Result<Value, Error> {
    Ok(json::lenient(result?))
}

impl<A: Agent> handler::Guest for A {
    fn handle(request: handler::Request) -> Result<handler::Response, String> {
        let response = A::handle(Request { message: request.message.into() })?;
        Ok(handler::Response { output: response.output })
    }
}

impl<P: Provider> provider::Guest for P {
    fn definitions() -> Vec<types::ToolDefinition> {
        tool::definitions::<P>().iter().map(types::ToolDefinition::from).collect()
    }

    fn invoke(name: String, input: String) -> Result<String, types::Error> {
        tool::invoke::<P>(&name, &input).map_err(types::Error::from)
    }
}

impl From<run::RunContext> for Context {
    fn from(context: run::RunContext) -> Self {
        let run::RunContext { id, agent, system_prompt, model, files, history, budget } = context;
        let run::RunBudget { turns, tokens, cost } = budget;
        Self {
            id,
            agent,
            system_prompt,
            model,
            files: files.into_iter().map(|file| ContextFile { path: file.path, text: file.text }).collect(),
            history: history.into_iter().map(Message::from).collect(),
            budget: Budget { turns, tokens, cost },
        }
    }
}

impl From<&Chat> for model::ChatRequest {
    fn from(chat: &Chat) -> Self {
        Self {
            model: chat.model.clone(),
            messages: chat.messages.iter().map(types::Message::from).collect(),
            tools: chat.tools.iter().map(types::ToolDefinition::from).collect(),
            max_output_tokens: chat.max_output_tokens,
            temperature: chat.temperature,
        }
    }
}

impl From<model::ChatResponse> for Answer {
    fn from(response: model::ChatResponse) -> Self {
        let model::Usage { input_tokens, cached_tokens, output_tokens, cost } = response.usage;
        Self {
            message: response.message.into(),
            stop_reason: match response.stop_reason {
                model::StopReason::End => StopReason::End,
                model::StopReason::ToolCalls => StopReason::ToolCalls,
                model::StopReason::Length => StopReason::Length,
                model::StopReason::Refused => StopReason::Refused,
            },
            usage: Usage { input_tokens, cached_tokens, output_tokens, cost },
            model: response.model,
        }
    }
}

impl From<types::Message> for Message {
    fn from(message: types::Message) -> Self {
        let role = match message.role {
            types::Role::System => Role::System,
            types::Role::User => Role::User,
            types::Role::Assistant => Role::Assistant,
            types::Role::Tool => Role::Tool,
        };
        Self { role, content: message.content.into_iter().map(Content::from).collect() }
    }
}

impl From<&Message> for types::Message {
    fn from(message: &Message) -> Self {
        let role = match message.role {
            Role::System => types::Role::System,
            Role::User => types::Role::User,
            Role::Assistant => types::Role::Assistant,
            Role::Tool => types::Role::Tool,
        };
        Self { role, content: message.content.iter().map(types::Content::from).collect() }
    }
}

impl From<types::Content> for Content {
    fn from(content: types::Content) -> Self {
        match content {
            types::Content::Text(text) => Self::Text { text },
            types::Content::Image(image) => {
                Self::Image(Image { media_type: image.media_type, location: image.location })
            }
            types::Content::Thinking(thought) => {
                Self::Thinking(Thought { text: thought.text, signature: thought.signature })
            }
            types::Content::ToolCall(call) => {
                Self::ToolCall(ToolCall { id: call.id, name: call.name, input: json::lenient(call.input) })
            }
            types::Content::ToolResult(result) => Self::ToolResult(ToolResult {
                id: result.id,
                output: json::lenient(result.output),
                outcome: match result.outcome {
                    types::Outcome::Succeeded => Outcome::Succeeded,
                    types::Outcome::Failed => Outcome::Failed,
                },
            }),
        }
    }
}

impl From<&Content> for types::Content {
    fn from(content: &Content) -> Self {
        match content {
            Content::Text { text } => Self::Text(text.clone()),
            Content::Image(image) => {
                Self::Image(types::Image { media_type: image.media_type.clone(), location: image.location.clone() })
            }
            Content::Thinking(thought) => {
                Self::Thinking(types::Thought { text: thought.text.clone(), signature: thought.signature.clone() })
            }
            Content::ToolCall(call) => Self::ToolCall(call.into()),
            Content::ToolResult(result) => Self::ToolResult(types::ToolResult {
                id: result.id.clone(),
                output: json::written(&result.output),
                outcome: match result.outcome {
                    Outcome::Succeeded => types::Outcome::Succeeded,
                    Outcome::Failed => types::Outcome::Failed,
                },
            }),
        }
    }
}

impl From<&ToolCall> for types::ToolCall {
    fn from(call: &ToolCall) -> Self {
        Self { id: call.id.clone(), name: call.name.clone(), input: json::written(&call.input) }
    }
}

impl From<types::ToolDefinition> for ToolDefinition {
    fn from(tool: types::ToolDefinition) -> Self {
        Self { name: tool.name, description: tool.description, input_schema: json::lenient(tool.input_schema) }
    }
}

impl From<&ToolDefinition> for types::ToolDefinition {
    fn from(tool: &ToolDefinition) -> Self {
        Self {
            name: tool.name.clone(),
            description: tool.description.clone(),
            input_schema: json::written(&tool.input_schema),
        }
    }
}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::Denied(reason) => Self::Denied(reason),
            types::Error::NotFound(reason) => Self::NotFound(reason),
            types::Error::InvalidInput(reason) => Self::InvalidInput(reason),
            types::Error::LimitExceeded(reason) => Self::LimitExceeded(reason),
            types::Error::Failed(reason) => Self::Failed(reason),
            types::Error::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Denied(reason) => Self::Denied(reason),
            Error::NotFound(reason) => Self::NotFound(reason),
            Error::InvalidInput(reason) => Self::InvalidInput(reason),
            Error::LimitExceeded(reason) => Self::LimitExceeded(reason),
            Error::Failed(reason) => Self::Failed(reason),
            Error::Cancelled => Self::Cancelled,
        }
    }
}
