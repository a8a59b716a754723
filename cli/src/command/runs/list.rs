use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use casemate::storage::{Cursor, Page, RunFilter};
use casemate::{RunStatus, RunSummary};
use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::{Output, print};
use crate::render::{self, plain};
use crate::store::Store;
use crate::{live, story, view};

/// List runs, newest first
#[derive(Args)]
pub(crate) struct List {
    /// Of this agent only
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// In this state only; may be said several times
    #[arg(long = "status", value_name = "STATUS", value_enum)]
    statuses: Vec<Status>,
    /// Started at this moment or later: a time ago, such as `2h`, or such as `2026-01-31T12:00:00Z`
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<SystemTime>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Go on where another list ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

impl Default for List {
    fn default() -> Self {
        Self { agent: None, statuses: Vec::new(), since: None, limit: 20, cursor: None }
    }
}

/// Where a run is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Status {
    Queued,
    Running,
    Waiting,
    Paused,
    Completed,
    Failed,
    Cancelled,
    Diverged,
}

impl From<Status> for RunStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Queued => Self::Queued,
            Status::Running => Self::Running,
            Status::Waiting => Self::Waiting,
            Status::Paused => Self::Paused,
            Status::Completed => Self::Completed,
            Status::Failed => Self::Failed,
            Status::Cancelled => Self::Cancelled,
            Status::Diverged => Self::Diverged,
        }
    }
}

impl List {
    pub(super) async fn run(self, store: &Store, output: Output) -> anyhow::Result<ExitCode> {
        let statuses = self.statuses.iter().map(|&status| status.into()).collect();
        let filter = RunFilter { agent: self.agent, statuses, since: self.since, until: None };
        if self.limit == 0 {
            bail!("`--limit 0` lists nothing: give at least 1");
        }
        let page = store.runs().list(filter, self.limit, self.cursor.map(Cursor)).await?;
        show(&page, &store.flag(), output)
    }

    /// Where nothing was ever started.
    pub(super) fn of_nothing(output: Output) -> anyhow::Result<ExitCode> {
        show(&Page { items: Vec::new(), next: None }, "", output)
    }
}

fn show(page: &Page<RunSummary>, flag: &str, output: Output) -> anyhow::Result<ExitCode> {
    let Page { items, next } = page;
    if output.json {
        let runs: Vec<Value> = items.iter().map(live::as_json).collect();
        print(&json!({ "runs": runs, "next": next }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if items.is_empty() {
        anstream::eprintln!("no runs: `casemate run` starts one");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["RUN", "AGENT", "STATUS", "STARTED", "TOOK"]);
    for run in items {
        let (_, _, word) = view::standing(run);
        let age = SystemTime::now().duration_since(run.created).unwrap_or_default();
        table.add_row([
            run.id.to_string(),
            plain(&run.agent).into_owned(),
            word.to_owned(),
            format!("{} ago", story::roughly(age)),
            story::usage(&run.usage),
        ]);
    }
    writeln!(anstream::stdout().lock(), "{table}")?;
    if let Some(Cursor(cursor)) = next {
        anstream::eprintln!("there are more: {}{flag}", render::flag("casemate runs list --cursor", cursor));
    }
    Ok(ExitCode::SUCCESS)
}

/// A moment, or how long ago it was.
pub(super) fn moment(text: &str) -> anyhow::Result<SystemTime> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return before(ago);
    }
    match humantime::parse_rfc3339_weak(text) {
        Ok(moment) => Ok(moment),
        Err(_) => bail!("`{text}` is no moment: write a time ago, such as 2h, or such as 2026-01-31T12:00:00Z"),
    }
}

/// The moment that was so long ago.
pub(super) fn before(ago: Duration) -> anyhow::Result<SystemTime> {
    SystemTime::now().checked_sub(ago).ok_or_else(|| anyhow::anyhow!("so long ago there was no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_ago_or_a_date() {
        let then = moment("2h").unwrap();
        let two_hours = SystemTime::now().duration_since(then).unwrap();
        assert!(two_hours >= Duration::from_hours(2));
        let date = moment("1970-01-02T00:00:00Z").unwrap();
        assert_eq!(date, SystemTime::UNIX_EPOCH + Duration::from_hours(24));
        for text in ["", "yesterday", "2 lightyears"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
