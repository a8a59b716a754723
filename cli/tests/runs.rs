//! Runs through the binary: processes that come, go, are killed and interrupted, on one data folder.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with agents, tools and a ledger, and a data folder; commands run in it.
struct Place {
    folder: TempDir,
}

/// The flags of tools that leave traces.
const LEDGER: &[&str] = &["--dir", "ledger::/ledger:rw", "--tool", "refund=ledger.wasm#refund"];
const TALK: &str = r#"
[[turns]]
thinking = "I should write it down."
text = "I write it down."
tool_calls = [{ name = "write-file", input = { path = "/workspace/out.md", content = "one\n" } }]

[[turns]]
expect = { role = "tool", contains = "created" }
text = ["It is ", "written."]
usage = { input_tokens = 900, output_tokens = 12, cost = 300 }
"#;

impl Place {
    fn new() -> Self {
        let place = Self { folder: TempDir::new().expect("a temporary folder") };
        place.write("puppet.wasm", casemate_guests::PUPPET);
        place.write("ledger.wasm", casemate_guests::LEDGER);
        place.write("talk.toml", TALK.as_bytes());
        let park = concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/adversarial/wat/five-exports.wat");
        place.write("park.wat", &std::fs::read(park).expect("the guest is there"));
        std::fs::create_dir(place.path("ledger")).expect("a folder");
        std::fs::create_dir(place.path("work")).expect("a folder");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    /// What was refunded: the tool's own account.
    fn refunds(&self) -> String {
        std::fs::read_to_string(self.path("ledger/refunds.log")).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command.args(arguments).arg("--cache-dir").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("CASEMATE_DATA", self.path("data")).env("USER", "ada");
        command
    }

    /// What it prints to standard output and to standard error.
    #[track_caller]
    fn ends(&self, arguments: &[&str], status: i32) -> (String, String) {
        ended(&self.command(arguments).output().expect("the binary starts"), status)
    }

    #[track_caller]
    fn json(&self, arguments: &[&str], status: i32) -> Value {
        let (stdout, _) = self.ends(&[arguments, &["--json"]].concat(), status);
        serde_json::from_str(&stdout).expect("standard output is one JSON object")
    }

    /// Runs the agent that does what it is told, to its end.
    #[track_caller]
    fn puppet(&self, message: &str, flags: &[&str], status: i32) -> (String, String) {
        self.ends(&[&["run", "puppet.wasm", message], flags].concat(), status)
    }

    /// The same, up to a line on standard error.
    #[track_caller]
    fn puppet_until(&self, message: &str, flags: &[&str], line: &str) -> Running {
        self.begin(&[&["run", "puppet.wasm", message], flags].concat(), line)
    }

    #[track_caller]
    fn begin(&self, arguments: &[&str], line: &str) -> Running {
        let mut command = self.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut running = Running { _ended: watch(child.id()), child, stderr };
        running.until(line);
        running
    }

    /// The id of the run that was started last.
    #[track_caller]
    fn last(&self) -> String {
        let runs = self.json(&["runs", "list", "--limit", "1"], 0);
        runs["runs"][0]["id"].as_str().expect("there is one").to_owned()
    }

    #[track_caller]
    fn status(&self, run: &str) -> Value {
        self.json(&["runs", "show", run], 0)["status"].clone()
    }

    /// The types of a run's events; their numbers have no gaps.
    #[track_caller]
    fn events(&self, run: &str) -> Vec<Value> {
        let (stdout, _) = self.ends(&["runs", "events", run, "--json"], 0);
        let events: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let numbers: Vec<_> = events.iter().map(|event| event["sequence"].as_u64().expect("a number")).collect();
        assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
        events
    }

    fn kinds(&self, run: &str) -> Vec<String> {
        let kind = |event: &Value| event["type"].as_str().expect("a type").to_owned();
        self.events(run).iter().map(kind).collect()
    }

    #[track_caller]
    fn approval(&self) -> String {
        let approvals = self.json(&["approvals", "list"], 0);
        approvals["approvals"][0]["id"].as_str().expect("there is one").to_owned()
    }
}

#[track_caller]
fn ended(output: &Output, status: i32) -> (String, String) {
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!(output.status.code(), Some(status), "{stderr}{stdout}");
    (stdout, stderr)
}

/// A process that goes on, but not for ever.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    _ended: Sender<()>,
}

/// Kills a process that has not ended in time, so that a test that waits for it fails.
fn watch(process: u32) -> Sender<()> {
    let (ended, waits) = channel();
    std::thread::spawn(move || {
        if waits.recv_timeout(Duration::from_mins(2)) == Err(RecvTimeoutError::Timeout) {
            _ = signal(process, "-KILL");
        }
    });
    ended
}

fn signal(process: u32, signal: &str) -> bool {
    let killed = Command::new("kill").args([signal, &process.to_string()]).status();
    killed.expect("there is a `kill`").success()
}

impl Running {
    /// Reads what it says until there is a line with this in it.
    #[track_caller]
    fn until(&mut self, text: &str) -> String {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).expect("it says something");
            assert!(read > 0, "it never said `{text}`: {said}");
            if line.contains(text) {
                return line;
            }
            said.push_str(&line);
        }
    }

    fn interrupt(&self) {
        assert!(signal(self.child.id(), "-INT"));
    }

    /// Kills it where it stands.
    fn kill(mut self) {
        self.child.kill().expect("it is there");
        self.child.wait().expect("it ends");
    }

    #[track_caller]
    fn ends(mut self, status: i32) -> (String, String) {
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr).expect("text");
        let output = self.child.wait_with_output().expect("it ends");
        let (stdout, _) = ended(&Output { stderr: stderr.clone().into_bytes(), ..output }, status);
        (stdout, stderr)
    }
}

const WITH_TALK: &[&str] = &["--model", "scripted:talk.toml", "--tools", "toolbox"];

#[test]
fn the_built_in_agent_does_its_work_and_says_so() {
    let place = Place::new();
    let (stdout, stderr) =
        place.ends(&[&["run", "chat", "Write it down", "--workspace", "work"], WITH_TALK].concat(), 0);
    assert_eq!(stdout, "It is written.\n");
    assert_eq!(std::fs::read_to_string(place.path("work/out.md")).expect("it was written"), "one\n");
    for part in
        ["I write it down.", "▸ write-file content: ", "◂ change: \"created\"", "✓ completed", "casemate runs show"]
    {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert!(!stderr.contains('\u{1b}'), "{stderr}");

    let run = place.last();
    let shown = place.json(&["runs", "show", &run], 0);
    assert_eq!(
        (&shown["agent"], &shown["status"], &shown["output"]),
        (&json!("chat"), &json!("completed"), &json!("It is written."))
    );
    assert_eq!((&shown["usage"]["turns"], &shown["usage"]["cost"]), (&json!(2), &json!(300)));
    assert_eq!(shown["messages"].as_array().map(Vec::len), Some(4));
    assert_eq!(shown["attachment"], Value::Null);
    let call = &shown["tool_calls"][0];
    assert_eq!((&call["tool"], &call["input"]["content"]), (&json!("write-file"), &json!("one\n")));
    assert_eq!((&call["outcome"], &call["output"]["bytes"]), (&json!("succeeded"), &json!(4)));
    let (text, _) = place.ends(&["runs", "show", &run], 0);
    assert!(text.contains("user\nWrite it down") && text.contains("model\nIt is written."), "{text}");
    let (events, _) = place.ends(&["runs", "events", &run], 0);
    assert_eq!(events.lines().count(), place.events(&run).len());
    assert!(events.contains("chat was asked: Write it down"), "{events}");
    let (replayed, _) = place.ends(&["runs", "replay", &run], 0);
    assert!(replayed.starts_with("reproduced"), "{replayed}");
    assert_eq!(place.json(&["runs", "replay", &run], 0)["output"], "It is written.");
    let (files, _) = place.ends(&["runs", "files", &run], 0);
    assert_eq!(files, "out.md\n");
    let (file, _) = place.ends(&["runs", "files", &run, "read", "out.md"], 0);
    assert_eq!(file, "one\n");
}

#[test]
fn a_run_has_a_workspace_of_its_own_unless_it_is_given_one() {
    let place = Place::new();
    place.ends(&[&["run", "chat", "Write it down"], WITH_TALK].concat(), 0);
    let own = place.path("data/workspaces").join(place.last()).join("out.md");
    assert_eq!(std::fs::read_to_string(own).expect("it was written"), "one\n");
    let refused = |workspace: &str, says: &str| {
        let (_, stderr) = place.ends(&[&["run", "chat", "Write", "--workspace", workspace], WITH_TALK].concat(), 2);
        assert!(stderr.contains(says), "{stderr}");
    };
    refused(".", "would show the guest the records of runs");
    refused("nowhere", "`nowhere` is no folder that is there");
}

#[test]
fn an_agent_is_told_files_instructions_and_what_was_said_before() {
    let place = Place::new();
    place.write("work/notes.md", b"remember\n");
    place.write("system.txt", b"be brief");
    let flags = ["--workspace", "work", "--file", "notes.md", "--system", "@system.txt"];
    let (stdout, _) = place.puppet("context", &flags, 0);
    assert_eq!(stdout, "puppet | be brief | /workspace/notes.md=remember\n | 0\n");
    let first = place.last();
    let (stdout, _) = place.puppet("context", &["--history", &first], 0);
    assert_eq!(stdout, "puppet |  |  | 2\n");
    let (_, stderr) = place.puppet("context", &["--file", "work/notes.md"], 2);
    assert!(stderr.contains("--workspace ."), "{stderr}");
}

#[test]
fn the_message_may_come_from_a_file_or_standard_input() {
    let place = Place::new();
    place.write("task.md", b"say from a file");
    assert_eq!(place.puppet("@task.md", &[], 0).0, "from a file\n");
    let piped = |arguments: &[&str]| {
        let file = std::fs::File::open(place.path("task.md")).expect("it is there");
        ended(&place.command(arguments).stdin(file).output().expect("the binary starts"), 0).0
    };
    assert_eq!(piped(&["run", "puppet.wasm"]), "from a file\n");
    assert_eq!(piped(&["run", "puppet.wasm", "-"]), "from a file\n");
    let (_, stderr) = place.ends(&["run", "puppet.wasm"], 2);
    assert!(stderr.contains("the message is empty"), "{stderr}");
}

#[test]
fn every_end_has_its_status() {
    let place = Place::new();
    place.puppet("say fine", &[], 0);
    let (_, stderr) = place.puppet("fail on purpose", &[], 1);
    assert!(stderr.contains("failed") && stderr.contains("on purpose"), "{stderr}");
    place.puppet("spin", &["--fuel", "1000000"], 3);
    place.puppet("trap", &[], 5);
    let denied = place.puppet("call refund {\"order\":\"A-1\",\"amount\":1}", LEDGER, 0);
    assert!(denied.0.starts_with("denied: "), "{}", denied.0);
    assert!(denied.1.contains("allow it with --allow-tool refund"), "{}", denied.1);
    assert_eq!(place.refunds(), "");
}

#[test]
fn a_killed_run_goes_on_in_another_process_and_does_nothing_twice() {
    let place = Place::new();
    let message =
        "call refund {\"order\":\"A-1\",\"amount\":5}\nask go on?\ncall refund {\"order\":\"A-2\",\"amount\":7}";
    let flags = [LEDGER, &["--allow-tool", "refund"]].concat();
    place.puppet_until(message, &flags, "go on?").kill();
    assert_eq!(place.refunds(), "A-1 5\n");
    let run = place.last();
    place.ends(&["runs", "input", &run, "yes"], 0);
    // Neither the folder in which it stands nor the file of the agent is what it was.
    std::fs::remove_file(place.path("puppet.wasm")).expect("it is there");
    let mut resume = place.command(&["runs", "resume", &run]);
    let (stdout, stderr) = ended(&resume.current_dir("/").output().expect("the binary starts"), 0);
    assert!(stdout.contains("yes"), "{stdout}");
    assert!(stderr.contains("goes on: its process was gone"), "{stderr}");
    assert_eq!(place.refunds(), "A-1 5\nA-2 7\n");
    let calls = place.kinds(&run).into_iter().filter(|kind| kind == "tool_call").count();
    assert_eq!(calls, 2);
    place.ends(&["runs", "replay", &run], 0);
    assert_eq!(place.refunds(), "A-1 5\nA-2 7\n");
    let (_, stderr) = place.ends(&["runs", "resume", &run], 2);
    assert!(stderr.contains("is finished"), "{stderr}");
}

const PARK: &[&str] = &["--tool", "park=park.wat#park", "--allow-tool", "park", "--timeout", "1h"];

#[test]
fn an_effect_that_was_under_way_is_settled_by_a_person() {
    let place = Place::new();
    let settle = |what: &[&str], status: i32| {
        place.puppet_until("call park {}\nsay after", PARK, "▸ park").kill();
        let run = place.last();
        let mut resumed = place.begin(&["runs", "resume", &run], "nobody knows whether");
        let hint = resumed.until("casemate runs settle");
        let effect = hint.split_whitespace().skip_while(|word| *word != "settle").nth(2).expect("a number").to_owned();
        let (_, stderr) = place.ends(&["runs", "settle", &run, "99", "did-not-happen"], 2);
        assert!(stderr.contains("is not in doubt"), "{stderr}");
        place.ends(&[&["runs", "settle", &run, &effect], what].concat(), 0);
        (run, resumed.ends(status).0)
    };
    let (run, stdout) = settle(&["happened", "null"], 0);
    assert_eq!(stdout, "after\n");
    let settled = place.events(&run).into_iter().find(|event| event["type"] == "settled").expect("it is recorded");
    assert_eq!(settled["data"]["by"], "ada");
    let (run, _) = settle(&["fail", "who knows"], 1);
    assert_eq!(place.status(&run), "failed");
}

#[test]
fn an_approval_asked_in_one_process_is_given_in_another() {
    let place = Place::new();
    let message = "call refund {\"order\":\"A-1\",\"amount\":5}";
    let flags = [LEDGER, &["--ask-tool", "refund=Pay it back?"]].concat();

    let running = place.puppet_until(message, &flags, "casemate approvals approve");
    let id = place.approval();
    let (list, _) = place.ends(&["approvals"], 0);
    let listed = list.lines().last().and_then(|line| line.split_whitespace().next()).expect("an id");
    assert!(list.contains("Pay it back?") && id.starts_with(listed), "{list}");
    let (shown, _) = place.ends(&["approvals", "show", listed], 0);
    assert!(shown.contains(&id), "{shown}");
    let shown = place.json(&["approvals", "show", &id], 0);
    assert_eq!((&shown["tool"], &shown["input"]["amount"]), (&json!("refund"), &json!(5)));
    assert_eq!(place.refunds(), "");
    place.ends(&["approvals", "approve", &id, "--by", "bob"], 0);
    let (_, stderr) = running.ends(0);
    assert!(stderr.contains("refund was approved by bob"), "{stderr}");
    assert_eq!(place.refunds(), "A-1 5\n");
    let (_, stderr) = place.ends(&["approvals", "reject", &id], 2);
    assert!(stderr.contains("decided already, by bob"), "{stderr}");

    let running = place.puppet_until(message, &flags, "casemate approvals approve");
    place.ends(&["approvals", "approve", &place.approval(), "--edit", r#"{"order":"A-1","amount":2}"#], 0);
    running.ends(0);
    assert_eq!(place.refunds(), "A-1 5\nA-1 2\n");

    let running = place.puppet_until(message, &flags, "casemate approvals approve");
    place.ends(&["approvals", "reject", &place.approval()[..18], "not today"], 0);
    let (stdout, _) = running.ends(0);
    assert!(stdout.contains("not today"), "{stdout}");
    let calls = place.json(&["runs", "show", &place.last()], 0)["tool_calls"].clone();
    assert_eq!((&calls[0]["outcome"], &calls[0]["reason"]), (&json!("denied"), &json!("not today")));

    place.puppet(message, &[&flags[..], &["--approve", "always"]].concat(), 0);
    place.puppet(message, &[&flags[..], &["--approve", "never"]].concat(), 0);
    assert_eq!(place.refunds(), "A-1 5\nA-1 2\nA-1 5\n");
    assert_eq!(place.json(&["approvals"], 0), json!({"approvals": []}));
}

#[test]
fn a_run_that_waits_for_a_person_is_left_waiting() {
    let place = Place::new();
    let flags = [LEDGER, &["--ask-tool", "refund"]].concat();
    let running =
        place.puppet_until("call refund {\"order\":\"A-1\",\"amount\":5}", &flags, "casemate approvals approve");
    running.interrupt();
    let (_, stderr) = running.ends(8);
    assert!(stderr.contains("it goes on with: casemate runs resume"), "{stderr}");
    let run = place.last();
    let shown = place.json(&["runs", "show", &run], 0);
    assert_eq!((&shown["status"], &shown["waiting_on"]), (&json!("waiting"), &json!("approval")));
    place.ends(&["approvals", "approve", &place.approval()], 0);
    place.ends(&["runs", "resume", &run], 0);
    assert_eq!(place.refunds(), "A-1 5\n");
}

#[test]
fn ctrl_c_pauses_and_twice_cancels() {
    let place = Place::new();
    let spin = ["--fuel", "1000000000000", "--timeout", "1h"];
    let mut running = place.puppet_until("think begin\nspin", &spin, "begin");
    running.interrupt();
    running.until("Ctrl-C once more cancels it");
    let (_, stderr) = running.ends(8);
    assert!(stderr.contains("it goes on with: casemate runs resume"), "{stderr}");
    let run = place.last();
    assert_eq!(place.status(&run), "paused");

    let mut running = place.begin(&["runs", "resume", &run], "goes on after a pause");
    running.interrupt();
    running.until("paused");
    running.interrupt();
    running.until("cancelling");
    running.ends(130);
    assert_eq!(place.status(&run), "cancelled");
}

#[test]
fn a_run_is_steered_from_another_process() {
    let place = Place::new();
    let spin = ["--fuel", "1000000000000", "--timeout", "1h"];
    let mut running = place.puppet_until("ask colour?\nthink begin\nspin", &spin, "colour?");
    let run = place.last();
    place.ends(&["runs", "input", &run, "red"], 0);
    running.until("is told: red");
    running.until("begin");
    let mut watching = place.begin(&["runs", "watch", &run], "is told: red");
    assert_eq!(place.json(&["runs", "pause", &run], 0)["done"], "paused");
    running.until("paused");
    watching.until("paused");
    let (_, stderr) = place.ends(&["runs", "pause", &run], 0);
    assert!(stderr.contains("runs resume"), "{stderr}");
    let (stdout, _) = place.ends(&["runs", "cancel", &run, "enough"], 0);
    assert!(stdout.starts_with("cancelled"), "{stdout}");
    let (_, stderr) = running.ends(130);
    assert!(stderr.contains("enough"), "{stderr}");
    watching.ends(130);
    for late in [&["runs", "input", &run, "x"][..], &["runs", "pause", &run], &["runs", "cancel", &run]] {
        let (_, stderr) = place.ends(late, 2);
        assert!(stderr.contains("finished"), "{stderr}");
    }
}

#[test]
fn a_run_that_nobody_executes_can_be_stopped_even_where_its_agent_cannot_be_made() {
    let place = Place::new();
    let running = place.puppet_until("ask what?\ncall refund {}", LEDGER, "waits for input");
    running.interrupt();
    running.ends(8);
    std::fs::remove_file(place.path("ledger.wasm")).expect("it is there");
    let run = place.last();
    let (_, stderr) = place.ends(&["runs", "resume", &run], 2);
    assert!(stderr.contains("cannot be made again") && stderr.contains("ledger.wasm"), "{stderr}");
    assert_eq!(place.status(&run), "waiting");
    place.ends(&["runs", "cancel", &run], 0);
    assert_eq!(place.status(&run), "cancelled");
}

#[test]
fn a_fork_goes_on_from_the_middle() {
    let place = Place::new();
    let message = "call refund {\"order\":\"A-1\",\"amount\":5}\nask colour?";
    let flags = [LEDGER, &["--allow-tool", "refund"]].concat();
    let running = place.puppet_until(message, &flags, "colour?");
    let run = place.last();
    place.ends(&["runs", "input", &run, "red"], 0);
    running.ends(0);
    let at = place.kinds(&run).iter().position(|kind| kind == "tool_result").expect("there is one") + 1;
    let (stdout, stderr) = place.ends(&["runs", "fork", &run, "--at", &at.to_string(), "--input", "blue"], 0);
    assert!(stdout.ends_with("blue\n"), "{stdout}");
    assert_eq!(place.refunds(), "A-1 5\n");
    let fork = place.last();
    assert!(stderr.contains(&fork) && fork != run, "{stderr}");
    assert!(stderr.contains("goes on by itself from here") && !stderr.contains("answer with"), "{stderr}");
    let created = &place.events(&fork)[0]["data"];
    assert_eq!(created["forked_from"], json!({"run": run, "at": at}));
    let (_, stderr) = place.ends(&["runs", "fork", &run, "--at", "99"], 2);
    assert!(stderr.contains("has no event 99"), "{stderr}");
}

#[test]
fn runs_are_listed_filtered_and_paged() {
    let place = Place::new();
    assert_eq!(place.json(&["runs", "list"], 0), json!({"runs": [], "next": null}));
    assert!(!place.path("data").exists());
    place.puppet("say one", &[], 0);
    place.puppet("fail two", &[], 1);
    std::fs::copy(place.path("puppet.wasm"), place.path("other.wasm")).expect("copied");
    place.ends(&["run", "other.wasm", "say three"], 0);
    let agents = |flags: &[&str]| -> Vec<String> {
        let runs = place.json(&[&["runs", "list"], flags].concat(), 0)["runs"].clone();
        runs.as_array().expect("a list").iter().map(|run| run["agent"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(agents(&[]), ["other", "puppet", "puppet"]);
    assert_eq!(agents(&["--agent", "other"]), ["other"]);
    assert_eq!(agents(&["--status", "failed"]), ["puppet"]);
    assert_eq!(agents(&["--status", "failed", "--status", "completed"]).len(), 3);
    assert_eq!(agents(&["--since", "1h"]).len(), 3);
    assert_eq!(agents(&["--since", "2199-01-01T00:00:00Z"]).len(), 0);
    let page = place.json(&["runs", "list", "--limit", "2"], 0);
    let cursor = page["next"].as_str().expect("there are more");
    assert_eq!(agents(&["--limit", "2", "--cursor", cursor]), ["puppet"]);
    let (table, _) = place.ends(&["runs"], 0);
    assert!(table.contains("STATUS") && table.contains("failed") && table.contains("say three"), "{table}");
    let ids: Vec<_> = table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(ids.len(), 3);
    for id in ids {
        place.ends(&["runs", "show", id], 0);
    }

    let (_, stderr) = place.ends(&["runs", "prune", "--older-than", "0s", "--status", "running"], 2);
    assert!(stderr.contains("only finished runs"), "{stderr}");
    let would = place.json(&["runs", "prune", "--older-than", "0s", "--status", "failed", "--dry-run"], 0);
    assert_eq!(would["would_remove"].as_array().map(Vec::len), Some(1));
    assert_eq!(agents(&[]).len(), 3);
    assert_eq!(place.json(&["runs", "prune", "--older-than", "0s", "--status", "failed"], 0), json!({"removed": 1}));
    assert_eq!(place.json(&["runs", "prune", "--older-than", "1d"], 0), json!({"removed": 0}));
    assert_eq!(agents(&[]), ["other", "puppet"]);
}

#[test]
fn an_id_may_be_shortened() {
    let place = Place::new();
    place.puppet("say one", &[], 0);
    let first = place.last();
    place.ends(&["runs", "show", &first[..8]], 0);
    place.puppet("say two", &[], 0);
    let second = place.last();
    let common = first.bytes().zip(second.bytes()).take_while(|(one, other)| one == other).count();
    place.ends(&["runs", "show", &second[..=common].to_uppercase()], 0);
    let (_, stderr) = place.ends(&["runs", "show", &first[..4]], 2);
    assert!(stderr.contains("several runs") && stderr.contains(&first) && stderr.contains(&second), "{stderr}");
    for (id, says) in [
        ("01a", "too short"),
        ("zzzzzz", "is no id of a run"),
        ("ffff", "no run's id begins with"),
        ("00000000-0000-7000-8000-000000000000", "there is no run"),
    ] {
        let (_, stderr) = place.ends(&["runs", "show", id], 2);
        assert!(stderr.contains(says), "{stderr}");
    }
}

#[test]
fn what_cannot_be_is_told() {
    let place = Place::new();
    let refused = |arguments: &[&str], says: &str| {
        let (_, stderr) = place.ends(arguments, 2);
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
    };
    refused(&["runs", "show", "01a1ff88"], "there are no runs in");
    refused(&["approvals", "approve", "01a1ff88"], "there are no runs in");
    refused(&["run", "nobody", "hello"], "there is no agent `nobody`");
    assert!(!place.path("data").exists());
    refused(&["run", "ledger.wasm", "hello"], "does not export `casemate:agent/handler`");
    refused(&["run", "talk.toml", "hello"], "the component of the agent cannot be loaded");
    refused(&["run", "puppet.wasm", "hello", "--model", "gpt"], "is no source of a model");
    refused(&["run", "puppet.wasm", "hello", "--tools", "nothing.wasm"], "nothing.wasm");
    refused(&["run", "puppet.wasm", "hello", "--max-cost", "much"], "is no amount of dollars");
    refused(&["run", "puppet.wasm", "hello", "--timeout", "soon"], "`soon` is no time, such as");
    // A name with a mistake in it would leave a tool granted that was to be asked about.
    refused(
        &["run", "puppet.wasm", "hello", "--tools", "toolbox", "--ask-tool", "wirte-file"],
        "`wirte-file` is the name of no tool that is bound here: there is `",
    );
    refused(
        &["run", "puppet.wasm", "hello", "--model", "fast=playground", "--ask-model", "fats"],
        "`fats` is the name of no model that is bound here: there is `fast`",
    );
    refused(&["approvals", "show", "01a1ff88"], "no approval that waits begins with");
    let (_, stderr) = place.ends(&["run", "chat", "hello"], 1);
    assert!(stderr.contains("this run has no model"), "{stderr}");
}

#[test]
fn a_file_of_a_newer_release_is_refused_and_not_touched() {
    let place = Place::new();
    place.puppet("say one", &[], 0);
    let database = rusqlite::Connection::open(place.path("data/casemate.db")).expect("it is there");
    let version = || database.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0));
    database.pragma_update(None, "user_version", 900).expect("written");
    let (_, stderr) = place.ends(&["runs", "list"], 2);
    assert!(stderr.contains("has version 900") && stderr.contains("or a newer one"), "{stderr}");
    assert_eq!(version().expect("it is read"), 900);
}

#[test]
fn json_is_one_event_a_line_and_then_the_run() {
    let place = Place::new();
    let (stdout, stderr) = place.puppet("think hm\nsay done", &["--json"], 0);
    assert_eq!(stderr, "");
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (run, events) = lines.split_last().expect("there are some");
    assert_eq!((&run["status"], &run["output"]), (&json!("completed"), &json!("done")));
    assert_eq!(events, place.events(run["id"].as_str().expect("an id")));
    let (told, _) = place.ends(&["runs", "events", &place.last(), "--from", "3", "--json"], 0);
    assert_eq!(told.lines().count(), events.len() - 2);
    let (stdout, _) = place.puppet("fail so", &["--json"], 1);
    let run: Value = serde_json::from_str(stdout.lines().last().expect("a line")).expect("JSON");
    assert_eq!(run["failure"], json!({"kind": "tool-error", "message": "so"}));
}

#[test]
fn a_run_goes_on_where_nobody_reads_its_events_any_more() {
    let place = Place::new();
    let mut command = place.command(&["run", "puppet.wasm", "ask go on?\nsay done", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
    let _ended = watch(child.id());
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    while !line.contains("input_required") {
        line.clear();
        assert!(stdout.read_line(&mut line).expect("it says something") > 0);
    }
    drop(stdout);
    let run = place.last();
    place.ends(&["runs", "input", &run, "yes"], 0);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(place.status(&run), "completed");
}

#[test]
fn whoever_resumes_what_another_process_executes_is_told_so() {
    let place = Place::new();
    let spin = ["--fuel", "1000000000000", "--timeout", "1h"];
    let running = place.puppet_until("think begin\nspin", &spin, "begin");
    let run = place.last();
    let waiting = place.begin(&["runs", "resume", &run], "another process has this run");
    waiting.interrupt();
    waiting.ends(8);
    assert_eq!(place.status(&run), "running");
    place.ends(&["runs", "cancel", &run], 0);
    running.ends(130);
}

#[test]
fn the_value_of_a_secret_is_in_nothing_that_is_kept() {
    let place = Place::new();
    let canary = "canary-7f3a9b";
    let mut command =
        place.command(&["run", "puppet.wasm", "say hello", "--secret", "KEY=env:API_KEY@api.example.com"]);
    ended(&command.env("API_KEY", canary).output().expect("the binary starts"), 0);
    let (_, stderr) = place.puppet("say hello", &["--secret", &format!("KEY={canary}")], 2);
    assert!(!stderr.contains(canary), "{stderr}");
    let mut kept = 0;
    for entry in std::fs::read_dir(place.path("data")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            kept += 1;
            let bytes = std::fs::read(&path).expect("it is there");
            let is_there = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!is_there, "{}", path.display());
        }
    }
    assert!(kept > 0);
}

#[test]
fn what_an_agent_says_does_not_steer_the_terminal() {
    let place = Place::new();
    let (stdout, stderr) = place.puppet("think \u{1b}[2Jthought\nsay \u{1b}[2Jsaid", &[], 0);
    assert!(stderr.contains(r"\u001b[2Jthought") && !stderr.contains('\u{1b}'), "{stderr}");
    // Standard output is no terminal here: a program gets what was said.
    assert_eq!(stdout, "\u{1b}[2Jsaid\n");
    let (events, _) = place.ends(&["runs", "events", &place.last()], 0);
    assert!(!events.contains('\u{1b}'), "{events}");
}
