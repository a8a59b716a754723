//! A guest that calls tools, in every way there is: what `wit/caller` says, and nothing else.

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]

    wit_bindgen::generate!({
        path: ["../../wit/agent", "../../wit/caller"],
        world: "casemate:caller/caller",
        with: { "casemate:agent/types@0.1.0": casemate_wording::types },
        generate_all,
    });

    export!(Caller with_types_in self);

    use super::Caller;
}

use bindings::casemate::agent::tools::{self, ToolCall};
use bindings::exports::casemate::caller::calls;
use casemate_wording::{quoted, reason, tally, told, unquoted};
use std::hint::black_box;
use std::iter;

struct Caller;

impl calls::Guest for Caller {
    fn list_tools() -> Vec<String> {
        tools::available().into_iter().map(|tool| tool.name).collect()
    }

    fn describe_tools() -> Vec<(String, String, String)> {
        tools::available().into_iter().map(|tool| (tool.name, tool.description, tool.input_schema)).collect()
    }

    fn call_tool(name: String, input: String) -> Result<String, String> {
        call(&name, &input)
    }

    fn try_tool(name: String, input: String) -> String {
        told(call(&name, &input))
    }

    fn call_all(calls: Vec<(String, String)>) -> Vec<String> {
        let calls: Vec<_> =
            calls.into_iter().map(|(name, input)| ToolCall { id: String::new(), name, input }).collect();
        tools::call_all(&calls).into_iter().map(|result| told(result.map_err(reason))).collect()
    }

    fn call_many_at_once(name: String, input: String, count: u32) -> (u32, u32) {
        let calls: Vec<_> =
            (0..count).map(|_| ToolCall { id: String::new(), name: name.clone(), input: input.clone() }).collect();
        tally(tools::call_all(&calls))
    }

    fn call_many_in_a_row(name: String, input: String, count: u32) -> (u32, u32) {
        tally((0..count).map(|_| call(&name, &input)))
    }

    fn flow(order: String, amount: u32) -> Result<String, String> {
        let order = quoted(&order);
        call("lookup", &format!(r#"{{"order":{order}}}"#))?;
        call("refund", &format!(r#"{{"order":{order},"amount":{amount}}}"#))
    }

    fn ask_below(name: String, depth: u32) -> Result<String, String> {
        let Some(below) = depth.checked_sub(1) else {
            return Ok("bottom".to_owned());
        };
        let quoted = quoted(&name);
        let answer = call(&name, &format!(r#"{{"name":{quoted},"depth":{below}}}"#))?;
        Ok(unquoted(&answer).unwrap_or(&answer).to_owned())
    }

    fn recurse(name: String) -> Result<String, String> {
        let quoted = quoted(&name);
        call(&name, &format!(r#"{{"name":{quoted}}}"#))
    }

    fn compute_then_call(name: String, input: String, rounds: u32) -> String {
        compute(rounds);
        told(call(&name, &input))
    }

    fn spin_between(name: String, input: String, count: u32, rounds: u32) -> (u32, u32) {
        tally(iter::repeat_n((), count as usize).map(|()| {
            compute(rounds);
            call(&name, &input)
        }))
    }
}

fn call(name: &str, input: &str) -> Result<String, String> {
    tools::call(name, input).map_err(reason)
}

/// Work that no compiler leaves out.
fn compute(rounds: u32) {
    for round in 0..rounds {
        black_box(round);
    }
}
