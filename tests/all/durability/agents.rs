//! Agents that do nothing, too much, or end badly.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use casemate::{ErrorKind, ReplayEnd, Run, RunStatus, Tool};
use serde_json::Value;

use super::support::{
    all_events, builder, count_of, is_reproduced, is_whole, kinds, memory, puppet, puppet_with, run, settled, start,
    worker,
};
use crate::support::{Anything, counting, engine};

#[test]
fn an_agent_that_says_nothing_and_does_nothing_completes() {
    run(async {
        let (tool, count) = counting("once");
        let runs = worker(memory(), puppet_with([tool]).await);
        let started = start(&runs, "nothing").await;
        let summary = settled(&started).await;
        assert_eq!((summary.status, summary.output.as_deref()), (RunStatus::Completed, Some("")));
        assert_eq!(kinds(&all_events(&started).await), ["created", "complete"]);
        assert_eq!(count.load(Ordering::SeqCst), 0);
        is_reproduced(&started).await;
    });
}

#[test]
fn an_agent_that_traps_fails_and_what_it_did_is_kept() {
    run(async {
        let (tool, count) = counting("once");
        let storage = memory();
        let runs = worker(storage.clone(), puppet_with([tool]).await);
        let started = start(&runs, "think hm\ncall once {}\ntrap").await;
        let summary = settled(&started).await;
        assert_eq!(summary.status, RunStatus::Failed);
        assert_eq!(summary.failure.unwrap().kind, ErrorKind::Trap);
        assert_eq!(kinds(&all_events(&started).await), ["created", "thinking", "tool_call", "tool_result", "failed"]);
        is_whole(storage.as_ref(), started.id()).await;
        assert_eq!(started.replay().await.unwrap().end, ReplayEnd::Reproduced { output: None });
        assert_eq!(count.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_tool_that_panics_fails_its_call_alone_and_is_not_called_again() {
    run(async {
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = count.clone();
        let tool = Tool::new("once", move |_: Anything| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { if true { panic!("told to") } else { Ok::<_, String>(Value::Null) } }
        });
        let runs = worker(memory(), puppet_with([tool]).await);
        let started = start(&runs, "call once {}\nthink on").await;
        let summary = settled(&started).await;
        assert_eq!(summary.output.as_deref(), Some("failed: the tool panicked"));
        is_reproduced(&started).await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
    });
}

/// Ends by a limit, with a journal of no more than so many entries and bytes.
async fn ends_by_a_limit(started: &Run, entries: usize, bytes: usize) {
    let summary = settled(started).await;
    assert_eq!(summary.status, RunStatus::Failed, "{:?}", summary.output.map(|output| output.len()));
    assert_eq!(summary.failure.unwrap().kind, ErrorKind::LimitExceeded);
    let events = all_events(started).await;
    let size = events.iter().map(|event| serde_json::to_string(event).unwrap().len()).sum::<usize>();
    assert!(events.len() <= entries && size <= bytes, "{} entries of {size} bytes", events.len());
    assert_eq!(count_of(&events, "failed"), 1);
}

#[test]
fn an_agent_that_emits_a_million_events_ends_by_the_output_limit() {
    run(async {
        let runs = worker(memory(), puppet().await);
        let started = start(&runs, "times 1000000 think x").await;
        ends_by_a_limit(&started, 20_000, 4 << 20).await;
        let started = start(&runs, "times 1000000 say x").await;
        ends_by_a_limit(&started, 20_000, 4 << 20).await;
    });
}

#[test]
fn an_agent_that_lists_its_tools_a_million_times_ends_by_a_limit() {
    run(async {
        let (tool, _) = counting("lookup");
        let limits = engine().limits().events(2_000).unwrap().build();
        let runs = worker(memory(), puppet_with([tool]).await.limits(limits));
        let started = start(&runs, "times 1000000 list").await;
        ends_by_a_limit(&started, 2_001, 1 << 20).await;
        assert_eq!(started.replay().await.unwrap().end, ReplayEnd::Reproduced { output: None });
    });
}

#[test]
fn an_agent_that_calls_nothing_known_a_million_times_ends_by_a_limit() {
    run(async {
        let limits = engine().limits().events(2_000).unwrap().build();
        let runs = worker(memory(), puppet().await.limits(limits));
        let started = start(&runs, "times 1000000 call nowhere {}").await;
        ends_by_a_limit(&started, 2_001, 1 << 20).await;
    });
}

#[test]
fn an_agent_that_says_a_hundred_mebibytes_at_once_ends_by_the_output_limit_and_nothing_of_it_is_recorded() {
    run(async {
        let storage = memory();
        let limits = engine().limits().memory(512 << 20).unwrap().build();
        let agent = puppet().await.limits(limits);
        let runs = builder(engine(), storage.clone(), agent).build();
        let started = start(&runs, "say before\nshout 100").await;
        let summary = settled(&started).await;
        assert_eq!(summary.status, RunStatus::Failed);
        let failure = summary.failure.unwrap();
        assert_eq!(failure.kind, ErrorKind::LimitExceeded);
        assert_eq!(
            failure.message,
            format!("the limit `output` was reached: {} of at most {} bytes", (100 << 20) + 128 + 6, 1 << 20)
        );
        assert_eq!(kinds(&all_events(&started).await), ["created", "output", "failed"]);
        is_whole(storage.as_ref(), started.id()).await;
    });
}

#[test]
fn a_message_that_is_larger_than_what_an_agent_may_hold_ends_its_run_by_a_limit() {
    run(async {
        let storage = memory();
        let runs = worker(storage.clone(), puppet().await);
        let started = start(&runs, &format!("think x\n{}", " ".repeat(100 << 20))).await;
        let summary = settled(&started).await;
        assert_eq!(summary.status, RunStatus::Failed);
        let failure = summary.failure.unwrap();
        assert_eq!(failure.kind, ErrorKind::LimitExceeded, "{failure}");
        is_whole(storage.as_ref(), started.id()).await;
    });
}
