//! Where a run stands, from what was said in it.

use casemate_sdk::{Message, Outcome, Role, ToolCall, ToolResult};
use std::collections::BTreeMap;

/// What was asked of tools, what is left, and what the model said last.
///
/// `left` are the calls at the end of the messages that were not made.
pub(crate) fn account(messages: &[Message], left: &[ToolCall]) -> String {
    let made = match left {
        [] => messages,
        // Of these there is the message that asks, and the one that says that nothing was called.
        _ => messages.get(..messages.len().saturating_sub(2)).unwrap_or_default(),
    };
    let parts = [Some(asked(made)), undone(left), last_said(messages)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// How often each tool was asked for, and how often there was no result.
fn asked(messages: &[Message]) -> String {
    let mut tools: BTreeMap<&str, Tally> = BTreeMap::new();
    for (call, result) in answered(messages) {
        tools.entry(&call.name).or_default().add(result);
    }
    let tools: Vec<_> = tools.iter().map(|(name, tally)| tally.told(name)).collect();
    match tools.as_slice() {
        [] => "No tool was called.".to_owned(),
        tools => format!("The model asked for {}.", tools.join(", ")),
    }
}

/// The calls and their results, which come in the same order in the message after them.
fn answered(messages: &[Message]) -> impl Iterator<Item = (&ToolCall, &ToolResult)> {
    let next = messages.iter().skip(1);
    messages.iter().zip(next).flat_map(|(message, next)| message.tool_calls().zip(next.tool_results()))
}

#[derive(Default)]
struct Tally {
    succeeded: usize,
    failed: usize,
}

impl Tally {
    fn add(&mut self, result: &ToolResult) {
        match result.outcome {
            Outcome::Succeeded => self.succeeded += 1,
            Outcome::Failed => self.failed += 1,
        }
    }

    fn told(&self, name: &str) -> String {
        let calls = self.succeeded + self.failed;
        match self.failed {
            0 => format!("`{name}` ({calls})"),
            failed => format!("`{name}` ({calls}, of which {failed} failed)"),
        }
    }
}

fn undone(left: &[ToolCall]) -> Option<String> {
    let names: Vec<_> = left.iter().map(|call| format!("`{}`", call.name)).collect();
    (!names.is_empty()).then(|| format!("Left undone: {}.", names.join(", ")))
}

fn last_said(messages: &[Message]) -> Option<String> {
    let of_model = messages.iter().rev().filter(|message| message.role == Role::Assistant);
    let said = of_model.map(Message::text).find(|text| !text.trim().is_empty())?;
    Some(format!("The model said last: {said}"))
}
