//! Blobs, and what goes when nobody needs it.

use std::time::Duration;

use super::world::{HOUR, World, append, append_at, far, new_run, question, state};
use crate::component::ContentHash;
use crate::life::RunStatus;
use crate::storage::{Append, NewRun, Prune, RunFilter, Sent};

pub(super) async fn blobs_are_kept(world: World) {
    for bytes in [vec![], vec![0, 255, 128], vec![7; 2_000_000]] {
        let hash = world.storage.put_blob(bytes.clone().into()).await.unwrap();
        assert_eq!(hash, ContentHash::of(&bytes));
        assert_eq!(world.storage.put_blob(bytes.clone().into()).await.unwrap(), hash);
        assert!(world.another().blob(hash).await.unwrap().unwrap() == bytes);
    }
    assert!(world.storage.blob(ContentHash::of(b"nowhere")).await.unwrap().is_none());
}

pub(super) async fn blobs_go_when_nobody_needs_them(world: World) {
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

pub(super) async fn blobs_are_not_pruned_before_their_time(world: World) {
    let hash = world.storage.put_blob("young".into()).await.unwrap();
    assert_eq!(world.storage.prune_blobs(HOUR, 9).await.unwrap(), 0);
    assert!(world.storage.blob(hash).await.unwrap().is_some());
    assert_eq!(world.storage.prune_blobs(Duration::ZERO, 9).await.unwrap(), 1);
}

pub(super) async fn only_finished_runs_are_pruned(world: World) {
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

pub(super) async fn nothing_of_a_pruned_run_is_left(world: World) {
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

pub(super) async fn pruning_is_bounded(world: World) {
    for _ in 0..5 {
        world.in_status(RunStatus::Completed).await;
    }
    let mut counts = Vec::new();
    for limit in [0, 2, 9, 9] {
        counts.push(world.prune_all(limit).await);
    }
    assert_eq!(counts, [0, 2, 3, 0]);
}
