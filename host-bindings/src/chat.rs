//! One turn of a conversation as plain data: what a model is asked, and what it answers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::{model, types};
use crate::message::Message;

/// One turn of a conversation, as a model is asked for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The model's name; none for the default.
    pub model: Option<String>,
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// The tools that the model may ask for; of which is its own choice.
    pub tools: Vec<ToolDefinition>,
    /// The most that it may answer, in tokens; none for the model's own limit.
    pub max_output_tokens: Option<u32>,
    /// How freely it chooses its words, from 0 on; none for the model's own habit.
    pub temperature: Option<f64>,
}

/// A tool as a model is told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolDefinition {
    /// The name to call it by.
    pub name: String,
    /// What it does; empty where nobody said.
    pub description: String,
    /// JSON Schema (2020-12) of its input.
    pub input_schema: Value,
}

/// What a model answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatResponse {
    /// The message, to be put at the end of the conversation.
    pub message: Message,
    /// Why it ends there.
    pub stop_reason: StopReason,
    /// What it took.
    pub usage: TokenUsage,
    /// The model that answered, by its provider's name.
    pub model: String,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// It said what it had to say.
    End,
    /// It wants tools called, and their results.
    ToolCalls,
    /// It reached the most that it may answer.
    Length,
    /// It, or its provider, declined.
    Refused,
}

/// What a chat took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Tokens of the conversation.
    pub input_tokens: u64,
    /// Of these, tokens that the provider still had.
    pub cached_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// What it cost, in millionths of a US dollar; none where nobody knows.
    pub cost: Option<u64>,
}

impl ChatRequest {
    /// A guest's request, whose JSON is read by `read`.
    pub fn from_wit<E>(request: model::ChatRequest, read: &impl Fn(&str) -> Result<Value, E>) -> Result<Self, E> {
        let messages = request.messages.into_iter().map(|message| Message::from_wit(message, read));
        let tools = request.tools.into_iter().map(|tool| ToolDefinition::from_wit(tool, read));
        Ok(Self {
            model: request.model,
            messages: messages.collect::<Result<_, _>>()?,
            tools: tools.collect::<Result<_, _>>()?,
            max_output_tokens: request.max_output_tokens,
            temperature: request.temperature.map(as_written),
        })
    }
}

/// The double that is written as the float is: 0.7 stays 0.7.
fn as_written(float: f32) -> f64 {
    // What a float is written as can be read again.
    float.to_string().parse().unwrap_or(f64::NAN)
}

impl ToolDefinition {
    fn from_wit<E>(tool: types::ToolDefinition, read: &impl Fn(&str) -> Result<Value, E>) -> Result<Self, E> {
        let types::ToolDefinition { name, description, input_schema } = tool;
        Ok(Self { name, description, input_schema: read(&input_schema)? })
    }
}

impl From<ChatResponse> for model::ChatResponse {
    fn from(response: ChatResponse) -> Self {
        let ChatResponse { message, stop_reason, usage, model } = response;
        Self { message: message.into(), stop_reason: stop_reason.into(), usage: usage.into(), model }
    }
}

impl From<StopReason> for model::StopReason {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::End => Self::End,
            StopReason::ToolCalls => Self::ToolCalls,
            StopReason::Length => Self::Length,
            StopReason::Refused => Self::Refused,
        }
    }
}

impl From<TokenUsage> for model::Usage {
    fn from(usage: TokenUsage) -> Self {
        let TokenUsage { input_tokens, cached_tokens, output_tokens, cost } = usage;
        Self { input_tokens, cached_tokens, output_tokens, cost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_keeps_its_digits() {
        for (float, double) in [(0.7_f32, 0.7_f64), (0.0, 0.0), (1.25, 1.25), (f32::MAX, 3.402_823_5e38)] {
            assert_eq!(as_written(float).to_bits(), double.to_bits());
        }
        assert!(as_written(f32::NAN).is_nan() && as_written(f32::INFINITY).is_infinite());
    }
}
