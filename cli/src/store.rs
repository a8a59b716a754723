//! Where the runs of the command line are: their storage, and the agents that execute them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use casemate::storage::{RunFilter, SqliteStorage};
use casemate::{Agent, Approval, ApprovalId, Engine, Metering, Run, RunId, RunSummary, Runs};
use serde_json::Value;

use crate::options::{CacheOptions, DataOptions};
use crate::recipe::Recipe;

/// How long others wait before they go on with the runs of a process that is gone.
const LEASE: Duration = Duration::from_secs(3);

/// How long a run that waits, or is paused, keeps its sandbox, and its process its hand on it.
const GRACE: Duration = Duration::from_secs(2);

/// The fewest characters of an id that are looked for.
const FEWEST: usize = 4;

/// How many runs are listed, or approvals read, at once.
const PAGE: usize = 500;

/// Runs, and who executes them.
pub(crate) struct Store {
    runs: Runs,
    engine: Engine,
    agents: Agents,
    data: DataOptions,
}

/// Agents that are made, each with what is attached to its runs.
#[derive(Clone, Default)]
struct Agents(Arc<Mutex<Vec<(Value, Agent)>>>);

impl Agents {
    fn add(&self, attachment: Value, agent: Agent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((attachment, agent));
    }

    fn find(&self, run: &RunSummary) -> Option<Agent> {
        let agents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        agents.iter().find(|(attachment, _)| *attachment == run.attachment).map(|(_, agent)| agent.clone())
    }
}

impl Store {
    /// Opens it, and makes it where there is none.
    pub(crate) fn open(cache: &CacheOptions, data: &DataOptions, metering: Metering) -> anyhow::Result<Self> {
        let engine = cache.engine().metering(metering).build()?;
        let storage = SqliteStorage::open(data.database_path()?)?;
        let agents = Agents::default();
        let known = agents.clone();
        let runs = Runs::builder(&engine, Arc::new(storage))
            .find_agents(move |run: RunSummary| std::future::ready(known.find(&run)))
            .workspaces(data.workspaces_path()?)
            .lease(LEASE)
            .grace(GRACE)
            .build();
        Ok(Self { runs, engine, agents, data: data.clone() })
    }

    /// Opens it; none where nothing was ever started.
    pub(crate) fn find(cache: &CacheOptions, data: &DataOptions) -> anyhow::Result<Option<Self>> {
        if !data.database_path()?.exists() {
            return Ok(None);
        }
        Self::open(cache, data, Metering::Fuel).map(Some)
    }

    /// Opens it, where something was ever started.
    pub(crate) fn existing(cache: &CacheOptions, data: &DataOptions) -> anyhow::Result<Self> {
        match Self::find(cache, data)? {
            Some(store) => Ok(store),
            None => bail!("there are no runs in `{}`: `casemate run` starts one", data.database_path()?.display()),
        }
    }

    /// One in which this run can be executed: it is metered as it was when it began.
    pub(crate) async fn executing(cache: &CacheOptions, data: &DataOptions, id: &str) -> anyhow::Result<(Self, Run)> {
        let store = Self::existing(cache, data)?;
        let run = store.run(id).await?;
        let metering = Recipe::of(&run.summary().await?)?.options()?.meter().into();
        store.close().await;
        let store = Self::open(cache, data, metering)?;
        let run = store.runs.run(run.id());
        store.prepare(&run).await?;
        Ok((store, run))
    }

    pub(crate) fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Where data is kept, as a flag of commands that people are told.
    pub(crate) fn flag(&self) -> String {
        self.data.flag()
    }

    /// Makes the agent of runs that are to be started.
    pub(crate) async fn make(&self, recipe: &Recipe) -> anyhow::Result<()> {
        let agent = recipe.agent(&self.engine, recipe.bytes()?, &self.data).await?;
        self.agents.add(recipe.attachment()?, agent);
        Ok(())
    }

    /// Makes the agent of a run that is there, of the component that was kept with it.
    pub(crate) async fn prepare(&self, run: &Run) -> anyhow::Result<()> {
        let summary = run.summary().await?;
        let recipe = Recipe::of(&summary)?;
        let bytes = self.component(&summary).await?;
        let agent = recipe.agent(&self.engine, bytes, &self.data).await;
        let agent = agent.with_context(|| format!("the agent of run {} cannot be made again", summary.id))?;
        self.agents.add(summary.attachment, agent);
        Ok(())
    }

    /// As [`prepare`](Self::prepare); where that cannot be, an agent that has nothing: enough for a run that is to stop.
    pub(crate) async fn prepare_to_stop(&self, run: &Run) -> anyhow::Result<()> {
        if self.prepare(run).await.is_ok() {
            return Ok(());
        }
        let summary = run.summary().await?;
        let agent = Agent::load(&self.engine, self.component(&summary).await?).await?;
        self.agents.add(summary.attachment, agent);
        Ok(())
    }

    async fn component(&self, run: &RunSummary) -> anyhow::Result<Vec<u8>> {
        let lost = || format!("the component of run {} is not kept any more", run.id);
        let hash = run.component.with_context(lost)?;
        let bytes = self.runs.storage().blob(hash).await?;
        Ok(bytes.with_context(lost)?.to_vec())
    }

    /// The run of that id, or of the only one that begins so.
    pub(crate) async fn run(&self, text: &str) -> anyhow::Result<Run> {
        if let Ok(id) = text.parse::<RunId>() {
            let run = self.runs.run(id);
            run.summary().await?;
            return Ok(run);
        }
        let prefix = prefix(text, "run")?;
        let all = self.all(RunFilter::default()).await?;
        let found: Vec<_> = all.into_iter().filter(|run| run.id.to_string().starts_with(&prefix)).collect();
        match found.as_slice() {
            [run] => Ok(self.runs.run(run.id)),
            [] => bail!("no run's id begins with `{text}`: `casemate runs list{}` shows them", self.flag()),
            several => {
                let line = |run: &RunSummary| {
                    format!("{}  {}, {}", run.id, run.agent, humantime::format_rfc3339_seconds(run.created))
                };
                bail!("`{text}` begins the ids of several runs:{}", listed(several.iter().map(line)))
            }
        }
    }

    /// The number of the last event of a run; 0 where there is none yet.
    pub(crate) async fn last_event(&self, run: &Run) -> anyhow::Result<u64> {
        let head = self.runs.storage().head(run.id()).await?;
        Ok(head.map_or(0, |head| head.next.saturating_sub(1)))
    }

    /// All runs that a filter lets through, newest first.
    pub(crate) async fn all(&self, filter: RunFilter) -> anyhow::Result<Vec<RunSummary>> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.runs.list(filter.clone(), PAGE, cursor).await?;
            all.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// The approval of that id, or the only undecided one that begins so.
    pub(crate) async fn approval(&self, text: &str) -> anyhow::Result<Approval> {
        if let Ok(id) = text.parse::<ApprovalId>() {
            let approval = self.runs.approval(id).await?;
            return approval.with_context(|| format!("there is no approval {id}, or nobody needs it any more"));
        }
        let prefix = prefix(text, "approval")?;
        let mut found = self.runs.approvals(None, PAGE).await?;
        found.retain(|approval| approval.request.id.to_string().starts_with(&prefix));
        match found.len() {
            0 => bail!(
                "no approval that waits begins with `{text}`: `casemate approvals list{}` shows them",
                self.flag()
            ),
            1 => found.pop().context("it was there"),
            _ => {
                let line = |approval: &Approval| format!("{}  {}", approval.request.id, approval.request.subject);
                bail!("`{text}` begins the ids of several approvals:{}", listed(found.iter().map(line)))
            }
        }
    }

    /// Gives back what is executed here.
    pub(crate) async fn close(&self) {
        self.runs.shutdown().await;
    }
}

/// The beginning of an id, as ids are written.
fn prefix(text: &str, of: &str) -> anyhow::Result<String> {
    if text.len() < FEWEST {
        bail!("`{text}` is too short: give at least {FEWEST} characters of the {of}'s id");
    }
    if !text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()) {
        bail!("`{text}` is no id of a {of}, nor the beginning of one: they have digits, the letters a to f, and `-`");
    }
    Ok(text.to_ascii_lowercase())
}

fn listed(lines: impl ExactSizeIterator<Item = String>) -> String {
    const MOST: usize = 12;
    let more = lines.len().saturating_sub(MOST);
    let more = if more == 0 { String::new() } else { format!("\n  and {more} more") };
    let shown: Vec<_> = lines.take(MOST).map(|line| format!("\n  {line}")).collect();
    format!("{}{more}", shown.concat())
}
