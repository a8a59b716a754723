//! What is appended, by whom, and how it is refused.

use std::time::Duration;

use futures_util::future::join_all;

use super::world::{World, append, append_at, entries, new_run, question, state};
use crate::component::ContentHash;
use crate::life::RunStatus;
use crate::storage::{Append, AppendError, Claimed, NewRun, RunState};

pub(super) async fn what_is_appended_is_read_at_once(world: World) {
    let claimed = world.owned().await;
    assert_eq!(world.put(append(&claimed, &["second", ""])).await, 4);
    assert_eq!(world.put(append_at(&claimed, 4, &["fourth"])).await, 5);
    assert_eq!(world.texts(claimed.record.id).await, ["first", "second", "", "fourth"]);
    let other = world.another().read(claimed.record.id, 1, 10).await.unwrap();
    assert_eq!(other.len(), 4);
    assert_eq!(world.storage.head(claimed.record.id).await.unwrap().unwrap().next, 5);
}

pub(super) async fn parts_of_a_journal_are_read(world: World) {
    let run = world.create(NewRun { entries: entries(1, &["1", "2", "3", "4"]), ..new_run() }).await;
    let rows: [(u64, usize, &[&str]); 6] =
        [(1, 2, &["1", "2"]), (3, 2, &["3", "4"]), (4, 9, &["4"]), (5, 9, &[]), (u64::MAX, 9, &[]), (1, 0, &[])];
    for (from, limit, expected) in rows {
        let read = world.storage.read(run, from, limit).await.unwrap();
        assert_eq!(read, entries(from, expected), "{limit} from {from}");
    }
}

pub(super) async fn long_texts_are_kept(world: World) {
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

pub(super) async fn an_append_without_entries_changes_what_stands_beside(world: World) {
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

pub(super) async fn an_older_epoch_is_fenced(world: World) {
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

pub(super) async fn nobody_appends_to_what_nobody_owns(world: World) {
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

pub(super) async fn numbers_that_do_not_fit_are_told_apart(world: World) {
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

pub(super) async fn fencing_comes_before_numbers(world: World) {
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

pub(super) async fn an_append_is_whole_or_not_at_all(world: World) {
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

pub(super) async fn of_appends_with_one_number_one_is_taken(world: World) {
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

pub(super) async fn runs_do_not_disturb_each_other(world: World) {
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
