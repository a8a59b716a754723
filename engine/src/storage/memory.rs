//! Storage that is gone with its process: for runs that need not outlive it, and for tests.
//!
//! Each run has a lock of its own, so that runs do not wait for each other; what is found across runs is in one index,
//! which an append touches only where it changes something there. Locks are taken in one order: the runs, a run, the
//! index. None is held while anything waits.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::hints::{Change, Watchers};
use super::malformed::{Malformed, numbered};
use super::moment::{Age, after, before, kept, micros, moment};
use super::{
    Append, AppendError, Claimed, Cursor, Decided, Due, Head, Hints, InboxMessage, Interest, NewRun, Page, Prune,
    Released, RunFilter, RunRecord, Sent, Storage, StorageError, StoredApproval, StoredDecision, StoredEntry, WorkerId,
};
use crate::clock::{Clock, SystemClock};
use crate::component::ContentHash;
use crate::gate::ApprovalId;
use crate::json::ArgumentsHash;
use crate::life::{RunId, RunStatus};

use index::Index;
use run::Run;

mod index;
mod run;

/// How many runs a list looks at before it lets others go on.
const STRETCH: usize = 256;

/// Keeps runs in memory. Its clones are handles to the same runs.
///
/// ```
/// use casemate::storage::{MemoryStorage, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let storage = MemoryStorage::new();
/// let hash = storage.put_blob("kept".into()).await?;
/// assert_eq!(storage.blob(hash).await?.as_deref(), Some(b"kept".as_slice()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryStorage(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    runs: RwLock<Runs>,
    index: Mutex<Index>,
    watchers: Watchers,
}

type Cell = Arc<Mutex<Run>>;

#[derive(Default)]
struct Runs {
    by_id: HashMap<RunId, Cell>,
    by_age: BTreeMap<Age, Cell>,
}

impl MemoryStorage {
    /// An empty one.
    pub fn new() -> Self {
        Self::with_clock(SystemClock)
    }

    /// An empty one, whose time is that of `clock`.
    pub fn with_clock(clock: impl Clock) -> Self {
        Self(Arc::new(Inner {
            clock: Arc::new(clock),
            runs: RwLock::default(),
            index: Mutex::default(),
            watchers: Watchers::new(),
        }))
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    fn now(&self) -> SystemTime {
        kept(self.clock.now())
    }

    fn cell(&self, run: RunId) -> Option<Cell> {
        self.runs.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&run).cloned()
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }

    /// What `look` finds in a run that is there.
    fn look<T>(&self, id: RunId, look: impl FnOnce(&Run) -> T) -> Option<T> {
        let cell = self.cell(id)?;
        let run = lock(&cell);
        run.is_there().then(|| look(&run))
    }

    /// What `act` does to a run that is there; those who watch are told of such a change.
    fn change<T>(&self, id: RunId, change: Change, act: impl FnOnce(&mut Run) -> T) -> Option<T> {
        let cell = self.cell(id)?;
        let acted = {
            let mut run = lock(&cell);
            run.is_there().then(|| act(&mut run))
        };
        if acted.is_some() {
            self.watchers.tell(id, change);
        }
        acted
    }

    fn create(&self, new: NewRun) -> Result<RunId, Malformed> {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        let mut index = self.index();
        let same = new.idempotency_key.as_ref().and_then(|key| index.keys.get(key)).copied();
        if let Some(id) = same.or_else(|| runs.by_id.contains_key(&new.id).then_some(new.id)) {
            return Ok(id);
        }
        numbered(1, &new.entries)?;
        index.check_blobs(&new.blobs)?;
        let id = new.id;
        let run = Run::new(new, self.now());
        index.enter(&run);
        let age = run.age();
        let cell = Arc::new(Mutex::new(run));
        runs.by_id.insert(id, cell.clone());
        runs.by_age.insert(age, cell);
        drop((runs, index));
        self.watchers.tell(id, Change::Work);
        Ok(id)
    }

    fn append(&self, append: Append) -> Result<u64, AppendError> {
        let (id, change) = (append.run, Change::of(&append));
        self.change(id, change, |run| self.put(run, append)).unwrap_or(Err(AppendError::NotFound))
    }

    fn put(&self, run: &mut Run, append: Append) -> Result<u64, AppendError> {
        let admitted = run.standing().admit(&append)?;
        if append.is_only_entries() {
            return Ok(run.extend(append.entries, &admitted));
        }
        let mut index = self.index();
        index.check(&append)?;
        index.need(run, &append.blobs);
        index.withdraw(run, &append.withdrawn);
        index.ask(run, append.approvals);
        if let Some(state) = append.state {
            index.set_state(run, state, self.now());
        }
        Ok(run.extend(append.entries, &admitted))
    }

    fn release(&self, mut append: Append, seen_inbox: u64) -> Result<Released, AppendError> {
        let id = append.run;
        let release = |run: &mut Run| {
            let (state, released) = append.released_as(&run.record.state, run.last_message(), seen_inbox);
            append.state = Some(state);
            self.put(run, append)?;
            self.index().set_owner(run, None);
            Ok(released)
        };
        self.change(id, Change::Work, release).unwrap_or(Err(AppendError::NotFound))
    }

    fn register(&self, ttl: Duration) -> WorkerId {
        let worker = WorkerId::new();
        let now = micros(self.now());
        self.index().lease(worker, after(now, ttl), now);
        worker
    }

    fn renew(&self, worker: WorkerId, ttl: Duration) -> bool {
        let now = micros(self.now());
        let mut index = self.index();
        let is_on = index.is_on(worker, now);
        if is_on {
            index.lease(worker, after(now, ttl), now);
        }
        is_on
    }

    fn claim(&self, worker: WorkerId, agents: Option<&[String]>, limit: usize) -> Vec<Claimed> {
        let free = self.index().claimable(agents, limit, micros(self.now()));
        let claim = |id| self.claim_if(worker, id, Run::is_active);
        free.into_iter().filter_map(claim).collect()
    }

    fn claim_one(&self, worker: WorkerId, id: RunId) -> Option<Claimed> {
        self.claim_if(worker, id, |run| !run.record.state.status.is_finished())
    }

    fn claim_if(&self, worker: WorkerId, id: RunId, condition: impl FnOnce(&Run) -> bool) -> Option<Claimed> {
        let cell = self.cell(id)?;
        let mut run = lock(&cell);
        let mut index = self.index();
        let now = self.now();
        let is_free = run.is_there() && condition(&run) && !index.is_owned(run.owner, micros(now));
        if !is_free || !index.is_on(worker, micros(now)) {
            return None;
        }
        let record = run.record.clone();
        index.set_state(&mut run, record.state.running(), now);
        index.set_owner(&mut run, Some(worker));
        run.epoch += 1;
        let claimed = Claimed { record, epoch: run.epoch, next: run.next(), consumed_inbox: run.consumed };
        drop((run, index));
        self.watchers.tell(id, Change::State);
        Some(claimed)
    }

    fn send(&self, id: RunId, message: Uuid, text: Arc<str>) -> Sent {
        self.change(id, Change::Work, |run| self.deliver(run, message, text)).unwrap_or(Sent::NotFound)
    }

    fn deliver(&self, run: &mut Run, message: Uuid, text: Arc<str>) -> Sent {
        let state = &run.record.state;
        if run.has_received(message) {
            return Sent::Delivered;
        }
        if state.status.is_finished() {
            return Sent::Finished;
        }
        if state.status.is_woken() {
            let queued = state.queued();
            self.index().set_state(run, queued, self.now());
        }
        run.receive(message, text);
        Sent::Delivered
    }

    fn decide(&self, id: ApprovalId, hash: ArgumentsHash, decision: StoredDecision, message: Arc<str>) -> Decided {
        let Some(run) = self.index().approvals.get(&id).map(|approval| approval.run) else {
            return Decided::NotFound;
        };
        let decide = |run: &mut Run| {
            let mut index = self.index();
            // It may have been decided or withdrawn meanwhile.
            let Some(approval) = index.approvals.get(&id) else { return Decided::NotFound };
            if let Some(no) = approval.asked.judge(hash, approval.decision.as_ref(), kept(decision.at)) {
                return no;
            }
            index.take(id, decision);
            drop(index);
            self.deliver(run, Uuid::from_bytes(id.to_bytes()), message);
            Decided::Taken
        };
        self.change(run, Change::Work, decide).unwrap_or(Decided::NotFound)
    }

    fn due(&self, until: SystemTime, limit: usize) -> Due {
        let until = micros(until);
        let over: Vec<_> = self.index().timers.iter().take_while(|(at, _)| *at <= until).take(limit).copied().collect();
        let wake = |run: &mut Run| {
            let state = &run.record.state;
            let is_over = state.status == RunStatus::Waiting && state.wake_at.is_some_and(|at| micros(at) <= until);
            if is_over {
                let queued = state.queued();
                self.index().set_state(run, queued, self.now());
            }
            is_over
        };
        let queued = over.into_iter().filter(|(_, id)| self.change(*id, Change::Work, wake) == Some(true)).count();
        let next = self.index().timers.first().map(|(at, _)| moment(*at));
        Due { queued, next }
    }

    fn list(&self, filter: &RunFilter, limit: usize, cursor: Option<Cursor>) -> Result<Page<RunRecord>, Malformed> {
        let mut before = cursor.map(Age::try_from).transpose()?;
        let mut items = Vec::new();
        loop {
            let stretch = self.stretch(before);
            let Some((last, _)) = stretch.last() else { return Ok(Page { items, next: None }) };
            before = Some(*last);
            for (_, cell) in stretch {
                let run = lock(&cell);
                if !run.is_there() || !filter.matches(&run.record) {
                    continue;
                }
                if items.len() == limit {
                    let next = items.last().map(Age::of).map(Cursor::from);
                    return Ok(Page { items, next });
                }
                items.push(run.record.clone());
            }
        }
    }

    /// Some runs, newest first, all older than `before`.
    fn stretch(&self, before: Option<Age>) -> Vec<(Age, Cell)> {
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
        let older = (Bound::Unbounded, before.map_or(Bound::Unbounded, Bound::Excluded));
        runs.by_age.range(older).rev().take(STRETCH).map(|(age, cell)| (*age, cell.clone())).collect()
    }

    fn prune(&self, prune: &Prune, limit: usize) -> usize {
        let mut pruned = 0;
        let mut before = None;
        while pruned < limit {
            let stretch = self.stretch(before);
            let Some((last, _)) = stretch.last() else { break };
            before = Some(*last);
            let old = stretch.into_iter().filter(|(_, cell)| prune.takes(&lock(cell).record));
            pruned += old.take(limit - pruned).filter(|(age, _)| self.remove(*age, prune)).count();
        }
        pruned
    }

    fn remove(&self, age: Age, prune: &Prune) -> bool {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        let Some(cell) = runs.by_age.get(&age).cloned() else { return false };
        let mut run = lock(&cell);
        if !prune.takes(&run.record) {
            return false;
        }
        run.prune();
        self.index().leave(&run);
        runs.by_id.remove(&age.run);
        runs.by_age.remove(&age);
        true
    }
}

impl Storage for MemoryStorage {
    fn create(&self, run: NewRun) -> BoxFuture<'_, Result<RunId, StorageError>> {
        async move { Ok(self.0.create(run)?) }.boxed()
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<u64, AppendError>> {
        async move { self.0.append(append) }.boxed()
    }

    fn register(&self, ttl: Duration) -> BoxFuture<'_, Result<WorkerId, StorageError>> {
        async move { Ok(self.0.register(ttl)) }.boxed()
    }

    fn renew(&self, worker: WorkerId, ttl: Duration) -> BoxFuture<'_, Result<bool, StorageError>> {
        async move { Ok(self.0.renew(worker, ttl)) }.boxed()
    }

    fn claim(
        &self,
        worker: WorkerId,
        agents: Option<Vec<String>>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Claimed>, StorageError>> {
        async move { Ok(self.0.claim(worker, agents.as_deref(), limit)) }.boxed()
    }

    fn claim_one(&self, worker: WorkerId, run: RunId) -> BoxFuture<'_, Result<Option<Claimed>, StorageError>> {
        async move { Ok(self.0.claim_one(worker, run)) }.boxed()
    }

    fn release(&self, append: Append, seen_inbox: u64) -> BoxFuture<'_, Result<Released, AppendError>> {
        async move { self.0.release(append, seen_inbox) }.boxed()
    }

    fn send(&self, run: RunId, id: Uuid, text: Arc<str>) -> BoxFuture<'_, Result<Sent, StorageError>> {
        async move { Ok(self.0.send(run, id, text)) }.boxed()
    }

    fn inbox(&self, run: RunId, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<InboxMessage>, StorageError>> {
        async move { Ok(self.0.look(run, |run| run.messages(after, limit)).unwrap_or_default()) }.boxed()
    }

    fn decide(
        &self,
        approval: ApprovalId,
        hash: ArgumentsHash,
        decision: StoredDecision,
        message: Arc<str>,
    ) -> BoxFuture<'_, Result<Decided, StorageError>> {
        async move { Ok(self.0.decide(approval, hash, decision, message)) }.boxed()
    }

    fn approval(&self, approval: ApprovalId) -> BoxFuture<'_, Result<Option<StoredApproval>, StorageError>> {
        async move { Ok(self.0.index().approvals.get(&approval).cloned()) }.boxed()
    }

    fn pending_approvals(
        &self,
        run: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredApproval>, StorageError>> {
        async move { Ok(self.0.index().pending(run, limit)) }.boxed()
    }

    fn read(&self, run: RunId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<StoredEntry>, StorageError>> {
        async move { Ok(self.0.look(run, |run| run.entries(from, limit)).unwrap_or_default()) }.boxed()
    }

    fn head(&self, run: RunId) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        async move { Ok(self.0.look(run, Run::head)) }.boxed()
    }

    fn run(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StorageError>> {
        async move { Ok(self.0.look(run, |run| run.record.clone())) }.boxed()
    }

    fn list(
        &self,
        filter: RunFilter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> BoxFuture<'_, Result<Page<RunRecord>, StorageError>> {
        async move { Ok(self.0.list(&filter, limit, cursor)?) }.boxed()
    }

    fn due(&self, until: SystemTime, limit: usize) -> BoxFuture<'_, Result<Due, StorageError>> {
        async move { Ok(self.0.due(until, limit)) }.boxed()
    }

    fn watch(&self, interest: Interest) -> Box<dyn Hints> {
        self.0.watchers.join(interest)
    }

    fn put_blob(&self, bytes: Bytes) -> BoxFuture<'_, Result<ContentHash, StorageError>> {
        let put = async move {
            let hash = ContentHash::of(&bytes);
            self.0.index().put_blob(hash, bytes, micros(self.0.now()));
            Ok(hash)
        };
        put.boxed()
    }

    fn blob(&self, hash: ContentHash) -> BoxFuture<'_, Result<Option<Bytes>, StorageError>> {
        async move { Ok(self.0.index().blob(hash)) }.boxed()
    }

    fn prune(&self, prune: Prune, limit: usize) -> BoxFuture<'_, Result<usize, StorageError>> {
        async move { Ok(self.0.prune(&prune, limit)) }.boxed()
    }

    fn prune_blobs(&self, grace: Duration, limit: usize) -> BoxFuture<'_, Result<usize, StorageError>> {
        async move { Ok(self.0.index().prune_blobs(before(micros(self.0.now()), grace), limit)) }.boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        async { Ok(()) }.boxed()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
