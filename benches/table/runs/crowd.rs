//! How do the built-in agent's runs fare, alone and a thousand at once?

use std::sync::Arc;
use std::time::Duration;

use casemate::storage::{MemoryStorage, Storage};
use casemate::{Agent, Engine, Grants, Models, RunRequest, Runs, ScriptedModel, Toolset};

use super::setting::{Disk, Puppet, chats_and_effects, completed, timed_tool};
use super::stopwatch::Stopwatch;
use crate::Result;
use crate::guests::Guests;
use crate::table::{Amount, Goal, Row, Table, print_row};

const EVEN: Goal = Goal::Times(2.0);
/// In memory.
const TURN: Goal = Goal::Reach(Amount::Time(Duration::from_millis(1)));

const CROWD: u32 = 1_000;
/// Turns of a run that is timed alone.
const TURNS: u32 = 20;
const AGENT: &str = "chat";

pub(super) async fn rows(table: &Table, guests: &Guests) -> Result<()> {
    if table.wants("runs/1000-at-once") {
        crowd(table).await?;
    }
    if table.wants("runs/turn") {
        turn(table, guests).await?;
    }
    if table.wants("runs/turn-durable") {
        durable_turn(table).await?;
    }
    Ok(())
}

/// The slowest of a thousand agents that begin together, beside their mean.
async fn crowd(table: &Table) -> Result<()> {
    let samples = table.rounds();
    let clerk = Clerk::load(1).await?;
    let (mut slowest, mut means) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        let times = round(&clerk).await?;
        slowest.push(times.iter().max().copied().unwrap_or_default());
        means.push(times.iter().sum::<Duration>() / CROWD);
    }
    let [casemate, bare] = [slowest, means].map(|mut times| {
        times.sort_unstable();
        Amount::Time(times.get(times.len() / 2).copied().unwrap_or_default())
    });
    print_row(&Row { name: "runs/1000-at-once", casemate, bare, goal: EVEN, samples });
    Ok(())
}

/// What each took, from when it was created to when its end was kept.
async fn round(clerk: &Clerk) -> Result<Vec<Duration>> {
    let disk = Disk::open()?;
    let runs = clerk.runs(&disk.storage);
    let request = || RunRequest::new("Refund the order A-1.");
    let starts = (0..CROWD).map(|_| {
        let runs = runs.clone();
        tokio::spawn(async move { runs.start(AGENT, request()).await })
    });
    let starts: Vec<_> = starts.collect();
    let mut times = Vec::new();
    for start in starts {
        let run = start.await??;
        completed(&run).await?;
        let summary = run.summary().await?;
        times.push(summary.updated.duration_since(summary.created)?);
    }
    runs.shutdown().await;
    Ok(times)
}

/// Beside the same two effects of an agent that has no conversation to send, outside of a run.
async fn turn(table: &Table, guests: &Guests) -> Result<()> {
    let (clerk, puppet) = (Clerk::load(TURNS).await?, Puppet::load(guests.engine()).await?);
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let runs = clerk.runs(&storage);
    let bare = async || {
        puppet.call(&chats_and_effects(TURNS)).await?;
        Ok(())
    };
    table
        .compare_long(
            "runs/turn",
            TURN,
            Amount::Time,
            async || clerk.one_turn(&runs).await,
            async || puppet.stopwatch.each_of(TURNS, bare).await,
        )
        .await?;
    runs.shutdown().await;
    Ok(())
}

/// On SQLite, where each of a turn's two effects is kept before and after, beside one in memory.
async fn durable_turn(table: &Table) -> Result<()> {
    let clerk = Clerk::load(TURNS).await?;
    let (disk, memory) = (Disk::open()?, Arc::new(MemoryStorage::new()) as Arc<dyn Storage>);
    let (on_disk, in_memory) = (clerk.runs(&disk.storage), clerk.runs(&memory));
    table
        .compare_long(
            "runs/turn-durable",
            Goal::None,
            Amount::Time,
            async || clerk.one_turn(&on_disk).await,
            async || clerk.one_turn(&in_memory).await,
        )
        .await?;
    on_disk.shutdown().await;
    in_memory.shutdown().await;
    Ok(())
}

/// The built-in agent, with a model that answers at once.
struct Clerk {
    engine: Engine,
    agent: Agent,
    stopwatch: Stopwatch,
}

impl Clerk {
    /// Its model calls a tool in each of so many turns, and says something at last.
    async fn load(turns: u32) -> Result<Self> {
        let (engine, stopwatch) = (Engine::builder().max_sandboxes(CROWD).build()?, Stopwatch::default());
        let tools = Toolset::new().with(timed_tool("refund", &stopwatch))?;
        let models = Models::new().with("script", ScriptedModel::from_toml(&script(turns))?)?;
        let agent = Agent::load(&engine, casemate_guests::CHAT).await?;
        let agent = agent.tools(tools).models(models).grants(Grants::none().tool("refund")?.model("script")?);
        Ok(Self { engine, agent, stopwatch })
    }

    fn runs(&self, storage: &Arc<dyn Storage>) -> Runs {
        Runs::builder(&self.engine, storage.clone()).agent(AGENT, self.agent.clone()).build()
    }

    /// What one of a run's turns takes: a chat, and the call that it asks for.
    async fn one_turn(&self, runs: &Runs) -> Result<Duration> {
        let mut run = None;
        let begin = async || {
            run = Some(runs.start(AGENT, RunRequest::new("Refund the order A-1, again and again.")).await?);
            Ok(())
        };
        let time = self.stopwatch.each_of(TURNS, begin).await?;
        match run {
            Some(run) => completed(&run).await.map(|()| time),
            None => Err("there is no run".into()),
        }
    }
}

fn script(turns: u32) -> String {
    const CALLS: &str = r#"
        [[turns]]
        tool_calls = [{ name = "refund", input = { order = "A-1", amount = 5 } }]"#;
    const SAYS: &str = r#"
        [[turns]]
        text = "It is refunded.""#;
    (0..turns).map(|_| CALLS).chain([SAYS]).collect()
}
