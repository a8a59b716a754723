//! Going through a run's past again: to look at it, or to go another way from somewhere in it.

use std::sync::Arc;

use casemate_policy::Grants;
use serde::Serialize;

use super::execute::{ExecuteError, divergence, handle};
use super::request::Spec;
use super::start::{StartError, first_entry};
use super::summary::Detail;
use super::{Run, RunError};
use crate::call::CallError;
use crate::component::Component;
use crate::event::{Event, EventKind, ForkedFrom};
use crate::gate::{Budget, Gate, Scope, Tree};
use crate::host::{Output, Sink};
use crate::journal::{Entry, Halt, Journal, Mode, Past, Trace, to_micros};
use crate::life::{RunId, RunStatus};
use crate::limits::Limits;
use crate::sandbox::{self, Plan};
use crate::storage::{NewRun, StorageError};
use crate::tool::Toolset;

/// What came of a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Replayed {
    /// How many effects of the agent's own were gone through.
    pub effects: u64,
    /// How it ended.
    #[serde(flatten)]
    pub end: ReplayEnd,
}

/// How a replay ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ReplayEnd {
    /// The agent did all of it again, and came to the same end.
    Reproduced {
        /// What was said; none where it failed both times.
        output: Option<String>,
    },
    /// The agent did all of it again, up to where the run stands.
    UpToNow,
    /// The agent did something else.
    Diverged {
        /// What, and what it did before.
        difference: String,
    },
}

/// Why a run cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// There is none, or what is kept of it cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Its component cannot be had or executed.
    #[error("{message}")]
    Host {
        /// Why not.
        message: String,
    },
}

/// Why a run cannot be forked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForkError {
    /// There is none, or what is kept of it cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// It has no such event.
    #[error("run {run} has no event {at}: it has {last}")]
    NoEvent {
        /// Which run.
        run: RunId,
        /// The event that was meant.
        at: u64,
        /// The number of its last one.
        last: u64,
    },
    /// The fork cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl From<StorageError> for ReplayError {
    fn from(error: StorageError) -> Self {
        Self::Run(error.into())
    }
}

impl From<StorageError> for ForkError {
    fn from(error: StorageError) -> Self {
        Self::Run(error.into())
    }
}

impl From<ExecuteError> for RunError {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Storage(error) => error.into(),
            ExecuteError::Entry(error) => error.into(),
            ExecuteError::Spec(source) => crate::journal::UnreadableEntry { sequence: 0, source }.into(),
            error => StorageError::Refused(error.into()).into(),
        }
    }
}

impl Run {
    /// Executes its agent once more from the beginning, with every effect answered as it was recorded: nothing is
    /// performed, decided, asked or recorded. Wherever the run stands, and whoever executes it, it is not touched.
    pub async fn replay(&self) -> Result<Replayed, ReplayError> {
        let inner = &self.runs().inner;
        let spec = self.spec().await?;
        let past = inner.past(self.id()).await.map_err(RunError::from)?;
        let recorded = past.recorded_end();
        let component = self.component_of(&spec).await?;
        let journal = Journal::new(spec.setting(self.id()), inner.clock.clone(), Mode::Replay, past, spec.seed());
        let mut handling =
            sandbox::run(replay_plan(&component, &journal, &spec), None, handle(component, spec.message));
        let end = tokio::select! {
            ended = &mut handling => match (ended.result, journal.left_over()) {
                (Err(error @ (CallError::Busy(_) | CallError::NoMemory | CallError::Internal { .. })), _) => {
                    return Err(ReplayError::Host { message: error.to_string() });
                }
                (ended, Some((position, left))) => {
                    let attempted = ended.err().map(|error| error.to_string());
                    ReplayEnd::Diverged { difference: divergence(position, Some(&left), attempted.as_deref()) }
                }
                (Ok(Ok(response)), None) => {
                    let said = journal.output();
                    compare(recorded.as_ref(), Some(if said.is_empty() { response.output } else { said }))
                }
                (Ok(Err(_)) | Err(_), None) => compare(recorded.as_ref(), None),
            },
            halt = journal.halted() => match halt {
                Halt::Diverged { position, recorded, attempted } => {
                    let difference = divergence(position, recorded.as_deref(), attempted.as_deref());
                    ReplayEnd::Diverged { difference }
                }
                Halt::UsedUp => match recorded {
                    None => ReplayEnd::UpToNow,
                    Some(EventKind::Complete { .. }) => {
                        let difference = "the agent goes on, where it had come to its end".to_owned();
                        ReplayEnd::Diverged { difference }
                    }
                    // It was stopped there.
                    Some(_) => ReplayEnd::Reproduced { output: None },
                },
                _ => ReplayEnd::UpToNow,
            },
        };
        journal.close();
        Ok(Replayed { effects: journal.gone_through(), end })
    }

    async fn component_of(&self, spec: &Spec) -> Result<Component, ReplayError> {
        let inner = &self.runs().inner;
        let component = match inner.agents.find(self.summary().await?).await {
            Some(agent) => inner.component(&agent, spec).await,
            None => inner.kept_component(spec).await,
        };
        component.map_err(|error| ReplayError::Host { message: error.to_string() })
    }

    /// Starts a new run that did what this one did up to event `at`, and goes on from there by itself: with other input,
    /// other tools, or just once more. Effects that had not ended by then are new ones.
    pub async fn fork(&self, at: u64, input: Option<String>) -> Result<Run, ForkError> {
        let inner = &self.runs().inner;
        let (record, spec) = (self.record().await?, self.spec().await?);
        let entries = self.entries(at).await?;
        let last = entries.last().map_or(0, |entry| entry.event.sequence);
        if at == 0 || last < at {
            return Err(ForkError::NoEvent { run: self.id(), at, last });
        }
        let spec = Spec { forked_from: Some(ForkedFrom { run: self.id(), at }), ..spec };
        let (id, now) = (RunId::new(), to_micros(inner.clock.now()));
        // Its agent's time begins where that of the other began.
        let began = entries.first().map_or(record.created, |entry| entry.event.at);
        let mut kept = vec![first_entry(&spec, began)];
        kept.extend(settled_part(entries));
        kept.extend(input.map(|content| {
            let event = Event { sequence: 0, kind: EventKind::Input { content }, at: now };
            Entry { event, trace: Trace::default() }
        }));
        for (sequence, entry) in (1..).zip(&mut kept) {
            entry.event.sequence = sequence;
        }
        let new = NewRun {
            id,
            agent: spec.agent.clone(),
            created: now,
            // It was read from such.
            spec: serde_json::to_string(&spec).unwrap_or_default().into(),
            state: Detail::default().state(RunStatus::Queued),
            entries: Entry::stored(&kept),
            blobs: vec![spec.component],
            idempotency_key: None,
        };
        let id = inner.storage.create(new).await?;
        inner.adopt(id);
        Ok(self.runs().run(id))
    }

    /// The entries up to that number.
    async fn entries(&self, to: u64) -> Result<Vec<Entry>, RunError> {
        const PAGE: u64 = 1_000;
        let mut entries = Vec::new();
        while (entries.len() as u64) < to {
            let from = entries.len() as u64 + 1;
            let limit = usize::try_from(PAGE.min(to + 1 - from)).unwrap_or(usize::MAX);
            let page = self.runs().inner.storage.read(self.id(), from, limit).await?;
            if page.is_empty() {
                break;
            }
            for stored in &page {
                entries.push(Entry::read(stored)?);
            }
        }
        Ok(entries)
    }
}

/// Of these entries those that say what happened and came to its end, without the life of the run.
fn settled_part(entries: Vec<Entry>) -> Vec<Entry> {
    let mut past = Past::default();
    for entry in &entries {
        past.add(entry.clone());
    }
    let is_open = |id: Option<u64>| id.is_some_and(|id| past.is_open(id));
    let settled =
        entries.into_iter().filter(|entry| !entry.event.kind.is_of_life() && !is_open(entry.event.kind.effect()));
    settled.collect()
}

/// A sandbox in which nothing can be done that was not recorded.
fn replay_plan(component: &Component, journal: &Journal, spec: &Spec) -> Plan {
    let budget = Budget::default().fan_out(spec.fan_out);
    let tree = Tree::new(Gate::default(), None, Some(budget)).recorded(journal.clone());
    let limits = Limits { cpus: None, ..spec.limits };
    let scope = Scope::outermost(tree, Grants::none(), Toolset::new(), Arc::default());
    Plan { component: component.clone(), scope, limits, output: Output::new(&limits, Sink::Capture), hold: None }
}

fn compare(recorded: Option<&EventKind>, output: Option<String>) -> ReplayEnd {
    let before = match recorded {
        None => return ReplayEnd::UpToNow,
        Some(EventKind::Complete { output, .. }) => Some(output),
        Some(_) => None,
    };
    if before == output.as_ref() {
        return ReplayEnd::Reproduced { output };
    }
    let shown = |output: Option<&String>| output.map_or_else(|| "none".to_owned(), |output| format!("`{output}`"));
    let difference =
        format!("the output is another one: recorded is {}, and now it is {}", shown(before), shown(output.as_ref()));
    ReplayEnd::Diverged { difference }
}
