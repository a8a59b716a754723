use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use casemate::storage::{Cursor, Page, RunFilter};
use casemate::{EventKind, RunStatus, RunSummary};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::print;
use crate::options::{self, OutputOptions};
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
    pub(super) async fn run(self, store: &Store, output: OutputOptions) -> anyhow::Result<ExitCode> {
        let statuses = self.statuses.iter().map(|&status| status.into()).collect();
        let filter = RunFilter { agent: self.agent, statuses, since: self.since, until: None };
        if self.limit == 0 {
            bail!("`--limit 0` lists nothing: give at least 1");
        }
        let page = store.runs().list(filter, self.limit, self.cursor.map(Cursor)).await?;
        if output.json {
            return show_json(&page);
        }
        let mut messages = Vec::new();
        for run in &page.items {
            messages.push(message(store, run).await?);
        }
        show(&page, &messages, &store.flag())
    }

    /// Where nothing was ever started.
    pub(super) fn of_nothing(output: OutputOptions) -> anyhow::Result<ExitCode> {
        let nothing = Page { items: Vec::new(), next: None };
        if output.json { show_json(&nothing) } else { show(&nothing, &[], "") }
    }
}

/// What a run was asked.
async fn message(store: &Store, run: &RunSummary) -> anyhow::Result<String> {
    let first = store.runs().run(run.id).recorded(1, 1).await?.pop();
    Ok(match first.map(|event| event.kind) {
        Some(EventKind::Created { message, .. }) => story::on_one_line(&story::message_text(&message)),
        _ => String::new(),
    })
}

fn show_json(page: &Page<RunSummary>) -> anyhow::Result<ExitCode> {
    let runs: Vec<Value> = page.items.iter().map(live::as_json).collect();
    print(&json!({ "runs": runs, "next": page.next }))?;
    Ok(ExitCode::SUCCESS)
}

fn show(page: &Page<RunSummary>, messages: &[String], flag: &str) -> anyhow::Result<ExitCode> {
    let Page { items, next } = page;
    if items.is_empty() {
        anstream::eprintln!("no runs: `casemate run` starts one");
        return Ok(ExitCode::SUCCESS);
    }
    let ids: Vec<_> = items.iter().map(|run| run.id.to_string()).collect();
    let rows = render::short_ids(&ids).into_iter().zip(items).zip(messages).map(|((id, run), message)| {
        let age = SystemTime::now().duration_since(run.created).unwrap_or_default();
        [
            id,
            plain(&run.agent).into_owned(),
            view::status(run).to_owned(),
            format!("{} ago", story::roughly(age)),
            story::spent(&run.usage),
            message.clone(),
        ]
    });
    let table = render::table(["RUN", "AGENT", "STATUS", "STARTED", "TOOK", "MESSAGE"], rows);
    writeln!(anstream::stdout().lock(), "{table}")?;
    if let Some(Cursor(cursor)) = next {
        anstream::eprintln!("there are more: {}{flag}", render::flag("casemate runs list --cursor", cursor));
    }
    Ok(ExitCode::SUCCESS)
}

/// A moment, or how long ago it was.
pub(super) fn moment(text: &str) -> anyhow::Result<SystemTime> {
    if let Ok(ago) = options::time(text) {
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
