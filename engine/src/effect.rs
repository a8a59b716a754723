//! What guest code attempts, and what becomes of it, as plain data.

use std::sync::Arc;

use casemate_policy::Rule;
use serde_json::Value;

use crate::call::ErrorKind;
use crate::limits::LimitExceeded;
use crate::tool::Tool;

/// One attempt of guest code to touch the world: the call of a tool.
#[derive(Clone)]
pub(crate) struct Effect {
    /// What tells it from all others of its Gate.
    pub(crate) id: u64,
    pub(crate) tool: Tool,
    pub(crate) input: Arc<Value>,
}

/// What became of an effect.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Result(Arc<Value>),
    Denied(Box<Denial>),
    NotFound(String),
    InvalidInput(String),
    LimitExceeded(LimitExceeded),
    Failed(Box<Failure>),
    Cancelled,
}

impl Outcome {
    /// The name of its case, as `error` in `casemate:agent/types` has it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Result(_) => "result",
            Self::Denied(_) => "denied",
            Self::NotFound(_) => "not-found",
            Self::InvalidInput(_) => "invalid-input",
            Self::LimitExceeded(_) => "limit-exceeded",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// What a guest is told.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Result(_) => "it has a result".to_owned(),
            Self::Denied(denial) => denial.reason.clone(),
            Self::NotFound(text) | Self::InvalidInput(text) => text.clone(),
            Self::LimitExceeded(limit) => limit.to_string(),
            Self::Failed(failure) => failure.message.clone(),
            Self::Cancelled => "it was stopped before its end".to_owned(),
        }
    }
}

/// The Gate's "no".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    /// Why, in words fit to show a model.
    pub(crate) reason: String,
    /// The rules that decided.
    pub(crate) rules: Vec<Rule>,
    /// What a person could do about it: a flag of the binary, or a line of policy.
    pub(crate) allow: Option<String>,
}

/// A tool ran, and has no result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    /// The tool's own error, as JSON.
    pub(crate) value: Value,
    /// The same for people.
    pub(crate) message: String,
    /// Whose failure it was.
    pub(crate) kind: ErrorKind,
    /// What only those who watch are told.
    pub(crate) detail: Option<String>,
}

impl Denial {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), rules: Vec::new(), allow: None }
    }
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { value: message.clone().into(), message, kind: ErrorKind::ToolError, detail: None }
    }
}
