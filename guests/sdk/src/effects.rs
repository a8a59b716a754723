//! What an agent does to the world, and how that can fail.

use crate::chat::Chat;
use crate::message::{ToolCall, ToolDefinition};
use crate::run::Context;
use crate::{host, json};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why there is no result. None of these ends the agent: it can go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A grant is missing, a rule forbids it, or a person said no; with the reason.
    #[error("denied: {0}")]
    Denied(String),
    /// There is nothing of that name.
    #[error("not found: {0}")]
    NotFound(String),
    /// The input is not JSON, or not what the tool takes.
    #[error("invalid input: {0}")]
    InvalidInput(String),
    /// A limit or a budget was reached, here or in the tool.
    #[error("limit exceeded: {0}")]
    LimitExceeded(String),
    /// The tool ran and failed; with what it said.
    #[error("failed: {0}")]
    Failed(String),
    /// It was stopped before its end.
    #[error("cancelled")]
    Cancelled,
}

/// What the run was started with.
pub fn context() -> Context {
    host::context()
}

/// The tools that were granted, in the order of their names.
pub fn available_tools() -> Vec<ToolDefinition> {
    host::available_tools()
}

/// Calls a granted tool and waits for its result.
///
/// ```
/// use casemate_sdk::{Error, call_tool, json};
/// use casemate_sdk::testing::Host;
///
/// let host = Host::new().tool("add", |input| Ok(json!(input["a"].as_i64().unwrap() + input["b"].as_i64().unwrap())));
/// let sum: Result<i64, Error> = host.run(|| call_tool("add", &json!({"a": 1, "b": 2})));
/// assert_eq!(sum, Ok(3));
/// ```
///
/// # Errors
///
/// What the tool or the host says; `InvalidInput` where the input cannot be JSON, and `Failed`
/// where the result is not a `T`.
pub fn call_tool<T: DeserializeOwned>(name: &str, input: &impl Serialize) -> Result<T, Error> {
    let result = host::call_tool(name, &json::given(input)?)?;
    serde_json::from_value(result)
        .map_err(|error| Error::Failed(format!("the result of `{name}` is not what was expected: {error}")))
}

/// Calls granted tools side by side; the results come in the order of the calls.
pub fn call_all(calls: impl IntoIterator<Item = ToolCall>) -> Vec<Result<Value, Error>> {
    host::call_all(&calls.into_iter().collect::<Vec<_>>())
}

/// Asks the model of the run one thing, and gives the text of its answer.
///
/// [`Chat`] is for all that needs more: instructions, tools, a conversation.
///
/// # Errors
///
/// As [`Chat::send`].
pub fn chat(prompt: impl Into<String>) -> Result<String, Error> {
    Ok(Chat::new().user(prompt).send()?.text())
}

/// Tells those who watch what the agent is about.
pub fn thinking(text: impl AsRef<str>) {
    host::thinking(text.as_ref());
}

/// Adds to the output of the run, which those who watch see as it grows.
pub fn output(text: impl AsRef<str>) {
    host::output(text.as_ref());
}

/// Asks whoever started the run, and waits for the answer, for days if need be.
///
/// # Errors
///
/// `Failed` where nobody can be asked.
pub fn ask(question: impl AsRef<str>) -> Result<String, Error> {
    host::ask(question.as_ref())
}
