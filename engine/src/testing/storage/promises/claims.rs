//! Who owns a run, and for how long.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;

use super::world::{HOUR, World, append, at, new_run, state, waiting_until};
use crate::life::RunStatus;
use crate::storage::{Append, NewRun, Released, RunState, WorkerId};

pub(super) async fn claims_take_what_is_queued_or_abandoned(world: World) {
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

pub(super) async fn claims_take_named_agents_only(world: World) {
    let make = |agent: &str| world.create(NewRun { agent: agent.to_owned(), ..new_run() });
    let (a, b, c) = (make("a").await, make("b").await, make("c'\"").await);
    assert!(world.claim_all(Some(&[])).await.is_empty());
    assert!(world.claim_all(Some(&["d"])).await.is_empty());
    assert_eq!(world.claim_all(Some(&["c'\"", "a"])).await, [a, c].into());
    assert_eq!(world.claim_all(None).await, [b].into());
}

pub(super) async fn claims_are_bounded(world: World) {
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

pub(super) async fn no_two_claims_take_the_same(world: World) {
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

pub(super) async fn a_lease_that_is_over_stays_over(world: World) {
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

pub(super) async fn a_worker_without_a_lease_gets_nothing(world: World) {
    let run = world.create(new_run()).await;
    let over = world.storage.register(Duration::ZERO).await.unwrap();
    for worker in [over, WorkerId::new()] {
        assert!(world.storage.claim(worker, None, 9).await.unwrap().is_empty());
        assert!(world.storage.claim_one(worker, run).await.unwrap().is_none());
    }
    assert_eq!(world.status(run).await, RunStatus::Queued);
}

pub(super) async fn one_run_is_claimed_in_any_state_but_an_end(world: World) {
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

pub(super) async fn a_released_run_is_as_it_was_asked_to_be(world: World) {
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
