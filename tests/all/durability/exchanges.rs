//! Agents that speak HTTP: what they were told is what they are told again, and nothing leaves twice.

use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use casemate::storage::{MemoryStorage, Storage};
use casemate::testing::ManualClock;
use casemate::{
    Agent, Answer, Budget, ErrorKind, Event, EventKind, Grants, HttpLimits, HttpTool, Run, RunRequest, RunStatus, Runs,
    Settlement, WaitingOn,
};
use futures_util::FutureExt as _;
use serde_json::json;
use tokio::sync::watch;

use super::support::{
    Hooked, Step, all_events, builder, count_of, eventually_within, in_doubt, is_numbered, is_reproduced, memory,
    puppet, puppet_with, run, settled, start, until, until_event, until_waiting, worker,
};
use crate::outside::http;
use crate::server::{Reply, Server};
use crate::support::{counting, engine, granted, toolset};

/// An agent that may reach this server.
async fn reaching(server: &Server) -> Agent {
    puppet().await.grants(Grants::none().host(server.url("").parse().unwrap()))
}

fn by_clock(storage: Arc<dyn Storage>, agent: Agent, clock: &ManualClock) -> Runs {
    builder(engine(), storage, agent).clock(clock.clone()).build()
}

/// What is said by a run that completes, and is reproduced.
async fn told(run: &Run) -> String {
    let summary = settled(run).await;
    assert_eq!(summary.status, RunStatus::Completed, "{:?} {:#?}", summary.failure, all_events(run).await);
    is_numbered(&run.recorded(1, usize::MAX >> 1).await.unwrap());
    is_reproduced(run).await;
    summary.output.unwrap()
}

/// A server that answers as often as it may.
fn held_server() -> (Server, std::sync::mpsc::Sender<()>) {
    let (answer, answers) = std::sync::mpsc::channel::<()>();
    let answers = Mutex::new(answers);
    let server = Server::start(move |request| {
        answers.lock().unwrap().recv().ok();
        Reply::text(request.target.clone())
    });
    (server, answer)
}

fn echo() -> Server {
    Server::start(|request| Reply::text(format!("{} {} {}", request.method, request.target, request.text())))
}

/// Executes it until it waits for input, and then elsewhere, with another agent, to its end.
async fn in_two_parts(text: &str, first: Agent, second: Agent) -> (Runs, Run) {
    let storage = memory();
    let runs = worker(storage.clone(), first);
    let started = start(&runs, text).await;
    until_waiting(&started, WaitingOn::Input).await;
    runs.shutdown().await;
    let runs = worker(storage, second);
    let run = runs.run(started.id());
    run.send_input("yes").await.unwrap();
    (runs, run)
}

#[test]
fn a_response_that_came_before_the_timer_is_told_again_though_the_timer_is_over_by_now() {
    run(async {
        let (server, clock, storage) = (echo(), ManualClock::default(), memory());
        let text = format!("http-within 3600000 {}\nask on?", server.url("/x"));
        let runs = by_clock(storage.clone(), reaching(&server).await, &clock);
        let started = start(&runs, &text).await;
        until_waiting(&started, WaitingOn::Input).await;
        runs.shutdown().await;
        clock.advance(Duration::from_hours(2));
        let runs = by_clock(storage, reaching(&server).await, &clock);
        let run = runs.run(started.id());
        run.send_input("yes").await.unwrap();
        assert_eq!(told(&run).await, "200 GET /x \nyes");
        assert_eq!(server.seen().len(), 1);
    });
}

#[test]
fn an_agent_finds_its_tools_in_its_environment_as_they_were_when_it_began() {
    run(async {
        let ((one, _), (two, _)) = (counting("one"), counting("two"));
        let text = "env TOOL_URL_ONE\nask on?\nenv TOOL_URL_ONE\nenv TOOL_URL_TWO";
        let (_runs, run) = in_two_parts(text, puppet_with([one]).await, puppet_with([two]).await).await;
        let url = "http://tools.internal/one";
        assert_eq!(told(&run).await, format!("{url}\nyes\n{url}\n(not set)"));
    });
}

/// A run that waits for that without a sandbox would have to send the request anew, of which nobody knew whether it left.
#[test]
fn a_request_whose_secret_a_person_is_asked_about_keeps_its_sandbox_and_leaves_once() {
    run(async {
        let server = echo();
        let secrets = crate::secrets::bound(&[&server.url("")]);
        let grants =
            Grants::none().host(server.url("").parse().unwrap()).secret_after_asking("KEY", "Use it?").unwrap();
        let agent = puppet().await.grants(grants).gate(&crate::secrets::gate(&secrets));
        let runs = worker(memory(), agent);
        let started = start(&runs, &format!("http POST {} hello", server.url("/x"))).await;
        until_event(&started, "approval_required").await;
        let gives_up = eventually_within(Duration::from_millis(500), || async {
            started.summary().await.unwrap().status != RunStatus::Running
        });
        assert!(!gives_up.await);
        let asked = runs.approvals(Some(started.id()), 9).await.unwrap();
        runs.decide(asked[0].request.id, Answer::Approve, "ada").await.unwrap();
        assert_eq!(told(&started).await, "200 POST /x hello");
        let sent = server.seen();
        assert_eq!(sent.len(), 1);
        assert!(sent[0].header("authorization").is_some());
        assert_eq!(asked.len(), 1);
    });
}

#[test]
fn a_timer_that_is_over_while_a_response_is_being_kept_comes_after_it() {
    run(async {
        let ((server, answer), clock) = (held_server(), ManualClock::default());
        let (open, is_open) = watch::channel(true);
        let (waits, mut waiting) = watch::channel(0);
        let (waits, inner) = (Arc::new(waits), MemoryStorage::new());
        let storage = Hooked::new(inner, move |step| {
            let (mut is_open, waits) = (is_open.clone(), waits.clone());
            async move {
                if step == Step::BeforeAppend && !*is_open.borrow_and_update() {
                    waits.send_modify(|count| *count += 1);
                    is_open.wait_for(|open| *open).await.unwrap();
                }
            }
            .boxed()
        });
        let runs = by_clock(Arc::new(storage), reaching(&server).await, &clock);
        let started = start(&runs, &format!("http-within 3600000 {}", server.url("/x"))).await;
        until_event(&started, "sleeping").await;
        open.send_replace(false);
        answer.send(()).unwrap();
        waiting.wait_for(|count| *count > 0).await.unwrap();
        clock.advance(Duration::from_hours(2));
        // Time enough for the run to see it.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        open.send_replace(true);
        assert_eq!(told(&started).await, "200 /x");
    });
}

#[test]
fn of_two_calls_over_http_the_one_that_ended_first_is_told_first_again() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let agent = || async { puppet_with([counting("a").0, counting("b").0]).await };
        for _ in 0..4 {
            // What they changed in the workspace is looked for between the end of a call and the agent's learning of it.
            let runs = builder(engine(), memory(), agent().await).workspaces(folder.path()).build();
            let run = start(&runs, "times 25 http-twice http://tools.internal").await;
            assert_eq!(told(&run).await.lines().count(), 25);
        }
    });
}

#[test]
fn exchanges_that_are_given_up_at_once_are_given_up_again() {
    run(async {
        let (server, answer) = held_server();
        drop(answer);
        let limits = http(HttpLimits::default().connections(1));
        let runs = worker(memory(), reaching(&server).await.limits(limits));
        let url = server.url("/x");
        let run =
            start(&runs, &format!("times 50 http-within 0 {url}\nhttp GET {url}\ntimes 9 http-within 0 {url}")).await;
        let output = told(&run).await;
        assert_eq!(output.matches("too late").count(), 59, "one place is enough for one at a time: {output}");
        assert!(output.contains("200 /x"), "{output}");
    });
}

#[test]
fn an_agent_with_too_many_exchanges_at_once_is_told_so_again() {
    run(async {
        let server = echo();
        let limits = http(HttpLimits::default().connections(1));
        let agent = || async { reaching(&server).await.limits(limits) };
        let text = format!("http-twice {}\nask on?", server.url(""));
        let (_runs, run) = in_two_parts(&text, agent().await, agent().await).await;
        let output = told(&run).await;
        assert!(output.contains("yes"), "{output}");
        let is_refused = |event: &Event| matches!(event.kind, EventKind::Error { kind: ErrorKind::LimitExceeded, .. });
        let events = all_events(&run).await;
        // The agent may notice at the body of its request, and not wait for more.
        assert!(events.iter().filter(|event| is_refused(event)).count() <= 1, "{events:#?}");
        assert!(server.seen().len() <= 1);
    });
}

#[test]
fn a_request_whose_body_breaks_off_is_recorded_once() {
    run(async {
        let server = echo();
        let text = format!("http-broken {}\nask on?", server.url("/x"));
        let (_runs, run) = in_two_parts(&text, reaching(&server).await, reaching(&server).await).await;
        let output = told(&run).await;
        assert_eq!(output.matches("no response").count(), 1, "{output}");
        let events = all_events(&run).await;
        assert_eq!(count_of(&events, "error"), 1, "{events:#?}");
        assert_eq!(count_of(&events, "fetch"), 0, "{events:#?}");
        assert!(server.seen().is_empty());
    });
}

#[test]
fn what_an_agent_does_between_the_pieces_of_a_body_is_done_once() {
    run(async {
        let (server, (tool, count)) = (echo(), counting("once"));
        let agent = || async {
            let grants = granted(&["once"]).host(server.url("").parse().unwrap());
            puppet().await.tools(toolset([tool.clone()])).grants(grants)
        };
        let text = format!("http-around {} call once {{\"key\":\"a\"}}\nask on?", server.url("/x"));
        let (_runs, run) = in_two_parts(&text, agent().await, agent().await).await;
        assert_eq!(told(&run).await, "200 POST /x before{\"key\":\"a\"}after\nyes");
        assert_eq!((server.seen().len(), count.load(Ordering::SeqCst)), (1, 1));
    });
}

#[test]
fn what_a_tool_of_whole_requests_answered_is_told_again() {
    run(async {
        let server = Server::start(|request| match request.target.as_str() {
            "/teapot" => Reply::new(418, &[("content-type", "text/plain")], "short and stout"),
            _ => Reply::text(request.text()),
        });
        let agent = || async {
            let tool = HttpTool::new("api", &server.url("")).unwrap();
            puppet_with([tool.into()]).await
        };
        let text = "http POST http://tools.internal/api/v1 no JSON\nhttp POST http://tools.internal/api {\"a\":1}\n\
                    http GET http://tools.internal/api/teapot \nask on?";
        let expected = "200 no JSON\n200 {\"a\":1}\n418 short and stout\nyes";
        let (_runs, run) = in_two_parts(text, agent().await, agent().await).await;
        assert_eq!(told(&run).await, expected);
        // The same where it is no tool of whole requests any more.
        let (_runs, run) = in_two_parts(text, agent().await, puppet_with([counting("api").0]).await).await;
        assert_eq!(told(&run).await, expected);
    });
}

#[test]
fn requests_and_calls_over_http_of_before_a_wait_count_after_it() {
    run(async {
        let (server, (tool, count)) = (echo(), counting("once"));
        let agent = || async {
            let grants = granted(&["once"]).host(server.url("").parse().unwrap());
            let budget = Budget::default().calls(1).requests(2);
            puppet().await.tools(toolset([tool.clone()])).grants(grants).budget(budget)
        };
        let (url, call) = (server.url("/x"), "http POST http://tools.internal/once {}");
        let text = format!("{call}\nhttp GET {url}\nhttp GET {url}\nask on?\n{call}\nhttp GET {url}");
        let (_runs, run) = in_two_parts(&text, agent().await, agent().await).await;
        let output = told(&run).await;
        let lines: Vec<_> = output.lines().collect();
        assert!(lines[4].starts_with("429 "), "{output}");
        assert!(lines[5].starts_with("no response"), "{output}");
        assert_eq!((server.seen().len(), count.load(Ordering::SeqCst)), (2, 1));
    });
}

#[test]
fn a_request_in_doubt_is_so_also_where_its_host_is_granted_no_more() {
    run(async {
        let ((server, answer), storage) = (held_server(), memory());
        let runs = worker(storage.clone(), reaching(&server).await);
        let started = start(&runs, &format!("http POST {} body", server.url("/x"))).await;
        until_event(&started, "fetch").await;
        runs.shutdown().await;
        drop(answer);
        let runs = worker(storage, puppet().await);
        let run = runs.run(started.id());
        until_waiting(&run, WaitingOn::InDoubt).await;
        let [(id, ..)] = in_doubt(&run).await.try_into().unwrap();
        let result = Arc::new(json!({"status": 201, "body": "made"}));
        run.settle(id, Settlement::Happened { result }, "ada").await.unwrap();
        assert_eq!(told(&run).await, "201 made");
    });
}

#[test]
fn a_request_that_did_not_happen_is_denied_where_its_host_is_granted_no_more() {
    run(async {
        let ((server, answer), storage) = (held_server(), memory());
        let runs = worker(storage.clone(), reaching(&server).await);
        let started = start(&runs, &format!("http POST {} body", server.url("/x"))).await;
        until_event(&started, "fetch").await;
        runs.shutdown().await;
        drop(answer);
        let before = server.seen().len();
        let runs = worker(storage, puppet().await);
        let run = runs.run(started.id());
        until_waiting(&run, WaitingOn::InDoubt).await;
        let [(id, ..)] = in_doubt(&run).await.try_into().unwrap();
        run.settle(id, Settlement::DidNotHappen, "ada").await.unwrap();
        let output = told(&run).await;
        assert!(output.contains("HttpRequestDenied"), "{output}");
        assert_eq!(server.seen().len(), before);
    });
}

#[test]
fn a_server_that_cannot_be_reached_any_more_is_told_as_before() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let agent = || async { puppet().await.grants(Grants::none().host(url.parse().unwrap())) };
        let (_runs, run) = in_two_parts(&format!("http POST {url}/ x\nask on?"), agent().await, agent().await).await;
        assert!(told(&run).await.contains("no response"));
        assert_eq!(count_of(&all_events(&run).await, "in_doubt"), 0);
    });
}

#[test]
fn a_run_that_waits_for_an_exchange_in_doubt_and_for_a_timer_goes_on_with_whichever_comes() {
    run(async {
        for answered in [true, false] {
            let ((server, answer), clock, storage) = (held_server(), ManualClock::default(), memory());
            let runs = by_clock(storage.clone(), reaching(&server).await, &clock);
            let text = format!("http-within 3600000 {} body\nask on?", server.url("/x"));
            let started = runs.start("puppet", RunRequest::new(text)).await.unwrap();
            until_event(&started, "fetch").await;
            until_event(&started, "sleeping").await;
            runs.shutdown().await;
            drop(answer);
            let runs = by_clock(storage, reaching(&server).await, &clock);
            let run = runs.run(started.id());
            until_event(&run, "in_doubt").await;
            until(&run, |summary| summary.status == RunStatus::Waiting).await;
            if answered {
                let [(id, ..)] = in_doubt(&run).await.try_into().unwrap();
                let result = Arc::new(json!({"status": 201, "body": "made"}));
                run.settle(id, Settlement::Happened { result }, "ada").await.unwrap();
            } else {
                clock.advance(Duration::from_hours(2));
            }
            until_event(&run, "input_required").await;
            clock.advance(Duration::from_hours(2));
            run.send_input("yes").await.unwrap();
            let expected = if answered { "201 made\nyes" } else { "too late\nyes" };
            assert_eq!(told(&run).await, expected);
        }
    });
}
