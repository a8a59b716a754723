//! What a conversation is made of.
//!
//! These are the records of `casemate:agent/types` as Rust, with a JSON form of
//! their own. Nothing here knows who sends a message, or to whom.

use crate::{Error, json};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One entry of a conversation.
///
/// ```
/// use casemate_sdk::{Message, json};
///
/// let message = serde_json::to_value(Message::user("What is the weather?"))?;
/// assert_eq!(message, json!({"role": "user", "content": [{"type": "text", "text": "What is the weather?"}]}));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Whose it is.
    pub role: Role,
    /// What it says, in order.
    pub content: Vec<Content>,
}

impl Message {
    /// A message of that role, with that content.
    pub fn new(role: Role, content: impl IntoIterator<Item = Content>) -> Self {
        Self { role, content: content.into_iter().collect() }
    }

    /// Instructions for the model.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, [Content::text(text)])
    }

    /// Text of whoever speaks to the agent.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, [Content::text(text)])
    }

    /// Text of the model.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, [Content::text(text)])
    }

    /// Results of tools.
    pub fn results(results: impl IntoIterator<Item = ToolResult>) -> Self {
        Self::new(Role::Tool, results.into_iter().map(Content::ToolResult))
    }

    /// All its text, the parts on lines of their own; empty where there is none.
    pub fn text(&self) -> String {
        self.texts().collect::<Vec<_>>().join("\n")
    }

    /// The parts that are text.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.content.iter().filter_map(|part| match part {
            Content::Text { text } => Some(text.as_str()),
            _ => None,
        })
    }

    /// The tools that the model wants called, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.content.iter().filter_map(|part| match part {
            Content::ToolCall(call) => Some(call),
            _ => None,
        })
    }

    /// What became of tool calls, in order.
    pub fn tool_results(&self) -> impl Iterator<Item = &ToolResult> {
        self.content.iter().filter_map(|part| match part {
            Content::ToolResult(result) => Some(result),
            _ => None,
        })
    }

    /// What the model thought, where it shows it, in order.
    pub fn thoughts(&self) -> impl Iterator<Item = &Thought> {
        self.content.iter().filter_map(|part| match part {
            Content::Thinking(thought) => Some(thought),
            _ => None,
        })
    }
}

/// Whose a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image, which is fetched where it is needed.
    Image(Image),
    /// What a model thought before it spoke.
    Thinking(Thought),
    /// A tool that a model wants called.
    ToolCall(ToolCall),
    /// What became of such a call.
    ToolResult(ToolResult),
}

impl Content {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

/// An image, by reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// What it is, as `image/png`.
    pub media_type: String,
    /// Where it is: a path in the workspace, as `/workspace/plan.png`, or an `https` URL.
    pub location: String,
}

/// What a model thought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thought {
    /// In words; empty where the model does not show them.
    pub text: String,
    /// What the model wants back with it, unread; none where it wants nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// A tool as a caller sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDefinition {
    /// The name to call it by.
    pub name: String,
    /// What it does; empty where nobody said.
    pub description: String,
    /// JSON Schema (2020-12) of its input.
    pub input_schema: Value,
}

/// The call of a tool, as a model asks for it or as an agent makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// What tells it from the other calls of its message; empty where nothing refers to it.
    pub id: String,
    /// The tool's name, as `available_tools` lists it.
    pub name: String,
    /// The input, an object as the tool's schema says. What a model wrote that is not JSON is a string.
    pub input: Value,
}

impl ToolCall {
    /// A call that nothing refers to.
    pub fn new(name: impl Into<String>, input: impl Into<Value>) -> Self {
        Self { id: String::new(), name: name.into(), input: input.into() }
    }

    /// The same call, with an id that its result refers to.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        Self { id: id.into(), ..self }
    }
}

/// What became of a tool call, as a model is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The id of the call.
    pub id: String,
    /// The result; the reason, as a string, where there is none.
    pub output: Value,
    /// Whether it is a result.
    pub outcome: Outcome,
}

impl ToolResult {
    /// The answer to a call: its result, or why there is none.
    pub fn new(call: &ToolCall, result: Result<Value, Error>) -> Self {
        let (output, outcome) = match result {
            Ok(output) => (output, Outcome::Succeeded),
            Err(error) => (error.to_string().into(), Outcome::Failed),
        };
        Self { id: call.id.clone(), output, outcome }
    }

    /// What the model reads: a text as it is, all else as JSON.
    pub fn text(&self) -> String {
        match &self.output {
            Value::String(text) => text.clone(),
            other => json::written(other),
        }
    }
}

/// Whether a tool did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did, and there is its result.
    Succeeded,
    /// It did not, and there is why.
    Failed,
}
