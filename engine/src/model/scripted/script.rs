//! The form of a script on disk, and the one conversion from it.

use std::ops::Range;
use std::time::Duration;

use casemate_host_bindings::{Content, Message, Role, StopReason, Thought, TokenUsage, ToolCall};
use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;

use super::super::{DeltaPart, Deltas, ModelError};
use super::ScriptError;
use crate::document::place;

/// A conversation.
pub(super) struct Script {
    /// What the model calls itself.
    pub(super) model: String,
    pub(super) turns: Vec<Turn>,
}

pub(super) struct Turn {
    pub(super) expects: Expectation,
    pub(super) line: Line,
}

/// What the last message is to be.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expectation {
    pub(super) role: Option<Role>,
    pub(super) contains: Option<String>,
}

pub(super) enum Line {
    Fails(ModelError),
    Says {
        message: Message,
        stop_reason: StopReason,
        /// In the order in which they come.
        pieces: Vec<DeltaPart>,
        /// What it took; none where that is to be counted.
        usage: Option<TokenUsage>,
    },
}

impl Script {
    pub(super) fn from_toml(text: &str) -> Result<Self, ScriptError> {
        let document: Document =
            toml::from_str(text).map_err(|error| at(text, error.span(), error.message().to_owned()))?;
        let turns = document.turns.into_iter().enumerate().map(|(index, entry)| {
            let span = entry.span();
            entry.into_inner().turn(index + 1).map_err(|wrong| {
                let Wrong { span: inner, message } = wrong;
                at(text, Some(inner.unwrap_or(span)), message)
            })
        });
        Ok(Self { model: document.model, turns: turns.collect::<Result<_, _>>()? })
    }
}

fn at(text: &str, span: Option<Range<usize>>, message: String) -> ScriptError {
    let (line, column) = place(text, span);
    ScriptError::Invalid { line, column, message }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default = "scripted")]
    model: String,
    turns: Vec<Spanned<TurnEntry>>,
}

fn scripted() -> String {
    "scripted".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TurnEntry {
    #[serde(default)]
    expect: Expectation,
    #[serde(default)]
    thinking: Pieces,
    #[serde(default)]
    text: Pieces,
    #[serde(default)]
    tool_calls: Vec<ToolCallEntry>,
    stop_reason: Option<StopReason>,
    usage: Option<UsageEntry>,
    error: Option<Spanned<ErrorEntry>>,
}

/// What is told piece by piece.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text, or a list of texts")]
enum Pieces {
    Whole(String),
    Several(Vec<String>),
}

impl Default for Pieces {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Pieces {
    fn list(self) -> Vec<String> {
        match self {
            Self::Whole(text) => vec![text],
            Self::Several(pieces) => pieces,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolCallEntry {
    id: Option<String>,
    name: String,
    #[serde(default = "nothing")]
    input: Value,
}

fn nothing() -> Value {
    Value::Object(Map::new())
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct UsageEntry {
    input_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    cost: Option<u64>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum ErrorEntry {
    InvalidRequest {
        #[serde(default)]
        message: String,
    },
    ContextTooLong {
        #[serde(default)]
        message: String,
    },
    RateLimited {
        /// In seconds.
        retry_after: Option<f64>,
    },
    Unavailable {
        #[serde(default)]
        message: String,
    },
    Failed {
        #[serde(default)]
        message: String,
    },
}

/// What is wrong, and where; within the whole turn if nothing is said.
struct Wrong {
    span: Option<Range<usize>>,
    message: String,
}

fn wrong(message: &str) -> Wrong {
    Wrong { span: None, message: message.to_owned() }
}

impl TurnEntry {
    fn turn(self, number: usize) -> Result<Turn, Wrong> {
        let Self { expect, thinking, text, tool_calls, stop_reason, usage, error } = self;
        let (thinking, text) = (thinking.list(), text.list());
        let says = !thinking.is_empty() || !text.is_empty() || !tool_calls.is_empty();
        let line = match error {
            Some(_) if says => return Err(wrong("a turn that fails says nothing and calls no tool")),
            Some(error) => {
                let span = error.span();
                Line::Fails(error.into_inner().error().map_err(|message| Wrong { span: Some(span), message })?)
            }
            None if !says => return Err(wrong("a turn says something, calls a tool or fails")),
            None => {
                let reason = if tool_calls.is_empty() { StopReason::End } else { StopReason::ToolCalls };
                Line::Says {
                    message: message(&thinking, &text, tool_calls, number),
                    stop_reason: stop_reason.unwrap_or(reason),
                    pieces: thinking
                        .into_iter()
                        .map(DeltaPart::Thinking)
                        .chain(text.into_iter().map(DeltaPart::Text))
                        .collect(),
                    usage: usage.map(UsageEntry::usage),
                }
            }
        };
        Ok(Turn { expects: expect, line })
    }
}

fn message(thinking: &[String], text: &[String], calls: Vec<ToolCallEntry>, turn: usize) -> Message {
    let thought = |text| Content::Thinking(Thought { text, signature: None });
    let calls = calls.into_iter().enumerate().map(|(index, entry)| {
        let id = entry.id.unwrap_or_else(|| format!("call-{turn}-{}", index + 1));
        Content::ToolCall(ToolCall { id, name: entry.name, input: entry.input })
    });
    let thought = (!thinking.is_empty()).then(|| thought(thinking.concat()));
    let text = (!text.is_empty()).then(|| Content::Text { text: text.concat() });
    Message { role: Role::Assistant, content: thought.into_iter().chain(text).chain(calls).collect() }
}

impl UsageEntry {
    fn usage(self) -> TokenUsage {
        let Self { input_tokens, cached_tokens, output_tokens, cost } = self;
        TokenUsage { input_tokens, cached_tokens, output_tokens, cost }
    }
}

impl ErrorEntry {
    fn error(self) -> Result<ModelError, String> {
        Ok(match self {
            Self::InvalidRequest { message } => ModelError::InvalidRequest { message },
            Self::ContextTooLong { message } => ModelError::ContextTooLong { message },
            Self::RateLimited { retry_after } => {
                ModelError::RateLimited { retry_after: retry_after.map(seconds).transpose()? }
            }
            Self::Unavailable { message } => ModelError::Unavailable { detail: message },
            Self::Failed { message } => ModelError::Failed { message },
        })
    }
}

fn seconds(written: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(written).map_err(|error| format!("{written} is no time to wait: {error}"))
}

impl DeltaPart {
    /// Tells it.
    pub(super) fn tell(&self, deltas: &Deltas) {
        match self {
            Self::Text(text) => deltas.text(text),
            Self::Thinking(text) => deltas.thinking(text),
        }
    }
}
