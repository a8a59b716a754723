//! That runs are made, found and listed.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use super::world::{World, append, append_at, at, entries, new_run, question, refused};
use crate::component::ContentHash;
use crate::life::{RunId, RunStatus, WaitingOn};
use crate::storage::{Append, AppendError, Cursor, NewRun, RunFilter, RunRecord, RunState, Sent};

pub(super) async fn a_run_is_kept_as_it_was_given(world: World) {
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

pub(super) async fn creating_twice_is_creating_once(world: World) {
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

pub(super) async fn creating_is_whole_or_not_at_all(world: World) {
    let unnumbered = NewRun { entries: entries(2, &["second"]), ..new_run() };
    let without_blob = NewRun { blobs: vec![ContentHash::of(b"nowhere")], ..new_run() };
    for new in [unnumbered, without_blob] {
        let id = new.id;
        refused(&world.storage.create(new).await);
        assert!(world.storage.run(id).await.unwrap().is_none());
        assert!(world.texts(id).await.is_empty());
    }
}

pub(super) async fn what_was_acknowledged_is_there_after_opening_again(world: World) {
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

pub(super) async fn unknown_runs_are_not_found(world: World) {
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

pub(super) async fn lists_are_filtered(world: World) {
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

pub(super) async fn pages_hold_each_run_once(world: World) {
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

pub(super) async fn a_foreign_cursor_is_refused(world: World) {
    for text in ["", "1", "a.b", "'; DROP TABLE runs"] {
        refused(&world.storage.list(RunFilter::default(), 9, Some(Cursor(text.to_owned()))).await);
    }
}
