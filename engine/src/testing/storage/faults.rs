//! A storage around another one, that fails and is late as it is told.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::component::ContentHash;
use crate::gate::ApprovalId;
use crate::json::ArgumentsHash;
use crate::life::RunId;
use crate::storage::{
    Append, AppendError, Cause, Claimed, Cursor, Decided, Due, Fail, Head, Hint, Hints, InboxMessage, Interest, NewRun,
    Page, Prune, Released, RunFilter, RunRecord, Sent, Storage, StorageError, StoredApproval, StoredDecision,
    StoredEntry, WorkerId,
};

/// How a storage can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Not done, and it says so.
    Refused,
    /// Done, but whoever asked is told that nobody knows.
    DoneButUnknown,
    /// Not done, and whoever asked is told that nobody knows.
    NotDoneButUnknown,
    /// Of an append or a release: another worker took the run. All that comes in that epoch is fenced from now on.
    /// Of anything else: refused.
    Fenced,
    /// Of an append or a release: those numbers are taken. Of anything else: refused.
    Conflict,
    /// Of an append or a release: the storage lost the last entry. Of anything else: refused.
    WentBack,
}

/// An operation of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`Storage::create`]
    Create,
    /// [`Storage::append`]
    Append,
    /// [`Storage::register`]
    Register,
    /// [`Storage::renew`]
    Renew,
    /// [`Storage::claim`]
    Claim,
    /// [`Storage::claim_one`]
    ClaimOne,
    /// [`Storage::release`]
    Release,
    /// [`Storage::send`]
    Send,
    /// [`Storage::inbox`]
    Inbox,
    /// [`Storage::decide`]
    Decide,
    /// [`Storage::approval`]
    Approval,
    /// [`Storage::pending_approvals`]
    PendingApprovals,
    /// [`Storage::read`]
    Read,
    /// [`Storage::head`]
    Head,
    /// [`Storage::run`]
    Run,
    /// [`Storage::list`]
    List,
    /// [`Storage::due`]
    Due,
    /// [`Storage::put_blob`]
    PutBlob,
    /// [`Storage::blob`]
    Blob,
    /// [`Storage::prune`]
    Prune,
    /// [`Storage::prune_blobs`]
    PruneBlobs,
    /// [`Storage::check`]
    Check,
}

/// Which faults there are, and when. Its clones are the same.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug)]
struct Plan {
    /// Decides what is left to chance; none where nothing is.
    chance: Option<fastrand::Rng>,
    sometimes: Vec<Sometimes>,
    planned: HashMap<(Operation, u64), Fault>,
    calls: HashMap<Operation, u64>,
    fenced: HashSet<(RunId, u64)>,
}

#[derive(Debug)]
struct Sometimes {
    operations: Vec<Operation>,
    faults: Vec<Fault>,
    per_thousand: u32,
}

impl Faults {
    /// Only those that are [planned](Self::plan), and nothing is late.
    pub fn none() -> Self {
        Self::with_chance(None)
    }

    /// Has operations be late, so that those of different runs overtake each other, and hints be lost or doubled; which
    /// ones, the seed decides.
    pub fn from_seed(seed: u64) -> Self {
        Self::with_chance(Some(fastrand::Rng::with_seed(seed)))
    }

    /// Has these operations fail too, that often, with one of these faults each time. It needs a seed.
    #[must_use]
    pub fn sometimes(self, operations: &[Operation], faults: &[Fault], per_thousand: u32) -> Self {
        let sometimes = Sometimes { operations: operations.to_vec(), faults: faults.to_vec(), per_thousand };
        self.plan_of().sometimes.push(sometimes);
        self
    }

    /// Has one call of that operation fail: the next one where `nth` is 1, the one after it where it is 2.
    pub fn plan(&self, operation: Operation, nth: u64, fault: Fault) {
        let mut plan = self.plan_of();
        let call = plan.calls.get(&operation).copied().unwrap_or(0) + nth;
        plan.planned.insert((operation, call), fault);
    }

    /// How often that operation was asked for.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.plan_of().calls.get(&operation).copied().unwrap_or(0)
    }

    /// How many planned faults have not come yet.
    pub fn to_come(&self) -> usize {
        self.plan_of().planned.len()
    }

    fn with_chance(chance: Option<fastrand::Rng>) -> Self {
        Self(Arc::new(Mutex::new(Plan {
            chance,
            sometimes: Vec::new(),
            planned: HashMap::new(),
            calls: HashMap::new(),
            fenced: HashSet::new(),
        })))
    }

    fn plan_of(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets others go first, some of the time.
    async fn delay(&self) {
        let turns = self.plan_of().chance.as_mut().map_or(0, |chance| chance.u8(0..4));
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    fn draw(&self, operation: Operation) -> Option<Fault> {
        let mut plan = self.plan_of();
        let call = plan.calls.entry(operation).or_default();
        *call += 1;
        let call = *call;
        plan.planned.remove(&(operation, call)).or_else(|| plan.draw(operation))
    }

    async fn pass<T, E: Fail>(&self, operation: Operation, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let fault = self.draw(operation);
        self.delay().await;
        let result = suffer(fault, call).await;
        self.delay().await;
        result
    }

    /// The same for what belongs to a journal, which can fail in more ways.
    async fn pass_journal<T>(
        &self,
        operation: Operation,
        entries: Entries,
        call: impl Future<Output = Result<T, AppendError>>,
    ) -> Result<T, AppendError> {
        let fault = self.draw(operation);
        self.delay().await;
        let judged = self.plan_of().judge(fault, entries);
        let result = match judged {
            Some(error) => Err(error),
            None => suffer(fault, call).await,
        };
        self.delay().await;
        result
    }
}

/// What has to be known of an append to have it fail.
#[derive(Clone, Copy)]
struct Entries {
    run: RunId,
    epoch: u64,
    next: u64,
}

impl Entries {
    fn of(append: &Append) -> Self {
        Self { run: append.run, epoch: append.epoch, next: append.expected_next }
    }
}

impl Plan {
    fn judge(&mut self, fault: Option<Fault>, Entries { run, epoch, next }: Entries) -> Option<AppendError> {
        if fault == Some(Fault::Fenced) {
            self.fenced.insert((run, epoch));
        }
        if self.fenced.contains(&(run, epoch)) {
            return Some(AppendError::Fenced { epoch: epoch + 1 });
        }
        match fault? {
            Fault::Conflict => Some(AppendError::Conflict { next: next + 1 }),
            Fault::WentBack => Some(AppendError::WentBack { next: next.saturating_sub(1) }),
            _ => None,
        }
    }

    fn draw(&mut self, operation: Operation) -> Option<Fault> {
        let chance = self.chance.as_mut()?;
        let meant = self.sometimes.iter().filter(|sometimes| sometimes.operations.contains(&operation));
        let mut struck = meant.filter(|sometimes| chance.u32(0..1000) < sometimes.per_thousand);
        let faults = &struck.next()?.faults;
        chance.choice(faults).copied()
    }
}

/// A storage that does what the one within does, but for its [`Faults`]. Its clones are handles to the same.
#[derive(Clone)]
pub struct FaultyStorage<S> {
    inner: S,
    faults: Faults,
}

impl<S: Storage> FaultyStorage<S> {
    /// That storage, with these faults.
    pub fn new(inner: S, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// The storage within, which does not fail.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: Storage> Storage for FaultyStorage<S> {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<u64, AppendError>> {
        self.faults.pass_journal(Operation::Append, Entries::of(&append), self.inner.append(append)).boxed()
    }

    fn release(&self, append: Append, seen_inbox: u64) -> BoxFuture<'_, Result<Released, AppendError>> {
        let entries = Entries::of(&append);
        self.faults.pass_journal(Operation::Release, entries, self.inner.release(append, seen_inbox)).boxed()
    }

    fn watch(&self, interest: Interest) -> Box<dyn Hints> {
        Box::new(FaultyHints { inner: self.inner.watch(interest), faults: self.faults.clone(), again: None })
    }

    fn create(&self, run: NewRun) -> BoxFuture<'_, Result<RunId, StorageError>> {
        self.faults.pass(Operation::Create, self.inner.create(run)).boxed()
    }

    fn register(&self, ttl: Duration) -> BoxFuture<'_, Result<WorkerId, StorageError>> {
        self.faults.pass(Operation::Register, self.inner.register(ttl)).boxed()
    }

    fn renew(&self, worker: WorkerId, ttl: Duration) -> BoxFuture<'_, Result<bool, StorageError>> {
        self.faults.pass(Operation::Renew, self.inner.renew(worker, ttl)).boxed()
    }

    fn claim(
        &self,
        worker: WorkerId,
        agents: Option<Vec<String>>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Claimed>, StorageError>> {
        self.faults.pass(Operation::Claim, self.inner.claim(worker, agents, limit)).boxed()
    }

    fn claim_one(&self, worker: WorkerId, run: RunId) -> BoxFuture<'_, Result<Option<Claimed>, StorageError>> {
        self.faults.pass(Operation::ClaimOne, self.inner.claim_one(worker, run)).boxed()
    }

    fn send(&self, run: RunId, id: Uuid, text: Arc<str>) -> BoxFuture<'_, Result<Sent, StorageError>> {
        self.faults.pass(Operation::Send, self.inner.send(run, id, text)).boxed()
    }

    fn inbox(&self, run: RunId, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<InboxMessage>, StorageError>> {
        self.faults.pass(Operation::Inbox, self.inner.inbox(run, after, limit)).boxed()
    }

    fn decide(
        &self,
        approval: ApprovalId,
        hash: ArgumentsHash,
        decision: StoredDecision,
        message: Arc<str>,
    ) -> BoxFuture<'_, Result<Decided, StorageError>> {
        self.faults.pass(Operation::Decide, self.inner.decide(approval, hash, decision, message)).boxed()
    }

    fn approval(&self, approval: ApprovalId) -> BoxFuture<'_, Result<Option<StoredApproval>, StorageError>> {
        self.faults.pass(Operation::Approval, self.inner.approval(approval)).boxed()
    }

    fn pending_approvals(
        &self,
        run: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredApproval>, StorageError>> {
        self.faults.pass(Operation::PendingApprovals, self.inner.pending_approvals(run, limit)).boxed()
    }

    fn read(&self, run: RunId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<StoredEntry>, StorageError>> {
        self.faults.pass(Operation::Read, self.inner.read(run, from, limit)).boxed()
    }

    fn head(&self, run: RunId) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        self.faults.pass(Operation::Head, self.inner.head(run)).boxed()
    }

    fn run(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StorageError>> {
        self.faults.pass(Operation::Run, self.inner.run(run)).boxed()
    }

    fn list(
        &self,
        filter: RunFilter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> BoxFuture<'_, Result<Page<RunRecord>, StorageError>> {
        self.faults.pass(Operation::List, self.inner.list(filter, limit, cursor)).boxed()
    }

    fn due(&self, until: SystemTime, limit: usize) -> BoxFuture<'_, Result<Due, StorageError>> {
        self.faults.pass(Operation::Due, self.inner.due(until, limit)).boxed()
    }

    fn put_blob(&self, bytes: Bytes) -> BoxFuture<'_, Result<ContentHash, StorageError>> {
        self.faults.pass(Operation::PutBlob, self.inner.put_blob(bytes)).boxed()
    }

    fn blob(&self, hash: ContentHash) -> BoxFuture<'_, Result<Option<Bytes>, StorageError>> {
        self.faults.pass(Operation::Blob, self.inner.blob(hash)).boxed()
    }

    fn prune(&self, prune: Prune, limit: usize) -> BoxFuture<'_, Result<usize, StorageError>> {
        self.faults.pass(Operation::Prune, self.inner.prune(prune, limit)).boxed()
    }

    fn prune_blobs(&self, grace: Duration, limit: usize) -> BoxFuture<'_, Result<usize, StorageError>> {
        self.faults.pass(Operation::PruneBlobs, self.inner.prune_blobs(grace, limit)).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        self.faults.pass(Operation::Check, self.inner.check()).boxed()
    }
}

struct FaultyHints {
    inner: Box<dyn Hints>,
    faults: Faults,
    again: Option<Hint>,
}

impl Hints for FaultyHints {
    fn next(&mut self) -> BoxFuture<'_, Hint> {
        let next = async {
            if let Some(hint) = self.again.take() {
                return hint;
            }
            loop {
                let hint = self.inner.next().await;
                match self.faults.plan_of().chance.as_mut().map(|chance| chance.u8(0..4)) {
                    Some(0) => {}
                    Some(1) => {
                        self.again = Some(hint);
                        return hint;
                    }
                    _ => return hint,
                }
            }
        };
        next.boxed()
    }
}

async fn suffer<T, E: Fail>(fault: Option<Fault>, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    match fault {
        None => call.await,
        Some(Fault::DoneButUnknown) => call.await.and_then(|_| Err(E::unknown(injected()))),
        Some(Fault::NotDoneButUnknown) => Err(E::unknown(injected())),
        Some(_) => Err(E::refused(injected())),
    }
}

fn injected() -> Cause {
    "a fault that a test asked for".into()
}
