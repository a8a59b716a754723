//! Several workers on one storage, and orders that come from elsewhere.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use casemate::storage::Storage;
use casemate::{Budget, Run, RunError, RunRequest, RunStatus, Runs, Settlement, Tool, WaitingOn};
use futures_util::future::join_all;
use serde_json::json;

use super::support::{
    Folder, Held, all_events, builder, count_of, eventually_within, in_doubt, is_reproduced, is_whole, memory,
    onlooker, puppet, puppet_with, run, settled, start, until, until_event, until_status, until_waiting, worker,
};
use crate::support::{Anything, counting, engine};

#[test]
fn two_workers_on_one_storage_execute_each_run_once() {
    run(async {
        let folder = Folder::new();
        let (tool, count) = counting("once");
        let one = worker(folder.open(), puppet_with([tool.clone()]).await);
        let other = worker(folder.open(), puppet_with([tool]).await);
        let mut all = Vec::new();
        for n in 0..40 {
            let by = if n % 2 == 0 { &one } else { &other };
            all.push(start(by, "call once {}\ncall-all once {}\ncall once {}").await);
        }
        for run in &all {
            assert_eq!(settled(run).await.status, RunStatus::Completed);
            let events = all_events(run).await;
            assert_eq!((count_of(&events, "tool_call"), count_of(&events, "resumed")), (5, 0), "{events:#?}");
            is_whole(one.storage().as_ref(), run.id()).await;
        }
        assert_eq!(count.load(Ordering::SeqCst), 40 * 5);
    });
}

#[test]
fn a_worker_whose_lease_was_lost_while_it_works_does_nothing_more() {
    run(async {
        let folder = Folder::new();
        let (held, other_held) = (Held::default(), Held::default());
        let (by_old, old_count) = counting("next");
        let (by_new, new_count) = counting("next");
        let agent = puppet_with([held.tool("once"), by_old]).await;
        // It does not look whether its lease is on for as long as the test takes.
        let old = builder(engine(), folder.open(), agent).lease(Duration::from_hours(1)).build();
        let started = start(&old, "call once {}\ncall next {}\ncall next {}").await;
        held.until_called(1).await;
        folder.expire_all();
        let new = worker(folder.open(), puppet_with([other_held.tool("once"), by_new]).await);
        let taken_over = new.run(started.id());
        until_waiting(&taken_over, WaitingOn::InDoubt).await;
        held.answer();
        // What it was at is over when the run is not executed there any more.
        let is_given_up = eventually_within(Duration::from_secs(20), || async { old.deltas(started.id()).is_none() });
        assert!(is_given_up.await);
        assert_eq!(old_count.load(Ordering::SeqCst), 0);
        let result = Arc::new(json!("done"));
        taken_over.settle(in_doubt(&taken_over).await[0].0, Settlement::Happened { result }, "ada").await.unwrap();
        assert_eq!(settled(&taken_over).await.status, RunStatus::Completed);
        assert_eq!((old_count.load(Ordering::SeqCst), new_count.load(Ordering::SeqCst)), (0, 2));
        assert_eq!((held.calls(), other_held.calls()), (1, 0));
        is_whole(new.storage().as_ref(), started.id()).await;
        is_reproduced(&taken_over).await;
    });
}

#[test]
fn a_short_lease_is_kept_for_as_long_as_the_worker_works() {
    run(async {
        let held = Held::default();
        let agent = puppet_with([held.tool("once")]).await;
        let runs = builder(engine(), memory(), agent).lease(Duration::from_secs(1)).build();
        let started = start(&runs, "call once {}").await;
        held.until_called(1).await;
        let is_lost =
            eventually_within(Duration::from_secs(5), || async { all_events(&started).await.len() > 2 }).await;
        assert!(!is_lost, "{:#?}", all_events(&started).await);
        held.answer();
        assert_eq!(settled(&started).await.output.as_deref(), Some("\"done\""));
    });
}

#[test]
fn a_worker_that_lost_its_lease_and_takes_its_own_run_again_does_nothing_twice() {
    run(async {
        let folder = Folder::new();
        let (held, (tool, count)) = (Held::default(), counting("next"));
        let agent = puppet_with([held.tool("once"), tool]).await;
        let runs = builder(engine(), folder.open(), agent).lease(Duration::from_secs(4)).build();
        let started = start(&runs, "call once {}\ncall next {}").await;
        held.until_called(1).await;
        folder.expire_all();
        until_waiting(&started, WaitingOn::InDoubt).await;
        held.answer();
        let result = Arc::new(json!("done"));
        started.settle(in_doubt(&started).await[0].0, Settlement::Happened { result }, "ada").await.unwrap();
        assert_eq!(settled(&started).await.status, RunStatus::Completed);
        assert_eq!((held.calls(), count.load(Ordering::SeqCst)), (1, 1));
        is_whole(runs.storage().as_ref(), started.id()).await;
        is_reproduced(&started).await;
    });
}

#[test]
fn an_agent_that_is_not_known_any_more_is_looked_for_now_and_then() {
    run(async {
        let agent = puppet().await;
        let looked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (counted, known) = (looked.clone(), std::sync::atomic::AtomicBool::new(true));
        let find = move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            // It is known when the run is started, and never again.
            let found = known.swap(false, Ordering::SeqCst).then(|| agent.clone());
            std::future::ready(found)
        };
        let runs = casemate::Runs::builder(engine(), memory()).find_agents(find).build();
        start(&runs, "say done").await;
        let is_often = eventually_within(Duration::from_secs(3), || async { looked.load(Ordering::SeqCst) > 50 });
        assert!(!is_often.await, "a worker that does not know it does nothing else");
    });
}

#[test]
fn a_call_that_is_performed_again_counts_as_one() {
    run(async {
        let (storage, held) = (memory(), Held::default());
        let idempotent = casemate::Annotations { idempotent: true, ..casemate::Annotations::default() };
        let agent = puppet_with([held.tool("same").annotations(idempotent)]).await.budget(Budget::default().calls(1));
        let runs = worker(storage.clone(), agent.clone());
        let started = start(&runs, "call same {}\ncall same {}").await;
        held.until_called(1).await;
        runs.shutdown().await;
        let runs = worker(storage, agent);
        held.until_called(2).await;
        held.answer();
        held.answer();
        let run = runs.run(started.id());
        let is_called_again = eventually_within(Duration::from_secs(3), || async { held.calls() > 2 }).await;
        assert!(!is_called_again, "its budget is one call");
        assert!(settled(&run).await.output.unwrap().starts_with("\"done\"\nlimit-exceeded"));
    });
}

#[test]
fn a_call_that_could_be_performed_again_is_denied_where_it_is_not_granted_any_more() {
    run(async {
        let (storage, held) = (memory(), Held::default());
        let idempotent = casemate::Annotations { idempotent: true, ..casemate::Annotations::default() };
        let agent = puppet_with([held.tool("same").annotations(idempotent)]).await;
        let runs = worker(storage.clone(), agent.clone());
        let started = start(&runs, "call same {}").await;
        held.until_called(1).await;
        runs.shutdown().await;
        let runs = worker(storage, agent.grants(casemate::Grants::none()));
        let summary = settled(&runs.run(started.id())).await;
        assert_eq!(summary.output.as_deref(), Some("denied: the tool `same` is not granted"));
        assert_eq!(held.calls(), 1);
    });
}

#[test]
fn a_run_whose_process_is_lost_again_and_again_is_paused_until_a_person_has_it_go_on() {
    run(async {
        let (storage, held) = (memory(), Held::default());
        let idempotent = casemate::Annotations { idempotent: true, ..casemate::Annotations::default() };
        let agent = puppet_with([held.tool("deadly").annotations(idempotent)]).await;
        let mut runs = worker(storage.clone(), agent.clone());
        let started = start(&runs, "call deadly {}").await;
        for lost in 1..=11 {
            held.until_called(lost).await;
            runs.shutdown().await;
            is_claimed_and_lost(storage.as_ref(), started.id()).await;
            runs = worker(storage.clone(), agent.clone());
        }
        let run = runs.run(started.id());
        until_status(&run, RunStatus::Paused).await;
        let events = all_events(&run).await;
        let Some(casemate::EventKind::Paused { reason: Some(reason) }) = events.last().map(|event| &event.kind) else {
            panic!("{events:#?}");
        };
        assert_eq!(reason, "the process that executed it was lost 10 times before it got any further");
        assert_eq!(run.summary().await.unwrap().failure.unwrap().message, *reason);
        assert_eq!(held.calls(), 11);
        run.resume().await.unwrap();
        held.until_called(12).await;
        held.answer();
        assert_eq!(settled(&run).await.output.as_deref(), Some("\"done\""));
        is_reproduced(&run).await;
    });
}

/// As where a process was killed that had just begun to execute it.
async fn is_claimed_and_lost(storage: &dyn Storage, run: casemate::RunId) {
    let worker = storage.register(Duration::from_hours(1)).await.unwrap();
    assert!(storage.claim_one(worker, run).await.unwrap().is_some());
    assert!(storage.renew(worker, Duration::ZERO).await.unwrap());
}

/// Says of what is in doubt what is known, once nobody is at it any more.
async fn settle_what_nobody_is_at(run: &Run, workers: &[Runs], done: &Mutex<BTreeMap<String, usize>>) {
    let summary = run.summary().await.unwrap();
    let is_somebody_at_it = workers.iter().any(|worker| worker.deltas(run.id()).is_some());
    if summary.waiting_on != Some(WaitingOn::InDoubt) || is_somebody_at_it {
        return;
    }
    for (id, _, key) in in_doubt(run).await {
        let happened = done.lock().unwrap().contains_key(&key);
        let result = Arc::new(json!(key));
        let settlement = if happened { Settlement::Happened { result } } else { Settlement::DidNotHappen };
        run.settle(id, settlement, "ada").await.unwrap();
    }
}

#[test]
fn leases_that_are_lost_again_and_again_double_nothing() {
    run(async {
        let folder = Folder::new();
        let done = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
        let tool = |name: &str| {
            let done = done.clone();
            Tool::new(name, move |input: Anything| {
                let key = input.members["key"].as_str().unwrap().to_owned();
                *done.lock().unwrap().entry(key.clone()).or_default() += 1;
                async move { Ok::<_, String>(json!(key)) }
            })
        };
        let mut workers = Vec::new();
        for _ in 0..2 {
            let agent = puppet_with([tool("once")]).await;
            workers.push(builder(engine(), folder.open(), agent).lease(Duration::from_secs(1)).build());
        }
        let onlooker = onlooker(folder.open());
        let (mut chance, mut taken_over, mut batches) = (fastrand::Rng::new(), 0, 0);
        while taken_over < 20 {
            batches += 1;
            let mut all = Vec::new();
            for n in 0..10 {
                let lines = (0..100).map(|call| format!("call once {{\"key\": \"{batches}-{n}-{call}\"}}"));
                let text = lines.collect::<Vec<_>>().join("\n");
                all.push(onlooker.run(start(&workers[n % 2], &text).await.id()));
            }
            let mut left = all.clone();
            while let Some(run) = left.last() {
                let is_finished = || async { run.summary().await.unwrap().status.is_finished() };
                if eventually_within(Duration::from_millis(chance.u64(1..40)), is_finished).await {
                    left.pop();
                    continue;
                }
                folder.expire_one();
                for run in &left {
                    settle_what_nobody_is_at(run, &workers, &done).await;
                }
            }
            for run in &all {
                assert_eq!(settled(run).await.status, RunStatus::Completed);
                is_whole(onlooker.storage().as_ref(), run.id()).await;
                is_reproduced(run).await;
                taken_over += count_of(&all_events(run).await, "resumed");
            }
        }
        let done = done.lock().unwrap().clone();
        assert_eq!(done.len(), batches * 1_000);
        assert!(done.values().all(|times| *times == 1), "{done:?}");
    });
}

#[test]
fn a_worker_that_is_dropped_is_followed_by_another_once_its_lease_is_over() {
    run(async {
        let (storage, held) = (memory(), Held::default());
        let agent = puppet_with([held.tool("once")]).await;
        let runs = builder(engine(), storage.clone(), agent.clone()).lease(Duration::from_secs(1)).build();
        let id = start(&runs, "call once {}").await.id();
        held.until_called(1).await;
        drop(runs);
        let runs = worker(storage, agent);
        until_waiting(&runs.run(id), WaitingOn::InDoubt).await;
        assert_eq!(held.calls(), 1);
    });
}

#[test]
fn a_run_that_two_processes_start_with_one_key_is_one() {
    run(async {
        let folder = Folder::new();
        let (tool, count) = counting("once");
        let one = worker(folder.open(), puppet_with([tool.clone()]).await);
        let other = worker(folder.open(), puppet_with([tool]).await);
        for n in 0..20 {
            let request = || RunRequest::new("call once {}").idempotency_key(format!("order {n}"));
            let (first, second) = tokio::join!(one.start("puppet", request()), other.start("puppet", request()));
            let (first, second) = (first.unwrap(), second.unwrap());
            assert_eq!(first.id(), second.id());
            settled(&first).await;
        }
        assert_eq!(count.load(Ordering::SeqCst), 20);
    });
}

/// What another process asks of a run.
#[derive(Clone, Copy)]
enum Order {
    Input,
    Pause,
    Resume,
    Settle,
    Cancel,
}

impl Order {
    async fn give(self, run: &Run) -> Result<(), RunError> {
        match self {
            Self::Input => run.send_input("this").await,
            Self::Pause => run.pause().await,
            Self::Resume => run.resume().await,
            Self::Settle => run.settle(1, Settlement::DidNotHappen, "ada").await,
            Self::Cancel => run.cancel("enough").await,
        }
    }
}

/// Some of these orders come all at once, in each of twenty runs of a worker that keeps their sandboxes for that long.
async fn orders_race(grace: Duration, orders: &[Order]) {
    let folder = Folder::new();
    let (tool, _) = counting("once");
    let runs = builder(engine(), folder.open(), puppet_with([tool]).await).grace(grace).build();
    let others = onlooker(folder.open());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    for _ in 0..20 {
        let text = "call once {}\nask one?\nsleep 1\ncall-all once {}\nask two?\ncall once {}";
        let run = others.run(start(&runs, text).await.id());
        let given: Vec<_> = (0..chance.usize(3..12)).filter_map(|_| chance.choice(orders)).collect();
        for given in join_all(given.into_iter().map(|order| order.give(&run))).await {
            assert!(matches!(given, Ok(()) | Err(RunError::Finished { .. })), "{given:?}");
        }
        // Whatever came before, this lets it come to its end.
        for order in [Order::Input, Order::Resume, Order::Input, Order::Resume] {
            let given = order.give(&run).await;
            assert!(matches!(given, Ok(()) | Err(RunError::Finished { .. })), "{given:?}");
        }
        let summary = settled(&run).await;
        assert!(matches!(summary.status, RunStatus::Completed | RunStatus::Cancelled), "seed {seed}: {summary:?}");
        is_whole(others.storage().as_ref(), run.id()).await;
        assert!(count_of(&all_events(&run).await, "tool_call") <= 5);
    }
}

#[test]
fn orders_of_another_process_race_and_each_run_ends_once() {
    let orders = [Order::Input, Order::Input, Order::Pause, Order::Resume, Order::Settle];
    run(orders_race(Duration::from_hours(1), &orders));
}

#[test]
fn orders_race_with_cancels_and_with_runs_that_are_given_back_whenever_they_wait() {
    let orders = [Order::Input, Order::Input, Order::Pause, Order::Resume, Order::Settle, Order::Cancel];
    run(async {
        for _ in 0..5 {
            orders_race(Duration::ZERO, &orders).await;
        }
    });
}

#[test]
fn a_paused_run_stays_paused_when_input_comes() {
    run(async {
        let runs = worker(memory(), puppet().await);
        let started = start(&runs, "ask what?").await;
        until_waiting(&started, WaitingOn::Input).await;
        started.pause().await.unwrap();
        until_status(&started, RunStatus::Paused).await;
        started.send_input("this").await.unwrap();
        let goes_on = eventually_within(Duration::from_secs(3), || async {
            started.summary().await.unwrap().status.is_finished()
        });
        assert!(!goes_on.await, "nobody resumed it: {:?}", started.summary().await);
    });
}

#[test]
fn a_paused_run_stays_paused_when_its_worker_shuts_down() {
    run(async {
        let storage = memory();
        let limits = engine().limits().fuel(u64::MAX).unwrap().wall_time(Duration::from_hours(1)).unwrap().build();
        let agent = puppet().await.limits(limits);
        let runs = builder(engine(), storage.clone(), agent).grace(Duration::from_hours(1)).build();
        let started = start(&runs, "think begin\nspin").await;
        until_event(&started, "thinking").await;
        started.pause().await.unwrap();
        until_status(&started, RunStatus::Paused).await;
        runs.shutdown().await;
        let other = worker(storage, puppet().await);
        let run = other.run(started.id());
        let goes_on = eventually_within(Duration::from_secs(3), || async {
            run.summary().await.unwrap().status != RunStatus::Paused
        });
        assert!(!goes_on.await, "nobody resumed it: {:?}", run.summary().await);
    });
}

#[test]
fn a_run_that_is_paused_while_it_waits_stays_paused() {
    run(async {
        let runs = builder(engine(), memory(), puppet().await).grace(Duration::from_millis(300)).build();
        let started = start(&runs, "ask what?").await;
        until_event(&started, "input_required").await;
        started.pause().await.unwrap();
        until_event(&started, "paused").await;
        let is_given_back =
            eventually_within(Duration::from_secs(20), || async { runs.deltas(started.id()).is_none() });
        assert!(is_given_back.await);
        assert_eq!(started.summary().await.unwrap().status, RunStatus::Paused);
    });
}

#[test]
fn a_paused_run_gives_its_sandbox_up_after_the_grace_time() {
    run(async {
        let runs = builder(engine(), memory(), puppet().await).grace(Duration::from_secs(2)).build();
        let started = start(&runs, "think begin\nspin").await;
        until_event(&started, "thinking").await;
        started.pause().await.unwrap();
        until_status(&started, RunStatus::Paused).await;
        let is_given_up = eventually_within(Duration::from_secs(15), || async { runs.deltas(started.id()).is_none() });
        assert!(is_given_up.await, "{runs:?}");
    });
}

#[test]
fn a_second_settlement_says_nothing_of_the_next_attempt() {
    run(async {
        let (storage, held) = (memory(), Held::default());
        let next = async || worker(storage.clone(), puppet_with([held.tool("once")]).await);
        let runs = next().await;
        let started = start(&runs, "call once {}").await;
        held.until_called(1).await;
        runs.shutdown().await;
        let runs = next().await;
        let run = runs.run(started.id());
        until_waiting(&run, WaitingOn::InDoubt).await;
        let effect = in_doubt(&run).await[0].0;
        run.settle(effect, Settlement::DidNotHappen, "ada").await.unwrap();
        held.until_called(2).await;
        // Somebody else has the same question still open on a screen.
        run.settle(effect, Settlement::DidNotHappen, "bob").await.unwrap();
        let is_taken = || async {
            let ends = storage.head(run.id()).await.unwrap().unwrap();
            ends.consumed_inbox == ends.inbox
        };
        assert!(eventually_within(Duration::from_secs(20), is_taken).await);
        runs.shutdown().await;
        let runs = next().await;
        let run = runs.run(started.id());
        let waits = eventually_within(Duration::from_secs(5), || async {
            run.summary().await.unwrap().waiting_on == Some(WaitingOn::InDoubt)
        });
        assert!(waits.await, "it happened {} times: {:#?}", held.calls(), all_events(&run).await);
        assert_eq!(held.calls(), 2);
    });
}

#[test]
fn a_settlement_of_what_is_not_in_doubt_changes_nothing() {
    run(async {
        let storage = memory();
        let (tool, count) = counting("once");
        let runs = worker(storage.clone(), puppet_with([tool.clone()]).await);
        let started = start(&runs, "call once {}\ncall once {\"at\": \"$now\"}\nask what?").await;
        until_waiting(&started, WaitingOn::Input).await;
        // Refused at once would be as good.
        let _ = started.settle(1, Settlement::DidNotHappen, "ada").await;
        runs.shutdown().await;
        let runs = worker(storage, puppet_with([tool]).await);
        let run = runs.run(started.id());
        run.send_input("this").await.unwrap();
        let summary = settled(&run).await;
        assert_eq!(summary.status, RunStatus::Completed, "{:?}", summary.failure);
        assert_eq!(count.load(Ordering::SeqCst), 2);
        is_reproduced(&run).await;
    });
}

#[test]
fn an_effect_in_doubt_whose_tool_is_gone_is_in_doubt_still() {
    run(async {
        let (storage, held) = (memory(), Held::default());
        let runs = worker(storage.clone(), puppet_with([held.tool("once")]).await);
        let started = start(&runs, "call once {}").await;
        held.until_called(1).await;
        runs.shutdown().await;
        let runs = worker(storage, puppet().await);
        let run = runs.run(started.id());
        let waits = eventually_within(Duration::from_secs(5), || async {
            run.summary().await.unwrap().waiting_on == Some(WaitingOn::InDoubt)
        });
        assert!(waits.await, "{:#?}", all_events(&run).await);
    });
}

#[test]
fn an_effect_in_doubt_stays_so_where_its_tool_claims_to_be_repeatable_later() {
    run(async {
        let (storage, held) = (memory(), Held::default());
        let runs = worker(storage.clone(), puppet_with([held.tool("once")]).await);
        let started = start(&runs, "call once {}").await;
        held.until_called(1).await;
        runs.shutdown().await;
        let harmless = casemate::Annotations { idempotent: true, ..casemate::Annotations::default() };
        let runs = worker(storage, puppet_with([held.tool("once").annotations(harmless)]).await);
        let run = runs.run(started.id());
        let waits = eventually_within(Duration::from_secs(5), || async {
            run.summary().await.unwrap().waiting_on == Some(WaitingOn::InDoubt)
        });
        assert!(waits.await, "it happened {} times", held.calls());
    });
}

#[test]
fn a_failed_run_is_tried_again_as_often_as_was_asked() {
    run(async {
        let storage = memory();
        let (tool, count) = counting("once");
        let runs = worker(storage.clone(), puppet_with([tool]).await);
        let request = RunRequest::new("call once {}\nfail no").retries(2);
        let mut run = runs.start("puppet", request).await.unwrap();
        for left in [2, 1, 0] {
            let summary = settled(&run).await;
            assert_eq!(summary.status, RunStatus::Failed);
            let events = all_events(&run).await;
            let Some(casemate::EventKind::Failed { retried_as, .. }) = events.last().map(|event| &event.kind) else {
                panic!("{events:#?}");
            };
            assert_eq!(retried_as.is_some(), left > 0);
            if let Some(next) = retried_as {
                run = runs.run(*next);
            }
        }
        assert_eq!(count.load(Ordering::SeqCst), 3);
        let all = runs.list(casemate::storage::RunFilter::default(), 99, None).await.unwrap();
        assert_eq!(all.items.len(), 3);
    });
}

#[test]
fn a_run_that_has_a_timeout_ends_at_it_and_waiting_does_not_count() {
    run(async {
        let runs = worker(memory(), puppet().await);
        let request = RunRequest::new("ask go?\nspin").timeout(Duration::from_millis(300));
        let run = runs.start("puppet", request).await.unwrap();
        until_waiting(&run, WaitingOn::Input).await;
        run.send_input("go").await.unwrap();
        let summary = settled(&run).await;
        assert_eq!(summary.status, RunStatus::Failed);
        assert_eq!(summary.failure.unwrap().kind, casemate::ErrorKind::LimitExceeded);
    });
}

#[test]
fn a_timeout_that_is_over_while_the_past_is_gone_through_is_no_divergence() {
    run(async {
        let agent = puppet().await.limits(engine().limits().fuel(u64::MAX).unwrap().build());
        let runs = worker(memory(), agent);
        let busy = "count 200000000\nask go?\nsay end";
        let undisturbed = start(&runs, busy).await;
        until_waiting(&undisturbed, WaitingOn::Input).await;
        let once = undisturbed.summary().await.unwrap().usage.active_ms;
        // Enough to come to the question, and not enough to come there twice.
        for percent in [130, 150, 170, 190] {
            let request = RunRequest::new(busy).timeout(Duration::from_millis(once * percent / 100));
            let run = runs.start("puppet", request).await.unwrap();
            let waits_or_ends =
                |summary: &casemate::RunSummary| summary.status.is_finished() || summary.status == RunStatus::Waiting;
            until(&run, waits_or_ends).await;
            // A busy machine may not have come so far in time.
            let _ = run.send_input("go").await;
            let summary = settled(&run).await;
            assert_ne!(summary.status, RunStatus::Diverged, "{:?}", summary.failure);
        }
    });
}

#[test]
fn what_a_pruned_run_had_in_a_workspace_of_its_own_is_gone_with_it() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let runs = builder(engine(), memory(), puppet().await).workspaces(folder.path()).build();
        let run = start(&runs, "say done").await;
        settled(&run).await;
        let is_there = || folder.path().join(run.id().to_string()).exists();
        assert!(is_there());
        let before = std::time::SystemTime::now() + Duration::from_hours(1);
        let prune = casemate::storage::Prune { before, statuses: Vec::new() };
        assert_eq!(runs.prune(prune, 9).await.unwrap(), 1);
        assert!(!is_there());
    });
}
