//! What those who watch are told of.

use futures_util::future::{self, Either};
use uuid::Uuid;

use super::world::{World, append, append_at, new_run, state};
use crate::life::{RunId, RunStatus};
use crate::storage::{Append, Hint, Hints, Interest, Storage};

/// Whether a hint about the run comes before all these changes are over: one may be lost, but not all.
async fn is_told(hints: &mut dyn Hints, run: RunId, changes: impl Future<Output = ()>) -> bool {
    let heard = async move {
        loop {
            match hints.next().await {
                Hint::Anything => return,
                Hint::Run(about) if about == run => return,
                Hint::Run(_) => {}
            }
        }
    };
    let (heard, changes) = (std::pin::pin!(heard), std::pin::pin!(changes));
    matches!(future::select(heard, changes).await, Either::Left(_))
}

async fn is_told_of_messages(hints: &mut dyn Hints, storage: &dyn Storage, run: RunId) -> bool {
    let changes = async {
        for _ in 0..10_000 {
            storage.send(run, Uuid::now_v7(), "hello".into()).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    is_told(hints, run, changes).await
}

/// Messages are of interest to all.
fn interests(run: RunId) -> [Interest; 3] {
    [Interest::Run(run), Interest::State(run), Interest::Work]
}

pub(super) async fn whoever_watches_hears_of_changes(world: World) {
    let run = world.create(new_run()).await;
    for interest in interests(run) {
        let (mut one, mut other) = (world.storage.watch(interest), world.storage.watch(interest));
        assert!(is_told_of_messages(&mut *one, &*world.storage, run).await);
        assert!(is_told_of_messages(&mut *other, &*world.storage, run).await);
        drop(one);
        assert!(is_told_of_messages(&mut *other, &*world.storage, run).await);
    }
}

pub(super) async fn whoever_watches_hears_of_what_others_change(world: World) {
    let run = world.create(new_run()).await;
    let other = world.another();
    for interest in interests(run) {
        let mut hints = world.storage.watch(interest);
        for _ in 0..3 {
            assert!(is_told_of_messages(&mut *hints, &*other, run).await);
        }
    }
}

pub(super) async fn whoever_watches_a_run_hears_of_its_entries(world: World) {
    let claimed = world.owned().await;
    let run = claimed.record.id;
    let mut hints = world.storage.watch(Interest::Run(run));
    let changes = async {
        for next in claimed.next..1_000 {
            world.put(append_at(&claimed, next, &["entry"])).await;
            tokio::task::yield_now().await;
        }
    };
    assert!(is_told(&mut *hints, run, changes).await);
}

pub(super) async fn whoever_watches_a_state_hears_of_it(world: World) {
    let claimed = world.owned().await;
    let run = claimed.record.id;
    let mut hints = world.storage.watch(Interest::State(run));
    let changes = async {
        for _ in 0..1_000 {
            world.put(Append { state: Some(state(RunStatus::Waiting)), ..append(&claimed, &[]) }).await;
            tokio::task::yield_now().await;
        }
    };
    assert!(is_told(&mut *hints, run, changes).await);
}

pub(super) async fn workers_hear_of_what_is_given_back(world: World) {
    let run = world.create(new_run()).await;
    let mut hints = world.storage.watch(Interest::Work);
    let changes = async {
        for _ in 0..1_000 {
            let claimed = world.take(run).await;
            world.storage.release(append(&claimed, &[]), 0).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    assert!(is_told(&mut *hints, run, changes).await);
}
