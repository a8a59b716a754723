//! Storages that can be held up, tools that leave traces, and what has to be true of every journal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use casemate::storage::{
    Append, AppendError, Claimed, Cursor, Decided, Due, Head, Hints, InboxMessage, Interest, MemoryStorage, NewRun,
    Page, Prune, Released, RunFilter, RunRecord, Sent, SqliteStorage, Storage, StorageError, StoredApproval,
    StoredDecision, StoredEntry, WorkerId,
};
use casemate::{
    Agent, ApprovalId, ArgumentsHash, ContentHash, Engine, Event, EventKind, Grants, ReplayEnd, Run, RunId, RunRequest,
    RunStatus, RunSummary, Runs, RunsBuilder, Tool, WaitingOn,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Notify, OnceCell};
use uuid::Uuid;

use crate::support::{Anything, engine, granted, toolset};

/// Longer than anything takes that is waited for.
pub(super) const LONG: Duration = Duration::from_mins(1);

pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(test);
}

static PUPPET: OnceCell<Agent> = OnceCell::const_new();

/// The agent that does what its message says.
pub(super) async fn puppet() -> Agent {
    let load = || async { Agent::load(engine(), casemate_guests::PUPPET).await.unwrap() };
    PUPPET.get_or_init(load).await.clone()
}

/// The puppet with these tools, all granted.
pub(super) async fn puppet_with(tools: impl IntoIterator<Item = Tool>) -> Agent {
    let tools: Vec<_> = tools.into_iter().collect();
    let names: Vec<_> = tools.iter().map(|tool| tool.name().to_owned()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    puppet().await.grants(granted(&names)).tools(toolset(tools))
}

pub(super) fn memory() -> Arc<MemoryStorage> {
    Arc::new(MemoryStorage::new())
}

/// A worker, as of a process of its own, which keeps no sandbox for what only waits.
pub(super) fn worker(storage: Arc<dyn Storage>, agent: Agent) -> Runs {
    builder(engine(), storage, agent).build()
}

pub(super) fn builder(engine: &Engine, storage: Arc<dyn Storage>, agent: Agent) -> RunsBuilder {
    Runs::builder(engine, storage).agent("puppet", agent).grace(Duration::ZERO)
}

/// Somebody who executes nothing.
pub(super) fn onlooker(storage: Arc<dyn Storage>) -> Runs {
    Runs::builder(engine(), storage).build()
}

pub(super) async fn start(runs: &Runs, text: &str) -> Run {
    runs.start("puppet", RunRequest::new(text)).await.unwrap()
}

pub(super) async fn settled(run: &Run) -> RunSummary {
    let Ok(summary) = tokio::time::timeout(LONG, run.wait()).await else {
        panic!("it does not end: {:?} {:#?}", run.summary().await, run.recorded(1, 100).await);
    };
    summary.unwrap()
}

pub(super) async fn until_waiting(run: &Run, on: WaitingOn) {
    until(run, |summary| summary.status == RunStatus::Waiting && summary.waiting_on.as_ref() == Some(&on)).await;
}

pub(super) async fn until_status(run: &Run, status: RunStatus) {
    until(run, |summary| summary.status == status).await;
}

pub(super) async fn until(run: &Run, is: impl Fn(&RunSummary) -> bool) {
    let is = &is;
    let found = eventually(|| async move { is(&run.summary().await.unwrap()) }).await;
    assert!(found, "it is not so: {:?} {:#?}", run.summary().await, run.recorded(1, 100).await);
}

/// Looks again and again, and answers whether it ever was so.
pub(super) async fn eventually<F: Future<Output = bool>>(look: impl Fn() -> F) -> bool {
    eventually_within(LONG, look).await
}

pub(super) async fn eventually_within<F: Future<Output = bool>>(time: Duration, look: impl Fn() -> F) -> bool {
    let looking = async {
        while !look().await {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    tokio::time::timeout(time, looking).await.is_ok()
}

/// Waits until an event of that type is recorded.
pub(super) async fn until_event(run: &Run, kind: &str) {
    let found = eventually(|| async { kinds(&all_events(run).await).iter().any(|found| found == kind) }).await;
    assert!(found, "no {kind}: {:#?}", all_events(run).await);
}

pub(super) async fn all_events(run: &Run) -> Vec<Event> {
    run.recorded(1, usize::MAX >> 1).await.unwrap()
}

/// The types of events.
pub(super) fn kinds(events: &[Event]) -> Vec<String> {
    let kind = |event: &Event| serde_json::to_value(event).unwrap()["type"].as_str().unwrap().to_owned();
    events.iter().map(kind).collect()
}

pub(super) fn count_of(events: &[Event], kind: &str) -> usize {
    kinds(events).iter().filter(|found| *found == kind).count()
}

/// The journal has each number once and in order, begins and ends once, and each of the agent's effects, numbered by
/// the agent, begins once.
pub(super) async fn is_whole(storage: &dyn Storage, run: RunId) {
    let entries = storage.read(run, 1, usize::MAX >> 1).await.unwrap();
    let mut positions = Vec::new();
    for (entry, number) in entries.iter().zip(1..) {
        assert_eq!(entry.sequence, number);
        let value: Value = serde_json::from_str(&entry.text).unwrap();
        assert_eq!(value["sequence"], number);
        assert_eq!(value["type"] == "created", number == 1);
        let is_last = ["complete", "failed", "cancelled", "diverged"].iter().any(|end| value["type"] == *end);
        assert!(!is_last || number == entries.len() as u64, "{value}");
        positions.extend(value["trace"]["position"].as_u64());
    }
    assert_eq!(storage.head(run).await.unwrap().unwrap().next, entries.len() as u64 + 1);
    positions.sort_unstable();
    assert_eq!(positions, (1..=positions.len() as u64).collect::<Vec<_>>(), "each of the agent's effects begins once");
}

/// The journal of a finished run has each number once and in order, and begins and ends once.
pub(super) fn is_numbered(events: &[Event]) {
    let last = events.len() as u64;
    for (event, number) in events.iter().zip(1..) {
        assert_eq!(event.sequence, number);
        assert_eq!(matches!(event.kind, EventKind::Created { .. }), number == 1, "{event:#?}");
        assert_eq!(event.kind.is_last(), number == last, "{event:#?}");
    }
}

/// Replay comes to the same end, and changes nothing.
pub(super) async fn is_reproduced(run: &Run) {
    let before = (all_events(run).await, run.summary().await.unwrap());
    let replayed = run.replay().await.unwrap();
    assert_eq!(replayed.end, ReplayEnd::Reproduced { output: before.1.output.clone() });
    assert_eq!((all_events(run).await, run.summary().await.unwrap()), before);
}

/// A tool that tells when it is called, and answers when it may.
#[derive(Clone, Default)]
pub(super) struct Held {
    calls: Arc<AtomicUsize>,
    go: Arc<Notify>,
}

impl Held {
    pub(super) fn tool(&self, name: &str) -> Tool {
        let held = self.clone();
        Tool::new(name, move |_: Anything| {
            let held = held.clone();
            async move {
                held.calls.fetch_add(1, Ordering::SeqCst);
                held.go.notified().await;
                Ok::<_, String>(Value::from("done"))
            }
        })
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Waits until it was called so often.
    pub(super) async fn until_called(&self, count: usize) {
        assert!(eventually(|| async { self.calls() >= count }).await, "{} calls", self.calls());
    }

    pub(super) fn answer(&self) {
        self.go.notify_one();
    }
}

/// Has a run of another storage spin in the only place of that engine.
pub(super) async fn take_the_place(engine: &Engine) -> Run {
    let agent = Agent::load(engine, casemate_guests::PUPPET).await.unwrap();
    let limits = engine.limits().fuel(u64::MAX).unwrap().wall_time(Duration::from_hours(1)).unwrap().build();
    let run = start(&builder(engine, memory(), agent.limits(limits)).build(), "think begin\nspin").await;
    until_event(&run, "thinking").await;
    run
}

/// Grants of one tool, for which a person is asked.
pub(super) fn after_asking(tool: &str) -> Grants {
    Grants::none().tool_after_asking(tool, "May it?").unwrap()
}

/// The effects in doubt of which nobody said anything: their ids, tools and keys; of requests methods and paths.
pub(super) async fn in_doubt(run: &Run) -> Vec<(u64, String, String)> {
    let events = all_events(run).await;
    let (mut calls, mut doubts) = (BTreeMap::new(), BTreeMap::new());
    for event in events {
        match event.kind {
            EventKind::ToolCall { id, tool, input, .. } => {
                calls.insert(id, (tool, input["key"].as_str().unwrap_or_default().to_owned()));
            }
            EventKind::Fetch { id, request, .. } => {
                calls.insert(id, (request.method().to_owned(), request.path().to_owned()));
            }
            EventKind::InDoubt { id, .. } => drop(doubts.insert(id, calls[&id].clone())),
            EventKind::Settled { id, .. } => drop(doubts.remove(&id)),
            _ => {}
        }
    }
    doubts.into_iter().map(|(id, (tool, key))| (id, tool, key)).collect()
}

/// A folder with a file of runs.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn file(&self) -> PathBuf {
        self.path().join("runs.db")
    }

    pub(super) fn open(&self) -> Arc<SqliteStorage> {
        Arc::new(SqliteStorage::open(self.file()).unwrap())
    }

    /// Ends all leases, as time would.
    pub(super) fn expire_all(&self) {
        self.change("UPDATE workers SET lease_until_us = 0", &[]);
    }

    /// Ends the lease of one worker, whichever that is.
    pub(super) fn expire_one(&self) {
        let sql = "UPDATE workers SET lease_until_us = 0 WHERE id = (SELECT id FROM workers ORDER BY random() LIMIT 1)";
        self.change(sql, &[]);
    }

    /// Changes something behind everybody's back.
    pub(super) fn change(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) -> usize {
        let connection = rusqlite::Connection::open(self.file()).unwrap();
        connection.busy_timeout(LONG).unwrap();
        connection.execute(sql, values).unwrap()
    }
}

/// A step of changing what the storage keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    BeforeAppend,
    AfterAppend,
    BeforeRelease,
    AfterRelease,
    BeforeCreate,
    AfterCreate,
    /// Where something was claimed.
    AfterClaim,
    BeforeSend,
    AfterSend,
    BeforeDecide,
    AfterDecide,
}

type Hook = dyn Fn(Step) -> BoxFuture<'static, ()> + Send + Sync;

/// A storage that does what the one within does, and something else before and after each step.
#[derive(Clone)]
pub(super) struct Hooked<S> {
    inner: S,
    hook: Arc<Hook>,
}

impl<S: Storage> Hooked<S> {
    pub(super) fn new(inner: S, hook: impl Fn(Step) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self { inner, hook: Arc::new(hook) }
    }
}

/// A storage whose appends wait, once it is closed, and those that wait for that.
#[derive(Clone, Default)]
pub(super) struct Barrier {
    closed: Arc<std::sync::atomic::AtomicBool>,
    waiting: Arc<AtomicUsize>,
}

impl Barrier {
    pub(super) fn before<S: Storage>(&self, inner: S) -> Hooked<S> {
        let barrier = self.clone();
        Hooked::new(inner, move |step| {
            let barrier = barrier.clone();
            async move {
                if step == Step::BeforeAppend && barrier.closed.load(Ordering::SeqCst) {
                    barrier.waiting.fetch_add(1, Ordering::SeqCst);
                    std::future::pending::<()>().await;
                }
            }
            .boxed()
        })
    }

    /// From now on whoever appends waits until it is dropped.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(super) fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
    }

    pub(super) async fn until_somebody_waits(&self) {
        assert!(eventually(|| async { self.waiting.load(Ordering::SeqCst) > 0 }).await);
    }
}

impl<S: Storage> Storage for Hooked<S> {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<u64, AppendError>> {
        async move {
            (self.hook)(Step::BeforeAppend).await;
            let result = self.inner.append(append).await;
            (self.hook)(Step::AfterAppend).await;
            result
        }
        .boxed()
    }

    fn release(&self, append: Append, seen_inbox: u64) -> BoxFuture<'_, Result<Released, AppendError>> {
        async move {
            (self.hook)(Step::BeforeRelease).await;
            let result = self.inner.release(append, seen_inbox).await;
            (self.hook)(Step::AfterRelease).await;
            result
        }
        .boxed()
    }

    fn create(&self, run: NewRun) -> BoxFuture<'_, Result<RunId, StorageError>> {
        async move {
            (self.hook)(Step::BeforeCreate).await;
            let result = self.inner.create(run).await;
            (self.hook)(Step::AfterCreate).await;
            result
        }
        .boxed()
    }

    fn register(&self, ttl: Duration) -> BoxFuture<'_, Result<WorkerId, StorageError>> {
        self.inner.register(ttl)
    }

    fn renew(&self, worker: WorkerId, ttl: Duration) -> BoxFuture<'_, Result<bool, StorageError>> {
        self.inner.renew(worker, ttl)
    }

    fn claim(
        &self,
        worker: WorkerId,
        agents: Option<Vec<String>>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Claimed>, StorageError>> {
        async move {
            let claimed = self.inner.claim(worker, agents, limit).await;
            if claimed.as_ref().is_ok_and(|claimed| !claimed.is_empty()) {
                (self.hook)(Step::AfterClaim).await;
            }
            claimed
        }
        .boxed()
    }

    fn claim_one(&self, worker: WorkerId, run: RunId) -> BoxFuture<'_, Result<Option<Claimed>, StorageError>> {
        self.inner.claim_one(worker, run)
    }

    fn send(&self, run: RunId, id: Uuid, text: Arc<str>) -> BoxFuture<'_, Result<Sent, StorageError>> {
        async move {
            (self.hook)(Step::BeforeSend).await;
            let result = self.inner.send(run, id, text).await;
            (self.hook)(Step::AfterSend).await;
            result
        }
        .boxed()
    }

    fn inbox(&self, run: RunId, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<InboxMessage>, StorageError>> {
        self.inner.inbox(run, after, limit)
    }

    fn decide(
        &self,
        approval: ApprovalId,
        hash: ArgumentsHash,
        decision: StoredDecision,
        message: Arc<str>,
    ) -> BoxFuture<'_, Result<Decided, StorageError>> {
        async move {
            (self.hook)(Step::BeforeDecide).await;
            let result = self.inner.decide(approval, hash, decision, message).await;
            (self.hook)(Step::AfterDecide).await;
            result
        }
        .boxed()
    }

    fn approval(&self, approval: ApprovalId) -> BoxFuture<'_, Result<Option<StoredApproval>, StorageError>> {
        self.inner.approval(approval)
    }

    fn pending_approvals(
        &self,
        run: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredApproval>, StorageError>> {
        self.inner.pending_approvals(run, limit)
    }

    fn read(&self, run: RunId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<StoredEntry>, StorageError>> {
        self.inner.read(run, from, limit)
    }

    fn head(&self, run: RunId) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        self.inner.head(run)
    }

    fn run(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StorageError>> {
        self.inner.run(run)
    }

    fn list(
        &self,
        filter: RunFilter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> BoxFuture<'_, Result<Page<RunRecord>, StorageError>> {
        self.inner.list(filter, limit, cursor)
    }

    fn due(&self, until: SystemTime, limit: usize) -> BoxFuture<'_, Result<Due, StorageError>> {
        self.inner.due(until, limit)
    }

    fn watch(&self, interest: Interest) -> Box<dyn Hints> {
        self.inner.watch(interest)
    }

    fn put_blob(&self, bytes: Bytes) -> BoxFuture<'_, Result<ContentHash, StorageError>> {
        self.inner.put_blob(bytes)
    }

    fn blob(&self, hash: ContentHash) -> BoxFuture<'_, Result<Option<Bytes>, StorageError>> {
        self.inner.blob(hash)
    }

    fn prune(&self, prune: Prune, limit: usize) -> BoxFuture<'_, Result<usize, StorageError>> {
        self.inner.prune(prune, limit)
    }

    fn prune_blobs(&self, grace: Duration, limit: usize) -> BoxFuture<'_, Result<usize, StorageError>> {
        self.inner.prune_blobs(grace, limit)
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        self.inner.check()
    }
}
