//! One run: its journal, its inbox and who owns it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use super::super::moment::{Age, kept};
use super::super::standing::{Admitted, Standing};
use super::super::{Head, InboxMessage, NewRun, RunRecord, RunState, StoredEntry, WorkerId};
use crate::component::ContentHash;
use crate::gate::ApprovalId;
use crate::life::RunStatus;

pub(super) struct Run {
    pub(super) record: RunRecord,
    pub(super) epoch: u64,
    pub(super) owner: Option<WorkerId>,
    pub(super) key: Option<String>,
    pub(super) blobs: HashSet<ContentHash>,
    pub(super) approvals: Vec<ApprovalId>,
    pub(super) consumed: u64,
    entries: Vec<StoredEntry>,
    inbox: Vec<InboxMessage>,
    received: HashSet<Uuid>,
    presence: Presence,
}

/// Whoever found a run may lock it only after it was pruned.
enum Presence {
    There,
    Pruned,
}

impl Run {
    pub(super) fn new(new: NewRun, now: SystemTime) -> Self {
        let created = kept(new.created);
        let state = kept_state(new.state);
        Self {
            record: RunRecord { id: new.id, agent: new.agent, created, updated: now, spec: new.spec, state },
            epoch: 0,
            owner: None,
            key: new.idempotency_key,
            blobs: new.blobs.into_iter().collect(),
            approvals: Vec::new(),
            consumed: 0,
            entries: new.entries,
            inbox: Vec::new(),
            received: HashSet::new(),
            presence: Presence::There,
        }
    }

    pub(super) fn is_there(&self) -> bool {
        matches!(self.presence, Presence::There)
    }

    pub(super) fn prune(&mut self) {
        self.presence = Presence::Pruned;
    }

    pub(super) fn age(&self) -> Age {
        Age::of(&self.record)
    }

    /// Whether it can be claimed, as far as its state is asked.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.record.state.status, RunStatus::Queued | RunStatus::Running)
    }

    pub(super) fn head(&self) -> Head {
        Head { epoch: self.epoch, next: self.next(), inbox: self.last_message(), consumed_inbox: self.consumed }
    }

    pub(super) fn next(&self) -> u64 {
        self.entries.len() as u64 + 1
    }

    pub(super) fn last_message(&self) -> u64 {
        self.inbox.len() as u64
    }

    pub(super) fn set_state(&mut self, state: RunState, now: SystemTime) {
        self.record.state = kept_state(state);
        self.record.updated = now;
    }

    pub(super) fn standing(&self) -> Standing {
        Standing { head: self.head(), is_owned: self.owner.is_some() }
    }

    /// Puts entries that were admitted, and answers with the next number.
    pub(super) fn extend(&mut self, entries: Vec<StoredEntry>, admitted: &Admitted) -> u64 {
        self.entries.extend(entries);
        self.consumed = admitted.consumed;
        admitted.next
    }

    pub(super) fn receive(&mut self, id: Uuid, text: Arc<str>) {
        self.received.insert(id);
        self.inbox.push(InboxMessage { number: self.last_message() + 1, text });
    }

    pub(super) fn has_received(&self, id: Uuid) -> bool {
        self.received.contains(&id)
    }

    pub(super) fn entries(&self, from: u64, limit: usize) -> Vec<StoredEntry> {
        self.entries.iter().skip(skipped(from.saturating_sub(1))).take(limit).cloned().collect()
    }

    pub(super) fn messages(&self, after: u64, limit: usize) -> Vec<InboxMessage> {
        self.inbox.iter().skip(skipped(after)).take(limit).cloned().collect()
    }
}

fn skipped(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn kept_state(state: RunState) -> RunState {
    RunState { wake_at: state.wake_at.map(kept), ..state }
}
