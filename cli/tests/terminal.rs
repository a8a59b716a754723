//! At a terminal: what people see there, what they are asked, and what their keys do.

#![cfg(unix)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

use rexpect::process::WaitStatus;
use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};
use tempfile::TempDir;

/// A folder with agents, a tool and a ledger, and a data folder; commands run in it.
struct Place {
    folder: TempDir,
}

const TALK: &str = r#"
[[turns]]
thinking = "Where do such things go?"
text = "I write it down."
tool_calls = [{ name = "write-file", input = { path = "/workspace/a-rather-long-name.md", content = "one\n" } }]

[[turns]]
text = ["It is ", "written."]
usage = { input_tokens = 900, output_tokens = 12, cost = 300 }
"#;

const CHAT: [&str; 9] =
    ["run", "chat", "Write it", "--model", "scripted:talk.toml", "--tools", "toolbox", "--workspace", "work"];

const REFUND: [&str; 7] = [
    "run",
    "puppet.wasm",
    "call refund {\"order\":\"A-1\",\"amount\":5}",
    "--dir",
    "ledger::/ledger:rw",
    "--tool",
    "refund=ledger.wasm#refund",
];

const SPIN: [&str; 7] = ["run", "puppet.wasm", "think begin\nspin", "--fuel", "1000000000000", "--timeout", "1h"];

impl Place {
    fn new() -> Self {
        let place = Self { folder: TempDir::new().expect("a temporary folder") };
        let write = |name: &str, bytes: &[u8]| std::fs::write(place.path(name), bytes).expect("written");
        write("puppet.wasm", casemate_guests::PUPPET);
        write("ledger.wasm", casemate_guests::LEDGER);
        write("talk.toml", TALK.as_bytes());
        std::fs::create_dir(place.path("ledger")).expect("a folder");
        std::fs::create_dir(place.path("work")).expect("a folder");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn refunds(&self) -> String {
        std::fs::read_to_string(self.path("ledger/refunds.log")).unwrap_or_default()
    }

    /// A line of a shell that makes the binary what is at the terminal.
    fn command(&self, line: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line, "sh", env!("CARGO_BIN_EXE_casemate")]).args(arguments);
        command.arg("--cache-dir").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        command.current_dir(self.folder.path()).env("CASEMATE_DATA", self.path("data")).env("USER", "ada");
        command.env("TERM", "xterm").env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        command
    }

    /// At a terminal of 80 columns, of which only the words are looked at.
    fn at_terminal(&self, arguments: &[&str]) -> Terminal {
        Terminal::start(self.command("stty columns 80 rows 40; exec \"$@\"", arguments), Looks::AtWords)
    }

    /// The last run's state.
    fn status(&self) -> String {
        let list = Command::new(env!("CARGO_BIN_EXE_casemate"))
            .args(["runs", "list", "--limit", "1", "--json"])
            .env("CASEMATE_DATA", self.path("data"))
            .output()
            .expect("the binary starts");
        let list: serde_json::Value = serde_json::from_slice(&list.stdout).expect("JSON");
        list["runs"][0]["status"].as_str().expect("there is one").to_owned()
    }

    /// The last run's id.
    fn last(&self) -> String {
        let mut list = self.at_terminal(&["runs", "list", "--limit", "1"]);
        let said = list.ends(0);
        let line = said.lines().last().expect("there is one");
        line.split_whitespace().next().expect("it has an id").to_owned()
    }
}

/// What of a terminal is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looks {
    AtWords,
    AtColoursToo,
}

/// A process at a terminal.
struct Terminal(PtySession);

impl Terminal {
    #[track_caller]
    fn start(command: Command, looks: Looks) -> Self {
        let options = Options::new().timeout_ms(Some(120_000)).strip_ansi_escape_codes(looks == Looks::AtWords);
        Self(spawn_with_options(command, options).expect("it starts"))
    }

    /// What is shown before this, which is in ASCII.
    #[track_caller]
    fn until(&mut self, text: &str) -> String {
        shown(&self.0.exp_string(text).unwrap_or_else(|error| panic!("{error}")))
    }

    #[track_caller]
    fn types(&mut self, line: &str) {
        self.0.send_line(line).expect("it listens");
    }

    #[track_caller]
    fn presses_control_c(&mut self) {
        self.0.send_control('c').expect("it listens");
    }

    /// The rest of what is shown.
    #[track_caller]
    fn ends(&mut self, status: i32) -> String {
        let rest = shown(&self.0.exp_eof().unwrap_or_else(|error| panic!("{error}")));
        match self.0.process().wait().expect("it ends") {
            WaitStatus::Exited(_, ended) => assert_eq!(ended, status, "{rest}"),
            other => panic!("{other:?}: {rest}"),
        }
        rest
    }
}

/// Text in the place of one letter for each of its bytes.
fn shown(bytes: &str) -> String {
    let bytes: Vec<u8> = bytes.chars().map(|byte| u8::try_from(byte).expect("it is a byte")).collect();
    String::from_utf8(bytes).expect("text").replace("\r\n", "\n")
}

#[test]
fn a_run_is_shown_as_it_goes_and_says_everything_once() {
    let place = Place::new();
    let said = place.at_terminal(&CHAT).ends(0);
    for part in [
        "· Where do such things go?\nI write it down.\n",
        "▸ write-file content: \"one\\n\", path: \"/workspace/a-rather-long-name.md\"",
        "◂ change: \"created\", bytes: 4",
        "± /workspace/a-rather-long-name.md created",
        "+one\n",
        "✓ completed 2 turns, 1 call, ",
        "$0.0003",
        "more: casemate runs show ",
    ] {
        assert_eq!(said.matches(part).count(), 1, "{part}: {said}");
    }
    assert_eq!(said.matches("It is written.").count(), 1, "{said}");
}

#[test]
fn what_it_says_in_the_end_goes_alone_to_a_standard_output_that_is_no_terminal() {
    let place = Place::new();
    let said = Terminal::start(place.command("exec \"$@\" > out.txt", &CHAT), Looks::AtWords).ends(0);
    assert!(said.contains("It is written.") && said.contains("completed"), "{said}");
    assert_eq!(std::fs::read_to_string(place.path("out.txt")).expect("it is there"), "It is written.\n");
}

#[test]
fn colours_are_for_those_who_want_them() {
    let place = Place::new();
    let command = || place.command("exec \"$@\"", &CHAT);
    let said = Terminal::start(command(), Looks::AtColoursToo).ends(0);
    assert!(said.contains("\u{1b}[2m· Where do such things go?\u{1b}[0m"), "{said:?}");
    std::fs::remove_file(place.path("work/a-rather-long-name.md")).expect("it is there");
    let mut plain = command();
    plain.env("NO_COLOR", "1");
    let said = Terminal::start(plain, Looks::AtColoursToo).ends(0);
    assert!(!said.contains("\u{1b}[2m") && !said.contains("\u{1b}[0m"), "{said:?}");
    assert!(said.contains("· Where do such things go?"), "{said:?}");
}

#[test]
fn a_narrow_terminal_gets_narrow_lines() {
    let place = Place::new();
    let narrow = |arguments: &[&str]| {
        let command = place.command("stty columns 40 rows 40; exec \"$@\"", arguments);
        Terminal::start(command, Looks::AtWords).ends(0)
    };
    let said = narrow(&CHAT);
    let call = said.lines().find(|line| line.contains("▸ write-file")).expect("it is shown");
    assert!(call.ends_with('…') && call.chars().count() <= 40, "{call}");
    let list = narrow(&["runs"]);
    assert!(list.lines().all(|line| line.chars().count() <= 40), "{list}");
}

#[test]
fn a_person_is_asked_in_place() {
    let place = Place::new();
    let asking = || {
        let mut terminal = place.at_terminal(&[&REFUND[..], &["--ask-tool", "refund=Pay it back?"]].concat());
        terminal.until("May `refund` be called?");
        let question = terminal.until("[y]es / [n]o / [e]dit: ");
        assert!(question.contains("Pay it back?") && question.contains("\"amount\": 5"), "{question}");
        terminal
    };
    let mut terminal = asking();
    assert_eq!(place.refunds(), "");
    terminal.types("y");
    let said = terminal.ends(0);
    assert!(said.contains("refund was approved by ada"), "{said}");
    assert_eq!(place.refunds(), "A-1 5\n");

    let mut terminal = asking();
    terminal.types("n");
    terminal.until("why?");
    terminal.types("not today");
    let said = terminal.ends(0);
    assert!(said.contains("refund was rejected by ada: not today"), "{said}");

    let mut terminal = asking();
    terminal.types("e");
    terminal.until("input as JSON: ");
    terminal.types("{\"order\":\"A-1\",\"amount\":2}");
    terminal.ends(0);
    assert_eq!(place.refunds(), "A-1 5\nA-1 2\n");
}

#[test]
fn ctrl_c_at_a_question_leaves_it_open_and_another_process_asks_it_again() {
    let place = Place::new();
    let mut terminal = place.at_terminal(&[&REFUND[..], &["--ask-tool", "refund"]].concat());
    terminal.until("[e]dit: ");
    terminal.presses_control_c();
    terminal.until("leaving it as it waits");
    let said = terminal.ends(8);
    assert!(said.contains("it goes on with: casemate runs resume"), "{said}");
    assert_eq!(place.status(), "waiting");
    let mut terminal = place.at_terminal(&["runs", "resume", &place.last()]);
    terminal.until("[e]dit: ");
    terminal.types("y");
    terminal.ends(0);
    assert_eq!(place.refunds(), "A-1 5\n");
}

#[test]
fn ctrl_c_once_pauses_and_twice_cancels() {
    let place = Place::new();
    let mut terminal = place.at_terminal(&SPIN);
    terminal.until("begin");
    terminal.presses_control_c();
    terminal.until("pausing; Ctrl-C once more cancels it");
    terminal.ends(8);
    assert_eq!(place.status(), "paused");

    let mut terminal = place.at_terminal(&["runs", "resume", &place.last()]);
    terminal.until("goes on after a pause");
    terminal.presses_control_c();
    terminal.until("pausing; ");
    terminal.presses_control_c();
    terminal.until("cancelling");
    terminal.ends(130);
    assert_eq!(place.status(), "cancelled");
}

#[test]
fn an_agent_asks_and_is_told() {
    let place = Place::new();
    let mut terminal = place.at_terminal(&["run", "puppet.wasm", "ask Which colour?\nsay done"]);
    terminal.until("Which colour?");
    terminal.until("> ");
    terminal.types("red");
    let said = terminal.ends(0);
    assert!(said.contains("done"), "{said}");

    // Whoever looks at it later is asked nothing.
    let said = place.at_terminal(&["runs", "watch", &place.last()]).ends(0);
    assert!(said.contains("asks: Which colour?") && said.contains("is told: red"), "{said}");
    assert!(!said.contains("> "), "{said}");
}
