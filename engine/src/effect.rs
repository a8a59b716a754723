//! What guest code attempts, and what becomes of it, as plain data.

use std::sync::Arc;

use casemate_policy::Rule;
use serde_json::Value;

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
    Denied(Denial),
    NotFound(String),
    InvalidInput(String),
    LimitExceeded(LimitExceeded),
    Failed(Failure),
    Cancelled,
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
}

impl Denial {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), rules: Vec::new(), allow: None }
    }
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { value: message.clone().into(), message }
    }
}
