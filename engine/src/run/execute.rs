//! The execution of one run by its owner: from its claim until it is given back.

mod leave;
mod messages;
mod outcome;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate_host_bindings::agent::handler;
use casemate_policy::Folder;
use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use super::request::{Format, Spec};
use super::worker::Live;
use super::{Agent, Inner, RunSummary};
use crate::call::{self, CallError};
use crate::component::Component;
use crate::driver::Hold;
use crate::event::{EventKind, Interruption, Versions};
use crate::gate::{Scope, Tree};
use crate::host::{Output, Sink};
use crate::journal::{Halt, Journal, Mode, Past};
use crate::life::{RunId, RunStatus};
use crate::limits::{LimitExceeded, LimitKind, Limits, millis};
use crate::sandbox::{self, Plan, Work};
use crate::storage::{AppendError, Claimed, StorageError};
use leave::{Came, Leaving};
use messages::Order;
pub(super) use outcome::divergence;

/// How many entries or messages are read at once.
const PAGE: usize = 1_000;

/// How soon is looked again whether a paused run is still at work.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// How often a host that fails is tried again.
const ATTEMPTS: u32 = 3;

/// How often in a row the process of a run may be lost before it gets any further. Whatever it does may be what kills
/// the processes, with all others that they execute.
const LOSSES: u32 = 10;

/// How a run's handler ended.
type Handled = Result<Result<handler::Response, String>, CallError>;

/// Executes a run that was claimed, and gives it back, whatever happens.
pub(super) async fn execute(inner: &Arc<Inner>, claimed: Claimed, live: &Live) {
    let (id, epoch, detail) = (claimed.record.id, claimed.epoch, claimed.record.state.detail.clone());
    let executed = AssertUnwindSafe(try_execute(inner, claimed, live)).catch_unwind().await;
    let came = match executed {
        Ok(Ok(came)) => came,
        Ok(Err(error)) if let Some(stop) = error.stop() => inner.stop_with(id, epoch, stop, &detail).await,
        Ok(Err(error)) => {
            tracing::error!(run = %id, %error, "the run cannot be executed now: it is tried again");
            Came::Nowhere
        }
        Err(_panic) => {
            tracing::error!(run = %id, "the execution of the run panicked: it is tried again");
            Came::Nowhere
        }
    };
    if came == Came::Nowhere {
        inner.give_back(id, epoch).await;
    }
}

/// Why a run could not be gone on with.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExecuteError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Entry(#[from] crate::journal::UnreadableEntry),
    #[error("its beginning cannot be read: {0}")]
    Spec(#[from] serde_json::Error),
    #[error("it was written by a newer release, as format {format}: that one, or a newer one, goes on with it")]
    Newer { format: u32 },
    #[error("its journal cannot be kept: {0}")]
    Journal(Arc<str>),
    #[error("the storage lost entries that it had acknowledged")]
    WentBack,
}

impl ExecuteError {
    /// What becomes of a run that would be tried again for ever. What cannot be read here may be by a newer release.
    fn stop(&self) -> Option<EventKind> {
        match self {
            Self::Entry(_) | Self::Spec(_) => Some(EventKind::Paused { reason: Some(self.to_string()) }),
            Self::WentBack | Self::Append(AppendError::WentBack { .. }) => {
                Some(EventKind::Diverged { position: 0, recorded: None, attempted: None })
            }
            _ => None,
        }
    }
}

async fn try_execute(inner: &Arc<Inner>, claimed: Claimed, live: &Live) -> Result<Came, ExecuteError> {
    let (id, epoch, consumed) = (claimed.record.id, claimed.epoch, claimed.consumed_inbox);
    let Format { format } = serde_json::from_str(&claimed.record.spec)?;
    if format > Spec::FORMAT {
        return Err(ExecuteError::Newer { format });
    }
    let spec: Spec = serde_json::from_str(&claimed.record.spec)?;
    let mut past = inner.past(id).await?;
    past.was_active(RunSummary::of(claimed.record.clone()).usage.active_ms);
    let (versions, idle, fresh) = (past.versions.clone(), past.idle_for(inner.clock.now()), past.is_fresh());
    let (interrupted, paused, questions) = (past.interrupted, past.paused, past.open_questions());
    let (is_lost, losses) = (claimed.record.state.status == RunStatus::Running, past.losses);
    let journal = Journal::new(spec.setting(id), inner.clock.clone(), Mode::Live, past, spec.seed());
    let (hold, pause_reason) = (Hold::default(), None);
    let mut owned = Owned { inner, id, epoch, consumed, journal, live, hold, paused, pause_reason, idle };
    let Some(agent) = inner.agents.find(RunSummary::of(claimed.record)).await else {
        inner.disown(id);
        return owned.leave(Leaving::Unfinished).await;
    };
    if is_lost && losses >= LOSSES {
        owned.pause(Some(format!("the process that executed it was lost {losses} times before it got any further")));
    }
    if (is_lost || !fresh) && !owned.paused {
        let current = Versions::current();
        let versions = (versions.as_ref() != Some(&current)).then_some(current);
        let after = if is_lost { Interruption::Loss } else { interrupted };
        owned.journal.tell(EventKind::Resumed { after, duration: idle, versions });
    }
    if is_lost {
        // So that it is counted, whatever becomes of this process.
        owned.keep_all().await?;
    }
    // What was decided while nobody owned the run may have been read by an owner that came to nothing.
    for question in questions {
        owned.look_at(question).await?;
    }
    let leaving = owned.go_on(&agent, &spec).await?;
    owned.leave(leaving).await
}

impl Inner {
    /// Everything that is recorded of a run.
    pub(super) async fn past(&self, run: RunId) -> Result<Past, ExecuteError> {
        let (mut past, mut from) = (Past::default(), 1);
        loop {
            let page = self.storage.read(run, from, PAGE).await?;
            let Some(last) = page.last() else { return Ok(past) };
            from = last.sequence + 1;
            for stored in &page {
                past.add(crate::journal::Entry::read(stored)?);
            }
            if page.len() < PAGE {
                return Ok(past);
            }
        }
    }

    /// The component that a run executes: that of its agent, or, where that is another by now, as it was kept.
    pub(super) async fn component(&self, agent: &Agent, spec: &Spec) -> Result<Component, CallError> {
        let own = &agent.inner.component;
        if own.hash() == spec.component {
            return Ok(own.clone());
        }
        self.kept_component(spec).await
    }

    /// The component with which a run began.
    #[cfg(feature = "compiler")]
    pub(super) async fn kept_component(&self, spec: &Spec) -> Result<Component, CallError> {
        let lost = |message: String| CallError::Internal { message };
        let kept = self.storage.blob(spec.component).await.map_err(|error| lost(error.to_string()))?;
        let bytes = kept.ok_or_else(|| lost("the run's component is not kept any more".to_owned()))?;
        let loaded = self.engine.load_bytes(bytes).await;
        loaded.map_err(|error| lost(format!("the run's component cannot be loaded: {error}")))
    }

    /// The component with which a run began: without a compiler there is none.
    #[cfg(not(feature = "compiler"))]
    #[allow(clippy::unused_async, reason = "as with a compiler")]
    pub(super) async fn kept_component(&self, spec: &Spec) -> Result<Component, CallError> {
        let message = format!("the run began with the component {}, which cannot be compiled here", spec.component);
        Err(CallError::Internal { message })
    }
}

/// A run that this worker owns.
pub(super) struct Owned<'a> {
    pub(super) inner: &'a Arc<Inner>,
    id: RunId,
    epoch: u64,
    /// The last message that was taken.
    consumed: u64,
    pub(super) journal: Journal,
    live: &'a Live,
    hold: Hold,
    paused: bool,
    /// Why, where nobody asked for it.
    pause_reason: Option<String>,
    /// How long nobody had executed it.
    idle: Duration,
}

impl Owned<'_> {
    /// Executes the agent, from its beginning, until the run is to be given back.
    async fn go_on(&mut self, agent: &Agent, spec: &Spec) -> Result<Leaving, ExecuteError> {
        if let Some(Order::Cancel(reason)) = self.take_messages().await? {
            return Ok(self.cancelled(reason));
        }
        if self.paused {
            return Ok(Leaving::Paused);
        }
        let component = match self.inner.component(agent, spec).await {
            Ok(component) => component,
            Err(error) => return self.failed(&error, spec).await,
        };
        for attempt in 1.. {
            let plan = match self.plan(agent, spec, &component) {
                Ok(plan) => plan,
                Err(error) => return self.failed(&error, spec).await,
            };
            let (began, excused) = (Instant::now(), plan.scope.excused());
            let attempted = self.attempt(plan, &component, spec).await;
            self.journal.was_active(began.elapsed().saturating_sub(excused.so_far()));
            match attempted? {
                Attempted::Leave(leaving) => return Ok(leaving),
                Attempted::Halted(halt) => return self.halted(halt, spec).await,
                Attempted::Cancelled(reason) => return Ok(self.cancelled(reason)),
                Attempted::Handled(Err(CallError::Internal { .. })) if attempt < ATTEMPTS => {
                    self.start_over(spec).await?;
                }
                // A host that has no room is no end of a run.
                Attempted::Handled(Err(CallError::Busy(_) | CallError::NoMemory)) => return Ok(Leaving::Later),
                Attempted::Handled(handled) => return self.finished(handled, spec).await,
            }
        }
        Ok(Leaving::Unfinished)
    }

    /// One sandbox, until it ends or is not wanted any more.
    async fn attempt(&mut self, plan: Plan, component: &Component, spec: &Spec) -> Result<Attempted, ExecuteError> {
        let (stop, stopped) = oneshot::channel::<()>();
        let signal = Box::pin(async move {
            // Where nobody can stop it any more, it is not stopped.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        });
        let mut handling = sandbox::run(plan, Some(signal), handle(component.clone(), spec.message.clone()));
        let (inner, journal, live) = (self.inner.clone(), self.journal.clone(), self.live);
        let storage = inner.storage.clone();
        let keeping = journal.keep(storage.as_ref(), self.epoch);
        let idle = journal.idle(inner.grace);
        let mut worker_stop = inner.stop.clone();
        tokio::pin!(keeping, idle);
        let mut paused_until = None;
        let attempted = loop {
            tokio::select! {
                // In this order what an effect waits to be kept is kept in the same turn.
                biased;
                ended = &mut handling => {
                    journal.took(&ended.usage);
                    break Attempted::Handled(ended.result);
                }
                () = &mut keeping => break Attempted::Halted(journal.halted().await),
                halt = journal.halted() => break Attempted::Halted(halt),
                wait = &mut idle => {
                    break Attempted::Leave(if self.paused { Leaving::Paused } else { Leaving::Waiting(wait) });
                }
                () = pause_over(paused_until) => {
                    if !journal.is_at_work() {
                        break Attempted::Leave(Leaving::Paused);
                    }
                    paused_until = Some(tokio::time::Instant::now() + inner.grace.max(LEAST_PAUSE));
                }
                () = live.abandoned.notified() => break Attempted::Leave(Leaving::Lost),
                _ = worker_stop.changed() => break Attempted::Leave(Leaving::Unfinished),
                () = journal.has_proposals() => self.decide_proposed().await?,
                () = live.news.notified() => {
                    if let Some(Order::Cancel(reason)) = self.take_messages_if_readable().await? {
                        // Whatever is under way is recorded as cancelled where it is dropped.
                        let _ = stop.send(());
                        handling.await;
                        break Attempted::Cancelled(reason);
                    }
                    let over = || tokio::time::Instant::now() + inner.grace;
                    paused_until = self.paused.then(|| paused_until.unwrap_or_else(over));
                }
            }
        };
        journal.close();
        Ok(attempted)
    }

    fn plan(&self, agent: &Agent, spec: &Spec, component: &Component) -> Result<Plan, CallError> {
        let of = &agent.inner;
        let folders = Agent::folders(spec).map_err(|error| CallError::Internal { message: error.to_string() })?;
        let add = |grants: casemate_policy::Grants, folder: Folder| grants.folder(folder);
        let reach = folders.into_iter().try_fold(of.grants.clone(), add);
        let reach = reach.map_err(|error| CallError::Internal { message: error.to_string() })?;
        let imports = call::bound(component, of.imports.as_ref())?;
        call::check_tools(&of.tools, &imports, &reach)?;
        let gate = of.gate.clone().unwrap_or_else(|| self.inner.engine.gate().clone());
        let deltas = self.live.deltas.clone();
        let tree = Tree::new(gate, of.principal.clone(), Some(of.budget.clone().fan_out(spec.fan_out)))
            .recorded(self.journal.clone())
            // Whether anybody listens is not its concern.
            .heard_by(Some(Arc::new(move |delta| drop(deltas.send(delta)))));
        let scope = Scope::outermost(tree, reach, of.tools.clone(), imports).knowing(of.models.clone());
        let output = Output::new(&of.limits, Sink::Capture);
        let wall_time = match spec.timeout_ms.map(Duration::from_millis) {
            Some(timeout) => {
                let active = Duration::from_millis(self.journal.usage().active_ms);
                let left = timeout.saturating_sub(active);
                if left.is_zero() {
                    let (used, max) = (millis(active), millis(timeout));
                    return Err(LimitExceeded::new(LimitKind::WallTime, used, max).into());
                }
                left.min(of.limits.wall_time)
            }
            None => of.limits.wall_time,
        };
        let limits = Limits { wall_time, cpus: of.limits.cpus, ..spec.limits };
        Ok(Plan { component: component.clone(), scope, limits, output, hold: Some(self.hold.clone()) })
    }

    /// Goes through the past anew, after the host failed.
    async fn start_over(&mut self, spec: &Spec) -> Result<(), ExecuteError> {
        self.keep_all().await?;
        let mut past = self.inner.past(self.id).await?;
        past.was_active(self.journal.usage().active_ms);
        let questions = past.open_questions();
        let setting = spec.setting(self.id);
        self.journal = Journal::new(setting, self.inner.clock.clone(), Mode::Live, past, spec.seed());
        for question in questions {
            self.look_at(question).await?;
        }
        Ok(())
    }

    async fn keep_all(&self) -> Result<(), ExecuteError> {
        let kept = self.journal.keep_all(self.inner.storage.as_ref(), self.epoch).await;
        kept.map_err(|halt| match halt {
            Halt::WentBack => ExecuteError::WentBack,
            halt => ExecuteError::Journal(format!("{halt:?}").into()),
        })
    }
}

enum Attempted {
    Handled(Handled),
    Halted(Halt),
    Cancelled(String),
    Leave(Leaving),
}

async fn pause_over(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// What is done in the sandbox of an agent.
pub(super) fn handle(
    component: Component,
    message: casemate_host_bindings::Message,
) -> Work<Result<handler::Response, String>> {
    Box::new(move |store, instance| {
        Box::pin(async move {
            let indices = component.handler().ok_or_else(|| wasmtime::Error::msg("the component is no agent"))?;
            let handler = indices.load(&mut *store, &instance)?;
            let request = handler::Request { message: message.into() };
            handler.call_handle(&mut *store, &request).await
        })
    })
}
