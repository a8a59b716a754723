//! Every WIT type into a guest and out again, through the public API: `table.json` says what goes in and what comes
//! out. The binary has to agree, which `cli/tests/roundtrip.rs` sees to.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "all of this is tests, helpers included")]

use casemate::{CallError, Component, Engine};
use serde_json::{Value, json};

#[test]
fn every_value_comes_back() {
    let echo = echo();
    for row in rows() {
        check(&echo, &row);
    }
}

/// Else a parser that rounds would round what is expected too, and nobody would notice.
#[test]
fn reading_and_printing_the_table_changes_nothing() {
    let printed: Vec<_> = rows().iter().map(Value::to_string).collect();
    let printed = printed.join(",\n");
    for (printed, written) in printed.lines().zip(TABLE.trim_matches(['[', ']', '\n']).lines()) {
        assert_eq!(printed, written);
    }
}

#[test]
fn every_function_of_the_guest_has_a_row() {
    let rows = rows();
    for tool in echo().description().tools {
        assert!(tool.callable, "`{}` is not callable: {:?}", tool.name, tool.reason);
        assert!(tool.description.is_some(), "`{}` has no description", tool.name);
        assert!(rows.iter().any(|row| row["function"] == *tool.name), "`{}` has no row", tool.name);
    }
}

const TABLE: &str = include_str!("table.json");

fn rows() -> Vec<Value> {
    serde_json::from_str(TABLE).expect("the table is an array of rows")
}

fn echo() -> Component {
    let engine = Engine::builder().max_sandboxes(2).build().expect("an engine");
    engine.block_on(engine.load_bytes(casemate_guests::ECHO)).expect("the guest loads")
}

/// Compares as text: -0.0 and 0.0 are equal as numbers.
#[track_caller]
fn check(echo: &Component, row: &Value) {
    let function = row["function"].as_str().expect("a row names its function");
    let became = match echo.call_blocking(function, row["input"].clone()) {
        Ok(output) => json!({"output": output}),
        Err(CallError::Tool(error)) => json!({"tool_error": error.value}),
        Err(error) => json!({"neither": error.to_json()}),
    };
    let mut expected = row.clone();
    for key in ["function", "input"] {
        expected.as_object_mut().expect("a row is an object").shift_remove(key);
    }
    assert_eq!(became.to_string(), expected.to_string(), "{row}");
}
