use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use casemate::storage::{Prune as Request, RunFilter};
use casemate::{RunStatus, RunSummary};
use clap::Args;
use serde_json::json;

use super::list::{Status, before};
use super::print;
use crate::options::{self, OutputOptions};
use crate::store::Store;
use crate::{story, view};

/// How many runs are removed at once.
const BATCH: usize = 100;

/// How long ago bytes were kept that no run needs and that are removed.
const GRACE: Duration = Duration::from_hours(1);

/// Remove finished runs, with all that is kept of them
#[derive(Args)]
pub(crate) struct Prune {
    /// Those that ended so long ago, such as 30d
    #[arg(long, value_name = "TIME", value_parser = options::time)]
    older_than: Duration,
    /// In this state only: completed, failed, cancelled or diverged; may be said several times
    #[arg(long = "status", value_name = "STATUS", value_enum)]
    statuses: Vec<Status>,
    /// Only say which ones
    #[arg(long)]
    dry_run: bool,
}

impl Prune {
    pub(super) async fn run(self, store: &Store, output: OutputOptions) -> anyhow::Result<ExitCode> {
        let statuses: Vec<RunStatus> = self.statuses.iter().map(|&status| status.into()).collect();
        if statuses.iter().any(|status| !status.is_finished()) {
            bail!("only finished runs are removed: those completed, failed, cancelled or diverged");
        }
        let before = before(self.older_than)?;
        if self.dry_run {
            return Ok(would_remove(&old(store, &statuses, before).await?, output)?);
        }
        let request = Request { before, statuses };
        let mut removed = 0;
        loop {
            let batch = store.runs().prune(request.clone(), BATCH).await?;
            removed += batch;
            if batch < BATCH {
                break;
            }
        }
        while store.runs().storage().prune_blobs(GRACE, BATCH).await? == BATCH {}
        if output.json {
            print(&json!({ "removed": removed }))?;
        } else {
            anstream::println!("removed {}", story::counted(removed as u64, "run"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The runs that would be removed.
async fn old(store: &Store, statuses: &[RunStatus], before: SystemTime) -> anyhow::Result<Vec<RunSummary>> {
    let filter = RunFilter { statuses: statuses.to_vec(), until: Some(before), ..RunFilter::default() };
    let mut runs = store.all(filter).await?;
    runs.retain(|run| run.status.is_finished() && run.updated < before);
    Ok(runs)
}

fn would_remove(runs: &[RunSummary], output: OutputOptions) -> std::io::Result<ExitCode> {
    if output.json {
        let ids: Vec<_> = runs.iter().map(|run| run.id).collect();
        print(&json!({ "would_remove": ids }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = anstream::stdout().lock();
    for run in runs {
        writeln!(out, "{}  {}, {}", run.id, crate::render::plain(&run.agent), view::standing(run).2)?;
    }
    writeln!(out, "would remove {}", story::counted(runs.len() as u64, "run"))?;
    Ok(ExitCode::SUCCESS)
}
