//! The demo's agent: it mends a bug in a project on disk. Its process is killed while it waits for a person, another one
//! goes on with it, and then all of it is replayed. Everything is done with commands that anybody could type.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use casemate::storage::{SqliteStorage, Storage as _, StoredApproval};
use casemate::{Engine, Grants};
use serde_json::json;

use crate::options::CacheOptions;
use crate::render::{self, BAD, BOLD, DIM, GOOD, styled};

const FILES: [(&str, &str); 3] = [
    ("README.md", include_str!("calendar/README.md")),
    ("calendar.wat", include_str!("calendar/calendar.wat")),
    ("cases.txt", include_str!("calendar/cases.txt")),
];
const SCRIPT: &str = include_str!("calendar/script.toml");

/// How often is looked whether the agent asks by now.
const LOOK: Duration = Duration::from_millis(20);

/// The places where it happens, and how the binary is called there.
struct Stage<'a> {
    folder: &'a Path,
    cache: Vec<OsString>,
}

/// Whether the bug is mended in the end, and the run was the same when it was replayed.
pub(super) async fn show(engine: &Engine, cache: &CacheOptions, folder: &Path) -> anyhow::Result<bool> {
    let stage = Stage { folder, cache: cache.arguments() };
    let project = folder.join("calendar");
    std::fs::create_dir(&project)?;
    for (name, text) in FILES {
        std::fs::write(project.join(name), text)?;
    }
    std::fs::write(folder.join("script.toml"), SCRIPT)?;
    anstream::println!("   A small project: how many days a month has. Something is wrong with it.");
    show_cases(engine, &project).await?;

    let mut agent = stage.start(&[
        &["run", "chat", "Some months have the wrong number of days. Find out why, and mend it."],
        &["--model", "scripted:script.toml", "--workspace", "calendar", "--tools", "toolbox"],
        &["--tool", "days-in-month=calendar/calendar.wat", "--allow-tool", "days-in-month"],
        &["--ask-tool", "edit-file=May it change the file?"],
    ])?;
    let asked = waits_for_a_person(&stage, &mut agent).await?;
    agent.kill().context("the agent's process cannot be killed")?;
    agent.wait()?;
    let sentence = "Its process is killed (SIGKILL), right where it waits for a person. What it did is on disk.";
    anstream::println!("\n   {}\n", styled(BAD, sentence));

    let (run, approval) = (asked.run.to_string(), asked.asked.id.to_string());
    stage.finish(&[&["approvals", "approve", &approval]])?;
    stage.finish(&[&["runs", "resume", &run]])?;
    stage.finish(&[&["runs", "replay", &run]])?;
    show_cases(engine, &project).await
}

impl Stage<'_> {
    /// Shows a command as somebody would type it, on these lines.
    fn command(&self, lines: &[&[&str]]) -> anyhow::Result<Command> {
        let line = |words: &&[&str]| words.iter().map(|word| render::quoted(word)).collect::<Vec<_>>().join(" ");
        let shown = lines.iter().map(line).collect::<Vec<_>>().join(" \\\n         ");
        anstream::println!("   {} {}\n", styled(DIM, "$ casemate"), styled(BOLD, shown));
        let mut command = Command::new(std::env::current_exe().context("the binary does not find itself")?);
        command
            .args(lines.concat())
            .args(&self.cache)
            .current_dir(self.folder)
            .env("CASEMATE_DATA", self.folder.join("data"))
            .stdin(Stdio::null());
        Ok(command)
    }

    fn start(&self, lines: &[&[&str]]) -> anyhow::Result<Child> {
        self.command(lines)?.spawn().context("the binary cannot be started again")
    }

    fn finish(&self, lines: &[&[&str]]) -> anyhow::Result<()> {
        let status = self.command(lines)?.status().context("the binary cannot be started again")?;
        ensure!(status.success(), "`casemate {}` ended with {status}", lines.concat().join(" "));
        anstream::println!();
        Ok(())
    }
}

/// Waits until the agent asks a person.
async fn waits_for_a_person(stage: &Stage<'_>, agent: &mut Child) -> anyhow::Result<StoredApproval> {
    let storage = SqliteStorage::open(stage.folder.join("data").join("casemate.db"))?;
    loop {
        if let Some(asked) = storage.pending_approvals(None, 1).await?.pop() {
            return Ok(asked);
        }
        if let Some(status) = agent.try_wait()? {
            bail!("the agent ended before it asked anybody, with {status}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Runs the project's cases with its code as it is; whether all come out.
async fn show_cases(engine: &Engine, project: &Path) -> anyhow::Result<bool> {
    let component = engine.load(project.join("calendar.wat")).await?;
    let cases = std::fs::read_to_string(project.join("cases.txt"))?;
    let (mut passed, mut wrong) = (0, Vec::new());
    for case in cases.lines().filter(|line| !line.starts_with('#')) {
        let numbers: Vec<u32> = case.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [year, month, days] = numbers[..] else { bail!("`{case}` is no case") };
        let got = component.call("days-in-month", json!({"year": year, "month": month})).grants(Grants::none()).await?;
        if got == days {
            passed += 1;
        } else {
            wrong.push(format!("{year}-{month:02} has {got} days, and not {days}"));
        }
    }
    let tried = passed + wrong.len();
    let all_right = wrong.is_empty();
    let mark = if all_right { GOOD } else { BAD };
    let wrong = if wrong.is_empty() { String::new() } else { format!(": {}", wrong.join("; ")) };
    anstream::println!("   {}{wrong}\n", styled(mark, format!("{passed} of {tried} cases come out")));
    Ok(all_right)
}
