//! The promises of [`Storage`], one function each, named after what is promised.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "these are tests: what is not as promised panics"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::{self, Either, join_all};
use serde_json::json;
use uuid::Uuid;

use super::Promise;
use crate::component::ContentHash;
use crate::gate::ApprovalId;
use crate::json::ArgumentsHash;
use crate::life::{RunId, RunStatus, WaitingOn};
use crate::storage::{
    Append, AppendError, Claimed, Cursor, Decided, Due, Hint, Hints, NewApproval, NewRun, Prune, Released, RunFilter,
    RunRecord, RunState, Sent, Storage, StorageError, StoredDecision, StoredEntry, WorkerId,
};

/// Longer than any test takes.
const HOUR: Duration = Duration::from_hours(1);

macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        &[$(Promise { name: stringify!($name), check: |world| $name(world).boxed() }),*]
    };
}

pub(super) const ALL: &[Promise] = promises![
    a_run_is_kept_as_it_was_given,
    creating_twice_is_creating_once,
    creating_is_whole_or_not_at_all,
    what_is_appended_is_read_at_once,
    parts_of_a_journal_are_read,
    long_texts_are_kept,
    an_append_without_entries_changes_what_stands_beside,
    an_older_epoch_is_fenced,
    nobody_appends_to_what_nobody_owns,
    numbers_that_do_not_fit_are_told_apart,
    fencing_comes_before_numbers,
    an_append_is_whole_or_not_at_all,
    of_appends_with_one_number_one_is_taken,
    runs_do_not_disturb_each_other,
    claims_take_what_is_queued_or_abandoned,
    claims_take_named_agents_only,
    claims_are_bounded,
    no_two_claims_take_the_same,
    a_lease_that_is_over_stays_over,
    a_worker_without_a_lease_gets_nothing,
    one_run_is_claimed_in_any_state_but_an_end,
    a_released_run_is_as_it_was_asked_to_be,
    no_message_is_slept_through,
    a_message_is_delivered_once,
    a_message_wakes_what_waits,
    messages_that_are_used_up_stay_so,
    a_decision_counts_once,
    a_decision_is_about_these_arguments_and_in_time,
    of_decisions_at_once_one_is_taken,
    withdrawn_approvals_are_gone,
    the_end_of_a_run_withdraws_what_it_asked,
    pending_approvals_are_listed,
    timers_are_over_at_their_moment,
    timers_are_queued_in_bounded_steps,
    lists_are_filtered,
    pages_hold_each_run_once,
    a_foreign_cursor_is_refused,
    blobs_are_kept,
    blobs_go_when_nobody_needs_them,
    blobs_are_not_pruned_before_their_time,
    only_finished_runs_are_pruned,
    nothing_of_a_pruned_run_is_left,
    pruning_is_bounded,
    whoever_watches_hears_of_changes,
    whoever_watches_hears_of_what_others_change,
    what_was_acknowledged_is_there_after_opening_again,
    unknown_runs_are_not_found,
];

/// One storage, and a worker on it.
pub(super) struct World {
    place: Place,
    storage: Arc<dyn Storage>,
}

type Place = Box<dyn Fn() -> Arc<dyn Storage> + Send + Sync>;

impl World {
    pub(super) fn new(place: Place) -> Self {
        let storage = place();
        Self { place, storage }
    }

    /// The same storage, as another process would have it.
    fn another(&self) -> Arc<dyn Storage> {
        (self.place)()
    }

    async fn worker(&self) -> WorkerId {
        self.storage.register(HOUR).await.unwrap()
    }

    /// A worker whose lease is over.
    async fn expire(&self, worker: WorkerId) {
        assert!(self.storage.renew(worker, Duration::ZERO).await.unwrap());
    }

    async fn create(&self, run: NewRun) -> RunId {
        self.storage.create(run).await.unwrap()
    }

    /// A run with one entry, that a worker owns.
    async fn owned(&self) -> Claimed {
        let run = self.create(new_run()).await;
        self.take(run).await
    }

    async fn take(&self, run: RunId) -> Claimed {
        let worker = self.worker().await;
        self.storage.claim_one(worker, run).await.unwrap().unwrap()
    }

    /// A run that was given back in that state.
    async fn resting(&self, state: RunState) -> RunId {
        let claimed = self.owned().await;
        let append = Append { state: Some(state), ..append(&claimed, &[]) };
        self.storage.release(append, u64::MAX).await.unwrap();
        claimed.record.id
    }

    async fn in_status(&self, status: RunStatus) -> RunId {
        self.resting(state(status)).await
    }

    async fn put(&self, append: Append) -> u64 {
        self.storage.append(append).await.unwrap()
    }

    async fn record(&self, run: RunId) -> RunRecord {
        self.storage.run(run).await.unwrap().unwrap()
    }

    async fn status(&self, run: RunId) -> RunStatus {
        self.record(run).await.state.status
    }

    async fn texts(&self, run: RunId) -> Vec<String> {
        let entries = self.storage.read(run, 1, usize::MAX).await.unwrap();
        for (entry, number) in entries.iter().zip(1..) {
            assert_eq!(entry.sequence, number);
        }
        entries.into_iter().map(|entry| entry.text.to_string()).collect()
    }

    async fn send(&self, run: RunId, text: &str) -> Sent {
        self.storage.send(run, Uuid::now_v7(), text.into()).await.unwrap()
    }

    async fn inbox(&self, run: RunId) -> Vec<String> {
        let messages = self.storage.inbox(run, 0, usize::MAX).await.unwrap();
        for (message, number) in messages.iter().zip(1..) {
            assert_eq!(message.number, number);
        }
        messages.into_iter().map(|message| message.text.to_string()).collect()
    }

    /// A run that waits for a decision on this.
    async fn asking(&self, approval: &NewApproval) -> RunId {
        let claimed = self.owned().await;
        let waiting = RunState { waiting_on: Some(WaitingOn::Approval), ..state(RunStatus::Waiting) };
        let approvals = vec![approval.clone()];
        let append = Append { approvals, state: Some(waiting), ..append(&claimed, &["asked"]) };
        self.storage.release(append, 0).await.unwrap();
        claimed.record.id
    }

    async fn decide(&self, approval: &NewApproval, text: &str) -> Decided {
        self.storage.decide(approval.id, approval.hash, decision(text), text.into()).await.unwrap()
    }

    async fn pending(&self, run: Option<RunId>) -> Vec<ApprovalId> {
        let pending = self.storage.pending_approvals(run, usize::MAX).await.unwrap();
        pending.into_iter().map(|approval| approval.asked.id).collect()
    }

    async fn claim_all(&self, agents: Option<&[&str]>) -> BTreeSet<RunId> {
        let agents = agents.map(|agents| agents.iter().map(ToString::to_string).collect());
        let claimed = self.storage.claim(self.worker().await, agents, usize::MAX).await.unwrap();
        claimed.into_iter().map(|claimed| claimed.record.id).collect()
    }

    async fn prune_all(&self, limit: usize) -> usize {
        self.storage.prune(Prune { before: far(), statuses: Vec::new() }, limit).await.unwrap()
    }
}

/// A moment, some seconds after another one.
fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

/// A moment after all others.
fn far() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(100_000_000_000)
}

fn state(status: RunStatus) -> RunState {
    RunState { status, waiting_on: None, wake_at: None, detail: "detail".into() }
}

fn waiting_until(moment: SystemTime) -> RunState {
    RunState { waiting_on: Some(WaitingOn::Timer), wake_at: Some(moment), ..state(RunStatus::Waiting) }
}

fn new_run() -> NewRun {
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

fn entries(first: u64, texts: &[&str]) -> Vec<StoredEntry> {
    texts.iter().zip(first..).map(|(text, sequence)| StoredEntry { sequence, text: (*text).into() }).collect()
}

/// What its owner appends first.
fn append(claimed: &Claimed, texts: &[&str]) -> Append {
    append_at(claimed, claimed.next, texts)
}

fn append_at(claimed: &Claimed, next: u64, texts: &[&str]) -> Append {
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

fn question() -> NewApproval {
    NewApproval {
        id: ApprovalId::from_bytes(Uuid::now_v7().into_bytes()),
        hash: ArgumentsHash::of(&json!({ "amount": 1 })),
        expires: at(100),
        text: "may it?".into(),
    }
}

/// Made at second 10.
fn decision(text: &str) -> StoredDecision {
    StoredDecision { text: text.into(), by: "ada".to_owned(), at: at(10) }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: &Result<T, StorageError>) {
    assert!(matches!(result, Err(StorageError::Refused(_))), "{result:?}");
}

async fn a_run_is_kept_as_it_was_given(world: World) {
    let waiting = RunState {
        status: RunStatus::Waiting,
        waiting_on: Some(WaitingOn::InDoubt),
        wake_at: Some(at(5) + Duration::from_micros(7)),
        detail: "{\"ünï\": \"\u{1f40c}\"}".into(),
    };
    let created = UNIX_EPOCH - Duration::from_micros(3);
    let new = NewRun { state: waiting.clone(), created, ..new_run() };
    assert_eq!(world.create(new.clone()).await, new.id);
    let kept = world.record(new.id).await;
    let expected =
        RunRecord { id: new.id, agent: new.agent, created, updated: kept.updated, spec: new.spec, state: waiting };
    assert_eq!(kept, expected);
    assert_eq!(world.texts(new.id).await, ["first"]);
    let head = world.storage.head(new.id).await.unwrap().unwrap();
    assert_eq!((head.next, head.inbox, head.consumed_inbox), (2, 0, 0));
    let precise = NewRun { created: at(1) + Duration::from_nanos(1_999), ..new_run() };
    let precise = world.create(precise).await;
    assert_eq!(world.record(precise).await.created, at(1) + Duration::from_micros(1));
}

async fn creating_twice_is_creating_once(world: World) {
    let key = || Some("key".to_owned());
    let first = world.create(NewRun { idempotency_key: key(), ..new_run() }).await;
    let again = NewRun { idempotency_key: key(), spec: "other".into(), ..new_run() };
    assert_eq!(world.another().create(again.clone()).await.unwrap(), first);
    assert!(world.storage.run(again.id).await.unwrap().is_none());
    let same_id = NewRun { id: first, spec: "other".into(), ..new_run() };
    assert_eq!(world.create(same_id).await, first);
    assert_eq!(&*world.record(first).await.spec, "spec");
    let other = NewRun { idempotency_key: Some("other".to_owned()), ..new_run() };
    assert_ne!(world.create(other).await, first);
}

async fn creating_is_whole_or_not_at_all(world: World) {
    let unnumbered = NewRun { entries: entries(2, &["second"]), ..new_run() };
    let without_blob = NewRun { blobs: vec![ContentHash::of(b"nowhere")], ..new_run() };
    for new in [unnumbered, without_blob] {
        let id = new.id;
        refused(&world.storage.create(new).await);
        assert!(world.storage.run(id).await.unwrap().is_none());
        assert!(world.texts(id).await.is_empty());
    }
}

async fn what_is_appended_is_read_at_once(world: World) {
    let claimed = world.owned().await;
    assert_eq!(world.put(append(&claimed, &["second", ""])).await, 4);
    assert_eq!(world.put(append_at(&claimed, 4, &["fourth"])).await, 5);
    assert_eq!(world.texts(claimed.record.id).await, ["first", "second", "", "fourth"]);
    let other = world.another().read(claimed.record.id, 1, 10).await.unwrap();
    assert_eq!(other.len(), 4);
    assert_eq!(world.storage.head(claimed.record.id).await.unwrap().unwrap().next, 5);
}

async fn parts_of_a_journal_are_read(world: World) {
    let run = world.create(NewRun { entries: entries(1, &["1", "2", "3", "4"]), ..new_run() }).await;
    let rows: [(u64, usize, &[&str]); 6] =
        [(1, 2, &["1", "2"]), (3, 2, &["3", "4"]), (4, 9, &["4"]), (5, 9, &[]), (u64::MAX, 9, &[]), (1, 0, &[])];
    for (from, limit, expected) in rows {
        let read = world.storage.read(run, from, limit).await.unwrap();
        assert_eq!(read, entries(from, expected), "{limit} from {from}");
    }
}

async fn long_texts_are_kept(world: World) {
    let claimed = world.owned().await;
    let long: Vec<_> = [65_535, 65_536, 65_537, 3_000_000].iter().map(|len| "ä".repeat(len / 2)).collect();
    let texts: Vec<_> = long.iter().map(String::as_str).collect();
    world.put(append(&claimed, &texts)).await;
    // The same once more: what is shared must not disturb.
    world.put(append_at(&claimed, 6, &texts)).await;
    let read = world.texts(claimed.record.id).await;
    assert!(read[1..5] == long[..] && read[5..] == long[..]);
    assert_eq!(world.storage.prune_blobs(Duration::ZERO, usize::MAX).await.unwrap(), 0);
    assert!(world.texts(claimed.record.id).await[1..5] == long[..]);
}

async fn an_append_without_entries_changes_what_stands_beside(world: World) {
    let claimed = world.owned().await;
    let run = claimed.record.id;
    world.send(run, "hello").await;
    let approval = question();
    let hash = world.storage.put_blob("blob".into()).await.unwrap();
    let beside = Append {
        state: Some(RunState { detail: "new".into(), ..state(RunStatus::Running) }),
        consumed_inbox: Some(1),
        approvals: vec![approval.clone()],
        blobs: vec![hash],
        ..append(&claimed, &[])
    };
    assert_eq!(world.put(beside).await, claimed.next);
    assert_eq!(&*world.record(run).await.state.detail, "new");
    assert_eq!(world.storage.head(run).await.unwrap().unwrap().consumed_inbox, 1);
    assert_eq!(world.pending(Some(run)).await, [approval.id]);
    assert_eq!(world.storage.prune_blobs(Duration::ZERO, 9).await.unwrap(), 0);
    let withdrawn = Append { withdrawn: vec![approval.id], ..append(&claimed, &[]) };
    world.put(withdrawn).await;
    assert!(world.pending(Some(run)).await.is_empty());
}

async fn an_older_epoch_is_fenced(world: World) {
    let worker = world.worker().await;
    let run = world.create(new_run()).await;
    let old = world.storage.claim_one(worker, run).await.unwrap().unwrap();
    world.expire(worker).await;
    let new = world.take(run).await;
    assert!(new.epoch > old.epoch);
    let error = world.storage.append(append(&old, &["late"])).await.unwrap_err();
    assert!(matches!(error, AppendError::Fenced { epoch } if epoch == new.epoch), "{error:?}");
    let error = world.storage.release(append(&old, &["late"]), 0).await.unwrap_err();
    assert!(matches!(error, AppendError::Fenced { epoch } if epoch == new.epoch), "{error:?}");
    assert_eq!(world.texts(run).await, ["first"]);
    world.put(append(&new, &["in time"])).await;
}

async fn nobody_appends_to_what_nobody_owns(world: World) {
    let run = world.create(new_run()).await;
    let head = world.storage.head(run).await.unwrap().unwrap();
    let record = world.record(run).await;
    let unclaimed = Claimed { record, epoch: head.epoch, next: head.next, consumed_inbox: 0 };
    let error = world.storage.append(append(&unclaimed, &["unasked"])).await.unwrap_err();
    assert!(matches!(error, AppendError::Fenced { .. }), "{error:?}");
    let claimed = world.take(run).await;
    world.storage.release(append(&claimed, &["last"]), 0).await.unwrap();
    let error = world.storage.append(append_at(&claimed, 3, &["late"])).await.unwrap_err();
    assert!(matches!(error, AppendError::Fenced { .. }), "{error:?}");
    assert_eq!(world.texts(run).await, ["first", "last"]);
}

async fn numbers_that_do_not_fit_are_told_apart(world: World) {
    let claimed = world.owned().await;
    world.put(append(&claimed, &["second"])).await;
    let error = world.storage.append(append(&claimed, &["second"])).await.unwrap_err();
    assert!(matches!(error, AppendError::Conflict { next: 3 }), "{error:?}");
    let error = world.storage.append(append_at(&claimed, 4, &["fourth"])).await.unwrap_err();
    assert!(matches!(error, AppendError::WentBack { next: 3 }), "{error:?}");
    let error = world.storage.append(append_at(&claimed, 4, &[])).await.unwrap_err();
    assert!(matches!(error, AppendError::WentBack { next: 3 }), "{error:?}");
    assert_eq!(world.texts(claimed.record.id).await, ["first", "second"]);
}

async fn fencing_comes_before_numbers(world: World) {
    let claimed = world.owned().await;
    for next in [1, 9] {
        let append = Append { epoch: claimed.epoch - 1, ..append_at(&claimed, next, &["old"]) };
        let error = world.storage.append(append).await.unwrap_err();
        assert!(matches!(error, AppendError::Fenced { .. }), "{error:?}");
    }
    let append = Append { epoch: claimed.epoch + 1, ..append(&claimed, &["from nowhere"]) };
    let error = world.storage.append(append).await.unwrap_err();
    assert!(matches!(error, AppendError::Fenced { .. }), "{error:?}");
}

async fn an_append_is_whole_or_not_at_all(world: World) {
    let claimed = world.owned().await;
    let run = claimed.record.id;
    let asked = question();
    world.put(Append { approvals: vec![asked.clone()], ..append(&claimed, &["second"]) }).await;
    let whole = || Append {
        state: Some(state(RunStatus::Completed)),
        approvals: vec![question()],
        withdrawn: vec![asked.id],
        ..append_at(&claimed, 3, &["third"])
    };
    let mut unnumbered = whole();
    unnumbered.entries[0].sequence = 4;
    let twice = question();
    let not_whole = [
        unnumbered,
        Append { blobs: vec![ContentHash::of(b"nowhere")], ..whole() },
        Append { consumed_inbox: Some(1), ..whole() },
        Append { approvals: vec![question(), asked.clone()], withdrawn: Vec::new(), ..whole() },
        Append { approvals: vec![twice.clone(), twice], ..whole() },
    ];
    let before = (world.record(run).await, world.storage.head(run).await.unwrap());
    for append in not_whole {
        let error = world.storage.append(append.clone()).await.unwrap_err();
        assert!(matches!(error, AppendError::Refused(_)), "{error:?}");
        let error = world.storage.release(append, 0).await.unwrap_err();
        assert!(matches!(error, AppendError::Refused(_)), "{error:?}");
        assert_eq!((world.record(run).await, world.storage.head(run).await.unwrap()), before);
        assert_eq!(world.texts(run).await, ["first", "second"]);
        assert_eq!(world.pending(None).await, [asked.id]);
    }
    world.put(whole()).await;
}

async fn of_appends_with_one_number_one_is_taken(world: World) {
    let claimed = world.owned().await;
    let storages = [world.another(), world.another()];
    for next in 2..12 {
        let appends = (0..8).map(|n: usize| {
            let text = n.to_string();
            storages[n % 2].append(append_at(&claimed, next, &[&text]))
        });
        let results = join_all(appends).await;
        let taken = results.iter().filter(|result| matches!(result, Ok(after) if *after == next + 1)).count();
        let conflicts = results
            .iter()
            .filter(|result| matches!(result, Err(AppendError::Conflict { next: after }) if *after == next + 1));
        assert_eq!((taken, conflicts.count()), (1, 7), "{results:?}");
    }
    assert_eq!(world.texts(claimed.record.id).await.len(), 11);
}

async fn runs_do_not_disturb_each_other(world: World) {
    let owned = join_all((0..64).map(|_| world.owned())).await;
    let fill = |claimed: &Claimed| {
        let claimed = claimed.clone();
        let storage = world.storage.clone();
        async move {
            for next in 2..12 {
                let text = format!("{} {next}", claimed.record.id);
                assert_eq!(storage.append(append_at(&claimed, next, &[&text])).await.unwrap(), next + 1);
            }
        }
    };
    join_all(owned.iter().map(fill)).await;
    for claimed in owned {
        let expected = (2..12).map(|next| format!("{} {next}", claimed.record.id));
        assert!(world.texts(claimed.record.id).await.into_iter().skip(1).eq(expected));
    }
}

async fn claims_take_what_is_queued_or_abandoned(world: World) {
    let queued = world.create(new_run()).await;
    let worker = world.worker().await;
    let abandoned = world.create(new_run()).await;
    let old = world.storage.claim_one(worker, abandoned).await.unwrap().unwrap();
    world.put(append(&old, &["second"])).await;
    world.expire(worker).await;
    world.owned().await;
    for status in [RunStatus::Waiting, RunStatus::Paused, RunStatus::Completed, RunStatus::Failed] {
        world.in_status(status).await;
    }
    let claimed = world.storage.claim(world.worker().await, None, 99).await.unwrap();
    assert_eq!(claimed.iter().map(|c| c.record.id).collect::<BTreeSet<_>>(), [queued, abandoned].into());
    for claimed in claimed {
        let run = claimed.record.id;
        let (before, next) = if run == queued { (RunStatus::Queued, 2) } else { (RunStatus::Running, 3) };
        assert_eq!((claimed.record.state.status, claimed.next), (before, next));
        assert_eq!(world.status(run).await, RunStatus::Running);
        world.put(append(&claimed, &["on"])).await;
    }
    assert!(world.claim_all(None).await.is_empty());
}

async fn claims_take_named_agents_only(world: World) {
    let make = |agent: &str| world.create(NewRun { agent: agent.to_owned(), ..new_run() });
    let (a, b, c) = (make("a").await, make("b").await, make("c'\"").await);
    assert!(world.claim_all(Some(&[])).await.is_empty());
    assert!(world.claim_all(Some(&["d"])).await.is_empty());
    assert_eq!(world.claim_all(Some(&["c'\"", "a"])).await, [a, c].into());
    assert_eq!(world.claim_all(None).await, [b].into());
}

async fn claims_are_bounded(world: World) {
    for _ in 0..5 {
        world.create(new_run()).await;
    }
    let worker = world.worker().await;
    let mut counts = Vec::new();
    for limit in [0, 2, 2, 2] {
        counts.push(world.storage.claim(worker, None, limit).await.unwrap().len());
    }
    assert_eq!(counts, [0, 2, 2, 1]);
}

async fn no_two_claims_take_the_same(world: World) {
    let mut all = BTreeSet::new();
    for _ in 0..60 {
        all.insert(world.create(new_run()).await);
    }
    let storages = [world.another(), world.another(), world.another()];
    let mut taken = Vec::new();
    while taken.len() < all.len() {
        let claims = storages.iter().map(|storage| async {
            let worker = storage.register(HOUR).await.unwrap();
            storage.claim(worker, None, 7).await.unwrap()
        });
        let round: Vec<_> = join_all(claims).await.into_iter().flatten().collect();
        assert!(!round.is_empty());
        taken.extend(round.into_iter().map(|claimed| claimed.record.id));
    }
    assert_eq!(taken.iter().copied().collect::<BTreeSet<_>>(), all);
    assert_eq!(taken.len(), all.len());
}

async fn a_lease_that_is_over_stays_over(world: World) {
    let worker = world.worker().await;
    assert!(world.storage.renew(worker, HOUR).await.unwrap());
    world.expire(worker).await;
    for ttl in [HOUR, Duration::ZERO] {
        assert!(!world.storage.renew(worker, ttl).await.unwrap());
    }
    assert!(!world.storage.renew(WorkerId::new(), HOUR).await.unwrap());
    let run = world.create(new_run()).await;
    assert!(world.storage.claim_one(worker, run).await.unwrap().is_none());
}

async fn a_worker_without_a_lease_gets_nothing(world: World) {
    let run = world.create(new_run()).await;
    let over = world.storage.register(Duration::ZERO).await.unwrap();
    for worker in [over, WorkerId::new()] {
        assert!(world.storage.claim(worker, None, 9).await.unwrap().is_empty());
        assert!(world.storage.claim_one(worker, run).await.unwrap().is_none());
    }
    assert_eq!(world.status(run).await, RunStatus::Queued);
}

async fn one_run_is_claimed_in_any_state_but_an_end(world: World) {
    let rows = [
        (RunStatus::Queued, true),
        (RunStatus::Running, true),
        (RunStatus::Waiting, true),
        (RunStatus::Paused, true),
        (RunStatus::Completed, false),
        (RunStatus::Failed, false),
        (RunStatus::Cancelled, false),
        (RunStatus::Diverged, false),
    ];
    for (status, is_claimed) in rows {
        let wake_at = (status == RunStatus::Waiting).then(|| at(5));
        let run = world.resting(RunState { wake_at, ..state(status) }).await;
        let claimed = world.storage.claim_one(world.worker().await, run).await.unwrap();
        assert_eq!(claimed.is_some(), is_claimed, "{status:?}");
        let Some(claimed) = claimed else { continue };
        assert_eq!(claimed.record.state, RunState { wake_at, ..state(status) });
        assert_eq!(world.record(run).await.state, state(RunStatus::Running));
        assert!(world.storage.claim_one(world.worker().await, run).await.unwrap().is_none());
    }
}

async fn a_released_run_is_as_it_was_asked_to_be(world: World) {
    for asked in [waiting_until(at(9)), state(RunStatus::Paused), state(RunStatus::Completed)] {
        let claimed = world.owned().await;
        let append = Append { state: Some(asked.clone()), ..append(&claimed, &["second"]) };
        assert_eq!(world.storage.release(append, 0).await.unwrap(), Released::AsAsked);
        assert_eq!(world.record(claimed.record.id).await.state, asked);
        assert_eq!(world.texts(claimed.record.id).await, ["first", "second"]);
    }
    let claimed = world.owned().await;
    assert_eq!(world.storage.release(append(&claimed, &[]), 0).await.unwrap(), Released::AsAsked);
    assert_eq!(world.record(claimed.record.id).await.state, state(RunStatus::Queued));
    assert_eq!(world.claim_all(None).await, [claimed.record.id].into());
}

async fn no_message_is_slept_through(world: World) {
    let rows = [
        (waiting_until(at(9)), 1, Released::Queued, RunStatus::Queued),
        (state(RunStatus::Paused), 0, Released::Queued, RunStatus::Queued),
        (waiting_until(at(9)), 2, Released::AsAsked, RunStatus::Waiting),
        (state(RunStatus::Completed), 0, Released::AsAsked, RunStatus::Completed),
        (state(RunStatus::Queued), 0, Released::AsAsked, RunStatus::Queued),
    ];
    for (asked, seen, released, status) in rows {
        let claimed = world.owned().await;
        let run = claimed.record.id;
        world.send(run, "one").await;
        world.send(run, "two").await;
        assert_eq!(world.status(run).await, RunStatus::Running);
        let append = Append { state: Some(asked.clone()), ..append(&claimed, &[]) };
        assert_eq!(world.storage.release(append, seen).await.unwrap(), released, "{asked:?}");
        let expected = if status == RunStatus::Queued { state(RunStatus::Queued) } else { asked };
        assert_eq!(world.record(run).await.state, expected);
    }
}

async fn a_message_is_delivered_once(world: World) {
    let run = world.create(new_run()).await;
    let id = Uuid::now_v7();
    for text in ["one", "another of that id"] {
        assert_eq!(world.storage.send(run, id, text.into()).await.unwrap(), Sent::Delivered);
    }
    assert_eq!(world.send(run, "two").await, Sent::Delivered);
    assert_eq!(world.inbox(run).await, ["one", "two"]);
    let other = world.create(new_run()).await;
    assert_eq!(world.storage.send(other, id, "other".into()).await.unwrap(), Sent::Delivered);
    assert_eq!(world.inbox(other).await, ["other"]);
    let later = world.storage.inbox(run, 1, 9).await.unwrap();
    assert_eq!(later.iter().map(|message| message.number).collect::<Vec<_>>(), [2]);
    assert_eq!(world.storage.inbox(run, 0, 1).await.unwrap().len(), 1);
    let claimed = world.take(run).await;
    let end = Append { state: Some(state(RunStatus::Failed)), ..append(&claimed, &[]) };
    world.storage.release(end, 0).await.unwrap();
    assert_eq!(world.send(run, "late").await, Sent::Finished);
    assert_eq!(world.storage.send(run, id, "one".into()).await.unwrap(), Sent::Delivered);
    assert_eq!(world.inbox(run).await, ["one", "two"]);
}

async fn a_message_wakes_what_waits(world: World) {
    for asleep in [waiting_until(at(9)), state(RunStatus::Paused)] {
        let run = world.resting(asleep).await;
        let id = Uuid::now_v7();
        world.storage.send(run, id, "wake".into()).await.unwrap();
        assert_eq!(world.record(run).await.state, state(RunStatus::Queued));
        let claimed = world.take(run).await;
        let append =
            Append { state: Some(state(RunStatus::Waiting)), consumed_inbox: Some(1), ..append(&claimed, &[]) };
        world.storage.release(append, 1).await.unwrap();
        world.storage.send(run, id, "wake".into()).await.unwrap();
        assert_eq!(world.status(run).await, RunStatus::Waiting);
    }
    for awake in [RunStatus::Queued, RunStatus::Running] {
        let run = world.in_status(awake).await;
        world.send(run, "hello").await;
        assert_eq!(world.status(run).await, awake);
    }
}

async fn messages_that_are_used_up_stay_so(world: World) {
    let claimed = world.owned().await;
    let run = claimed.record.id;
    for text in ["one", "two", "three"] {
        world.send(run, text).await;
    }
    for (consumed, expected) in [(2, 2), (1, 2), (3, 3)] {
        world.put(Append { consumed_inbox: Some(consumed), ..append(&claimed, &[]) }).await;
        let head = world.storage.head(run).await.unwrap().unwrap();
        assert_eq!((head.inbox, head.consumed_inbox), (3, expected));
    }
    world.storage.release(append(&claimed, &[]), 3).await.unwrap();
    assert_eq!(world.take(run).await.consumed_inbox, 3);
    assert_eq!(world.inbox(run).await.len(), 3);
}

async fn a_decision_counts_once(world: World) {
    let approval = question();
    let run = world.asking(&approval).await;
    let kept = world.storage.approval(approval.id).await.unwrap().unwrap();
    assert_eq!((kept.run, kept.asked, kept.decision), (run, approval.clone(), None));
    assert_eq!(world.decide(&approval, "yes").await, Decided::Taken);
    assert_eq!(world.decide(&approval, "no").await, Decided::Already(decision("yes")));
    assert_eq!(world.inbox(run).await, ["yes"]);
    assert_eq!(world.record(run).await.state, state(RunStatus::Queued));
    let kept = world.storage.approval(approval.id).await.unwrap().unwrap();
    assert_eq!(kept.decision, Some(decision("yes")));
    assert!(world.pending(None).await.is_empty());
}

async fn a_decision_is_about_these_arguments_and_in_time(world: World) {
    let approval = question();
    let run = world.asking(&approval).await;
    let other = ArgumentsHash::of(&json!({ "amount": 2 }));
    let decide = |id, hash, at| {
        let decision = StoredDecision { at, ..decision("yes") };
        world.storage.decide(id, hash, decision, "yes".into())
    };
    let expires = approval.expires;
    let just_too_early = expires - Duration::from_micros(1);
    assert_eq!(decide(question().id, approval.hash, at(1)).await.unwrap(), Decided::NotFound);
    assert_eq!(decide(approval.id, other, far()).await.unwrap(), Decided::OtherArguments);
    assert_eq!(decide(approval.id, approval.hash, expires).await.unwrap(), Decided::Expired);
    assert!(world.inbox(run).await.is_empty());
    assert_eq!(world.status(run).await, RunStatus::Waiting);
    assert_eq!(decide(approval.id, approval.hash, just_too_early).await.unwrap(), Decided::Taken);
    let already = decide(approval.id, approval.hash, far()).await.unwrap();
    assert!(matches!(already, Decided::Already(decision) if decision.at == just_too_early));
}

async fn of_decisions_at_once_one_is_taken(world: World) {
    let storages = [world.another(), world.another()];
    for _ in 0..10 {
        let approval = question();
        let run = world.asking(&approval).await;
        let decisions = (0..6).map(|n: usize| {
            let text = n.to_string();
            storages[n % 2].decide(approval.id, approval.hash, decision(&text), text.into())
        });
        let results: Vec<_> = join_all(decisions).await.into_iter().map(Result::unwrap).collect();
        let taken = results.iter().position(|decided| *decided == Decided::Taken).unwrap().to_string();
        let others = results.iter().filter(|decided| **decided == Decided::Already(decision(&taken)));
        assert_eq!(others.count(), 5, "{results:?}");
        assert_eq!(world.inbox(run).await, [taken]);
    }
}

async fn withdrawn_approvals_are_gone(world: World) {
    let (gone, decided, foreign) = (question(), question(), question());
    world.asking(&foreign).await;
    let claimed = world.owned().await;
    let approvals = vec![gone.clone(), decided.clone()];
    world.put(Append { approvals, ..append(&claimed, &[]) }).await;
    assert_eq!(world.decide(&decided, "yes").await, Decided::Taken);
    let withdrawn = vec![gone.id, decided.id, foreign.id];
    world.put(Append { withdrawn, ..append(&claimed, &["withdrawn"]) }).await;
    assert_eq!(world.decide(&gone, "yes").await, Decided::NotFound);
    assert!(world.storage.approval(gone.id).await.unwrap().is_none());
    assert_eq!(world.decide(&decided, "no").await, Decided::Already(decision("yes")));
    assert_eq!(world.decide(&foreign, "yes").await, Decided::Taken);
    assert_eq!(world.inbox(claimed.record.id).await, ["yes"]);
}

async fn the_end_of_a_run_withdraws_what_it_asked(world: World) {
    for status in [RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled, RunStatus::Diverged] {
        let approval = question();
        let run = world.asking(&approval).await;
        let claimed = world.take(run).await;
        let end = Append { state: Some(state(status)), ..append(&claimed, &[]) };
        world.storage.release(end, 0).await.unwrap();
        assert_eq!(world.decide(&approval, "yes").await, Decided::NotFound);
        assert!(world.pending(None).await.is_empty());
    }
}

async fn pending_approvals_are_listed(world: World) {
    let mut approvals = [question(), question(), question()];
    approvals.sort_by_key(|approval| approval.id);
    let ids: Vec<_> = approvals.iter().map(|approval| approval.id).collect();
    let mut runs = Vec::new();
    for approval in approvals.iter().rev() {
        runs.insert(0, world.asking(approval).await);
    }
    assert_eq!(world.pending(None).await, ids);
    assert_eq!(world.pending(Some(runs[1])).await, [ids[1]]);
    let first = world.storage.pending_approvals(None, 2).await.unwrap();
    assert_eq!(first.iter().map(|approval| approval.run).collect::<Vec<_>>(), runs[..2]);
    world.decide(&approvals[0], "yes").await;
    assert_eq!(world.pending(None).await, ids[1..]);
    assert!(world.pending(Some(runs[0])).await.is_empty());
}

async fn timers_are_over_at_their_moment(world: World) {
    let early = world.resting(waiting_until(at(10))).await;
    let late = world.resting(waiting_until(at(20))).await;
    world.resting(RunState { wake_at: Some(at(5)), ..state(RunStatus::Paused) }).await;
    world.in_status(RunStatus::Waiting).await;
    let due = |moment| world.storage.due(moment, 99);
    let before = at(10) - Duration::from_micros(1);
    assert_eq!(due(before).await.unwrap(), Due { queued: 0, next: Some(at(10)) });
    assert_eq!(due(at(10)).await.unwrap(), Due { queued: 1, next: Some(at(20)) });
    assert_eq!(world.record(early).await.state, state(RunStatus::Queued));
    assert_eq!(world.status(late).await, RunStatus::Waiting);
    world.send(late, "no need to wait").await;
    assert_eq!(due(far()).await.unwrap(), Due { queued: 0, next: None });
}

async fn timers_are_queued_in_bounded_steps(world: World) {
    for second in [3, 1, 2, 1] {
        world.resting(waiting_until(at(second))).await;
    }
    let rows = [(0, 0, Some(at(1))), (3, 3, Some(at(3))), (3, 1, None), (3, 0, None)];
    for (limit, queued, next) in rows {
        assert_eq!(world.storage.due(at(9), limit).await.unwrap(), Due { queued, next });
    }
}

async fn lists_are_filtered(world: World) {
    let make = |agent: &str, second| world.create(NewRun { agent: agent.to_owned(), created: at(second), ..new_run() });
    let (a1, b2, a3) = (make("a", 1).await, make("b", 2).await, make("a", 3).await);
    world.take(a3).await;
    let rows = [
        (RunFilter::default(), vec![a3, b2, a1]),
        (RunFilter { agent: Some("a".to_owned()), ..RunFilter::default() }, vec![a3, a1]),
        (RunFilter { statuses: vec![RunStatus::Queued], ..RunFilter::default() }, vec![b2, a1]),
        (RunFilter { statuses: vec![RunStatus::Queued, RunStatus::Running], ..RunFilter::default() }, vec![a3, b2, a1]),
        (RunFilter { statuses: vec![RunStatus::Paused], ..RunFilter::default() }, vec![]),
        (RunFilter { since: Some(at(2)), ..RunFilter::default() }, vec![a3, b2]),
        (RunFilter { until: Some(at(2)), ..RunFilter::default() }, vec![a1]),
        (RunFilter { agent: Some("a".to_owned()), since: Some(at(2)), until: Some(at(4)), statuses: vec![] }, vec![a3]),
    ];
    for (filter, expected) in rows {
        let page = world.storage.list(filter.clone(), 99, None).await.unwrap();
        assert_eq!(page.items.iter().map(|run| run.id).collect::<Vec<_>>(), expected, "{filter:?}");
        assert_eq!(page.next, None);
        for run in page.items {
            assert_eq!(run, world.record(run.id).await);
        }
    }
}

async fn pages_hold_each_run_once(world: World) {
    let mut all = BTreeSet::new();
    for n in 0..11 {
        // Several were created at once.
        all.insert(world.create(NewRun { created: at(n / 3), ..new_run() }).await);
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = world.storage.list(RunFilter::default(), 2, cursor).await.unwrap();
        assert!(page.items.len() == 2 || page.next.is_none());
        seen.extend(page.items.iter().map(|run| (run.created, run.id)));
        // What comes and goes meanwhile moves nobody from one page to another.
        world.create(NewRun { created: at(99), ..new_run() }).await;
        let Some(next) = page.next else { break };
        cursor = Some(serde_json::from_str(&serde_json::to_string(&next).unwrap()).unwrap());
    }
    assert!(seen.is_sorted_by(|one, next| one > next), "{seen:?}");
    assert_eq!(seen.into_iter().map(|(_, run)| run).collect::<BTreeSet<_>>(), all);
}

async fn a_foreign_cursor_is_refused(world: World) {
    for text in ["", "1", "a.b", "'; DROP TABLE runs"] {
        refused(&world.storage.list(RunFilter::default(), 9, Some(Cursor(text.to_owned()))).await);
    }
}

async fn blobs_are_kept(world: World) {
    for bytes in [vec![], vec![0, 255, 128], vec![7; 2_000_000]] {
        let hash = world.storage.put_blob(bytes.clone().into()).await.unwrap();
        assert_eq!(hash, ContentHash::of(&bytes));
        assert_eq!(world.storage.put_blob(bytes.clone().into()).await.unwrap(), hash);
        assert!(world.another().blob(hash).await.unwrap().unwrap() == bytes);
    }
    assert!(world.storage.blob(ContentHash::of(b"nowhere")).await.unwrap().is_none());
}

async fn blobs_go_when_nobody_needs_them(world: World) {
    let mut hashes = Vec::new();
    for text in ["created", "appended", "shared", "spare", "spare too"] {
        hashes.push(world.storage.put_blob(text.into()).await.unwrap());
    }
    let [created, appended, shared, spare, spare_too] = hashes[..] else { unreachable!() };
    let first = world.create(NewRun { blobs: vec![created, shared, shared], ..new_run() }).await;
    let first = world.take(first).await;
    world.put(Append { blobs: vec![appended, created], ..append(&first, &["names them"]) }).await;
    world.create(NewRun { blobs: vec![shared], ..new_run() }).await;
    let prune = |limit| world.storage.prune_blobs(Duration::ZERO, limit);
    assert_eq!((prune(0).await.unwrap(), prune(1).await.unwrap(), prune(9).await.unwrap()), (0, 1, 1));
    assert!(world.storage.blob(spare).await.unwrap().is_none());
    assert!(world.storage.blob(spare_too).await.unwrap().is_none());
    let end = Append { state: Some(state(RunStatus::Completed)), ..append_at(&first, 3, &[]) };
    world.storage.release(end, 0).await.unwrap();
    assert_eq!(prune(9).await.unwrap(), 0);
    assert_eq!(world.prune_all(9).await, 1);
    assert_eq!(prune(9).await.unwrap(), 2);
    assert!(world.storage.blob(shared).await.unwrap().is_some());
}

async fn blobs_are_not_pruned_before_their_time(world: World) {
    let hash = world.storage.put_blob("young".into()).await.unwrap();
    assert_eq!(world.storage.prune_blobs(HOUR, 9).await.unwrap(), 0);
    assert!(world.storage.blob(hash).await.unwrap().is_some());
    assert_eq!(world.storage.prune_blobs(Duration::ZERO, 9).await.unwrap(), 1);
}

async fn only_finished_runs_are_pruned(world: World) {
    let finished = [RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled, RunStatus::Diverged];
    let mut ended = Vec::new();
    for status in finished {
        ended.push(world.in_status(status).await);
    }
    let mut going = Vec::new();
    for status in [RunStatus::Queued, RunStatus::Running, RunStatus::Waiting, RunStatus::Paused] {
        going.push(world.in_status(status).await);
    }
    let first = world.record(ended[0]).await.updated;
    let prune = |before, statuses: &[RunStatus]| world.storage.prune(Prune { before, statuses: statuses.to_vec() }, 99);
    assert_eq!(prune(first, &[]).await.unwrap(), 0);
    assert_eq!(prune(far(), &[RunStatus::Queued, RunStatus::Paused]).await.unwrap(), 0);
    assert_eq!(prune(far(), &[RunStatus::Failed, RunStatus::Running]).await.unwrap(), 1);
    assert!(world.storage.run(ended[1]).await.unwrap().is_none());
    assert_eq!(prune(far(), &[]).await.unwrap(), 3);
    for run in going {
        world.record(run).await;
    }
}

async fn nothing_of_a_pruned_run_is_left(world: World) {
    let key = || Some("key".to_owned());
    let new = NewRun { idempotency_key: key(), ..new_run() };
    let run = world.create(new.clone()).await;
    let claimed = world.take(run).await;
    let approval = question();
    world.put(Append { approvals: vec![approval.clone()], ..append(&claimed, &["second"]) }).await;
    world.decide(&approval, "yes").await;
    let end = Append { state: Some(state(RunStatus::Completed)), ..append_at(&claimed, 3, &[]) };
    world.storage.release(end, 9).await.unwrap();
    assert_eq!(world.prune_all(9).await, 1);
    assert!(world.storage.run(run).await.unwrap().is_none());
    assert!(world.storage.head(run).await.unwrap().is_none());
    assert!(world.texts(run).await.is_empty());
    assert!(world.inbox(run).await.is_empty());
    assert!(world.storage.approval(approval.id).await.unwrap().is_none());
    assert!(world.storage.list(RunFilter::default(), 9, None).await.unwrap().items.is_empty());
    assert_eq!(world.send(run, "late").await, Sent::NotFound);
    let other = world.create(NewRun { idempotency_key: key(), ..new_run() }).await;
    assert_ne!(other, run);
    assert_eq!(world.create(NewRun { idempotency_key: None, ..new }).await, run);
    assert_eq!(world.texts(run).await, ["first"]);
}

async fn pruning_is_bounded(world: World) {
    for _ in 0..5 {
        world.in_status(RunStatus::Completed).await;
    }
    let mut counts = Vec::new();
    for limit in [0, 2, 9, 9] {
        counts.push(world.prune_all(limit).await);
    }
    assert_eq!(counts, [0, 2, 3, 0]);
}

/// Changes that run until a hint comes: one may be lost, but not all.
async fn is_heard(hints: &mut dyn Hints, storage: &dyn Storage, run: RunId) -> bool {
    let changes = async {
        for _ in 0..10_000 {
            storage.send(run, Uuid::now_v7(), "hello".into()).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let heard = async move {
        loop {
            match hints.next().await {
                Hint::Anything => return,
                Hint::Run(about) if about == run => return,
                Hint::Run(_) => {}
            }
        }
    };
    let changes = std::pin::pin!(changes);
    let heard = std::pin::pin!(heard);
    matches!(future::select(heard, changes).await, Either::Left(_))
}

async fn whoever_watches_hears_of_changes(world: World) {
    let run = world.create(new_run()).await;
    let (mut one, mut other) = (world.storage.watch(), world.storage.watch());
    assert!(is_heard(&mut *one, &*world.storage, run).await);
    assert!(is_heard(&mut *other, &*world.storage, run).await);
    drop(one);
    assert!(is_heard(&mut *other, &*world.storage, run).await);
}

async fn whoever_watches_hears_of_what_others_change(world: World) {
    let run = world.create(new_run()).await;
    let other = world.another();
    let mut hints = world.storage.watch();
    for _ in 0..3 {
        assert!(is_heard(&mut *hints, &*other, run).await);
    }
}

async fn what_was_acknowledged_is_there_after_opening_again(world: World) {
    let claimed = world.owned().await;
    let run = claimed.record.id;
    let approval = question();
    let hash = world.storage.put_blob("blob".into()).await.unwrap();
    world.send(run, "hello").await;
    let long = "long".repeat(50_000);
    let append = Append {
        approvals: vec![approval.clone()],
        blobs: vec![hash],
        consumed_inbox: Some(1),
        ..append(&claimed, &["second", &long])
    };
    world.put(append).await;
    let before = (world.record(run).await, world.storage.head(run).await.unwrap());
    let World { place, storage } = world;
    drop(storage);
    let world = World::new(place);
    assert_eq!((world.record(run).await, world.storage.head(run).await.unwrap()), before);
    assert!(world.texts(run).await == ["first", "second", &long]);
    assert_eq!(world.inbox(run).await, ["hello"]);
    assert_eq!(world.pending(Some(run)).await, [approval.id]);
    assert!(world.storage.blob(hash).await.unwrap().is_some());
    // Its owner may still be there.
    assert!(world.storage.claim_one(world.worker().await, run).await.unwrap().is_none());
    world.put(append_at(&claimed, 4, &["fourth"])).await;
    world.storage.check().await.unwrap();
}

async fn unknown_runs_are_not_found(world: World) {
    let claimed = world.owned().await;
    let nowhere = RunId::new();
    let lost = Append { run: nowhere, ..append(&claimed, &["lost"]) };
    assert!(matches!(world.storage.append(lost.clone()).await, Err(AppendError::NotFound)));
    assert!(matches!(world.storage.release(lost, 0).await, Err(AppendError::NotFound)));
    assert!(world.storage.claim_one(world.worker().await, nowhere).await.unwrap().is_none());
    assert_eq!(world.send(nowhere, "lost").await, Sent::NotFound);
    assert!(world.storage.run(nowhere).await.unwrap().is_none());
    assert!(world.storage.head(nowhere).await.unwrap().is_none());
    assert!(world.texts(nowhere).await.is_empty() && world.inbox(nowhere).await.is_empty());
}
