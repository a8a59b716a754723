use std::io::Write as _;
use std::process::ExitCode;

use casemate::{Event, EventKind, Run};
use clap::{Args, Subcommand};
use serde_json::json;

use super::print;
use crate::options::OutputOptions;
use crate::record::each_event;
use crate::render::{BOLD, plain, styled};
use crate::store::Store;
use crate::story;

/// Look at the files of a run's workspace
#[derive(Args)]
pub(crate) struct Files {
    /// Which run
    id: String,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// List them all
    List,
    /// Print one to standard output
    Read {
        /// Its path in the workspace
        path: String,
    },
    /// Show what the run's tools changed, edit by edit
    Diff,
}

impl Files {
    pub(super) async fn run(self, store: &Store, output: OutputOptions) -> anyhow::Result<ExitCode> {
        let run = store.run(&self.id).await?;
        match self.command.unwrap_or(Command::List) {
            Command::List => list(&run, output).await?,
            Command::Read { path } => read(&run, &path, output).await?,
            Command::Diff => diff(&run, output).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(run: &Run, output: OutputOptions) -> anyhow::Result<()> {
    let files = run.files().await?;
    if output.json {
        return Ok(print(&json!({ "files": files }))?);
    }
    if files.is_empty() {
        anstream::eprintln!("the workspace is empty");
    }
    let mut out = std::io::stdout().lock();
    for file in files {
        writeln!(out, "{}", plain(&file))?;
    }
    Ok(())
}

async fn read(run: &Run, path: &str, output: OutputOptions) -> anyhow::Result<()> {
    let bytes = run.read_file(path).await?;
    if output.json {
        let text = String::from_utf8_lossy(&bytes);
        let lossy = std::str::from_utf8(&bytes).is_err();
        return Ok(print(&json!({ "path": path, "text": text, "lossy": lossy }))?);
    }
    Ok(std::io::stdout().lock().write_all(&bytes)?)
}

async fn diff(run: &Run, output: OutputOptions) -> anyhow::Result<()> {
    let edits = edits(run).await?;
    if output.json {
        return Ok(print(&json!({ "edits": edits }))?);
    }
    if edits.is_empty() {
        anstream::eprintln!("its tools changed no file");
    }
    let mut out = anstream::stdout().lock();
    for event in edits {
        let EventKind::FileEdit { path, diff, .. } = &event.kind else { continue };
        let Some(diff) = diff else {
            writeln!(out, "{} (event {}): no text, or too long for a diff", styled(BOLD, plain(path)), event.sequence)?;
            continue;
        };
        for (style, line) in diff.lines().map(story::diff_line) {
            writeln!(out, "{}", styled(style, line))?;
        }
    }
    Ok(())
}

/// The events of edits.
async fn edits(run: &Run) -> anyhow::Result<Vec<Event>> {
    let mut edits = Vec::new();
    each_event(run, |event| {
        edits.extend(Some(event).filter(|event| matches!(event.kind, EventKind::FileEdit { .. })));
        Ok(())
    })
    .await?;
    Ok(edits)
}
