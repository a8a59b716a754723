//! What an agent is told again is what it was told before, whatever changed meanwhile.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use casemate::{Agent, Budget, ForkError, ReplayEnd, RunError, RunStatus, Runs, WaitingOn};

use super::support::{
    Folder, all_events, builder, eventually, eventually_within, is_reproduced, is_whole, memory, puppet, puppet_with,
    run, settled, start, take_the_place, until_event, until_waiting, worker,
};
use crate::support::{builder as engine_builder, counting, engine, granted, toolset};

#[test]
fn a_run_whose_agent_became_another_component_goes_on_with_its_own() {
    run(async {
        let folder = Folder::new();
        let (tool, count) = counting("once");
        let runs = worker(folder.open(), puppet_with([tool.clone()]).await);
        let started = start(&runs, "call once {}\nask what?\ncall once {}").await;
        until_waiting(&started, WaitingOn::Input).await;
        runs.shutdown().await;
        let other = Agent::load(engine(), casemate_guests::CHAT).await.unwrap();
        let other = other.tools(toolset([tool])).grants(granted(&["once"]));
        let runs = worker(folder.open(), other);
        let run = runs.run(started.id());
        run.send_input("this").await.unwrap();
        let summary = settled(&run).await;
        assert_eq!(summary.output.as_deref(), Some("{}\nthis\n{}"), "{:?}", summary.failure);
        assert_eq!(count.load(Ordering::SeqCst), 2);
        is_reproduced(&run).await;
    });
}

#[test]
fn a_run_goes_on_with_the_prompt_and_the_environment_that_it_began_with() {
    run(async {
        let storage = memory();
        let agent = |prompt: &'static str| async move {
            let grants = casemate::Grants::none().env("MOOD", prompt).unwrap();
            puppet().await.system_prompt(prompt).grants(grants)
        };
        let runs = worker(storage.clone(), agent("calm").await);
        let started = start(&runs, "context\nenv MOOD\nask what?\ncontext\nenv MOOD").await;
        until_waiting(&started, WaitingOn::Input).await;
        runs.shutdown().await;
        let runs = worker(storage, agent("angry").await);
        let run = runs.run(started.id());
        run.send_input("this").await.unwrap();
        let output = settled(&run).await.output.unwrap();
        assert_eq!(output, "puppet | calm |  | 0\ncalm\nthis\npuppet | calm |  | 0\ncalm");
        is_reproduced(&run).await;
    });
}

#[test]
fn the_tools_that_an_agent_was_told_of_are_told_again() {
    run(async {
        let storage = memory();
        let (one, _) = counting("one");
        let (two, _) = counting("two");
        let runs = worker(storage.clone(), puppet_with([one.clone()]).await);
        let started = start(&runs, "list\nask what?\nlist").await;
        until_waiting(&started, WaitingOn::Input).await;
        runs.shutdown().await;
        let runs = worker(storage, puppet_with([one, two]).await);
        let run = runs.run(started.id());
        run.send_input("this").await.unwrap();
        assert_eq!(settled(&run).await.output.as_deref(), Some("one\nthis\none two"));
        is_reproduced(&run).await;
    });
}

#[test]
fn a_replay_that_finds_no_place_at_first_is_tried_again_and_is_no_divergence() {
    run(async {
        let storage = memory();
        let (tool, count) = counting("once");
        let runs = worker(storage.clone(), puppet_with([tool.clone()]).await);
        let started = start(&runs, "call once {}\nask what?\ncall once {}").await;
        until_waiting(&started, WaitingOn::Input).await;
        runs.shutdown().await;
        let small = engine_builder().max_sandboxes(1).max_wait(Duration::from_millis(50)).build().unwrap();
        let agent = Agent::load(&small, casemate_guests::PUPPET).await.unwrap();
        let agent = agent.tools(toolset([tool])).grants(granted(&["once"]));
        let taken = take_the_place(&small).await;
        let runs = builder(&small, storage, agent).build();
        let run = runs.run(started.id());
        run.send_input("this").await.unwrap();
        until_event(&run, "resumed").await;
        still_goes_on(&run).await;
        taken.cancel("enough").await.unwrap();
        let summary = settled(&run).await;
        assert_eq!(summary.status, RunStatus::Completed, "{:?}", summary.failure);
        assert_eq!(count.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_new_run_that_finds_no_place_waits_for_one() {
    run(async {
        let small = engine_builder().max_sandboxes(1).max_wait(Duration::from_millis(50)).build().unwrap();
        let agent = Agent::load(&small, casemate_guests::PUPPET).await.unwrap();
        let taken = take_the_place(&small).await;
        let runs = builder(&small, memory(), agent).build();
        let run = start(&runs, "say done").await;
        still_goes_on(&run).await;
        taken.cancel("enough").await.unwrap();
        let summary = settled(&run).await;
        assert_eq!(summary.status, RunStatus::Completed, "{:?}", summary.failure);
    });
}

#[test]
fn a_chat_that_is_had_again_has_the_key_of_the_first() {
    run(async {
        let storage = memory();
        let keys = Arc::new(Mutex::new(Vec::new()));
        let agent = |answers: bool| {
            let keys = keys.clone();
            let model = move |_: casemate::ChatRequest, context: casemate::ChatContext| {
                keys.lock().unwrap().push(context.idempotency_key.unwrap());
                async move {
                    if !answers {
                        std::future::pending::<()>().await;
                    }
                    Ok(casemate::ChatResponse {
                        message: casemate::Message::text(casemate::Role::Assistant, "hello"),
                        stop_reason: casemate::StopReason::End,
                        usage: casemate::TokenUsage::default(),
                        model: "model".to_owned(),
                    })
                }
            };
            let models = casemate::Models::new().with("model", model).unwrap();
            let grants = casemate::Grants::none().model("model").unwrap();
            async move { puppet().await.models(models).grants(grants) }
        };
        let runs = worker(storage.clone(), agent(false).await);
        let started = start(&runs, "think hm\nchat one").await;
        assert!(eventually(|| async { keys.lock().unwrap().len() == 1 }).await);
        runs.shutdown().await;
        let runs = worker(storage, agent(true).await);
        let run = runs.run(started.id());
        assert_eq!(settled(&run).await.output.as_deref(), Some("hello"));
        let keys = keys.lock().unwrap().clone();
        assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
        is_reproduced(&run).await;
    });
}

/// It is not finished for many times as long as one waits for a place.
async fn still_goes_on(run: &casemate::Run) {
    let ended =
        eventually_within(Duration::from_secs(1), || async { run.summary().await.unwrap().status.is_finished() });
    assert!(!ended.await, "{:?}", run.summary().await);
}

/// The run waits with its past behind it; then its agent is given less, or something else.
async fn goes_on_as(before: Agent, text: &str, after: Agent) -> (Runs, casemate::Run) {
    let storage = memory();
    let runs = worker(storage.clone(), before);
    let started = start(&runs, text).await;
    until_waiting(&started, WaitingOn::Input).await;
    runs.shutdown().await;
    let runs = worker(storage, after);
    let run = runs.run(started.id());
    run.send_input("this").await.unwrap();
    settled(&run).await;
    (runs, run)
}

fn with_memory(agent: Agent, mebibytes: u64) -> Agent {
    agent.limits(engine().limits().memory(mebibytes << 20).unwrap().fuel(u64::MAX).unwrap().build())
}

#[test]
fn a_memory_limit_that_is_lowered_under_a_waiting_run_is_not_its_own() {
    run(async {
        let (before, after) = (with_memory(puppet().await, 60), with_memory(puppet().await, 10));
        for text in ["fill 20\nask what?\nsay end", "ask what?\nfill 20"] {
            let (_runs, run) = goes_on_as(before.clone(), text, after.clone()).await;
            let summary = run.summary().await.unwrap();
            assert_eq!(summary.status, RunStatus::Completed, "{:?}", summary.failure);
            is_reproduced(&run).await;
        }
    });
}

#[test]
fn a_budget_that_is_changed_under_a_waiting_run_is_no_divergence() {
    run(async {
        let (tool, count) = counting("once");
        let before = puppet_with([tool]).await;
        let after = before.clone().budget(Budget::default().fan_out(2).calls(1));
        let (_runs, run) = goes_on_as(before, "call-all once {}\nask what?\nsay end", after).await;
        let summary = run.summary().await.unwrap();
        assert_eq!(summary.status, RunStatus::Completed, "{:?}", summary.failure);
        assert_eq!(count.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn a_run_of_an_agent_with_high_limits_is_replayed_with_them() {
    run(async {
        let runs = worker(memory(), with_memory(puppet().await, 256));
        let started = start(&runs, "fill 100\nask what?").await;
        started.send_input("this").await.unwrap();
        let summary = settled(&started).await;
        assert_eq!(summary.status, RunStatus::Completed, "{:?}", summary.failure);
        is_reproduced(&started).await;
    });
}

#[test]
fn a_run_with_a_large_budget_is_replayed_with_it() {
    run(async {
        let (tool, _) = counting("once");
        let agent = puppet_with([tool]).await.budget(Budget::default().fan_out(1_000));
        let runs = worker(memory(), agent);
        let keys: Vec<_> = (0..300).map(|n| format!("k{n}")).collect();
        let started = start(&runs, &format!("call-keys once {}", keys.join(" "))).await;
        assert_eq!(settled(&started).await.status, RunStatus::Completed);
        is_reproduced(&started).await;
    });
}

/// Forks a finished run at each of its events; each fork comes to its end.
async fn fork_everywhere(text: &str) {
    let storage = memory();
    let (tool, _) = counting("once");
    let models = casemate::Models::new().with("play", casemate::PlaygroundModel).unwrap();
    let grants = granted(&["once"]).model("play").unwrap();
    let agent = puppet().await.tools(toolset([tool])).models(models).grants(grants);
    let runs = worker(storage.clone(), agent);
    let started = start(&runs, text).await;
    started.send_input("this").await.unwrap();
    started.send_input("that").await.unwrap();
    assert_eq!(settled(&started).await.status, RunStatus::Completed);
    is_reproduced(&started).await;
    let last = all_events(&started).await.len() as u64;
    for at in 1..=last {
        let fork = started.fork(at, None).await.unwrap();
        // It may have come before what was said.
        for input in ["this", "that"] {
            let sent = fork.send_input(input).await;
            assert!(matches!(sent, Ok(()) | Err(RunError::Finished { .. })));
        }
        let summary = settled(&fork).await;
        assert_eq!(summary.status, RunStatus::Completed, "forked at {at} of {last}: {:?}", summary.failure);
        is_whole(storage.as_ref(), fork.id()).await;
        is_reproduced(&fork).await;
    }
    for at in [0, last + 1] {
        assert!(matches!(started.fork(at, None).await, Err(ForkError::NoEvent { .. })));
    }
}

#[test]
fn a_fork_at_each_event_of_a_finished_run_comes_to_its_end() {
    run(fork_everywhere(
        "think hm\nlist\ncall once {\"key\": \"a\"}\ncall-keys once b c d\nsleep 1\nnow\nrandom\nchat say hello\n\
         call once {\"key\": \"$random\"}\nask what?\ncall once {\"key\": \"e\"}\nask more?\nnow\nsay end",
    ));
}

#[test]
fn a_fork_tells_its_agent_the_time_at_which_the_answer_came() {
    run(fork_everywhere("ask what?\nsleep 1\nask more?\ncall once {\"at\": \"$now\"}\nsay end"));
}

#[test]
fn a_replay_of_a_run_that_still_goes_on_does_not_touch_it() {
    run(async {
        let storage = memory();
        let (tool, count) = counting("once");
        let runs = worker(storage.clone(), puppet_with([tool]).await);
        let started = start(&runs, "call once {}\nask what?\ncall once {}").await;
        until_waiting(&started, WaitingOn::Input).await;
        let before = all_events(&started).await;
        assert_eq!(replayed_elsewhere(started.clone()).await, Some(ReplayEnd::UpToNow));
        assert_eq!(all_events(&started).await, before);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        started.send_input("this").await.unwrap();
        assert_eq!(settled(&started).await.status, RunStatus::Completed);
        is_whole(storage.as_ref(), started.id()).await;
    });
}

/// How a replay ended; none where it does not end. It has a thread of its own, which it may never give back.
async fn replayed_elsewhere(run: casemate::Run) -> Option<ReplayEnd> {
    let (said, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _ = said.send(runtime.block_on(run.replay()).unwrap().end);
    });
    tokio::task::spawn_blocking(move || heard.recv_timeout(Duration::from_secs(20)).ok()).await.unwrap()
}

#[test]
fn an_agent_on_a_thread_of_its_own_waits_without_a_sandbox_too() {
    run(async {
        // What it may hold is so much that it has a thread, which ends a moment after the run is given back.
        let storage = memory();
        let (tool, count) = counting("refund");
        let agent = with_memory(puppet().await, 128).tools(toolset([tool]));
        let agent = agent.grants(super::support::after_asking("refund"));
        let runs = worker(storage.clone(), agent);
        for n in 1..=400 {
            let started = start(&runs, "call refund {}").await;
            until_waiting(&started, WaitingOn::Approval).await;
            let approvals = runs.approvals(Some(started.id()), 9).await.unwrap();
            runs.decide(approvals[0].request.id, casemate::Answer::Approve, "ada").await.unwrap();
            let summary = settled(&started).await;
            assert_eq!(summary.output.as_deref(), Some("{}"), "{:#?}", all_events(&started).await);
            assert_eq!(count.load(Ordering::SeqCst), n);
        }
    });
}
