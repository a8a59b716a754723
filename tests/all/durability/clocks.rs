//! Clocks that jump, and agents that wait for them.

use std::time::Duration;

use casemate::testing::ManualClock;
use casemate::{Clock as _, EventKind, Run, RunStatus, Runs, WaitingOn};

use super::support::{
    all_events, builder, count_of, eventually, is_reproduced, is_whole, memory, puppet_with, run, settled, start,
    until_waiting,
};
use crate::support::{counting, engine};

const HOUR: Duration = Duration::from_hours(1);

async fn worker(storage: &std::sync::Arc<casemate::storage::MemoryStorage>, clock: &ManualClock) -> Runs {
    let (tool, _) = counting("once");
    builder(engine(), storage.clone(), puppet_with([tool]).await).clock(clock.clone()).build()
}

/// The moments of its events never go back, nor do the times that its agent saw.
async fn goes_on_in_time(run: &Run) {
    let events = all_events(run).await;
    assert!(events.is_sorted_by_key(|event| event.at), "{events:#?}");
    let output = run.summary().await.unwrap().output.unwrap();
    let times: Vec<u64> = output.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(times.len() >= 3 && times.is_sorted_by(|one, next| one < next), "{times:?}");
}

#[test]
fn a_clock_that_jumps_back_and_forth_never_goes_back_for_an_agent() {
    run(async {
        let (storage, clock) = (memory(), ManualClock::default());
        let runs = worker(&storage, &clock).await;
        let text = "now\ncall once {\"at\": \"$now\"}\nask one?\nnow\ncall once {\"at\": \"$now\"}\nask two?\nnow";
        let started = start(&runs, text).await;
        until_waiting(&started, WaitingOn::Input).await;
        clock.set(clock.now() - HOUR * 24 * 365);
        started.send_input("a year earlier").await.unwrap();
        until_waiting(&started, WaitingOn::Input).await;
        runs.shutdown().await;
        clock.set(clock.now() + HOUR * 24 * 365 * 10);
        let runs = worker(&storage, &clock).await;
        let run = runs.run(started.id());
        run.send_input("nine years later").await.unwrap();
        let summary = settled(&run).await;
        assert_eq!(summary.status, RunStatus::Completed, "{:?}", summary.failure);
        goes_on_in_time(&run).await;
        is_reproduced(&run).await;
    });
}

#[test]
fn a_timer_holds_where_the_clock_jumps_back() {
    run(async {
        let (storage, clock) = (memory(), ManualClock::default());
        let runs = worker(&storage, &clock).await;
        let started = start(&runs, "now\nsleep 3600000\nnow\nnow").await;
        until_waiting(&started, WaitingOn::Timer).await;
        clock.set(clock.now() - HOUR);
        runs.shutdown().await;
        let runs = worker(&storage, &clock).await;
        let run = runs.run(started.id());
        clock.advance(HOUR);
        until_waiting(&run, WaitingOn::Timer).await;
        clock.advance(HOUR + Duration::from_secs(1));
        assert_eq!(settled(&run).await.status, RunStatus::Completed);
        goes_on_in_time(&run).await;
        let slept = all_events(&run).await.iter().filter(|event| matches!(event.kind, EventKind::Woke { .. })).count();
        assert_eq!(slept, 1);
        is_whole(storage.as_ref(), run.id()).await;
        is_reproduced(&run).await;
    });
}

#[test]
fn an_agent_that_waits_for_the_clock_in_a_loop_ends() {
    run(async {
        // A clock that stands still all the while.
        let (storage, clock) = (memory(), ManualClock::default());
        let runs = worker(&storage, &clock).await;
        let started = start(&runs, "wait-for-clock 50\nask what?\nwait-for-clock 50").await;
        started.send_input("on").await.unwrap();
        let summary = settled(&started).await;
        assert_eq!(summary.output.as_deref(), Some("waited\non\nwaited"), "{:?}", summary.failure);
        is_reproduced(&started).await;
    });
}

#[test]
fn a_sleep_that_was_over_while_nobody_executed_the_run_is_over_at_once() {
    run(async {
        let (storage, clock) = (memory(), ManualClock::default());
        let runs = worker(&storage, &clock).await;
        let started = start(&runs, "now\nsleep 1000\nnow\nsleep 1000\nnow").await;
        until_waiting(&started, WaitingOn::Timer).await;
        runs.shutdown().await;
        clock.advance(HOUR);
        let runs = worker(&storage, &clock).await;
        let run = runs.run(started.id());
        let sleeps_again = || async { count_of(&all_events(&run).await, "sleeping") == 2 };
        assert!(eventually(sleeps_again).await);
        clock.advance(HOUR);
        assert_eq!(settled(&run).await.status, RunStatus::Completed);
        goes_on_in_time(&run).await;
        is_reproduced(&run).await;
    });
}
