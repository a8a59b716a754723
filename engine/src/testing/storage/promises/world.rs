//! A storage that is held to its promises, and what is kept in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use uuid::Uuid;

use crate::gate::ApprovalId;
use crate::json::ArgumentsHash;
use crate::life::{RunId, RunStatus, WaitingOn};
use crate::storage::{
    Append, Claimed, Decided, NewApproval, NewRun, Prune, RunRecord, RunState, Sent, Storage, StorageError,
    StoredDecision, StoredEntry, WorkerId,
};

/// Longer than any test takes.
pub(super) const HOUR: Duration = Duration::from_hours(1);

/// One storage, and a worker on it.
pub(in super::super) struct World {
    pub(super) place: Place,
    pub(super) storage: Arc<dyn Storage>,
}

type Place = Box<dyn Fn() -> Arc<dyn Storage> + Send + Sync>;

impl World {
    pub(in super::super) fn new(place: Place) -> Self {
        let storage = place();
        Self { place, storage }
    }

    /// The same storage, as another process would have it.
    pub(super) fn another(&self) -> Arc<dyn Storage> {
        (self.place)()
    }

    pub(super) async fn worker(&self) -> WorkerId {
        self.storage.register(HOUR).await.unwrap()
    }

    /// A worker whose lease is over.
    pub(super) async fn expire(&self, worker: WorkerId) {
        assert!(self.storage.renew(worker, Duration::ZERO).await.unwrap());
    }

    pub(super) async fn create(&self, run: NewRun) -> RunId {
        self.storage.create(run).await.unwrap()
    }

    /// A run with one entry, that a worker owns.
    pub(super) async fn owned(&self) -> Claimed {
        let run = self.create(new_run()).await;
        self.take(run).await
    }

    pub(super) async fn take(&self, run: RunId) -> Claimed {
        let worker = self.worker().await;
        self.storage.claim_one(worker, run).await.unwrap().unwrap()
    }

    /// A run that was given back in that state.
    pub(super) async fn resting(&self, state: RunState) -> RunId {
        let claimed = self.owned().await;
        let append = Append { state: Some(state), ..append(&claimed, &[]) };
        self.storage.release(append, u64::MAX).await.unwrap();
        claimed.record.id
    }

    pub(super) async fn in_status(&self, status: RunStatus) -> RunId {
        self.resting(state(status)).await
    }

    pub(super) async fn put(&self, append: Append) -> u64 {
        self.storage.append(append).await.unwrap()
    }

    pub(super) async fn record(&self, run: RunId) -> RunRecord {
        self.storage.run(run).await.unwrap().unwrap()
    }

    pub(super) async fn status(&self, run: RunId) -> RunStatus {
        self.record(run).await.state.status
    }

    pub(super) async fn texts(&self, run: RunId) -> Vec<String> {
        let entries = self.storage.read(run, 1, usize::MAX).await.unwrap();
        for (entry, number) in entries.iter().zip(1..) {
            assert_eq!(entry.sequence, number);
        }
        entries.into_iter().map(|entry| entry.text.to_string()).collect()
    }

    pub(super) async fn send(&self, run: RunId, text: &str) -> Sent {
        self.storage.send(run, Uuid::now_v7(), text.into()).await.unwrap()
    }

    pub(super) async fn inbox(&self, run: RunId) -> Vec<String> {
        let messages = self.storage.inbox(run, 0, usize::MAX).await.unwrap();
        for (message, number) in messages.iter().zip(1..) {
            assert_eq!(message.number, number);
        }
        messages.into_iter().map(|message| message.text.to_string()).collect()
    }

    /// A run that waits for a decision on this.
    pub(super) async fn asking(&self, approval: &NewApproval) -> RunId {
        let claimed = self.owned().await;
        let waiting = RunState { waiting_on: Some(WaitingOn::Approval), ..state(RunStatus::Waiting) };
        let approvals = vec![approval.clone()];
        let append = Append { approvals, state: Some(waiting), ..append(&claimed, &["asked"]) };
        self.storage.release(append, 0).await.unwrap();
        claimed.record.id
    }

    pub(super) async fn decide(&self, approval: &NewApproval, text: &str) -> Decided {
        self.storage.decide(approval.id, approval.hash, decision(text), text.into()).await.unwrap()
    }

    pub(super) async fn pending(&self, run: Option<RunId>) -> Vec<ApprovalId> {
        let pending = self.storage.pending_approvals(run, usize::MAX).await.unwrap();
        pending.into_iter().map(|approval| approval.asked.id).collect()
    }

    pub(super) async fn claim_all(&self, agents: Option<&[&str]>) -> BTreeSet<RunId> {
        let agents = agents.map(|agents| agents.iter().map(ToString::to_string).collect());
        let claimed = self.storage.claim(self.worker().await, agents, usize::MAX).await.unwrap();
        claimed.into_iter().map(|claimed| claimed.record.id).collect()
    }

    pub(super) async fn prune_all(&self, limit: usize) -> usize {
        self.storage.prune(Prune { before: far(), statuses: Vec::new() }, limit).await.unwrap()
    }
}

/// A moment, some seconds after another one.
pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

/// A moment after all others.
pub(super) fn far() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(100_000_000_000)
}

pub(super) fn state(status: RunStatus) -> RunState {
    RunState { status, waiting_on: None, wake_at: None, detail: "detail".into() }
}

pub(super) fn waiting_until(moment: SystemTime) -> RunState {
    RunState { waiting_on: Some(WaitingOn::Timer), wake_at: Some(moment), ..state(RunStatus::Waiting) }
}

pub(super) fn new_run() -> NewRun {
    NewRun {
        id: RunId::new(),
        agent: "agent".to_owned(),
        created: at(0),
        spec: "spec".into(),
        state: state(RunStatus::Queued),
        entries: entries(1, &["first"]),
        blobs: Vec::new(),
        idempotency_key: None,
    }
}

pub(super) fn entries(first: u64, texts: &[&str]) -> Vec<StoredEntry> {
    texts.iter().zip(first..).map(|(text, sequence)| StoredEntry { sequence, text: (*text).into() }).collect()
}

/// What its owner appends first.
pub(super) fn append(claimed: &Claimed, texts: &[&str]) -> Append {
    append_at(claimed, claimed.next, texts)
}

pub(super) fn append_at(claimed: &Claimed, next: u64, texts: &[&str]) -> Append {
    Append {
        run: claimed.record.id,
        epoch: claimed.epoch,
        expected_next: next,
        entries: entries(next, texts),
        state: None,
        consumed_inbox: None,
        approvals: Vec::new(),
        withdrawn: Vec::new(),
        blobs: Vec::new(),
    }
}

pub(super) fn question() -> NewApproval {
    NewApproval {
        id: ApprovalId::from_bytes(Uuid::now_v7().into_bytes()),
        hash: ArgumentsHash::of(&json!({ "amount": 1 })),
        expires: at(100),
        text: "may it?".into(),
    }
}

/// Made at second 10.
pub(super) fn decision(text: &str) -> StoredDecision {
    StoredDecision { text: text.into(), by: "ada".to_owned(), at: at(10) }
}

#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(result: &Result<T, StorageError>) {
    assert!(matches!(result, Err(StorageError::Refused(_))), "{result:?}");
}
