//! Questions to people, and which answer counts.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::world::{World, append, at, decision, far, question, state};
use crate::json::ArgumentsHash;
use crate::life::RunStatus;
use crate::storage::{Append, Decided, StoredDecision};

pub(super) async fn a_decision_counts_once(world: World) {
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

pub(super) async fn a_decision_is_about_these_arguments_and_in_time(world: World) {
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

pub(super) async fn of_decisions_at_once_one_is_taken(world: World) {
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

pub(super) async fn withdrawn_approvals_are_gone(world: World) {
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

pub(super) async fn the_end_of_a_run_withdraws_what_it_asked(world: World) {
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

pub(super) async fn pending_approvals_are_listed(world: World) {
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
