//! Models through the binary: `--model`, `--allow-model`, `--ask-model`, and what `policy` says of them.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with a component that asks models, tools, a script and rules; commands run in it.
struct Place {
    folder: TempDir,
}

const SCRIPT: &str = r#"[[turns]]
text = "I look it up."
tool_calls = [{ name = "lookup", input = { order = "A-1" } }]

[[turns]]
expect = { role = "tool", contains = "A-1" }
text = "Found."
usage = { input_tokens = 90, output_tokens = 10, cost = 300 }
"#;

const RULES: &str = r#"permit(principal, action, resource);

@id("short")
@reason("two messages are enough")
forbid(principal, action == Action::"chat", resource) when { context.input.messages > 2 };
"#;

const FAST: &[&str] = &["--model", "fast=scripted:script.toml", "--allow-model", "fast"];
const LOOKUP: &[&str] =
    &["--tool", "lookup=ledger.wasm#lookup", "--allow-tool", "lookup", "--dir", "ledger::/ledger:rw"];

impl Place {
    fn new() -> Self {
        let place = Self { folder: TempDir::new().expect("a temporary folder") };
        place.write("talker.wasm", casemate_guests::TALKER);
        place.write("ledger.wasm", casemate_guests::LEDGER);
        place.write("script.toml", SCRIPT.as_bytes());
        place.write("rules.cedar", RULES.as_bytes());
        std::fs::create_dir(place.folder.path().join("ledger")).expect("a folder");
        place
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(name), bytes).expect("written");
    }

    /// What it prints to standard output and to standard error.
    #[track_caller]
    fn ends(&self, arguments: &[&str], status: i32) -> (String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command.args(arguments).arg("--cache-dir").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        let output = command.current_dir(self.folder.path()).stdin(Stdio::null()).output().expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let printed = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "{printed:?}");
        printed
    }

    /// Has the component do a task.
    #[track_caller]
    fn work(&self, flags: &[&str], status: i32) -> (String, String) {
        let task = r#"{"task": "Look A-1 up."}"#;
        self.ends(&[&["call", "talker.wasm", "work", task], flags].concat(), status)
    }

    #[track_caller]
    fn explain(&self, input: &Value, flags: &[&str]) -> Value {
        let input = input.to_string();
        let asked = ["policy", "explain", "--json", "--action", "chat:fast", "--input", &input];
        serde_json::from_str(&self.ends(&[&asked[..], flags].concat(), 0).0).expect("one JSON object")
    }
}

#[test]
fn a_script_is_played_with_the_tools_there_are() {
    let place = Place::new();
    let (said, seen) = place.work(&[FAST, LOOKUP, &["--events"]].concat(), 0);
    assert_eq!(said, "\"Found.\"\n");
    let events = seen.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
    let events: Vec<_> = events.collect();
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().expect("a type")).collect();
    assert_eq!(kinds, ["chat", "chat_result", "tool_call", "tool_result", "chat", "chat_result"]);
    assert_eq!((&events[4]["data"]["kept"], &events[4]["data"]["tools"]), (&json!(1), &json!(["lookup"])));
    assert_eq!(events[5]["data"]["usage"]["cost"], 300);
}

#[test]
fn a_model_that_is_bound_and_not_granted_names_the_flag() {
    let place = Place::new();
    let (_, said) = place.work(&["--model", "fast=playground"], 4);
    assert!(said.contains("allow it with `--allow-model fast`"), "{said}");
    let (said, _) = place.work(&["--model", "fast=playground", "--allow-model", "fast"], 0);
    assert_eq!(said, "\"I was told: Look A-1 up.\\nThere are no tools.\"\n");
}

#[test]
fn a_model_is_asked_after_a_person_was() {
    let place = Place::new();
    let asking = ["--model", "fast=playground", "--ask-model", "fast=Ask it?"];
    place.work(&[&asking[..], &["--approve", "always"]].concat(), 0);
    let (_, said) = place.work(&[&asking[..], &["--approve", "never"]].concat(), 4);
    assert!(said.contains("nobody is asked, and the answer is no: Ask it?"), "{said}");
}

#[test]
fn a_rule_about_chats_holds_whatever_is_granted() {
    let place = Place::new();
    let (_, said) = place.work(&[FAST, LOOKUP, &["--policy", "rules.cedar"]].concat(), 4);
    assert!(said.contains("two messages are enough") && said.contains("rule `short` (rules.cedar:3)"), "{said}");
}

#[test]
fn what_is_no_model_is_refused_with_its_place() {
    let place = Place::new();
    let (_, said) = place.work(&["--model", "fast=gpt"], 2);
    assert!(said.contains("`gpt` is no source of a model: use `scripted:FILE.toml` or `playground`"), "{said}");
    place.write("broken.toml", b"[[turns]]\nsay = 'a'\n");
    let (_, said) = place.work(&["--model", "fast=scripted:broken.toml"], 2);
    assert!(said.contains("in the script `broken.toml`: line 2, column 1: unknown field `say`"), "{said}");
    let (_, said) = place.work(&["--model", "a=playground", "--model", "a=playground"], 2);
    assert!(said.contains("two models would be `a`"), "{said}");
}

#[test]
fn a_component_that_asks_no_models_is_given_none_in_vain() {
    let place = Place::new();
    let input = r#"{"order": "A-1"}"#;
    let (_, said) = place.ends(&[&["call", "ledger.wasm", "lookup", input], FAST].concat(), 0);
    assert!(said.contains("the component asks no models, so it does not use `fast`"), "{said}");
}

#[test]
fn policy_explains_a_chat() {
    let place = Place::new();
    let long = json!({"messages": 3, "text": "a", "tools": []});
    let verdict = |flags: &[&str], input: &Value| place.explain(input, flags)["verdict"].clone();
    assert_eq!(verdict(&["--policy", "rules.cedar"], &long), "deny");
    assert_eq!(verdict(&["--policy", "rules.cedar"], &json!({"messages": 1, "tools": []})), "allow");
    assert_eq!(verdict(&["--allow-model", "fast"], &long), "allow");
    assert_eq!(verdict(&["--ask-model", "fast"], &long), "ask");
    let other = place.explain(&long, &["--allow-model", "slow"]);
    assert_eq!((&other["verdict"], &other["remedy"]), (&json!("deny"), &json!("--allow-model fast")));
    let (_, said) = place.ends(&["policy", "explain", "--action", "chat:fast"], 2);
    assert!(said.contains("or grants with `--allow-model NAME`"), "{said}");
}

#[test]
fn policy_shows_the_models() {
    let place = Place::new();
    let flags = ["--model", "b=playground", "--model", "a=playground", "--ask-model", "b=Ask it?", "--json"];
    let (shown, _) = place.ends(&[&["policy", "show", "talker.wasm"], &flags[..]].concat(), 0);
    let shown: Value = serde_json::from_str(&shown).expect("one JSON object");
    assert_eq!(
        shown["models"],
        json!([
            {"name": "b", "standing": "asks", "question": "Ask it?"},
            {"name": "a", "standing": "not-granted", "allow": "--allow-model a"},
        ])
    );
}
