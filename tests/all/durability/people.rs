//! People who decide, answer, watch and stop, all at once and too late.

use std::sync::atomic::Ordering;
use std::time::Duration;

use casemate::{Answer, DecideError, EventKind, Gate, RunError, RunRequest, RunStatus, WaitingOn};

use super::support::{
    Folder, after_asking, all_events, builder, count_of, eventually, eventually_within, is_reproduced, is_whole, kinds,
    memory, onlooker, puppet, puppet_with, run, settled, start, until_event, until_waiting, worker,
};
use crate::support::{counting, engine, toolset};

#[test]
fn an_approval_that_two_processes_decide_at_once_is_decided_once() {
    run(async {
        let folder = Folder::new();
        let (tool, count) = counting("refund");
        let agent = puppet().await.tools(toolset([tool])).grants(after_asking("refund"));
        let runs = worker(folder.open(), agent);
        let deciders = [onlooker(folder.open()), onlooker(folder.open())];
        let mut approved = 0;
        for _ in 0..20 {
            let started = start(&runs, "call refund {}").await;
            until_waiting(&started, WaitingOn::Approval).await;
            let id = runs.approvals(Some(started.id()), 9).await.unwrap()[0].request.id;
            let no = Answer::Reject { reason: "no".to_owned() };
            let (one, other) =
                tokio::join!(deciders[0].decide(id, Answer::Approve, "ada"), deciders[1].decide(id, no, "bob"));
            let taken = match (one, other) {
                (Ok(()), Err(DecideError::Already { by, .. })) if by == "ada" => "approved",
                (Err(DecideError::Already { by, .. }), Ok(())) if by == "bob" => "rejected",
                both => panic!("{both:?}"),
            };
            settled(&started).await;
            let events = all_events(&started).await;
            assert_eq!(
                (count_of(&events, "approved"), count_of(&events, "rejected")),
                match taken {
                    "approved" => (1, 0),
                    _ => (0, 1),
                }
            );
            approved += usize::from(taken == "approved");
            assert_eq!(count.load(Ordering::SeqCst), approved);
        }
    });
}

#[test]
fn a_decision_that_was_taken_by_a_worker_that_is_lost_is_found_by_the_next() {
    run(async {
        let folder = Folder::new();
        let (tool, count) = counting("refund");
        let agent = puppet().await.tools(toolset([tool])).grants(after_asking("refund"));
        let agent = agent.gate(&Gate::builder().approval_time(Duration::from_hours(1)).build());
        let runs = worker(folder.open(), agent.clone());
        let started = start(&runs, "count 3000000\ncall refund {}").await;
        until_waiting(&started, WaitingOn::Approval).await;
        let id = runs.approvals(Some(started.id()), 9).await.unwrap()[0].request.id;
        runs.shutdown().await;
        let other = onlooker(folder.open());
        other.decide(id, Answer::Approve, "ada").await.unwrap();
        // As a worker leaves it that was lost after it took the message, and before it came to the effect.
        assert_eq!(folder.change("UPDATE runs SET inbox_consumed = inbox_last", &[]), 1);
        let runs = worker(folder.open(), agent);
        let run = runs.run(started.id());
        let goes_on =
            eventually_within(Duration::from_secs(8), || async { run.summary().await.unwrap().status.is_finished() });
        assert!(goes_on.await, "{:?}", run.summary().await);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_question_that_is_asked_otherwise_takes_the_place_of_the_old_one() {
    run(async {
        let storage = memory();
        let (tool, count) = counting("refund");
        let agent = puppet().await.tools(toolset([tool]));
        let runs = worker(storage.clone(), agent.clone().grants(after_asking("refund")));
        let started = start(&runs, "call refund {}").await;
        until_waiting(&started, WaitingOn::Approval).await;
        let old = runs.approvals(Some(started.id()), 9).await.unwrap()[0].request.id;
        runs.shutdown().await;
        let otherwise = casemate::Grants::none().tool_after_asking("refund", "Really?").unwrap();
        let runs = worker(storage, agent.grants(otherwise));
        let run = runs.run(started.id());
        // Something has it go on.
        run.send_input("unasked").await.unwrap();
        until_event(&run, "input").await;
        let is_asked = || async { count_of(&all_events(&run).await, "approval_required") == 2 };
        assert!(eventually(is_asked).await);
        let pending = runs.approvals(Some(run.id()), 9).await.unwrap();
        assert_eq!(pending.iter().map(|approval| approval.request.question.as_str()).collect::<Vec<_>>(), ["Really?"]);
        let late = runs.decide(old, Answer::Approve, "ada").await;
        assert!(matches!(late, Err(DecideError::NotFound { .. })), "{late:?}");
        assert_eq!(count.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn questions_that_were_asked_before_count_after_a_wait() {
    run(async {
        let (tool, count) = counting("refund");
        let agent = puppet().await.tools(toolset([tool])).grants(after_asking("refund"));
        let runs = worker(memory(), agent.budget(casemate::Budget::default().questions(1)));
        let started = start(&runs, "call refund {}\nask on?\ncall refund {}").await;
        until_waiting(&started, WaitingOn::Approval).await;
        let id = runs.approvals(Some(started.id()), 9).await.unwrap()[0].request.id;
        runs.decide(id, Answer::Approve, "ada").await.unwrap();
        until_waiting(&started, WaitingOn::Input).await;
        started.send_input("yes").await.unwrap();
        let needs_nobody = eventually_within(Duration::from_secs(5), || async {
            started.summary().await.unwrap().status.is_finished()
        });
        assert!(needs_nobody.await, "it is asked again, and its budget is one question");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn input_that_is_sent_to_a_finished_run_is_refused_and_changes_nothing() {
    run(async {
        let runs = worker(memory(), puppet().await);
        let started = start(&runs, "say done").await;
        settled(&started).await;
        let before = all_events(&started).await;
        let late = started.send_input("late").await;
        assert!(matches!(late, Err(RunError::Finished { id }) if id == started.id()), "{late:?}");
        assert!(matches!(started.pause().await, Err(RunError::Finished { .. })));
        assert!(matches!(started.cancel("late").await, Err(RunError::Finished { .. })));
        assert_eq!(all_events(&started).await, before);
        is_reproduced(&started).await;
    });
}

#[test]
fn a_thousand_subscribers_each_see_all_events_once_and_in_order() {
    run(async {
        let folder = Folder::new();
        let (tool, _) = counting("once");
        let runs = worker(folder.open(), puppet_with([tool]).await);
        let others = onlooker(folder.open());
        let started = start(&runs, "ask go?\ntimes 50 think hm\ntimes 20 call once {}\nask end?").await;
        let mut watching = tokio::task::JoinSet::new();
        for n in 0..1_000_u64 {
            let run = if n % 2 == 0 { runs.run(started.id()) } else { others.run(started.id()) };
            watching.spawn(async move {
                let mut events = run.events(1 + n % 3);
                let mut seen = Vec::new();
                while let Some(event) = events.next().await {
                    seen.push(event.unwrap());
                }
                (n % 3, seen)
            });
        }
        started.send_input("go").await.unwrap();
        started.send_input("end").await.unwrap();
        settled(&started).await;
        let all = all_events(&started).await;
        let mut count = 0;
        while let Some(seen) = watching.join_next().await {
            let (skipped, seen) = seen.unwrap();
            assert!(seen == all[usize::try_from(skipped).unwrap()..]);
            count += 1;
        }
        assert_eq!(count, 1_000);
    });
}

#[test]
fn a_run_that_waits_for_an_approval_is_cancelled_and_the_approval_is_gone() {
    run(async {
        let storage = memory();
        let (tool, count) = counting("refund");
        let agent = puppet().await.tools(toolset([tool])).grants(after_asking("refund"));
        // Once without a sandbox, once with one.
        for grace in [Duration::ZERO, Duration::from_hours(1)] {
            let runs = builder(engine(), storage.clone(), agent.clone()).grace(grace).build();
            let started = start(&runs, "call refund {}").await;
            let is_asked = || async { !runs.approvals(Some(started.id()), 9).await.unwrap().is_empty() };
            assert!(eventually(is_asked).await);
            let id = runs.approvals(Some(started.id()), 9).await.unwrap()[0].request.id;
            started.cancel("changed my mind").await.unwrap();
            let summary = settled(&started).await;
            assert_eq!(summary.status, RunStatus::Cancelled);
            assert_eq!(summary.failure.unwrap().message, "changed my mind");
            let late = runs.decide(id, Answer::Approve, "ada").await;
            assert!(matches!(late, Err(DecideError::NotFound { .. })), "{late:?}");
            is_whole(storage.as_ref(), started.id()).await;
            runs.shutdown().await;
        }
        assert_eq!(count.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn what_a_person_rejected_is_not_asked_again_by_a_retry() {
    run(async {
        let (tool, count) = counting("refund");
        let agent = puppet().await.tools(toolset([tool])).grants(after_asking("refund"));
        let runs = worker(memory(), agent);
        let request = RunRequest::new("call refund {}\nfail it was rejected").retries(3);
        let started = runs.start("puppet", request).await.unwrap();
        until_waiting(&started, WaitingOn::Approval).await;
        let id = runs.approvals(Some(started.id()), 9).await.unwrap()[0].request.id;
        runs.decide(id, Answer::Reject { reason: "no".to_owned() }, "ada").await.unwrap();
        settled(&started).await;
        let events = all_events(&started).await;
        let Some(EventKind::Failed { retried_as, .. }) = events.last().map(|event| &event.kind) else {
            panic!("{:?}", kinds(&events));
        };
        assert_eq!(*retried_as, None);
        assert_eq!(count.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn an_approval_that_expires_while_nobody_executes_the_run_is_rejected_once() {
    run(async {
        let clock = casemate::testing::ManualClock::default();
        let storage = memory();
        let (tool, count) = counting("refund");
        let agent = puppet().await.tools(toolset([tool])).grants(after_asking("refund"));
        let worker = || builder(engine(), storage.clone(), agent.clone()).clock(clock.clone()).build();
        let runs = worker();
        let started = start(&runs, "call refund {}\nask what?").await;
        until_waiting(&started, WaitingOn::Approval).await;
        let id = runs.approvals(Some(started.id()), 9).await.unwrap()[0].request.id;
        runs.shutdown().await;
        clock.advance(Duration::from_hours(100));
        let runs = worker();
        let run = runs.run(started.id());
        until_waiting(&run, WaitingOn::Input).await;
        let late = runs.decide(id, Answer::Approve, "ada").await;
        assert!(matches!(late, Err(DecideError::Already { .. } | DecideError::Expired { .. })), "{late:?}");
        runs.shutdown().await;
        let runs = worker();
        let run = runs.run(run.id());
        run.send_input("end").await.unwrap();
        settled(&run).await;
        let events = all_events(&run).await;
        assert_eq!((count_of(&events, "rejected"), count_of(&events, "approval_required")), (1, 1));
        assert_eq!(count.load(Ordering::SeqCst), 0);
        is_reproduced(&run).await;
    });
}

#[test]
fn inputs_are_taken_in_the_order_in_which_they_were_sent() {
    run(async {
        let storage = memory();
        let runs = worker(storage.clone(), puppet().await);
        let started = start(&runs, "times 60 ask next?").await;
        let inputs: Vec<_> = (0..60).map(|n| n.to_string()).collect();
        for (n, input) in inputs.iter().enumerate() {
            started.send_input(input).await.unwrap();
            // Another takes the run over now and then.
            if n % 20 == 10 {
                runs.shutdown().await;
            }
        }
        let others = worker(storage.clone(), puppet().await);
        let run = others.run(started.id());
        assert_eq!(settled(&run).await.output, Some(inputs.join("\n")));
        is_whole(storage.as_ref(), run.id()).await;
        is_reproduced(&run).await;
    });
}
