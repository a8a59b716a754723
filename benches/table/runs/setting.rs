//! An agent that does as it is told, and where its runs live.

use std::sync::Arc;
use std::time::Duration;

use casemate::storage::{SqliteStorage, Storage};
use casemate::{
    Agent, Call, Component, Engine, EventKind, Gate, Grants, Models, PlaygroundModel, Run, RunRequest, RunStatus, Runs,
    Tool, Toolset,
};
use serde_json::json;
use tempfile::TempDir;

use super::stopwatch::Stopwatch;
use crate::Result;
use crate::gate::{INPUT, Refund};

pub(super) const AGENT: &str = "puppet";
const TOOL: &str = "refund";
const MODEL: &str = "play";

/// The puppet, with a tool that does nothing but note when it is called, and cannot be repeated, and a model that
/// answers at once.
pub(super) struct Puppet {
    engine: Engine,
    agent: Agent,
    component: Component,
    grants: Grants,
    tools: Toolset,
    models: Models,
    pub(super) stopwatch: Stopwatch,
}

impl Puppet {
    pub(super) async fn load(engine: &Engine) -> Result<Self> {
        let stopwatch = Stopwatch::default();
        let tools = Toolset::new().with(timed_tool(TOOL, &stopwatch))?;
        let grants = Grants::none().tool(TOOL)?.model(MODEL)?;
        let models = Models::new().with(MODEL, PlaygroundModel)?;
        let agent = Agent::load(engine, casemate_guests::PUPPET).await?;
        let agent = agent.tools(tools.clone()).grants(grants.clone());
        let component = engine.load_bytes(casemate_guests::PUPPET).await?;
        Ok(Self { engine: engine.clone(), agent, component, grants, tools, models, stopwatch })
    }

    /// A worker, as of a process of its own. Runs that only wait are given back at once.
    pub(super) fn runs(&self, storage: &Arc<dyn Storage>) -> Runs {
        Runs::builder(&self.engine, storage.clone()).agent(AGENT, self.agent.clone()).grace(Duration::ZERO).build()
    }

    /// The same agent told the same outside of a run: its effects take the same path, and nothing is kept.
    pub(super) fn call(&self, text: &str) -> Call {
        let message = json!({"role": "user", "content": [{"text": text}]});
        let call = self.component.call("handle", json!({"request": {"message": message}}));
        call.tools(self.tools.clone()).models(self.models.clone()).grants(self.grants.clone()).gate(&Gate::default())
    }
}

/// A tool that notes when it is called.
pub(super) fn timed_tool(name: &str, stopwatch: &Stopwatch) -> Tool {
    let stopwatch = stopwatch.clone();
    Tool::new(name, move |_: Refund| {
        stopwatch.lap();
        std::future::ready(Ok::<(), String>(()))
    })
}

/// What tells the puppet to call its tool so often.
pub(super) fn effects(count: u32) -> String {
    format!("times {count} call {TOOL} {INPUT}")
}

/// What tells the puppet to ask its model and call its tool so often, in turns.
pub(super) fn chats_and_effects(count: u32) -> String {
    format!("chat Refund the order A-1.\ncall {TOOL} {INPUT}\n").repeat(usize::try_from(count).unwrap_or_default())
}

/// Starts a run of the puppet.
pub(super) async fn start(runs: &Runs, text: &str) -> Result<Run> {
    Ok(runs.start(AGENT, RunRequest::new(text)).await?)
}

/// Waits until it did everything it was told.
pub(super) async fn completed(run: &Run) -> Result<()> {
    let summary = run.wait().await?;
    match summary.status {
        RunStatus::Completed => Ok(()),
        status => Err(format!("the run is {status:?}: {:?}", summary.failure).into()),
    }
}

/// Waits until it waits without a sandbox.
pub(super) async fn until_it_waits(run: &Run) -> Result<()> {
    let mut events = run.events(1);
    while let Some(event) = events.next().await {
        if matches!(event?.kind, EventKind::Waiting { .. }) {
            return Ok(());
        }
    }
    Err("the run does not wait".into())
}

/// A SQLite file of its own.
pub(super) struct Disk {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) folder: TempDir,
}

impl Disk {
    pub(super) fn open() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let storage = SqliteStorage::open(folder.path().join("runs.db"))?;
        Ok(Self { storage: Arc::new(storage), folder })
    }
}
