//! Runs: agents executed, watched, stopped, and gone on with elsewhere.

mod kept;
mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use casemate::testing::ManualClock;
use casemate::{
    Annotations, Answer, Content, EventKind, Gate, Interruption, Message, Models, PlaygroundModel, ReplayEnd, Role,
    RunRequest, RunStatus, Settlement, WaitingOn,
};
use serde_json::json;

use crate::server::{Reply, Server};
use crate::support::{counting, granted, toolset};
use support::{Place, kinds, settled};

/// The example that embedders are shown, as it stands.
#[path = "../../engine/examples/agent.rs"]
mod example;

#[test]
fn the_example_runs() {
    example::main().unwrap();
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(test);
}

#[test]
fn a_run_tells_what_its_agent_did() {
    run(async {
        let (tool, count) = counting("lookup");
        let place = Place::new().agent(|agent| agent.tools(toolset([tool])).grants(granted(&["lookup"])));
        let runs = place.runs().await;
        let run =
            runs.start("puppet", RunRequest::new("think hm\nlist\ncall lookup {\"a\": 1}\nsay done")).await.unwrap();
        let summary = settled(&run).await;
        assert_eq!(summary.status, RunStatus::Completed);
        assert_eq!(summary.output.as_deref(), Some("done"));
        assert_eq!(summary.usage.calls, 1);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let events = run.recorded(1, 100).await.unwrap();
        assert_eq!(
            kinds(&events),
            ["created", "thinking", "tools_listed", "tool_call", "tool_result", "output", "complete"]
        );
        let sequences: Vec<_> = events.iter().map(|event| event.sequence).collect();
        assert_eq!(sequences, (1..=events.len() as u64).collect::<Vec<_>>());
        let mut streamed = run.events(3);
        let mut seen = Vec::new();
        while let Some(event) = streamed.next().await {
            seen.push(event.unwrap());
        }
        assert_eq!(seen, events[2..]);
    });
}

#[test]
fn what_an_agent_asks_can_be_answered_before_and_after() {
    run(async {
        let place = Place::new();
        let runs = place.runs().await;
        let run = runs.start("puppet", RunRequest::new("ask one?\nask two?")).await.unwrap();
        run.send_input("first").await.unwrap();
        place.until_waiting(&run, WaitingOn::Input).await;
        run.send_input("second").await.unwrap();
        let summary = settled(&run).await;
        assert_eq!(summary.output.as_deref(), Some("first\nsecond"));
        assert!(matches!(run.send_input("late").await, Err(casemate::RunError::Finished { .. })));
    });
}

#[test]
fn a_waiting_run_goes_on_in_another_process_and_nothing_is_done_twice() {
    run(async {
        let (tool, count) = counting("lookup");
        let place = Place::new().agent(|agent| agent.tools(toolset([tool])).grants(granted(&["lookup"])));
        let runs = place.runs().await;
        let text = "call lookup {\"a\": 1}\nrandom\nnow\ncall-all lookup {\"b\": 2}\nask what?\nrandom\nnow";
        let run = runs.start("puppet", RunRequest::new(text)).await.unwrap();
        place.until_waiting(&run, WaitingOn::Input).await;
        runs.shutdown().await;
        let other = place.runs().await;
        let run = other.run(run.id());
        run.send_input("this").await.unwrap();
        let summary = settled(&run).await;
        assert_eq!(summary.status, RunStatus::Completed, "{:?}", summary.failure);
        assert_eq!(count.load(Ordering::SeqCst), 4);
        let events = run.recorded(1, 100).await.unwrap();
        let resumed: Vec<_> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Resumed { after, .. } => Some(*after),
                _ => None,
            })
            .collect();
        assert_eq!(resumed, [Interruption::Wait]);
        let replayed = run.replay().await.unwrap();
        assert_eq!(replayed.end, ReplayEnd::Reproduced { output: summary.output });
        assert_eq!(count.load(Ordering::SeqCst), 4);
    });
}

#[test]
fn an_approval_is_given_hours_later_by_another_process() {
    run(async {
        let (tool, count) = counting("refund");
        let clock = ManualClock::default();
        let place = Place::at(clock.clone()).agent(|agent| {
            let grants = casemate::Grants::none().tool_after_asking("refund", "Refund?").unwrap();
            let gate = Gate::builder().approval_time(Duration::from_hours(24)).build();
            agent.tools(toolset([tool])).grants(grants).gate(&gate)
        });
        let runs = place.runs().await;
        let run = runs.start("puppet", RunRequest::new("call refund {\"amount\": 5}")).await.unwrap();
        place.until_waiting(&run, WaitingOn::Approval).await;
        runs.shutdown().await;
        assert_eq!(count.load(Ordering::SeqCst), 0);
        clock.advance(Duration::from_hours(5));
        let other = place.runs().await;
        let pending = other.approvals(None, 10).await.unwrap();
        assert_eq!(pending.len(), 1);
        assert_eq!(pending[0].request.question, "Refund?");
        assert_eq!(*pending[0].request.input, json!({"amount": 5}));
        other.decide(pending[0].request.id, Answer::Approve, "ada").await.unwrap();
        let again = other.decide(pending[0].request.id, Answer::Approve, "bob").await;
        assert!(again.is_err());
        let run = other.run(run.id());
        let summary = settled(&run).await;
        assert_eq!(summary.status, RunStatus::Completed);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let events = run.recorded(1, 100).await.unwrap();
        assert_eq!(
            kinds(&events),
            ["created", "approval_required", "waiting", "resumed", "approved", "tool_call", "tool_result", "complete"]
        );
        let EventKind::Approved { by, .. } = &events[4].kind else { panic!() };
        assert_eq!(by.as_deref(), Some("ada"));
    });
}

#[test]
fn a_spinning_agent_is_paused_resumed_and_cancelled() {
    run(async {
        let place = Place::new();
        let runs = place.runs().await;
        let run = runs.start("puppet", RunRequest::new("think begin\nspin")).await.unwrap();
        place.until(&run, |events| kinds(events).contains(&"thinking".to_owned())).await;
        run.pause().await.unwrap();
        place.until_status(&run, RunStatus::Paused).await;
        run.resume().await.unwrap();
        place.until_status(&run, RunStatus::Running).await;
        run.cancel("enough").await.unwrap();
        let summary = settled(&run).await;
        assert_eq!(summary.status, RunStatus::Cancelled);
        let events = run.recorded(1, 100).await.unwrap();
        assert_eq!(kinds(&events).last().map(String::as_str), Some("cancelled"));
    });
}

#[test]
fn an_effect_whose_worker_is_lost_is_in_doubt_until_a_person_settles_it() {
    run(async {
        let stuck = support::never("refund");
        let place = Place::new().agent(|agent| agent.tools(toolset([stuck])).grants(granted(&["refund"])));
        let runs = place.runs().await;
        let run = runs.start("puppet", RunRequest::new("call refund {\"amount\": 5}")).await.unwrap();
        place.until(&run, |events| kinds(events).contains(&"tool_call".to_owned())).await;
        runs.shutdown().await;
        let other = place.runs().await;
        let run = other.run(run.id());
        place.until_waiting(&run, WaitingOn::InDoubt).await;
        let result = Arc::new(json!({"refunded": true}));
        let events = run.recorded(1, 100).await.unwrap();
        let effect = events.iter().find_map(|event| match &event.kind {
            EventKind::InDoubt { id, .. } => Some(*id),
            _ => None,
        });
        run.settle(effect.unwrap(), Settlement::Happened { result }, "ada").await.unwrap();
        let summary = settled(&run).await;
        assert_eq!(summary.output.as_deref(), Some("{\"refunded\":true}"));
    });
}

#[test]
fn an_effect_that_can_be_repeated_is() {
    run(async {
        let (tool, count) = support::never_first("lookup");
        let tool = tool.annotations(Annotations { read_only: true, ..Annotations::default() });
        let place = Place::new().agent(|agent| agent.tools(toolset([tool])).grants(granted(&["lookup"])));
        let runs = place.runs().await;
        let run = runs.start("puppet", RunRequest::new("call lookup {}")).await.unwrap();
        place.until(&run, |_| count.load(Ordering::SeqCst) == 1).await;
        runs.shutdown().await;
        let other = place.runs().await;
        let run = other.run(run.id());
        let summary = settled(&run).await;
        assert_eq!(summary.status, RunStatus::Completed);
        assert_eq!(count.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_sleeping_run_needs_no_sandbox_and_replay_does_not_sleep() {
    run(async {
        let clock = ManualClock::default();
        let place = Place::at(clock.clone());
        let runs = place.runs().await;
        let run = runs.start("puppet", RunRequest::new("now\nsleep 86400000\nnow")).await.unwrap();
        place.until_waiting(&run, WaitingOn::Timer).await;
        clock.advance(Duration::from_hours(25));
        let summary = settled(&run).await;
        assert_eq!(summary.status, RunStatus::Completed, "{:?}", summary.failure);
        let output = summary.output.clone().unwrap();
        let times: Vec<u64> = output.lines().filter_map(|line| line.parse().ok()).collect();
        assert!(times[1] - times[0] >= 86_400_000_000);
        assert_eq!(run.replay().await.unwrap().end, ReplayEnd::Reproduced { output: summary.output });
    });
}

#[test]
fn a_fork_goes_another_way() {
    run(async {
        let (tool, count) = counting("lookup");
        let place = Place::new().agent(|agent| agent.tools(toolset([tool])).grants(granted(&["lookup"])));
        let runs = place.runs().await;
        let run = runs.start("puppet", RunRequest::new("call lookup {}\nask what?\nsay end")).await.unwrap();
        run.send_input("one").await.unwrap();
        settled(&run).await;
        let at = run
            .recorded(1, 100)
            .await
            .unwrap()
            .iter()
            .position(|event| matches!(event.kind, EventKind::ToolResult { .. }));
        let fork = run.fork(at.unwrap() as u64 + 1, Some("two".to_owned())).await.unwrap();
        let summary = settled(&fork).await;
        assert_eq!(summary.status, RunStatus::Completed, "{:?}", summary.failure);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let events = fork.recorded(1, 100).await.unwrap();
        assert!(events.iter().any(|event| matches!(&event.kind, EventKind::Input { content } if content == "two")));
    });
}

#[test]
fn a_chat_is_recorded_and_not_had_again() {
    run(async {
        let models = Models::new().with("play", PlaygroundModel).unwrap();
        let place =
            Place::new().agent(|agent| agent.models(models).grants(casemate::Grants::none().model("play").unwrap()));
        let runs = place.runs().await;
        let run = runs.start("puppet", RunRequest::new("chat say hello\nask more?")).await.unwrap();
        place.until_waiting(&run, WaitingOn::Input).await;
        runs.shutdown().await;
        let other = place.runs().await;
        let run = other.run(run.id());
        run.send_input("no").await.unwrap();
        let summary = settled(&run).await;
        assert_eq!(summary.status, RunStatus::Completed, "{:?}", summary.failure);
        assert_eq!(summary.usage.turns, 1);
        let messages = run.messages().await.unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0], Message::text(Role::User, "say hello"));
        assert!(matches!(&messages[1].content[0], Content::Text { .. }));
    });
}

#[test]
fn an_exchange_is_recorded_and_not_had_again() {
    run(async {
        let server = Server::start(|request| Reply::text(format!("{} {}", request.method, request.target)));
        let host = server.url("");
        let place = Place::new().agent(move |agent| {
            let grants = casemate::Grants::none().host(host.parse().unwrap());
            agent.grants(grants)
        });
        let runs = place.runs().await;
        let text = format!("http GET {0}\nhttp POST {0} body\nask more?\nhttp GET {0}", server.url("/x"));
        let run = runs.start("puppet", RunRequest::new(text)).await.unwrap();
        place.until_waiting(&run, WaitingOn::Input).await;
        runs.shutdown().await;
        assert_eq!(server.seen().len(), 2);
        let other = place.runs().await;
        let run = other.run(run.id());
        run.send_input("yes").await.unwrap();
        let summary = settled(&run).await;
        assert_eq!(
            summary.output.as_deref(),
            Some("200 GET /x\n200 POST /x\nyes\n200 GET /x"),
            "{:?}",
            summary.failure
        );
        assert_eq!(server.seen().len(), 3);
        assert_eq!(run.replay().await.unwrap().end, ReplayEnd::Reproduced { output: summary.output });
        assert_eq!(server.seen().len(), 3);
    });
}

#[test]
fn an_agent_that_knows_only_http_calls_tools_and_is_replayed() {
    run(async {
        let (tool, count) = counting("lookup");
        let place = Place::new().agent(|agent| agent.tools(toolset([tool])).grants(granted(&["lookup"])));
        let runs = place.runs().await;
        let text = "http POST http://tools.internal/lookup {\"a\":1}\nhttp POST http://tools.internal/nothing {}\nhttp POST http://tools.internal/lookup {";
        let run = runs.start("puppet", RunRequest::new(text)).await.unwrap();
        let summary = settled(&run).await;
        let output = summary.output.clone().unwrap();
        let lines: Vec<_> = output.lines().collect();
        assert_eq!(lines[0], "200 {\"a\":1}");
        assert!(lines[1].starts_with("404 "), "{output}");
        assert!(lines[2].starts_with("400 "), "{output}");
        assert_eq!(run.replay().await.unwrap().end, ReplayEnd::Reproduced { output: summary.output });
        assert_eq!(count.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn what_comes_first_of_an_exchange_and_a_timer_comes_first_again() {
    run(async {
        let (answer, answers) = std::sync::mpsc::channel::<()>();
        let answers = std::sync::Mutex::new(answers);
        let server = Server::start(move |request| {
            if request.target == "/slow" {
                answers.lock().unwrap().recv().ok();
            }
            Reply::text(request.target.clone())
        });
        let host = server.url("");
        let place = Place::new().agent(move |agent| agent.grants(casemate::Grants::none().host(host.parse().unwrap())));
        let runs = place.runs().await;
        let text = format!(
            "http-within 60000 {}\nhttp-within 20 {}\nnow\nhttp-twice {}\nnow",
            server.url("/quick"),
            server.url("/slow"),
            server.url("")
        );
        let run = runs.start("puppet", RunRequest::new(text)).await.unwrap();
        let summary = settled(&run).await;
        drop(answer);
        let output = summary.output.clone().unwrap_or_else(|| panic!("{:?}", summary.failure));
        let lines: Vec<_> = output.lines().collect();
        assert_eq!(&lines[..2], ["200 /quick", "too late"]);
        assert!(["200 /a", "200 /b"].contains(&lines[3]), "{output}");
        assert_eq!(run.replay().await.unwrap().end, ReplayEnd::Reproduced { output: summary.output });
    });
}
