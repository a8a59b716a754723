//! Where runs, their journals, approvals and blobs live.
//!
//! A journal is only as durable as this says, so the promises are written down at each operation, and one suite of
//! tests (`casemate::testing::storage`, with the feature `testing`) holds every implementation to them. Storage knows
//! nothing of what an entry says: entries, messages and specifications are text to it.
//!
//! A run is *owned* from the moment a worker claims it until it is released. Whoever claims it next fences the owner
//! before: each claim begins a new *epoch*, and what comes with an older one is not written. Claims look at leases,
//! since a worker that died releases nothing; appends look at the epoch only. Moments are kept to the microsecond,
//! rounded down.
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

#[cfg(any(feature = "sqlite", feature = "testing"))]
mod fail;
mod hints;
mod malformed;
mod memory;
mod moment;
#[cfg(feature = "sqlite")]
mod sqlite;
mod standing;

#[cfg(any(feature = "sqlite", feature = "testing"))]
pub(crate) use fail::Fail;
pub use memory::MemoryStorage;
#[cfg(feature = "sqlite")]
pub use sqlite::{OpenError, SqliteStorage};

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
    /// When its state changed last: by the clock of the storage.
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
    /// The first entries of its journal, from number 1 without holes.
    pub entries: Vec<StoredEntry>,
    /// The blobs that it needs for as long as it is there; put before.
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
    /// The run's new state, where it changes. It does not end that the worker owns the run: that is for
    /// [`Storage::release`].
    pub state: Option<RunState>,
    /// The last message of the inbox that is used up with this; it never goes back.
    pub consumed_inbox: Option<u64>,
    /// Questions to people that these entries ask.
    pub approvals: Vec<NewApproval>,
    /// Approvals of this run that nobody needs to decide any more: those that are not decided are gone.
    pub withdrawn: Vec<ApprovalId>,
    /// Blobs that these entries name, and that the run needs from now on; put before.
    pub blobs: Vec<ContentHash>,
}

/// Why entries could not be appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The run is in another epoch, or nobody owns it any more: stop at once, and write nothing.
    #[error("this worker does not own the run, which is in epoch {epoch}")]
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
    /// Surely not written: the storage could not, or what was to be appended does not fit together.
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
    /// The moment from which on an answer comes too late.
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

/// What somebody wants to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// All about one run: its journal, its inbox and its state.
    Run(RunId),
    /// The state of one run, and its inbox.
    State(RunId),
    /// What those who execute runs have to look at: runs that can be claimed, and what others tell a run. What an owner
    /// appends is not among it, so that a run does not wake its own worker with each entry.
    Work,
}

/// What may have changed. Hints may be lost, doubled or about nothing: whoever waits for one looks now and then anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// Keeps runs.
///
/// Every operation is whole or not at all. It may be dropped while it waits: then nobody knows whether it is done, as
/// where it fails as *unknown*. What is done is durable, and all that read afterwards see it.
pub trait Storage: Send + Sync {
    /// Makes a run. Where there is one with the same idempotency key, or else the same id, that one is the answer, and
    /// nothing is made.
    ///
    /// Refused where the entries are not numbered from 1 without holes, or a blob is not there.
    fn create(&self, run: NewRun) -> BoxFuture<'_, Result<RunId, StorageError>>;

    /// Puts entries at the end of a journal and answers with its next number. There may be none: then only what stands
    /// beside them changes.
    ///
    /// Looked at in this order: whether the run is there ([`NotFound`](AppendError::NotFound)), is owned in this epoch
    /// ([`Fenced`](AppendError::Fenced)), whether its journal goes on with a greater number than expected
    /// ([`Conflict`](AppendError::Conflict)) or a smaller one ([`WentBack`](AppendError::WentBack)), and whether the
    /// rest fits together: the numbers of the entries, blobs that are there, messages that came, approvals of new ids
    /// ([`Refused`](AppendError::Refused)). The lease of the worker is not looked at.
    ///
    /// A state that is an end takes what was not decided of the run's approvals away.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<u64, AppendError>>;

    /// Makes a worker, whose lease is over `ttl` from now by the clock of the storage.
    fn register(&self, ttl: Duration) -> BoxFuture<'_, Result<WorkerId, StorageError>>;

    /// Has a lease end `ttl` from now; with no time at all it is over. Answers whether it was still on. One that is
    /// over stays over: the worker stops all its runs before anything else, and registers anew.
    fn renew(&self, worker: WorkerId, ttl: Duration) -> BoxFuture<'_, Result<bool, StorageError>>;

    /// Takes runs, at most `limit`, of these agents only where some are named; about the oldest first. Those can be
    /// taken that are queued or running and that no worker owns whose lease is on. No two claims take the same.
    ///
    /// Each gets a new epoch and is [`RunStatus::Running`], waiting for nothing. A worker whose lease is over gets
    /// none.
    fn claim(
        &self,
        worker: WorkerId,
        agents: Option<Vec<String>>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Claimed>, StorageError>>;

    /// Takes that one run as [`claim`](Self::claim) does, but in whatever state it is, unless it is finished or a
    /// worker whose lease is on owns it.
    fn claim_one(&self, worker: WorkerId, run: RunId) -> BoxFuture<'_, Result<Option<Claimed>, StorageError>>;

    /// Appends, and gives the run back in the state that the append brings; queued, where it brings none. Where its
    /// inbox has messages after `seen_inbox`, and the state is no end, it is queued instead. Nobody owns it afterwards,
    /// so a further append is fenced.
    fn release(&self, append: Append, seen_inbox: u64) -> BoxFuture<'_, Result<Released, AppendError>>;

    /// Puts a message into the inbox of a run, once per `id`, and has a run that waits or is paused queued, waiting for
    /// nothing, owned or not. A message that is there already changes nothing.
    fn send(&self, run: RunId, id: Uuid, text: Arc<str>) -> BoxFuture<'_, Result<Sent, StorageError>>;

    /// The messages after number `after`, at most `limit`, used up or not.
    fn inbox(&self, run: RunId, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<InboxMessage>, StorageError>>;

    /// Decides an approval, if nobody has yet, and [sends](Self::send) `message` to its run: both or neither. Of
    /// several at once one is taken.
    ///
    /// Looked at in this order: whether it is there, is about these arguments, is decided already, and has expired at
    /// the moment of the decision.
    fn decide(
        &self,
        approval: ApprovalId,
        hash: ArgumentsHash,
        decision: StoredDecision,
        message: Arc<str>,
    ) -> BoxFuture<'_, Result<Decided, StorageError>>;

    /// An approval, decided or not; none where it was withdrawn.
    fn approval(&self, approval: ApprovalId) -> BoxFuture<'_, Result<Option<StoredApproval>, StorageError>>;

    /// Approvals that are not decided, expired ones too, in order of id, so about the oldest first; of one run, where
    /// one is named.
    fn pending_approvals(
        &self,
        run: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredApproval>, StorageError>>;

    /// Entries from number `from` on, at most `limit`. What was appended is there, and nothing of what was not
    /// acknowledged as a whole.
    fn read(&self, run: RunId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<StoredEntry>, StorageError>>;

    /// Where its journal and inbox end.
    fn head(&self, run: RunId) -> BoxFuture<'_, Result<Option<Head>, StorageError>>;

    /// A run without its journal.
    fn run(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StorageError>>;

    /// Runs, at most `limit`, by when they were created, newest first. A page may lag behind. A run that is there all
    /// the while is on exactly one page. Refused where the cursor is none that this storage gave.
    fn list(
        &self,
        filter: RunFilter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> BoxFuture<'_, Result<Page<RunRecord>, StorageError>>;

    /// Has waiting runs queued, waiting for nothing, whose moment is `until` or before, at most `limit`; those of the
    /// earliest moments first.
    fn due(&self, until: SystemTime, limit: usize) -> BoxFuture<'_, Result<Due, StorageError>>;

    /// Hints from now on at what is of interest, about changes by other processes too.
    fn watch(&self, interest: Interest) -> Box<dyn Hints>;

    /// Keeps bytes under their hash; durable when it answers. Bytes that are there already are as if put now.
    fn put_blob(&self, bytes: Bytes) -> BoxFuture<'_, Result<ContentHash, StorageError>>;

    /// Bytes that were kept.
    fn blob(&self, hash: ContentHash) -> BoxFuture<'_, Result<Option<Bytes>, StorageError>>;

    /// Removes finished runs with all that is kept of them, at most `limit`, and answers how many. Each is removed as a
    /// whole; where it fails, some may be gone.
    fn prune(&self, prune: Prune, limit: usize) -> BoxFuture<'_, Result<usize, StorageError>>;

    /// Removes blobs that no run needs and that were put `grace` ago or earlier, at most `limit`, and answers how many.
    fn prune_blobs(&self, grace: Duration, limit: usize) -> BoxFuture<'_, Result<usize, StorageError>>;

    /// Whether it can be reached and answers.
    fn check(&self) -> BoxFuture<'_, Result<(), StorageError>>;
}

impl WorkerId {
    /// A new one.
    #[allow(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id that [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its bytes, for whoever stores it.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl RunState {
    /// The same, but ready to be claimed.
    fn queued(&self) -> Self {
        Self { status: RunStatus::Queued, waiting_on: None, wake_at: None, detail: self.detail.clone() }
    }

    /// The same, but claimed.
    fn running(&self) -> Self {
        Self { status: RunStatus::Running, ..self.queued() }
    }
}

impl RunFilter {
    fn matches(&self, run: &RunRecord) -> bool {
        self.agent.as_ref().is_none_or(|agent| *agent == run.agent)
            && (self.statuses.is_empty() || self.statuses.contains(&run.state.status))
            && self.since.is_none_or(|since| moment::kept(since) <= run.created)
            && self.until.is_none_or(|until| run.created < moment::kept(until))
    }
}

impl Prune {
    fn takes(&self, run: &RunRecord) -> bool {
        let status = run.state.status;
        let is_named = self.statuses.is_empty() || self.statuses.contains(&status);
        status.is_finished() && is_named && run.updated < moment::kept(self.before)
    }
}

impl Append {
    /// Whether nothing changes but the journal and what of the inbox is used up.
    fn is_only_entries(&self) -> bool {
        self.state.is_none() && self.approvals.is_empty() && self.withdrawn.is_empty() && self.blobs.is_empty()
    }

    /// The state in which a release of it leaves the run, where `inbox` is the run's last message.
    fn released_as(&self, before: &RunState, inbox: u64, seen_inbox: u64) -> (RunState, Released) {
        let asked = self.state.clone().unwrap_or_else(|| before.queued());
        let overtaken = inbox > seen_inbox && asked.status != RunStatus::Queued && !asked.status.is_finished();
        if overtaken { (asked.queued(), Released::Queued) } else { (asked, Released::AsAsked) }
    }
}

impl RunStatus {
    /// Whether a message makes it go on.
    fn is_woken(self) -> bool {
        matches!(self, Self::Waiting | Self::Paused)
    }
}

impl NewApproval {
    /// What an answer to it comes to before it is taken; `decided` is the one that counts already.
    fn judge(&self, hash: ArgumentsHash, decided: Option<&StoredDecision>, at: SystemTime) -> Option<Decided> {
        if hash != self.hash {
            Some(Decided::OtherArguments)
        } else if let Some(decision) = decided {
            Some(Decided::Already(decision.clone()))
        } else if at >= self.expires {
            Some(Decided::Expired)
        } else {
            None
        }
    }
}
