//! Conversations as plain data, in JSON and to and from WIT.
//!
//! JSON that a guest writes is read by whoever calls: how strictly, and within which bounds, is not known here.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::types;

/// One entry of a conversation.
///
/// As JSON: `{"role": "user", "content": [{"type": "text", "text": "…"}]}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Whose it is.
    pub role: Role,
    /// What it says, in order.
    pub content: Vec<Content>,
}

/// Whose a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Instructions for the model, before all else.
    System,
    /// Of whoever speaks to the agent.
    User,
    /// Of the model.
    Assistant,
    /// Results of tools.
    Tool,
}

/// One part of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Text.
    Text {
        /// What it says.
        text: String,
    },
    /// An image.
    Image(Image),
    /// What a model thought before it spoke.
    Thinking(Thought),
    /// A tool that a model wants called.
    ToolCall(ToolCall),
    /// What became of such a call.
    ToolResult(ToolResult),
}

/// An image, by reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Image {
    /// What it is, as `image/png`.
    pub media_type: String,
    /// Where it is: a path in the workspace, as `/workspace/plan.png`, or an `https` URL.
    pub location: String,
}

/// What a model thought.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Thought {
    /// In words; empty where the model does not show them.
    pub text: String,
    /// What the model wants back with it, unread; none where it wants nothing.
    pub signature: Option<String>,
}

/// The call of a tool, as a model asks for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// What tells it from the other calls of its message; empty where nothing refers to it.
    pub id: String,
    /// The tool's name, as the model was told it.
    pub name: String,
    /// The input. Where a model wrote what is no JSON, that is a string of what it wrote: no tool takes one, so whoever
    /// calls the tool gets an error that the model can be told.
    pub input: Value,
}

/// What became of a tool call, as a model is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The id of the call.
    pub id: String,
    /// The result; the reason where there is none.
    pub output: Value,
    /// Whether it is a result.
    pub outcome: ToolOutcome,
}

/// Whether a tool did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolOutcome {
    /// It did, and this is its result.
    Succeeded,
    /// It did not, and this is why.
    Failed,
}

impl Message {
    /// A message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, content: vec![Content::Text { text: text.into() }] }
    }

    /// Its texts, in order; what is no text is left out.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.content.iter().filter_map(|part| match part {
            Content::Text { text } => Some(text.as_str()),
            _ => None,
        })
    }

    /// The calls that it asks for, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.content.iter().filter_map(|part| match part {
            Content::ToolCall(call) => Some(call),
            _ => None,
        })
    }

    /// The results that it brings, in order.
    pub fn tool_results(&self) -> impl Iterator<Item = &ToolResult> {
        self.content.iter().filter_map(|part| match part {
            Content::ToolResult(result) => Some(result),
            _ => None,
        })
    }

    /// A guest's message, whose JSON is read by `read`.
    pub fn from_wit<E>(message: types::Message, read: &impl Fn(&str) -> Result<Value, E>) -> Result<Self, E> {
        let content = message.content.into_iter().map(|part| Content::from_wit(part, read));
        Ok(Self { role: message.role.into(), content: content.collect::<Result<_, _>>()? })
    }
}

impl Content {
    fn from_wit<E>(content: types::Content, read: &impl Fn(&str) -> Result<Value, E>) -> Result<Self, E> {
        Ok(match content {
            types::Content::Text(text) => Self::Text { text },
            types::Content::Image(types::Image { media_type, location }) => Self::Image(Image { media_type, location }),
            types::Content::Thinking(types::Thought { text, signature }) => Self::Thinking(Thought { text, signature }),
            types::Content::ToolCall(types::ToolCall { id, name, input }) => {
                Self::ToolCall(ToolCall { id, name, input: read(&input)? })
            }
            types::Content::ToolResult(types::ToolResult { id, output, outcome }) => {
                Self::ToolResult(ToolResult { id, output: read(&output)?, outcome: outcome.into() })
            }
        })
    }
}

impl From<Message> for types::Message {
    fn from(message: Message) -> Self {
        Self { role: message.role.into(), content: message.content.into_iter().map(Into::into).collect() }
    }
}

impl From<Content> for types::Content {
    fn from(content: Content) -> Self {
        match content {
            Content::Text { text } => Self::Text(text),
            Content::Image(Image { media_type, location }) => Self::Image(types::Image { media_type, location }),
            Content::Thinking(Thought { text, signature }) => Self::Thinking(types::Thought { text, signature }),
            Content::ToolCall(ToolCall { id, name, input }) => {
                Self::ToolCall(types::ToolCall { id, name, input: input.to_string() })
            }
            Content::ToolResult(ToolResult { id, output, outcome }) => {
                Self::ToolResult(types::ToolResult { id, output: output.to_string(), outcome: outcome.into() })
            }
        }
    }
}

impl From<types::Role> for Role {
    fn from(role: types::Role) -> Self {
        match role {
            types::Role::System => Self::System,
            types::Role::User => Self::User,
            types::Role::Assistant => Self::Assistant,
            types::Role::Tool => Self::Tool,
        }
    }
}

impl From<Role> for types::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::System => Self::System,
            Role::User => Self::User,
            Role::Assistant => Self::Assistant,
            Role::Tool => Self::Tool,
        }
    }
}

impl From<types::Outcome> for ToolOutcome {
    fn from(outcome: types::Outcome) -> Self {
        match outcome {
            types::Outcome::Succeeded => Self::Succeeded,
            types::Outcome::Failed => Self::Failed,
        }
    }
}

impl From<ToolOutcome> for types::Outcome {
    fn from(outcome: ToolOutcome) -> Self {
        match outcome {
            ToolOutcome::Succeeded => Self::Succeeded,
            ToolOutcome::Failed => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn every_part() -> Message {
        let call = |input| ToolCall { id: "c1".into(), name: "lookup".into(), input };
        let result = |output, outcome| ToolResult { id: "c1".into(), output, outcome };
        Message {
            role: Role::Assistant,
            content: vec![
                Content::Text { text: "hi".into() },
                Content::ToolCall(call(json!({"order": "A-1", "n": 18_446_744_073_709_551_615_u64}))),
                Content::ToolCall(call(json!("{\"order\": "))),
                Content::ToolResult(result(json!([1, null]), ToolOutcome::Succeeded)),
                Content::ToolResult(result(json!("no such order"), ToolOutcome::Failed)),
                Content::Image(Image { media_type: "image/png".into(), location: "/workspace/a.png".into() }),
                Content::Thinking(Thought { text: "hm".into(), signature: None }),
                Content::Thinking(Thought { text: String::new(), signature: Some("c2ln".into()) }),
            ],
        }
    }

    #[test]
    fn a_message_has_one_form_in_json() {
        let written = json!({"role": "assistant", "content": [
            {"type": "text", "text": "hi"},
            {"type": "tool_call", "id": "c1", "name": "lookup",
                "input": {"order": "A-1", "n": 18_446_744_073_709_551_615_u64}},
            {"type": "tool_call", "id": "c1", "name": "lookup", "input": "{\"order\": "},
            {"type": "tool_result", "id": "c1", "output": [1, null], "outcome": "succeeded"},
            {"type": "tool_result", "id": "c1", "output": "no such order", "outcome": "failed"},
            {"type": "image", "media_type": "image/png", "location": "/workspace/a.png"},
            {"type": "thinking", "text": "hm", "signature": null},
            {"type": "thinking", "text": "", "signature": "c2ln"},
        ]});
        assert_eq!(serde_json::to_value(every_part()).unwrap(), written);
        assert_eq!(serde_json::from_value::<Message>(written).unwrap(), every_part());
    }

    #[test]
    fn a_message_comes_back_from_a_guest_as_it_was() {
        for role in [Role::System, Role::User, Role::Assistant, Role::Tool] {
            let message = Message { role, ..every_part() };
            let read = |text: &str| serde_json::from_str(text);
            assert_eq!(Message::from_wit(message.clone().into(), &read).unwrap(), message);
        }
    }

    #[test]
    fn json_of_a_guest_that_is_none_is_refused() {
        let call = types::ToolCall { id: String::new(), name: "a".into(), input: "{".into() };
        let result = types::ToolResult { id: String::new(), output: "{".into(), outcome: types::Outcome::Failed };
        for part in [types::Content::ToolCall(call), types::Content::ToolResult(result)] {
            let message = types::Message { role: types::Role::Assistant, content: vec![part] };
            assert!(Message::from_wit(message, &|text| serde_json::from_str(text)).is_err());
        }
    }
}
