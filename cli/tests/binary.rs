//! A handful of calls through the binary: what it prints, where, and with which status it ends.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The binary, with a cache that all tests of this file share, and no colour.
fn casemate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
    command.args(arguments).arg("--cache-dir").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    command.stdin(Stdio::null());
    command
}

#[track_caller]
fn run(arguments: &[&str]) -> Output {
    casemate(arguments).output().expect("the binary starts")
}

#[track_caller]
fn ends(arguments: &[&str], status: i32) -> Output {
    let output = run(arguments);
    let shown = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(status), "{shown}");
    output
}

#[track_caller]
fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("standard output is one JSON object")
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn five_exports() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/adversarial/wat/five-exports.wat").to_owned()
}

struct Project {
    folder: TempDir,
}

impl Project {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join("notes.md"), "one\ntwo wasmtime\n").expect("a file");
        Self { folder }
    }

    fn notes(&self) -> PathBuf {
        self.folder.path().join("notes.md")
    }

    fn granted(&self, mode: &str) -> String {
        format!("{}::/src:{mode}", self.folder.path().display())
    }
}

const GREP: &str = r#"{"pattern":"wasmtime","path":"/src"}"#;

#[test]
fn the_toolbox_finds_lines_in_a_granted_folder() {
    let project = Project::new();
    let output = ends(&["call", "toolbox", "grep", GREP, "--dir", &project.granted("ro"), "--json"], 0);
    let object = json_of(&output);
    assert_eq!(object["ok"]["matches"][0]["text"], "two wasmtime");
    assert!(object["usage"]["fuel"].as_u64() > Some(0));
}

#[test]
fn without_a_folder_the_flag_is_named() {
    let output = ends(&["call", "toolbox", "grep", GREP], 1);
    assert!(stderr_of(&output).contains("--dir HOST::GUEST"));
    let object = json_of(&ends(&["call", "toolbox", "grep", GREP, "--json"], 1));
    assert_eq!(object["error"]["kind"], "tool-error");
    assert!(object["error"]["hint"].as_str().is_some_and(|hint| hint.contains("--dir")));
}

#[test]
fn a_write_under_ro_is_denied_and_the_flag_it_names_works() {
    let project = Project::new();
    let edit = r#"{"path":"/src/notes.md","old":"one","new":"zero"}"#;
    let object = json_of(&ends(&["call", "toolbox", "edit-file", edit, "--dir", &project.granted("ro"), "--json"], 4));
    assert_eq!(object["error"]["kind"], "denied");
    assert_eq!(object["error"]["cause"]["kind"], "tool-error");
    assert_eq!(std::fs::read_to_string(project.notes()).expect("still there"), "one\ntwo wasmtime\n");

    let refused = &object["error"]["refused"][0];
    assert_eq!((&refused["what"], &refused["target"]), (&json!("write"), &json!("/src/notes.md")));
    let allow = refused["allow"].as_str().and_then(|flag| flag.strip_prefix("--dir ")).expect("a flag");
    ends(&["call", "toolbox", "edit-file", edit, "--dir", allow.trim_matches('\'')], 0);
    assert_eq!(std::fs::read_to_string(project.notes()).expect("still there"), "zero\ntwo wasmtime\n");
}

#[test]
fn every_limit_names_itself() {
    for (function, flags, limit) in [
        ("spin", &["--timeout", "200ms"][..], "wall-time"),
        ("park", &["--timeout", "200ms"], "wall-time"),
        ("spin", &["--timeout", "200ms", "--meter", "time"], "wall-time"),
        ("spin", &["--fuel", "100000"], "fuel"),
        ("print", &["--max-output", "1KiB"], "output"),
        ("grow", &["--memory", "1MiB"], "memory"),
    ] {
        let file = five_exports();
        let mut arguments = vec!["call", &file, function, "--json"];
        arguments.extend_from_slice(flags);
        let error = json_of(&ends(&arguments, 3))["error"].clone();
        assert_eq!((&error["kind"], &error["limit"]), (&json!("limit-exceeded"), &json!(limit)));
        assert!(error["used"].as_u64() >= error["max"].as_u64(), "{error}");
    }
}

#[test]
fn the_result_is_alone_on_standard_output() {
    let file = five_exports();
    assert_eq!(ends(&["call", &file, "add", r#"{"a":2,"b":3}"#], 0).stdout, b"5\n");
    let output = ends(&["call", &file, "print", "--timeout", "100ms"], 3);
    assert!(output.stdout.is_empty());
    assert!(stderr_of(&output).contains("was cut here"));
}

#[test]
fn bad_input_ends_with_2_and_says_what_to_do() {
    let file = five_exports();
    for (arguments, kind, message) in [
        (&["call", &file, "ad", "{}"][..], "not-found", "did you mean `add`?"),
        (&["call", &file, "add", "{"], "invalid-input", "the input in the argument is not JSON"),
        (&["call", &file, "add", r#"{"a":2}"#], "invalid-input", "at `$.b`"),
        (&["call", &file, "add", r#"{"a":-1,"b":1}"#], "invalid-input", "at `$.a`: expected an integer from 0"),
        (&["call", "no-such-file.wasm", "add"], "invalid-component", "cannot read `no-such-file.wasm`"),
        (&["call", "/dev/null", "add"], "invalid-component", "the file is empty"),
        (&["call", &file, "add", "{}", "--dir", "/no/such/folder::/x"], "invalid-input", "at `$.a`"),
        (
            &["call", &file, "spin", "--dir", "/no/such/folder::/x"],
            "invalid-input",
            "`/no/such/folder` cannot be opened",
        ),
        (&["call", &file, "spin", "--fuel", "0"], "invalid-input", "`fuel` cannot be 0"),
        (&["call", &file, "spin", "--fuel", "9", "--meter", "time"], "invalid-input", "meters time only"),
        (&["call", &file, "spin", "--grants", "/no/such/file"], "invalid-input", "cannot read `/no/such/file`"),
    ] {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        let object = json_of(&ends(&arguments, 2));
        assert_eq!(object["error"]["kind"], kind);
        let shown = object["error"]["message"].as_str().expect("a message");
        assert!(shown.contains(message), "{shown}");
        assert!(object["usage"].is_object());
    }
    ends(&["call", &file, "spin", "--dir", "nonsense"], 2);
    ends(&["call", &file, "spin", "--memory", "lots"], 2);
}

#[test]
fn deep_and_huge_input_is_refused_without_harm() {
    let folder = TempDir::new().expect("a temporary folder");
    let input = folder.path().join("input.json");
    let at_input = format!("@{}", input.display());
    std::fs::write(&input, "[".repeat(100_000)).expect("written");
    ends(&["call", "toolbox", "list-dir", &at_input, "--json"], 2);
    std::fs::write(&input, format!(r#"{{"path":"/{}"}}"#, "x".repeat(100_000_000))).expect("written");
    let error = json_of(&ends(&["call", "toolbox", "list-dir", &at_input, "--json"], 3))["error"].clone();
    assert_eq!(error["kind"], "limit-exceeded");
}

#[test]
fn input_comes_from_a_file_or_standard_input() {
    use std::io::Write as _;
    let mut child = casemate(&["call", &five_exports(), "add", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child.stdin.take().expect("piped").write_all(br#"{"a":20,"b":22}"#).expect("written");
    assert_eq!(child.wait_with_output().expect("it ends").stdout, b"42\n");
}

#[test]
fn grants_come_from_a_file_and_folders_in_it_are_beside_it() {
    let project = Project::new();
    let grants = project.folder.path().join("grants.toml");
    std::fs::write(&grants, "[[folders]]\nhost = \".\"\nguest = \"/src\"\n").expect("written");
    ends(&["call", "toolbox", "grep", GREP, "--grants", &grants.display().to_string()], 0);
    std::fs::write(&grants, "[[folder]]\n").expect("written");
    let output = ends(&["call", "toolbox", "grep", GREP, "--grants", &grants.display().to_string()], 2);
    assert!(stderr_of(&output).contains("line 1, column 3"), "{}", stderr_of(&output));
}

#[test]
fn inspect_tells_tools_with_schemas_and_docs() {
    let object = json_of(&ends(&["inspect", "toolbox", "--json"], 0));
    let tools = object["tools"].as_array().expect("tools");
    let read = tools.iter().find(|tool| tool["name"] == "read-file").expect("read-file");
    assert_eq!(read["wire_name"], "read_file");
    assert_eq!(read["input_schema"]["required"], json!(["path"]));
    assert!(read["description"].as_str().is_some_and(|text| text.starts_with("Reads a text file")));
    for tool in tools {
        for schema in [&tool["input_schema"], &tool["output_schema"]] {
            jsonschema::draft202012::meta::validate(schema).expect("a valid schema");
        }
    }
    let wit = String::from_utf8(ends(&["inspect", "toolbox", "--wit"], 0).stdout).expect("text");
    assert!(wit.contains("read-file: func(path: string"), "{wit}");
}

#[test]
fn tools_that_describe_themselves_are_inspected_and_called() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("textkit.wasm").display().to_string();
    std::fs::write(&file, casemate_guests::TEXTKIT).expect("written");
    let object = json_of(&ends(&["inspect", &file, "--json"], 0));
    let names: Vec<_> = object["tools"].as_array().expect("tools").iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, ["word-count", "slugify", "diff-lines"]);
    let shown = String::from_utf8(ends(&["inspect", &file], 0).stdout).expect("text");
    assert!(shown.contains("slugify(") && shown.contains("longest?"), "{shown}");
    assert!(shown.contains("      Counts the words, lines and characters of a text.\n"), "{shown}");

    let count = json_of(&ends(&["call", &file, "word-count", r#"{"text":"to be or not"}"#], 0));
    assert_eq!(count, json!({"words": 4, "lines": 1, "characters": 12}));
    let error = json_of(&ends(&["call", &file, "word-count", "{}", "--json"], 2))["error"].clone();
    assert_eq!(error, json!({"kind": "invalid-input", "message": "missing field `text`"}));
    ends(&["call", &file, "invoke", "{}"], 2);
    ends(&["call", &file, "slugify", r#"{"text":"!"}"#], 1);
}

#[test]
fn a_component_is_documented_and_compiled_ahead() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let text = r#"(component
        (core module $m (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
        (core instance $i (instantiate $m))
        (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add"))))"#;
    let binary = wat::parse_str(text).expect("the text parses");
    std::fs::write(path("add.wasm"), binary).expect("written");
    std::fs::write(
        path("add.wit"),
        "package a:b;\nworld adder {\n  /// Adds two numbers.\n  export add: func(a: u32, b: u32) -> u32;\n}\n",
    )
    .expect("written");
    ends(&["component", "add-docs", &path("add.wasm"), "--wit", &path("add.wit")], 0);
    let object = json_of(&ends(&["inspect", &path("add.wasm"), "--json"], 0));
    assert_eq!(object["tools"][0]["description"], "Adds two numbers.");

    ends(&["component", "compile", &path("add.wasm"), "-o", &path("add.cwasm")], 0);
    let output = ends(&["call", &path("add.cwasm"), "add"], 2);
    assert!(stderr_of(&output).contains("this is a compiled component"));
}

#[test]
fn the_cache_is_listed_verified_and_cleared() {
    let cache = TempDir::new().expect("a temporary folder");
    let with_cache = |arguments: &[&str], status| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        let output =
            command.args(arguments).arg("--cache-dir").arg(cache.path().join("c")).output().expect("it starts");
        assert_eq!(output.status.code(), Some(status), "{}", stderr_of(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    with_cache(&["call", &five_exports(), "add", r#"{"a":1,"b":1}"#], 0);
    assert!(with_cache(&["cache", "list"], 0).contains(".cwasm"));
    assert!(with_cache(&["cache", "verify"], 0).contains("1 entries, 0 damaged"));
    let entry =
        std::fs::read_dir(cache.path().join("c")).expect("a folder").next().expect("an entry").expect("read").path();
    let mut bytes = std::fs::read(&entry).expect("read");
    bytes[100] ^= 1;
    std::fs::write(&entry, bytes).expect("written");
    assert!(with_cache(&["cache", "verify"], 1).contains("1 damaged"));
    assert_eq!(with_cache(&["call", &five_exports(), "add", r#"{"a":1,"b":1}"#], 0), "2\n");
    assert!(with_cache(&["cache", "clear"], 0).contains("removed 1 entries"));
}

#[test]
fn processes_race_for_one_cache_and_all_succeed() {
    let cache = TempDir::new().expect("a temporary folder");
    let file = five_exports();
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command.args(["call", &file, "add", r#"{"a":1,"b":1}"#, "--cache-dir"]).arg(cache.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
    };
    let racing: Vec<_> = (0..6).map(|_| start()).collect();
    for child in racing {
        let output = child.wait_with_output().expect("it ends");
        assert_eq!((output.stdout.as_slice(), stderr_of(&output).as_str()), (&b"2\n"[..], ""));
    }
    let entries: Vec<_> = std::fs::read_dir(cache.path()).expect("a folder").collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
}

#[test]
fn the_demo_governs_an_agent_and_without_a_terminal_its_question_is_answered_no() {
    let shown = String::from_utf8(ends(&["demo"], 0).stdout).expect("text");
    for line in [
        "done  {\"order\":\"A-17\",\"amount\":500,\"count\":1}",
        "denied  refunds of more than 100.00 are made at the desk",
        "denied  nobody is asked, and the answer is no: Refund more than 20.00?",
        "on disk there is now: A-17 500\n",
        "asks      refund {\"order\":\"B-3\",\"amount\":5000} by rule `large-refund` (refunds.cedar:10)\n",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
}

#[test]
fn the_demo_mends_a_bug_though_its_agent_is_killed() {
    let output = ends(&["demo"], 0);
    let shown = String::from_utf8(output.stdout).expect("text");
    let (before, after) = shown.split_once("(SIGKILL)").expect("it is killed");
    assert!(before.contains("7 of 9 cases come out"), "{shown}");
    assert!(after.contains("reproduced 18 effects, and the same end"), "{shown}");
    assert!(after.contains("9 of 9 cases come out"), "{shown}");
}

#[test]
fn the_demo_contains_every_trick() {
    let output = ends(&["demo"], 0);
    let shown = String::from_utf8(output.stdout).expect("text");
    assert!(!shown.contains("NOT CONTAINED"), "{shown}");
    assert!(shown.contains("18 of 18 tricks were contained."), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no colour where there is no terminal");
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_cancels_the_call() {
    let child = casemate(&["call", &five_exports(), "spin", "--timeout", "1h", "--fuel", "9000000000000", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    while !catches_interrupts(child.id()) {
        std::thread::yield_now();
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    let object = json_of(&output);
    assert_eq!(object["error"]["kind"], "cancelled");
    assert!(object["usage"]["wall_time_us"].as_u64() > Some(0));
}

/// Whether the process has a handler for SIGINT; before that, the signal would just kill it.
#[cfg(target_os = "linux")]
fn catches_interrupts(pid: u32) -> bool {
    const SIGINT_BIT: u64 = 1 << 1;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask");
    u64::from_str_radix(caught.trim(), 16).expect("hexadecimal") & SIGINT_BIT != 0
}

#[cfg(target_os = "linux")]
#[test]
fn without_address_space_for_a_pool_it_works_and_says_so_once() {
    let casemate = env!("CARGO_BIN_EXE_casemate");
    for kibibytes in [40_000_000, 2_000_000] {
        let script =
            format!("ulimit -v {kibibytes}; {casemate} call {} add '{{\"a\":2,\"b\":3}}' --no-cache", five_exports());
        let output = Command::new("sh").args(["-c", &script]).output().expect("sh runs");
        assert_eq!(output.stdout, b"5\n", "{}", stderr_of(&output));
        assert_eq!(stderr_of(&output).matches("no pool").count(), 1);
    }
}

#[test]
fn completions_are_printed_for_a_shell() {
    assert!(String::from_utf8(ends(&["completions", "bash"], 0).stdout).expect("text").contains("casemate"));
}
