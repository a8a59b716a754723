//! What makes a run go on: messages and moments.

use std::time::Duration;

use uuid::Uuid;

use super::world::{World, append, at, far, new_run, state, waiting_until};
use crate::life::RunStatus;
use crate::storage::{Append, Due, Released, RunState, Sent};

pub(super) async fn no_message_is_slept_through(world: World) {
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

pub(super) async fn a_message_is_delivered_once(world: World) {
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

pub(super) async fn a_message_wakes_what_waits(world: World) {
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

pub(super) async fn messages_that_are_used_up_stay_so(world: World) {
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

pub(super) async fn timers_are_over_at_their_moment(world: World) {
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

pub(super) async fn timers_are_queued_in_bounded_steps(world: World) {
    for second in [3, 1, 2, 1] {
        world.resting(waiting_until(at(second))).await;
    }
    let rows = [(0, 0, Some(at(1))), (3, 3, Some(at(3))), (3, 1, None), (3, 0, None)];
    for (limit, queued, next) in rows {
        assert_eq!(world.storage.due(at(9), limit).await.unwrap(), Due { queued, next });
    }
}
