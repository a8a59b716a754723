//! Durable runs: an agent is given a message, and what becomes of that is recorded, can be watched, and survives the
//! process.
//!
//! [`Runs`] is where runs are started, found and executed. It is a worker: it claims runs from the [`Storage`], executes
//! them, and gives those back that do nothing but wait. Several may work on one storage, in one process or many. What is
//! known of a run is in the storage; here are only those that are being executed.

mod agent;
mod approvals;
mod execute;
mod handle;
mod message;
mod prune;
mod replay;
mod request;
mod start;
mod summary;
mod worker;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::clock::{Clock, SystemClock};
use crate::component::ContentHash;
use crate::engine::Engine;
use crate::life::RunId;
use crate::model::Delta;
use crate::storage::{Cursor, Page, Prune, RunFilter, Storage, StorageError, WorkerId};

pub use agent::Agent;
pub use approvals::{Approval, DecideError};
pub use handle::{EventsError, Run, RunError, RunEvents};
pub use replay::{ForkError, ReplayEnd, ReplayError, Replayed};
pub use request::RunRequest;
pub use start::StartError;
pub use summary::{RunFailure, RunSummary};

use worker::Live;

/// Starts, finds and executes runs. Cheap to clone; clones are the same.
///
/// Dropping the last clone stops the execution of its runs where they stand; another worker, or the same storage opened
/// again, goes on with them once its lease is over. [`shutdown`](Self::shutdown) gives them back at once.
#[derive(Clone)]
pub struct Runs {
    inner: Arc<Inner>,
    // Dropped with the last clone; the work in the background keeps `inner` alone.
    alive: Arc<watch::Sender<bool>>,
}

struct Inner {
    engine: Engine,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    agents: Arc<dyn FindAgent>,
    /// Of the agents whose runs are executed here as they come.
    names: Vec<String>,
    /// Runs that are executed here since somebody said so.
    adopted: Mutex<BTreeSet<RunId>>,
    workspaces: Option<PathBuf>,
    grace: Duration,
    lease: Duration,
    max_active: usize,
    worker: Mutex<Option<WorkerId>>,
    live: Mutex<HashMap<RunId, Arc<Live>>>,
    /// Blobs that the storage was told to keep, and when.
    kept_blobs: Mutex<HashMap<ContentHash, Instant>>,
    /// Something is to be claimed, or somebody has news.
    work: Notify,
    stop: watch::Receiver<bool>,
    drained: Notify,
    /// The work in the background, until somebody waits for its end.
    working: Mutex<Option<JoinHandle<()>>>,
}

/// Settings of [`Runs`].
#[must_use]
pub struct RunsBuilder {
    engine: Engine,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    agents: HashMap<String, Agent>,
    find: Option<Arc<dyn FindAgent>>,
    workspaces: Option<PathBuf>,
    grace: Duration,
    lease: Duration,
    max_active: usize,
}

/// Finds the agent of a run by its name, and by what the embedder attached to it.
pub trait FindAgent: Send + Sync + 'static {
    /// The agent of that run; none where it is not known here. Its component may be any that is an agent: a run goes on
    /// with the one that it began with, whose bytes the storage keeps under [`RunSummary::component`].
    fn find(&self, run: RunSummary) -> FindAgentFuture<'_>;
}

/// What [`FindAgent::find`] answers with.
pub type FindAgentFuture<'a> = Pin<Box<dyn Future<Output = Option<Agent>> + Send + 'a>>;

impl<F, A> FindAgent for F
where
    F: Fn(RunSummary) -> A + Send + Sync + 'static,
    A: Future<Output = Option<Agent>> + Send + 'static,
{
    fn find(&self, run: RunSummary) -> FindAgentFuture<'_> {
        Box::pin(self(run))
    }
}

/// Agents by name.
struct Named(HashMap<String, Agent>);

impl FindAgent for Named {
    fn find(&self, run: RunSummary) -> FindAgentFuture<'_> {
        Box::pin(std::future::ready(self.0.get(&run.agent).cloned()))
    }
}

impl Runs {
    /// Settings to choose before runs are executed.
    pub fn builder(engine: &Engine, storage: Arc<dyn Storage>) -> RunsBuilder {
        RunsBuilder {
            engine: engine.clone(),
            storage,
            clock: Arc::new(SystemClock),
            agents: HashMap::new(),
            find: None,
            workspaces: None,
            grace: Duration::from_secs(10),
            lease: Duration::from_secs(15),
            max_active: 1_000,
        }
    }

    /// Where they are kept.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.inner.storage
    }

    /// The run of that id, whether it is there or not.
    pub fn run(&self, id: RunId) -> Run {
        Run::new(self.clone(), id)
    }

    /// Runs, newest first.
    pub async fn list(
        &self,
        filter: RunFilter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> Result<Page<RunSummary>, StorageError> {
        let Page { items, next } = self.inner.storage.list(filter, limit, cursor).await?;
        Ok(Page { items: items.into_iter().map(RunSummary::of).collect(), next })
    }

    /// Removes finished runs, at most `limit`, with all that is kept of them, and answers how many: their journals, the
    /// workspaces of their own, and what of their blobs nobody else needs any more, once it is an hour old.
    pub async fn prune(&self, prune: Prune, limit: usize) -> Result<usize, StorageError> {
        const GRACE: Duration = Duration::from_hours(1);
        let storage = self.inner.storage.as_ref();
        let workspaces = match &self.inner.workspaces {
            Some(folder) => Some(prune::Workspaces::before(folder, storage).await?),
            None => None,
        };
        let removed = storage.prune(prune, limit).await?;
        storage.prune_blobs(GRACE, limit).await?;
        if let Some(workspaces) = workspaces {
            workspaces.remove_left_over().await?;
        }
        Ok(removed)
    }

    /// Gives all runs back that are being executed here, and executes none any more. Effects that are under way and
    /// cannot be repeated are in doubt afterwards.
    pub async fn shutdown(&self) {
        self.alive.send_replace(true);
        let working = self.inner.working.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(working) = working {
            // Where it panicked, it has ended too.
            let _ = working.await;
        }
        loop {
            let drained = self.inner.drained.notified();
            if self.inner.live().is_empty() {
                break;
            }
            drained.await;
        }
        self.inner.give_up_lease().await;
    }

    /// Pieces of answers that models give in runs that are executed here, as they come; those that nobody takes in time
    /// are left out. They are no events: the answer is, once it is there.
    pub fn deltas(&self, run: RunId) -> Option<tokio::sync::broadcast::Receiver<Delta>> {
        self.inner.live().get(&run).map(|live| live.deltas.subscribe())
    }
}

impl std::fmt::Debug for Runs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runs").field("executing", &self.inner.live().len()).finish_non_exhaustive()
    }
}

impl Inner {
    fn live(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn adopted(&self) -> std::sync::MutexGuard<'_, BTreeSet<RunId>> {
        self.adopted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a run executed here, where that does not happen by itself.
    fn adopt(&self, run: RunId) {
        if self.names.is_empty() {
            self.adopted().insert(run);
        }
        self.work.notify_one();
    }

    fn kept_blobs(&self) -> std::sync::MutexGuard<'_, HashMap<ContentHash, Instant>> {
        self.kept_blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunsBuilder {
    /// Executes runs of that agent under that name.
    pub fn agent(mut self, name: impl Into<String>, agent: Agent) -> Self {
        self.agents.insert(name.into(), agent);
        self
    }

    /// Finds agents another way, in the place of [`agent`](Self::agent). Then those runs only are executed here that are
    /// started here, or of which [`Run::execute`] says so.
    pub fn find_agents(mut self, find: impl FindAgent) -> Self {
        self.find = Some(Arc::new(find));
        self
    }

    /// Gives each run that brings no workspace one of its own, as a folder in this one.
    pub fn workspaces(mut self, folder: impl Into<PathBuf>) -> Self {
        self.workspaces = Some(folder.into());
        self
    }

    /// How long a run that does nothing but wait keeps its sandbox; default 10 s.
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace = time;
        self
    }

    /// How long others wait before they take the runs of a worker of which nothing is heard, from 1 s on; default 15 s.
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease = time.max(Duration::from_secs(1));
        self
    }

    /// How many runs are executed at once; default 1,000. More are queued.
    pub fn max_active(mut self, count: usize) -> Self {
        self.max_active = count.max(1);
        self
    }

    /// The clock by which runs are timed; default that of the system.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Begins to execute runs, those that another worker left behind too.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: it works in the background.
    pub fn build(self) -> Runs {
        let (alive, stop) = watch::channel(false);
        let names = if self.find.is_some() { Vec::new() } else { self.agents.keys().cloned().collect() };
        let inner = Arc::new(Inner {
            engine: self.engine,
            storage: self.storage,
            clock: self.clock,
            agents: self.find.unwrap_or_else(|| Arc::new(Named(self.agents))),
            names,
            adopted: Mutex::default(),
            workspaces: self.workspaces,
            grace: self.grace,
            lease: self.lease,
            max_active: self.max_active,
            worker: Mutex::new(None),
            live: Mutex::new(HashMap::new()),
            kept_blobs: Mutex::new(HashMap::new()),
            work: Notify::new(),
            stop,
            drained: Notify::new(),
            working: Mutex::new(None),
        });
        let working = tokio::spawn(worker::work(inner.clone()));
        *inner.working.lock().unwrap_or_else(PoisonError::into_inner) = Some(working);
        Runs { inner, alive: Arc::new(alive) }
    }
}
