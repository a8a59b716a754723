//! Tools that their component describes itself: JSON text in and out of its one function `invoke`.

use casemate_host_bindings::ToolDefinition;
use serde_json::Value;
use wasmtime::component::Val;

use super::{CallError, Declined, ErrorKind, ToolError};
use crate::json::{Reader, Unreadable, is_deeper_than, text_len};
use crate::limits::{LimitExceeded, LimitKind};
use crate::tool::declared;

/// How deep an input may be nested: as deep as JSON text is read anywhere.
const DEEPEST: usize = 127;

/// What `invoke` takes for a call of that tool. The input has at most `max` bytes as text.
pub(super) fn arguments(tool: &ToolDefinition, input: &Value, max: usize) -> Result<Vec<Val>, CallError> {
    let invalid = |message| CallError::from(Declined { kind: ErrorKind::InvalidInput, message });
    if is_deeper_than(input, DEEPEST) {
        return Err(invalid(format!("the input is nested deeper than {DEEPEST} levels")));
    }
    declared::members(&tool.input_schema, input).map_err(invalid)?;
    let (size, max) = (text_len(input), max as u64);
    if size > max {
        return Err(LimitExceeded::new(LimitKind::HostCallBytes, size, max).into());
    }
    Ok(vec![Val::String(tool.name.clone()), Val::String(input.to_string())])
}

/// What `invoke` gave back; as JSON it takes at most `max` bytes of memory.
pub(super) fn answer(given: Option<&Val>, max: usize) -> Result<Value, CallError> {
    match given {
        Some(Val::Result(Ok(Some(result)))) => read(text(result), max),
        Some(Val::Result(Err(Some(error)))) => Err(declined(error)),
        _ => Err(CallError::Internal { message: "`invoke` lost its type".to_owned() }),
    }
}

fn read(text: &str, max: usize) -> Result<Value, CallError> {
    Reader::new(max).read(text).map_err(|error| match error {
        Unreadable::NotJson(error) => failed(&format!("the tool's result is not JSON: {error}")),
        Unreadable::TooLarge => LimitExceeded::new(LimitKind::Result, max as u64, max as u64).into(),
    })
}

/// A case of `error` in `casemate:agent/types`, with its reason.
fn declined(error: &Val) -> CallError {
    let (case, message) = match error {
        Val::Variant(case, Some(reason)) => (case.as_str(), text(reason)),
        Val::Variant(case, None) => (case.as_str(), "the tool was stopped before its end"),
        _ => ("failed", ""),
    };
    let kind = match case {
        "denied" => ErrorKind::Denied,
        "not-found" => ErrorKind::NotFound,
        "invalid-input" => ErrorKind::InvalidInput,
        "limit-exceeded" => ErrorKind::LimitExceeded,
        "cancelled" => ErrorKind::Cancelled,
        _ => return failed(message),
    };
    Declined { kind, message: message.to_owned() }.into()
}

fn failed(reason: &str) -> CallError {
    ToolError { value: reason.into(), exit_status: None, hint: None }.into()
}

fn text(value: &Val) -> &str {
    match value {
        Val::String(text) => text,
        _ => "",
    }
}
