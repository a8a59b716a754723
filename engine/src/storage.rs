//! Where runs, their journals, approvals and blobs live.
//!
//! A journal is only as durable as this says, so the promises are written down at each operation, and one suite of
//! tests (`casemate::testing::storage`, with the feature `testing`) holds every implementation to them. Storage knows
//! nothing of what an entry says: entries, messages and specifications are text to it.
//!
//! What nobody may count on, so that a database for several nodes can keep them too: an order over all runs, a
//! transaction across runs, reads that cost nothing, a lock that tells who owns a run, the clock of a process, hints
//! that always come.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::component::ContentHash;
use crate::gate::ApprovalId;
use crate::json::ArgumentsHash;
use crate::life::{RunId, RunStatus, WaitingOn};

/// What tells one worker, a process that executes runs, from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(Uuid);

/// The part of a run that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunState {
    /// Where it is in its life.
    pub status: RunStatus,
    /// What it waits for, where it waits; the oldest of several.
    pub waiting_on: Option<WaitingOn>,
    /// When it goes on by itself, where it waits for a moment.
    pub wake_at: Option<SystemTime>,
    /// Whatever else its owner wants told of it: text to the storage.
    pub detail: Arc<str>,
}

/// A run, without its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// Which run.
    pub id: RunId,
    /// The name of its agent.
    pub agent: String,
    /// When it was created.
    pub created: SystemTime,
    /// When its state changed.
    pub updated: SystemTime,
    /// What it was created with: text to the storage.
    pub spec: Arc<str>,
    /// What changes.
    pub state: RunState,
}

/// A run to be created.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Which run.
    pub id: RunId,
    /// The name of its agent.
    pub agent: String,
    /// When: by the clock of whoever creates it.
    pub created: SystemTime,
    /// What it is created with: text to the storage.
    pub spec: Arc<str>,
    /// Its state; [`RunStatus::Queued`] as a rule.
    pub state: RunState,
    /// The first entries of its journal, from number 1.
    pub entries: Vec<StoredEntry>,
    /// The blobs that it needs for as long as it is there.
    pub blobs: Vec<ContentHash>,
    /// What makes creating it twice the same as once.
    pub idempotency_key: Option<String>,
}

/// One entry of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its number, from 1 without holes.
    pub sequence: u64,
    /// What it says.
    pub text: Arc<str>,
}

/// Entries to be put at the end of a journal, with what changes beside them: all of it or nothing.
#[derive(Clone, Debug)]
pub struct Append {
    /// Which run.
    pub run: RunId,
    /// The epoch in which the appending worker owns it.
    pub epoch: u64,
    /// The number of the first entry; the next number of the journal, where there are none.
    pub expected_next: u64,
    /// What is appended, in order of number without holes.
    pub entries: Vec<StoredEntry>,
    /// The run's new state, where it changes.
    pub state: Option<RunState>,
    /// The last message of the inbox that is used up with this.
    pub consumed_inbox: Option<u64>,
    /// Questions to people that these entries ask.
    pub approvals: Vec<NewApproval>,
    /// Approvals of this run that nobody needs to decide any more.
    pub withdrawn: Vec<ApprovalId>,
    /// Blobs that these entries name; put before.
    pub blobs: Vec<ContentHash>,
}

/// Why entries could not be appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Another worker owns the run: stop at once, and write nothing.
    #[error("another worker owns the run, in epoch {epoch}")]
    Fenced {
        /// The epoch now.
        epoch: u64,
    },
    /// There are entries of these numbers already.
    #[error("the journal goes on with number {next}, and so has the entries that were to be appended")]
    Conflict {
        /// The journal's next number.
        next: u64,
    },
    /// Entries that had been acknowledged are gone.
    #[error("the journal goes on with number {next}: the storage lost entries that it had acknowledged")]
    WentBack {
        /// The journal's next number.
        next: u64,
    },
    /// There is no such run.
    #[error("there is no such run")]
    NotFound,
    /// Surely not written.
    #[error("the storage refused it")]
    Refused(#[source] Cause),
    /// Perhaps written: read [`Storage::head`] before anything else.
    #[error("nobody knows whether the storage took it")]
    Unknown(#[source] Cause),
}

/// Why the storage did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Surely not done.
    #[error("the storage refused it")]
    Refused(#[source] Cause),
    /// Perhaps done.
    #[error("nobody knows whether the storage did it")]
    Unknown(#[source] Cause),
}

/// What a storage says of its failure.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A run that a worker took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The run, whose status is [`RunStatus::Running`] from now on; its state is that before.
    pub record: RunRecord,
    /// The epoch in which this worker owns it.
    pub epoch: u64,
    /// The next number of its journal.
    pub next: u64,
    /// The last message of its inbox that was used up.
    pub consumed_inbox: u64,
}

/// Where a run's journal and inbox end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The epoch now.
    pub epoch: u64,
    /// The next number of its journal.
    pub next: u64,
    /// The last message in its inbox; 0 where there was none.
    pub inbox: u64,
    /// The last message of its inbox that was used up.
    pub consumed_inbox: u64,
}

/// Whether a released run waits as it was to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// It is in the state that was asked for.
    AsAsked,
    /// A message came meanwhile, so it is queued.
    Queued,
}

/// A message of others to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxMessage {
    /// Its number in the inbox of its run, from 1.
    pub number: u64,
    /// What it says.
    pub text: Arc<str>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is in the inbox; also where it was there already.
    Delivered,
    /// The run came to its end and takes none.
    Finished,
    /// There is no such run.
    NotFound,
}

/// A question to a person about one effect of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApproval {
    /// Which approval.
    pub id: ApprovalId,
    /// The hash of the arguments to which it is bound.
    pub hash: ArgumentsHash,
    /// When an answer comes too late.
    pub expires: SystemTime,
    /// What is asked, in full: text to the storage.
    pub text: Arc<str>,
}

/// An approval that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredApproval {
    /// The run that asks.
    pub run: RunId,
    /// What it asks.
    pub asked: NewApproval,
    /// What was decided, if it was.
    pub decision: Option<StoredDecision>,
}

/// What a person decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDecision {
    /// What: text to the storage.
    pub text: Arc<str>,
    /// Who.
    pub by: String,
    /// When.
    pub at: SystemTime,
}

/// What became of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It counts, and its run goes on.
    Taken,
    /// Another counts.
    Already(StoredDecision),
    /// It comes too late.
    Expired,
    /// It is about other arguments than those that were asked about.
    OtherArguments,
    /// There is no such approval, or nobody waits for it any more.
    NotFound,
}

/// Which runs are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of that agent only.
    pub agent: Option<String>,
    /// In one of these states only; of any, where there are none.
    pub statuses: Vec<RunStatus>,
    /// Created at that moment or later.
    pub since: Option<SystemTime>,
    /// Created before that moment.
    pub until: Option<SystemTime>,
}

/// One page of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page begins; none after the last.
    pub next: Option<Cursor>,
}

/// Where a page of a list begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

/// Which finished runs are pruned, with all that is kept of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prune {
    /// Whose state changed last before that moment.
    pub before: SystemTime,
    /// In one of these states; in any in which a run is finished, where there are none. Others are never pruned.
    pub statuses: Vec<RunStatus>,
}

/// Which timers are over, and when the next one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// How many runs were queued.
    pub queued: usize,
    /// When the next one goes on; none where none waits for a moment.
    pub next: Option<SystemTime>,
}

/// What may have changed. Hints may be lost, doubled or about nothing: whoever waits for one looks now and then anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Something about this run.
    Run(RunId),
    /// Something.
    Anything,
}

/// Hints, from a moment on.
pub trait Hints: Send {
    /// The next one. Safe to drop while it waits.
    fn next(&mut self) -> BoxFuture<'_, Hint>;
}

/// Keeps runs. All operations are whole or not at all, and may be dropped while they wait: then nobody knows.
pub trait Storage: Send + Sync {
    /// Makes a run. Where there is one with the same idempotency key, that one is the answer, and nothing is made.
    fn create(&self, run: NewRun) -> BoxFuture<'_, Result<RunId, StorageError>>;

    /// Puts entries at the end of a journal and answers with its next number. When it answers, they are durable.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<u64, AppendError>>;

    /// Makes a worker, whose lease is over `ttl` from now by the clock of the storage.
    fn register(&self, ttl: Duration) -> BoxFuture<'_, Result<WorkerId, StorageError>>;

    /// Has a lease end `ttl` from now. Answers whether it was still on: if not, the worker stops all its runs before
    /// anything else.
    fn renew(&self, worker: WorkerId, ttl: Duration) -> BoxFuture<'_, Result<bool, StorageError>>;

    /// Takes runs that are queued, and those of workers whose lease is over, of these agents only where some are named;
    /// about the oldest first. Each gets a new epoch, and is [`RunStatus::Running`].
    fn claim(
        &self,
        worker: WorkerId,
        agents: Option<Vec<String>>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Claimed>, StorageError>>;

    /// Takes that one run, in whatever state it is, unless it is finished or a worker whose lease is on owns it.
    fn claim_one(&self, worker: WorkerId, run: RunId) -> BoxFuture<'_, Result<Option<Claimed>, StorageError>>;

    /// Appends, and gives the run back in the state that the append brings; queued, where it brings none. Where its inbox
    /// has messages after `seen_inbox`, and the state is no end, it is queued instead.
    fn release(&self, append: Append, seen_inbox: u64) -> BoxFuture<'_, Result<Released, AppendError>>;

    /// Puts a message into the inbox of a run, once per `id`, and has a run that waits or is paused queued.
    fn send(&self, run: RunId, id: Uuid, text: Arc<str>) -> BoxFuture<'_, Result<Sent, StorageError>>;

    /// The messages after number `after`.
    fn inbox(&self, run: RunId, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<InboxMessage>, StorageError>>;

    /// Decides an approval, if nobody has yet, and puts `message` into the inbox of its run: both or neither.
    fn decide(
        &self,
        approval: ApprovalId,
        hash: ArgumentsHash,
        decision: StoredDecision,
        message: Arc<str>,
    ) -> BoxFuture<'_, Result<Decided, StorageError>>;

    /// An approval, decided or not.
    fn approval(&self, approval: ApprovalId) -> BoxFuture<'_, Result<Option<StoredApproval>, StorageError>>;

    /// Approvals that are not decided, oldest first; of one run, where one is named.
    fn pending_approvals(
        &self,
        run: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredApproval>, StorageError>>;

    /// Entries from number `from` on, at most `limit`. What was appended is there.
    fn read(&self, run: RunId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<StoredEntry>, StorageError>>;

    /// Where its journal and inbox end.
    fn head(&self, run: RunId) -> BoxFuture<'_, Result<Option<Head>, StorageError>>;

    /// A run without its journal.
    fn run(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StorageError>>;

    /// Runs, newest first. A page may lag behind.
    fn list(
        &self,
        filter: RunFilter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> BoxFuture<'_, Result<Page<RunRecord>, StorageError>>;

    /// Has runs queued whose moment is `until` or before, at most `limit`.
    fn due(&self, until: SystemTime, limit: usize) -> BoxFuture<'_, Result<Due, StorageError>>;

    /// Hints from now on.
    fn watch(&self) -> Box<dyn Hints>;

    /// Keeps bytes under their hash; durable when it answers.
    fn put_blob(&self, bytes: Bytes) -> BoxFuture<'_, Result<ContentHash, StorageError>>;

    /// Bytes that were kept.
    fn blob(&self, hash: ContentHash) -> BoxFuture<'_, Result<Option<Bytes>, StorageError>>;

    /// Removes finished runs, at most `limit`, and answers how many.
    fn prune(&self, prune: Prune, limit: usize) -> BoxFuture<'_, Result<usize, StorageError>>;

    /// Removes blobs that no run needs and that are older than `grace`, at most `limit`, and answers how many.
    fn prune_blobs(&self, grace: Duration, limit: usize) -> BoxFuture<'_, Result<usize, StorageError>>;

    /// Whether it can be reached and is in order.
    fn check(&self) -> BoxFuture<'_, Result<(), StorageError>>;
}

impl WorkerId {
    /// A new one.
    #[allow(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}
