//! Tools, rules and questions through the binary: the flags of `call`, and `policy check`, `explain` and `show`.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with components, rules, and a ledger; commands run in it.
struct Place {
    folder: TempDir,
}

const RULES: &str = r#"@id("anything")
permit(principal, action, resource);

@id("cap")
@reason("refunds above 100 are made at the desk")
forbid(principal, action == Action::"call:refund", resource)
when { context.input.amount > 100 };

@id("large")
@approval("Refund more than 50?")
forbid(principal, action == Action::"call:refund", resource)
when { context.input.amount > 50 && context.input.amount <= 100 };
"#;

impl Place {
    fn new() -> Self {
        let place = Self { folder: TempDir::new().expect("a temporary folder") };
        place.write("caller.wasm", casemate_guests::CALLER);
        place.write("ledger.wasm", casemate_guests::LEDGER);
        place.write("planner.wasm", casemate_guests::PLANNER);
        place.write("textkit.wasm", casemate_guests::TEXTKIT);
        place.write("weather.wasm", casemate_guests::WEATHER);
        place.write("rules.cedar", RULES.as_bytes());
        std::fs::create_dir(place.folder.path().join("ledger")).expect("a folder");
        place
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(name), bytes).expect("written");
    }

    /// What was refunded: the tool's own account.
    fn refunds(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("ledger/refunds.log")).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command.args(arguments).arg("--cache-dir").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// What it prints to standard output and to standard error.
    #[track_caller]
    fn ends(&self, arguments: &[&str], status: i32) -> (String, String) {
        Self::ended(&self.command(arguments).output().expect("the binary starts"), status)
    }

    #[track_caller]
    fn ended(output: &Output, status: i32) -> (String, String) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let printed = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "{printed:?}");
        printed
    }

    /// Has the caller look an order up and refund it.
    #[track_caller]
    fn flow(&self, amount: u32, flags: &[&str], status: i32) -> (String, String) {
        let input = json!({"order": "A-1", "amount": amount}).to_string();
        self.ends(&[&["call", "caller.wasm", "flow", &input], TOOLS, flags].concat(), status)
    }

    #[track_caller]
    fn explain(&self, amount: i64, flags: &[&str]) -> Value {
        let input = json!({"order": "A-1", "amount": amount}).to_string();
        let asked = ["policy", "explain", "--policy", "rules.cedar", "--tool", "ledger.wasm", "--json"];
        let asked = [&asked[..], &["--action", "call:refund", "--input", &input], flags].concat();
        serde_json::from_str(&self.ends(&asked, 0).0).expect("one JSON object")
    }
}

const TOOLS: &[&str] =
    &["--tool", "lookup=ledger.wasm#lookup", "--tool", "refund=ledger.wasm#refund", "--dir", "ledger::/ledger:rw"];
const GRANTED: &[&str] = &["--allow-tool", "lookup", "--allow-tool", "refund", "--policy", "rules.cedar"];

fn events(stderr: &str) -> Vec<Value> {
    let lines = stderr.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).expect("an event")).collect()
}

#[test]
fn a_rule_about_an_argument_holds_whatever_the_table_allows() {
    let place = Place::new();
    let free = ["--allow-tool", "lookup", "--allow-tool", "refund", "--policy", "cap.cedar", "--events"];
    let (permit, cap_and_more) = RULES.split_once("\n\n").expect("two rules");
    let (cap, _) = cap_and_more.split_once("\n\n").expect("two more");
    place.write("cap.cedar", format!("{permit}\n\n{cap}\n").as_bytes());

    let (result, seen) = place.flow(100, &free, 0);
    assert!(result.contains(r#"\"amount\":100"#), "{result}");
    let kinds: Vec<_> = events(&seen).iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["tool_call", "tool_result", "tool_call", "tool_result"]);

    let (_, seen) = place.flow(101, &free, 4);
    assert!(seen.contains("the tool said: denied: refunds above 100 are made at the desk"), "{seen}");
    assert!(seen.contains("rule `cap` (cap.cedar:4)"), "{seen}");
    let events = events(&seen);
    let denied = events.last().expect("an event");
    assert_eq!((&denied["sequence"], &denied["type"]), (&json!(3), &json!("denied")));
    assert_eq!(denied["data"]["rules"], json!([{"id": "cap", "file": "cap.cedar", "line": 4}]));
    assert_eq!(place.refunds(), "A-1 100\n");
}

#[test]
fn a_tool_that_is_bound_and_not_granted_names_the_flag() {
    let place = Place::new();
    let (_, said) = place.flow(5, &["--allow-tool", "lookup"], 4);
    assert!(said.contains("allow it with `--allow-tool refund`"), "{said}");
    assert_eq!(place.refunds(), "");
    place.flow(5, &["--allow-tool", "lookup", "--allow-tool", "refund"], 0);
    assert_eq!(place.refunds(), "A-1 5\n");
}

#[test]
fn a_tool_that_describes_itself_is_bound_and_granted_like_all_others() {
    let place = Place::new();
    let input = json!({"name": "count", "input": r#"{"text":"to be"}"#}).to_string();
    let call = ["call", "caller.wasm", "try-tool", &input];
    let bound = [&call[..], &["--tool", "count=textkit.wasm#word-count"]].concat();
    let (_, said) = place.ends(&bound, 0);
    assert!(said.contains("`--allow-tool count`"), "{said}");
    let (said, _) = place.ends(&[&bound[..], &["--allow-tool", "count"]].concat(), 0);
    assert!(said.contains("ok: {") && said.contains(r#"\"words\":2"#), "{said}");
    let (_, said) = place.ends(&[&call[..], &["--tool", "count=textkit.wasm"]].concat(), 2);
    assert!(said.contains("--tool count=textkit.wasm#slugify"), "{said}");
}

#[test]
fn a_denial_that_the_guest_takes_in_its_stride_is_told_too() {
    let place = Place::new();
    let input = json!({"name": "refund", "input": "{\"order\":\"A-1\",\"amount\":101}"}).to_string();
    let call = [&["call", "caller.wasm", "try-tool", &input], TOOLS].concat();
    let (_, said) = place.ends(&call, 0);
    assert!(said.contains("`refund` was denied") && said.contains("`--allow-tool refund`"), "{said}");
    let (printed, _) = place.ends(&[&call, GRANTED, &["--json"]].concat(), 0);
    let object: Value = serde_json::from_str(&printed).expect("one JSON object");
    assert_eq!(object["denials"][0]["rules"][0]["id"], "cap");
}

#[test]
fn what_a_person_decides_is_asked_and_without_a_terminal_denied() {
    let place = Place::new();
    let (_, said) = place.flow(80, GRANTED, 4);
    assert!(said.contains("there is no terminal to ask at: Refund more than 50?"), "{said}");
    assert!(said.contains("`--approve always`") && said.contains("rule `large` (rules.cedar:9)"), "{said}");
    place.flow(80, &[GRANTED, &["--approve", "never"]].concat(), 4);
    place.flow(5, &["--allow-tool", "lookup", "--ask-tool", "refund=Pay it back?"], 4);
    assert_eq!(place.refunds(), "");

    let (_, seen) = place.flow(80, &[GRANTED, &["--approve", "always", "--events"]].concat(), 0);
    let events = events(&seen);
    let asked = events.iter().find(|event| event["type"] == "approval_required").expect("asked");
    assert_eq!(asked["data"]["question"], "Refund more than 50?");
    assert!(events.iter().any(|event| event["type"] == "approved"));
    place.flow(7, &["--allow-tool", "lookup", "--ask-tool", "refund", "--approve", "always"], 0);
    assert_eq!(place.refunds(), "A-1 80\nA-1 7\n");
}

#[test]
fn input_from_standard_input_leaves_nobody_to_ask() {
    use std::io::Write as _;
    let place = Place::new();
    let call = [&["call", "caller.wasm", "flow", "-"], TOOLS, GRANTED].concat();
    let mut command = place.command(&call);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    child.stdin.take().expect("piped").write_all(br#"{"order":"A-1","amount":80}"#).expect("written");
    let (_, said) = Place::ended(&child.wait_with_output().expect("it ends"), 4);
    assert!(said.contains("because standard input is the call's input"), "{said}");
    assert_eq!(place.refunds(), "");
}

#[test]
fn events_cannot_steer_the_terminal() {
    let place = Place::new();
    let input = json!({"name": "lookup", "input": json!({"order": "\u{9b}31m\u{202e}"}).to_string()}).to_string();
    let (_, seen) = place.ends(&[&["call", "caller.wasm", "try-tool", &input, "--events"], TOOLS, GRANTED].concat(), 0);
    assert!(!seen.contains(['\u{9b}', '\u{202e}']), "{seen:?}");
    assert_eq!(events(&seen)[0]["data"]["input"]["order"], "\u{9b}31m\u{202e}");
}

#[test]
fn a_component_serves_what_another_imports() {
    let place = Place::new();
    let call = ["call", "planner.wasm", "advise", r#"{"city":"Bern"}"#];
    let granted = ["--allow-tool", "get-forecast", "--allow-tool", "acme:weather/forecast#get-forecast"];
    let ends = |flags: &[&str], status| place.ends(&[&call[..], &granted, flags].concat(), status);
    let functions = ["--tool", "get-forecast=weather.wasm#get-forecast", "--tool", "cities=weather.wasm#cities"];
    for interface in ["acme:weather/forecast@1.0.0", "acme:weather/forecast", "forecast"] {
        let (advice, _) = ends(&["--tool", &format!("{interface}=weather.wasm")], 0);
        assert_eq!(advice, ends(&functions, 0).0);
        assert!(advice.contains("Bern"), "{advice}");
    }

    let (_, said) = ends(&[], 2);
    assert!(said.contains("--tool acme:weather/forecast@1.0.0#get-forecast=SOURCE"), "{said}");
    let (_, said) = ends(&["--tool", "get-forecast=weather.wasm#cities"], 2);
    assert!(said.contains("is func(city: string)") && said.contains("is func() -> list<string>"), "{said}");
    let (_, said) = ends(&["--tool", "get-forecats=weather.wasm#get-forecast"], 2);
    assert!(said.contains("it does not use `get-forecats`"), "{said}");
    let (_, said) = ends(&["--tool", "acme:weather/forecast=weather.wasm", "--tool", "cities=weather.wasm#cities"], 2);
    assert!(said.contains("two tools would serve"), "{said}");
    let (_, said) = place.ends(&[&call[..], &["--tool", "acme:weather/forecast=weather.wasm"]].concat(), 4);
    assert!(said.contains("`--allow-tool acme:weather/forecast#get-forecast`"), "{said}");
}

#[test]
fn rules_know_the_tools_that_serve_imports() {
    let place = Place::new();
    let rule = r#"permit(principal, action == Action::"call:acme:weather/forecast#get-forecast", resource)
        when { context.input.city == "Bern" };"#;
    place.write("city.cedar", rule.as_bytes());
    let flags = ["--tool", "forecast=weather.wasm", "--allow-tool", "acme:weather/forecast#get-forecast"];
    let advise = |city: &str, status| {
        let input = json!({"city": city}).to_string();
        let call = ["call", "planner.wasm", "advise", &input, "--policy", "city.cedar"];
        place.ends(&[&call[..], &flags].concat(), status)
    };
    advise("Bern", 0);
    advise("Rome", 4);
}

#[test]
fn a_tool_has_to_be_one_export() {
    let place = Place::new();
    let refused = |flags: &[&str]| place.ends(&[&["call", "caller.wasm", "list-tools"], flags].concat(), 2).1;
    let said = refused(&["--tool", "refund=ledger.wasm"]);
    for export in ["lookup", "refund", "refunds"] {
        assert!(said.contains(&format!("\n  --tool refund=ledger.wasm#{export}\n")), "{said}");
    }
    assert!(refused(&["--tool", "refund=ledger.wasm#refnd"]).contains("did you mean `refund`?"));
    assert!(refused(&["--tool", "refund=none.wasm#refund"]).contains("cannot load `none.wasm`"));
    assert!(refused(&["--tool", "ledger.wasm"]).contains("NAME=SOURCE"));
    let twice = ["--tool", "a=ledger.wasm#lookup", "--tool", "a=ledger.wasm#refund"];
    assert!(refused(&twice).contains("`--tool a` is given twice"));

    let (seen, _) =
        place.ends(&["call", "caller.wasm", "list-tools", "--tool", "a=ledger.wasm#lookup", "--allow-tool", "a"], 0);
    assert_eq!(serde_json::from_str::<Value>(&seen).expect("JSON"), json!(["a"]));
}

#[test]
fn check_tells_where_a_mistake_is_and_what_was_meant() {
    let place = Place::new();
    place.write("typo.cedar", RULES.replacen("context.input.amount > 100", "context.inptu.amount > 100", 1).as_bytes());
    let (_, said) = place.ends(&["policy", "check", "typo.cedar", "--tool", "ledger.wasm"], 2);
    assert_eq!(said, "typo.cedar:7:8: unknown attribute `context.inptu`: did you mean `input`?\n");
    // The same, where it would be enforced.
    let (_, said) = place.flow(5, &["--allow-tool", "lookup", "--policy", "typo.cedar"], 2);
    assert!(said.contains("typo.cedar:7:8: unknown attribute `context.inptu`"), "{said}");
}

#[test]
fn check_tells_what_rules_can_see_and_warns() {
    let place = Place::new();
    let (seen, said) = place.ends(&["policy", "check", "rules.cedar", "--tool", "refund=ledger.wasm#refund"], 0);
    assert!(seen.contains("context.input.amount  Long") && seen.contains("context.input.order   String"), "{seen}");
    assert_eq!(said, "");
    place.write("forbids.cedar", b"forbid(principal, action, resource) when { context.depth > 1 };");
    let (_, said) = place.ends(&["policy", "check", "forbids.cedar", "--tool", "refund=ledger.wasm#refund"], 0);
    assert!(said.starts_with("warning: no rule permits anything"), "{said}");
}

#[test]
fn explain_names_the_rule_for_each_verdict() {
    let place = Place::new();
    for (amount, verdict, rule, line) in [(5, "allow", "anything", 1), (80, "ask", "large", 9), (101, "deny", "cap", 4)]
    {
        let explained = place.explain(amount, &[]);
        assert_eq!(explained["verdict"], verdict);
        assert_eq!(explained["policy"]["rules"], json!([{"id": rule, "file": "rules.cedar", "line": line}]));
        assert_eq!(explained["grants"], Value::Null);
    }
    assert_eq!(place.explain(80, &[])["question"], "Refund more than 50?");
    assert_eq!(place.explain(101, &[])["reason"], "refunds above 100 are made at the desk");

    let input = r#"{"order":"A-1","amount":101}"#;
    let explain = ["policy", "explain", "--policy", "rules.cedar", "--tool", "ledger.wasm", "--input", input];
    let (told, _) = place.ends(&[&explain[..], &["--action", "call:refund"]].concat(), 0);
    assert!(told.starts_with("deny  call:refund for anonymous"), "{told}");
    assert!(told.contains("rule `cap` (rules.cedar:4)"), "{told}");
    let (_, said) = place.ends(&[&explain[..], &["--action", "call:refnd"]].concat(), 2);
    assert!(said.contains("known are `lookup`, `refund`, `refunds`"), "{said}");
}

#[test]
fn explain_has_both_say_yes() {
    let place = Place::new();
    for (flags, verdict, of_grants) in [
        (["--allow-tool", "refund"], "allow", "allow"),
        (["--ask-tool", "refund"], "ask", "ask"),
        (["--allow-tool", "lookup"], "deny", "deny"),
    ] {
        let explained = place.explain(5, &flags);
        assert_eq!((&explained["verdict"], &explained["grants"]["verdict"]), (&json!(verdict), &json!(of_grants)));
        assert_eq!(explained["policy"]["verdict"], "allow");
    }
    assert_eq!(place.explain(5, &["--allow-tool", "lookup"])["grants"]["remedy"], "--allow-tool refund");
    assert_eq!(place.explain(101, &["--allow-tool", "refund"])["verdict"], "deny");
}

#[test]
fn explain_is_told_of_whom_and_when() {
    let place = Place::new();
    place.write(
        "rules.cedar",
        br#"permit(principal in Group::"desk", action, resource)
            unless { context.time.toTime() >= duration("18h") || context.depth > 1 || context.calls >= 3 };"#,
    );
    let desk = r#"{"id":"ann","parents":[{"group":"desk"}]}"#;
    let verdict = |flags: &[&str]| place.explain(5, flags)["verdict"].clone();
    let at = ["--time", "2026-01-31T10:00:00Z", "--principal", desk];
    assert_eq!(verdict(&at), "allow");
    assert_eq!(verdict(&["--time", "2026-01-31T10:00:00Z", "--principal", "ann"]), "deny");
    assert_eq!(verdict(&["--time", "2026-01-31T18:00:00Z", "--principal", desk]), "deny");
    assert_eq!(verdict(&[&at[..], &["--depth", "2"]].concat()), "deny");
    assert_eq!(verdict(&[&at[..], &["--calls", "3"]].concat()), "deny");
}

#[test]
fn show_tells_what_the_same_flags_would_give_a_call() {
    let place = Place::new();
    let flags = [TOOLS, &["--allow-tool", "lookup", "--env", "SECRET=hunter2", "--policy", "rules.cedar"]].concat();
    let show = [&["policy", "show", "caller.wasm"], flags.as_slice()].concat();
    let (shown, _) = place.ends(&[show.as_slice(), &["--json"]].concat(), 0);
    let view: Value = serde_json::from_str(&shown).expect("one JSON object");
    assert_eq!(view["folders"], json!([{"guest": "/ledger", "host": "ledger", "access": "read-write"}]));
    assert_eq!(view["variables"], json!(["SECRET"]));
    assert_eq!(view["tools"]["lookup"]["standing"], "granted");
    assert_eq!(view["tools"]["refund"]["standing"], "not-granted");
    assert_eq!(view["tools"]["refund"]["allow"], "--allow-tool refund");
    assert_eq!(view["tools"]["refund"]["source"]["export"]["export"], "refund");
    let (shown, _) = place.ends(&show, 0);
    assert!(shown.contains("`--allow-tool refund`") && !shown.contains("hunter2"), "{shown}");

    let never = br#"permit(principal, action == Action::"call:lookup", resource);"#;
    place.write("rules.cedar", never);
    let (shown, said) = place.ends(&[&show[..], &["--ask-tool", "refund", "--json"]].concat(), 0);
    let view: Value = serde_json::from_str(&shown).expect("one JSON object");
    assert_eq!(view["tools"]["refund"]["standing"], "forbidden");
    assert!(said.contains("warning: no rule permits `refund`"), "{said}");

    let (shown, _) =
        place.ends(&["policy", "show", "planner.wasm", "--tool", "cities=weather.wasm#cities", "--json"], 0);
    let view: Value = serde_json::from_str(&shown).expect("one JSON object");
    assert_eq!(view["imports"]["acme:weather/forecast@1.0.0#cities"]["name"], "cities");
    assert_eq!(view["imports"]["acme:weather/forecast@1.0.0#get-forecast"], Value::Null);
}

#[test]
fn all_tools_of_a_component_are_shown_and_explained_as_they_are_given() {
    let place = Place::new();
    let flags = ["--tools", "toolbox", "--ask-tool", "write-file=May it?"];
    let show = ["policy", "show", "chat", "--model", "fast=playground", "--json"];
    let (shown, _) = place.ends(&[&show[..], &flags].concat(), 0);
    let view: Value = serde_json::from_str(&shown).expect("one JSON object");
    assert_eq!(view["tools"]["read-file"]["standing"], "granted");
    assert_eq!(view["tools"]["write-file"]["question"], "May it?");
    assert_eq!(view["models"][0]["standing"], "granted");

    let verdict = |action: &str| {
        let input = json!({"path": "/workspace/a.txt", "content": ""}).to_string();
        let explain = ["policy", "explain", "--json", "--action", action, "--input", &input];
        let (told, _) = place.ends(&[&explain[..], &flags].concat(), 0);
        serde_json::from_str::<Value>(&told).expect("one JSON object")["verdict"].clone()
    };
    assert_eq!((verdict("call:read-file"), verdict("call:write-file")), (json!("allow"), json!("ask")));
    let (told, _) = place.ends(&["policy", "check", "rules.cedar", "--tools", "ledger.wasm"], 0);
    assert!(told.contains("call:refund"), "{told}");
}
