//! Every WIT type into a guest and out again, through the binary: the table is the one of `tests/roundtrip`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "all of this is tests, helpers included"
)]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

#[test]
fn every_value_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let echo = folder.path().join("echo.wasm");
    std::fs::write(&echo, casemate_guests::ECHO).expect("a file in it");
    let rows: Vec<Value> = serde_json::from_str(include_str!("../../tests/roundtrip/table.json")).expect("the table");
    for row in rows {
        check(&echo, &folder.path().join("home"), &row);
    }
}

/// Compares as text: -0.0 and 0.0 are equal as numbers.
#[track_caller]
fn check(echo: &Path, home: &Path, row: &Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_casemate"))
        .arg("call")
        .arg(echo)
        .args([row["function"].as_str().expect("a row names its function"), &row["input"].to_string(), "--json"])
        // The cache is where the platform keeps caches, and this one is ours.
        .env("HOME", home)
        .env("XDG_CACHE_HOME", home)
        .output()
        .expect("the binary starts");
    let printed: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{row}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
    let (status, became) = match printed.get("ok") {
        Some(value) => (0, json!({"output": value})),
        None if printed["error"]["kind"] == "tool-error" => (1, json!({"tool_error": printed["error"]["value"]})),
        None => (0, json!({"neither": printed})),
    };
    let mut expected = row.clone();
    for key in ["function", "input"] {
        expected.as_object_mut().expect("a row is an object").shift_remove(key);
    }
    assert_eq!(became.to_string(), expected.to_string(), "{row}");
    assert_eq!(output.status.code(), Some(status), "{row}");
}
