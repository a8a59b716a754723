//! What is found across runs: which can be claimed, when timers are over, approvals, workers, blobs and keys.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::super::malformed::Malformed;
use super::super::moment::{Age, kept, micros};
use super::super::{Append, NewApproval, RunState, StoredApproval, StoredDecision, WorkerId};
use super::run::Run;
use crate::component::ContentHash;
use crate::gate::ApprovalId;
use crate::life::{RunId, RunStatus};

#[derive(Default)]
pub(super) struct Index {
    pub(super) keys: HashMap<String, RunId>,
    pub(super) approvals: BTreeMap<ApprovalId, StoredApproval>,
    pub(super) timers: BTreeSet<(i64, RunId)>,
    pending: BTreeSet<ApprovalId>,
    active: BTreeMap<Age, Active>,
    leases: HashMap<WorkerId, i64>,
    blobs: HashMap<ContentHash, Blob>,
}

/// A run that is queued or running.
struct Active {
    agent: Arc<str>,
    owner: Option<WorkerId>,
}

struct Blob {
    bytes: Bytes,
    put: i64,
    needed_by: usize,
}

impl Index {
    pub(super) fn enter(&mut self, run: &Run) {
        if let Some(key) = &run.key {
            self.keys.insert(key.clone(), run.record.id);
        }
        self.count_blobs(run.blobs.iter(), |needed| needed + 1);
        self.place(run);
    }

    pub(super) fn leave(&mut self, run: &Run) {
        self.displace(run);
        self.count_blobs(run.blobs.iter(), |needed| needed.saturating_sub(1));
        if let Some(key) = &run.key {
            self.keys.remove(key);
        }
        for approval in &run.approvals {
            self.approvals.remove(approval);
            self.pending.remove(approval);
        }
    }

    pub(super) fn check(&self, append: &Append) -> Result<(), Malformed> {
        self.check_blobs(&append.blobs)?;
        let mut new = HashSet::new();
        let is_known = |approval: &&NewApproval| self.approvals.contains_key(&approval.id) || !new.insert(approval.id);
        let known = append.approvals.iter().find(is_known);
        known.map_or(Ok(()), |approval| Err(Malformed::SameApproval(approval.id)))
    }

    pub(super) fn check_blobs(&self, blobs: &[ContentHash]) -> Result<(), Malformed> {
        let missing = blobs.iter().find(|hash| !self.blobs.contains_key(hash));
        missing.map_or(Ok(()), |hash| Err(Malformed::NoBlob(*hash)))
    }

    pub(super) fn need(&mut self, run: &mut Run, blobs: &[ContentHash]) {
        for hash in blobs {
            if run.blobs.insert(*hash) {
                self.count_blobs(std::iter::once(hash), |needed| needed + 1);
            }
        }
    }

    pub(super) fn ask(&mut self, run: &mut Run, approvals: Vec<NewApproval>) {
        for asked in approvals {
            run.approvals.push(asked.id);
            self.pending.insert(asked.id);
            let asked = NewApproval { expires: kept(asked.expires), ..asked };
            self.approvals.insert(asked.id, StoredApproval { run: run.record.id, asked, decision: None });
        }
    }

    pub(super) fn withdraw(&mut self, run: &mut Run, withdrawn: &[ApprovalId]) {
        for id in withdrawn {
            if run.approvals.contains(id) && self.pending.remove(id) {
                self.approvals.remove(id);
                run.approvals.retain(|approval| approval != id);
            }
        }
    }

    pub(super) fn take(&mut self, approval: ApprovalId, decision: StoredDecision) {
        if let Some(stored) = self.approvals.get_mut(&approval) {
            stored.decision = Some(StoredDecision { at: kept(decision.at), ..decision });
            self.pending.remove(&approval);
        }
    }

    pub(super) fn pending(&self, run: Option<RunId>, limit: usize) -> Vec<StoredApproval> {
        let pending = self.pending.iter().filter_map(|id| self.approvals.get(id));
        pending.filter(|approval| run.is_none_or(|run| approval.run == run)).take(limit).cloned().collect()
    }

    pub(super) fn set_state(&mut self, run: &mut Run, state: RunState, now: SystemTime) {
        self.displace(run);
        run.set_state(state, now);
        self.place(run);
        if run.record.state.status.is_finished() {
            let all = run.approvals.clone();
            self.withdraw(run, &all);
        }
    }

    pub(super) fn set_owner(&mut self, run: &mut Run, owner: Option<WorkerId>) {
        run.owner = owner;
        self.place(run);
    }

    /// Runs that can be claimed, oldest first.
    pub(super) fn claimable(&self, agents: Option<&[String]>, limit: usize, now: i64) -> Vec<RunId> {
        let wanted = |agent: &str| agents.is_none_or(|agents| agents.iter().any(|wanted| wanted == agent));
        let free = self.active.iter().filter(|(_, active)| !self.is_owned(active.owner, now) && wanted(&active.agent));
        free.map(|(age, _)| age.run).take(limit).collect()
    }

    /// Whether that owner is one whose lease is on.
    pub(super) fn is_owned(&self, owner: Option<WorkerId>, now: i64) -> bool {
        owner.is_some_and(|worker| self.is_on(worker, now))
    }

    pub(super) fn is_on(&self, worker: WorkerId, now: i64) -> bool {
        self.leases.get(&worker).is_some_and(|until| *until > now)
    }

    /// Gives a lease, and forgets those that are over: nobody can tell them from none.
    pub(super) fn lease(&mut self, worker: WorkerId, until: i64, now: i64) {
        self.leases.retain(|_, until| *until > now);
        self.leases.insert(worker, until);
    }

    pub(super) fn put_blob(&mut self, hash: ContentHash, bytes: Bytes, now: i64) {
        self.blobs.entry(hash).or_insert(Blob { bytes, put: now, needed_by: 0 }).put = now;
    }

    pub(super) fn blob(&self, hash: ContentHash) -> Option<Bytes> {
        self.blobs.get(&hash).map(|blob| blob.bytes.clone())
    }

    pub(super) fn prune_blobs(&mut self, put_until: i64, limit: usize) -> usize {
        let unneeded = self.blobs.iter().filter(|(_, blob)| blob.needed_by == 0 && blob.put <= put_until);
        let unneeded: Vec<_> = unneeded.map(|(hash, _)| *hash).take(limit).collect();
        for hash in &unneeded {
            self.blobs.remove(hash);
        }
        unneeded.len()
    }

    fn count_blobs<'a>(&mut self, hashes: impl Iterator<Item = &'a ContentHash>, count: impl Fn(usize) -> usize) {
        for hash in hashes {
            if let Some(blob) = self.blobs.get_mut(hash) {
                blob.needed_by = count(blob.needed_by);
            }
        }
    }

    fn place(&mut self, run: &Run) {
        let state = &run.record.state;
        if run.is_active() {
            self.active.insert(run.age(), Active { agent: run.record.agent.as_str().into(), owner: run.owner });
        }
        if let (RunStatus::Waiting, Some(wake_at)) = (state.status, state.wake_at) {
            self.timers.insert((micros(wake_at), run.record.id));
        }
    }

    fn displace(&mut self, run: &Run) {
        self.active.remove(&run.age());
        if let Some(wake_at) = run.record.state.wake_at {
            self.timers.remove(&(micros(wake_at), run.record.id));
        }
    }
}
