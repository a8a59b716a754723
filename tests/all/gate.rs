use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use casemate::{
    Action, Annotations, Answer, ApprovalRequest, Budget, CallError, Decision, Gate, Grants, LimitKind, NotPending,
    PendingApprovals, Policy, Principal, Query, Rule, Subscription, Tool, Toolset, Verdict,
};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use crate::support::{
    Anything, adversarial, caller, counting, engine, exceeded, granted, limits, run, seen, toolset, try_tool,
    types_seen, value,
};

/// Rules written in Rust: `amount` up to 100 is allowed, up to 1,000 asked about, more denied.
struct Amounts {
    version: String,
    asks_from: i64,
}

impl Amounts {
    fn new(version: &str) -> Self {
        Self { version: version.to_owned(), asks_from: 101 }
    }
}

impl Policy for Amounts {
    fn version(&self) -> &str {
        &self.version
    }

    fn decide(&self, query: &Query<'_>) -> Decision {
        let rule = |id: &str| vec![Rule { id: id.to_owned(), file: "amounts".to_owned(), line: 1 }];
        let Action::Call { tool, input } = query.action else { panic!("only tools are called here") };
        match input["amount"].as_i64() {
            Some(amount) if amount < self.asks_from => Decision { verdict: Verdict::Allow, rules: rule("small") },
            Some(amount) if amount <= 1_000 => {
                let verdict = Verdict::Ask { question: format!("{} {amount}?", tool.name) };
                Decision { verdict, rules: rule("middle") }
            }
            _ => {
                let verdict = Verdict::Deny { reason: "that is too much".to_owned(), remedy: None };
                Decision { verdict, rules: rule("large") }
            }
        }
    }
}

/// Calls `refund` with that amount, granted, through `gate`.
fn refund(gate: &Gate, tool: &Tool, amount: i64) -> casemate::Call {
    try_tool("refund", &json!({"amount": amount}))
        .tools(toolset([tool.clone()]))
        .grants(granted(&["refund"]))
        .gate(gate)
}

fn calls(count: &AtomicUsize) -> usize {
    count.load(Ordering::SeqCst)
}

/// An approver that always gives this answer, and keeps what it was asked.
fn always(
    answer: Answer,
) -> (impl Fn(ApprovalRequest) -> std::future::Ready<Answer>, Arc<Mutex<Vec<ApprovalRequest>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    let approver = move |request| {
        kept.lock().unwrap().push(request);
        std::future::ready(answer.clone())
    };
    (approver, asked)
}

/// Waits until a question is pending.
async fn pending(approvals: &PendingApprovals, events: &mut Subscription) -> ApprovalRequest {
    loop {
        let event = events.next().await.unwrap().unwrap();
        if matches!(event.kind, casemate::EventKind::ApprovalRequired { .. }) {
            break;
        }
    }
    loop {
        if let [request] = approvals.list().as_slice() {
            return request.clone();
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn what_all_steps_allow_is_done_once_and_recorded() {
    let (tool, count) = counting("refund");
    let gate = Gate::builder().policy(Amounts::new("v1")).build();
    let mut events = gate.subscribe(10);
    let call = refund(&gate, &tool, 100).principal(Principal::new("agent-7"));
    assert_eq!(value(call), r#"ok: {"amount":100}"#);
    let events = seen(&mut events);
    assert_eq!(events[0].0, "tool_call");
    let rules = json!([{"id": "small", "file": "amounts", "line": 1}]);
    assert_eq!(
        events[0].1,
        json!({
            "id": 1, "tool": "refund", "source": "closure", "input": {"amount": 100}, "principal": "agent-7",
            "depth": 1, "policy": "v1", "rules": rules,
        })
    );
    assert_eq!(events[1].0, "tool_result");
    assert_eq!((&events[1].1["id"], &events[1].1["output"]), (&json!(1), &json!({"amount": 100})));
    assert_eq!((events.len(), calls(&count)), (2, 1));
}

#[test]
fn only_the_grants_say_no() {
    let (tool, count) = counting("refund");
    let gate = Gate::builder().policy(Amounts::new("v1")).build();
    let mut events = gate.subscribe(10);
    let call = refund(&gate, &tool, 1).grants(Grants::none());
    assert_eq!(value(call), "denied: the tool `refund` is not granted");
    let events = seen(&mut events);
    assert_eq!(
        (events.len(), events[0].0.as_str(), &events[0].1["allow"]),
        (1, "denied", &json!("--allow-tool refund"))
    );
    assert_eq!(calls(&count), 0);
}

#[test]
fn only_the_policy_says_no() {
    let (tool, count) = counting("refund");
    let gate = Gate::builder().policy(Amounts::new("v1")).build();
    let mut events = gate.subscribe(10);
    assert_eq!(value(refund(&gate, &tool, 1_001)), "denied: that is too much");
    let events = seen(&mut events);
    assert_eq!((events.len(), events[0].0.as_str()), (1, "denied"));
    assert_eq!((&events[0].1["rules"][0]["id"], &events[0].1["policy"]), (&json!("large"), &json!("v1")));
    assert_eq!(calls(&count), 0);
}

#[test]
fn a_denial_that_ends_a_guest_badly_is_the_end_of_its_call() {
    let (tool, _) = counting("refund");
    let call = caller().call("call-tool", json!({"name": "refund", "input": "{}"})).tools(toolset([tool]));
    let CallError::Denied(denied) = run(call).result.unwrap_err() else { panic!("not denied") };
    assert_eq!(
        denied.to_string(),
        "refused: call `refund`: the tool `refund` is not granted (allow it with `--allow-tool refund`)"
    );
}

#[test]
fn only_the_budget_says_no() {
    let (tool, count) = counting("t");
    let in_a_row = |count: u32, budget: Budget| {
        let call = caller().call("call-many-in-a-row", json!({"name": "t", "input": r#"{"a":1}"#, "count": count}));
        value(call.tools(toolset([tool.clone()])).grants(granted(&["t"])).budget(budget))
    };
    assert_eq!(in_a_row(5, Budget::default().calls(3)), json!([3, 2]));
    assert_eq!(in_a_row(5, Budget::default().calls_of("t", 2)), json!([2, 3]));
    assert_eq!(in_a_row(5, Budget::default().calls_of("other", 0)), json!([5, 0]));
    assert_eq!(in_a_row(5, Budget::default().bytes_in(4 * 7)), json!([4, 1]));
    // The result that goes beyond is withheld, though the tool ran.
    assert_eq!(calls(&count), 14);
    assert_eq!(in_a_row(5, Budget::default().bytes_out(7)), json!([1, 4]));
    assert_eq!(calls(&count), 19);
    assert_eq!(in_a_row(1, Budget::default().depth(0)), json!([0, 1]));
}

#[test]
fn a_budget_is_one_for_the_whole_tree() {
    let (tool, count) = counting("t");
    let tools = toolset([tool, caller().tool("call-many-in-a-row").unwrap().inheriting().into()]);
    let inner = json!({"name": "t", "input": "{}", "count": 4}).to_string();
    let call = caller()
        .call("call-many-in-a-row", json!({"name": "call-many-in-a-row", "input": inner, "count": 3}))
        .tools(tools)
        .grants(granted(&["t", "call-many-in-a-row"]))
        .budget(Budget::default().calls(1 + 4 + 1 + 3));
    assert_eq!(value(call), json!([2, 1]));
    assert_eq!(calls(&count), 7);
}

#[test]
fn a_budget_that_runs_out_names_itself() {
    let (tool, _) = counting("t");
    let gate = Gate::default();
    let mut events = gate.subscribe(10);
    let call = try_tool("t", &json!({})).tools(toolset([tool])).grants(granted(&["t"])).gate(&gate);
    let said = value(call.budget(Budget::default().calls(0)));
    assert_eq!(said, "limit-exceeded: the limit `calls` was reached: 1 of at most 0 calls");
    let events = seen(&mut events);
    assert_eq!((events[0].0.as_str(), &events[0].1["kind"]), ("error", &json!("limit-exceeded")));
    assert_eq!(events.len(), 1);
}

#[test]
fn only_a_person_says_no() {
    let (tool, count) = counting("refund");
    let (approver, asked) = always(Answer::Reject { reason: "not today".to_owned() });
    let gate = Gate::builder().policy(Amounts::new("v1")).approver(approver).build();
    let mut events = gate.subscribe(10);
    assert_eq!(value(refund(&gate, &tool, 101)), "denied: not today");
    assert_eq!(types_seen(&mut events), ["approval_required", "rejected"]);
    assert_eq!(calls(&count), 0);
    let asked = asked.lock().unwrap();
    assert_eq!((asked.len(), asked[0].question.as_str(), asked[0].policy.as_deref()), (1, "refund 101?", Some("v1")));
    assert_eq!((asked[0].subject.name(), &*asked[0].input), ("refund", &json!({"amount": 101})));
}

#[test]
fn a_person_says_yes() {
    let (tool, count) = counting("refund");
    let (approver, _) = always(Answer::Approve);
    let gate = Gate::builder().policy(Amounts::new("v1")).approver(approver).build();
    let mut events = gate.subscribe(10);
    assert_eq!(value(refund(&gate, &tool, 101)), r#"ok: {"amount":101}"#);
    assert_eq!(types_seen(&mut events), ["approval_required", "approved", "tool_call", "tool_result"]);
    assert_eq!(calls(&count), 1);
}

#[test]
fn the_grants_table_asks_too() {
    let (tool, count) = counting("refund");
    let (approver, asked) = always(Answer::Approve);
    let gate = Gate::builder().approver(approver).build();
    let grants = Grants::none().tool_after_asking("refund", "Refund?").unwrap();
    assert_eq!(value(refund(&gate, &tool, 1).grants(grants.clone())), r#"ok: {"amount":1}"#);
    assert_eq!(asked.lock().unwrap()[0].question, "Refund?");
    // Nobody to ask.
    let said = value(refund(&Gate::default(), &tool, 1).grants(grants));
    assert_eq!(said, "denied: it needs a person's approval, and there is nobody to ask: Refund?");
    assert_eq!(calls(&count), 1);
}

#[test]
fn nobody_is_asked_about_what_the_budget_refuses() {
    let (tool, _) = counting("refund");
    let (approver, asked) = always(Answer::Approve);
    let gate = Gate::builder().policy(Amounts::new("v1")).approver(approver).build();
    let said = value(refund(&gate, &tool, 101).budget(Budget::default().calls(0)));
    assert!(said.as_str().unwrap().starts_with("limit-exceeded: "), "{said}");
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn edited_arguments_are_recorded_and_decided_afresh() {
    let edit = |amount: i64| {
        let (tool, count) = counting("refund");
        let (approver, asked) = always(Answer::ApproveEdited(json!({"amount": amount})));
        let gate = Gate::builder().policy(Amounts::new("v1")).approver(approver).build();
        let mut events = gate.subscribe(10);
        let said = value(refund(&gate, &tool, 200));
        assert_eq!(asked.lock().unwrap().len(), 1);
        (said, seen(&mut events), calls(&count))
    };
    // An ask counts as answered, and what is smaller is allowed anyway.
    for amount in [150, 50] {
        let (said, events, count) = edit(amount);
        assert_eq!((said, count), (json!(format!(r#"ok: {{"amount":{amount}}}"#)), 1));
        assert_eq!(events[1].1["edited"], json!({"amount": amount}));
        assert_eq!((events[2].0.as_str(), &events[2].1["input"]), ("tool_call", &json!({"amount": amount})));
    }
    // A deny stands.
    let (said, events, count) = edit(5_000);
    assert_eq!((said, count), (json!("denied: that is too much"), 0));
    assert_eq!(
        events.iter().map(|event| event.0.as_str()).collect::<Vec<_>>(),
        ["approval_required", "approved", "denied"]
    );
}

#[tokio::test]
async fn approvals_are_listed_and_answered_from_elsewhere() {
    let (tool, count) = counting("refund");
    let approvals = PendingApprovals::new();
    let gate = Gate::builder().policy(Amounts::new("v1")).approver(approvals.clone()).build();
    for (verdict, said) in [(true, r#"ok: {"amount":101}"#), (false, "denied: no")] {
        let mut events = gate.subscribe(10);
        let call = tokio::spawn(refund(&gate, &tool, 101).into_future());
        let request = pending(&approvals, &mut events).await;
        if verdict { approvals.approve(request.id) } else { approvals.reject(request.id, "no") }.unwrap();
        assert_eq!(call.await.unwrap().unwrap(), said);
        assert!(approvals.list().is_empty());
    }
    assert_eq!(calls(&count), 1);
}

#[tokio::test]
async fn an_approval_decided_twice() {
    let (tool, count) = counting("refund");
    let approvals = PendingApprovals::new();
    let gate = Gate::builder().policy(Amounts::new("v1")).approver(approvals.clone()).build();
    let mut events = gate.subscribe(10);
    let call = tokio::spawn(refund(&gate, &tool, 101).into_future());
    let request = pending(&approvals, &mut events).await;
    assert_eq!(approvals.reject(request.id, "no"), Ok(()));
    let NotPending { id, .. } = approvals.approve(request.id).unwrap_err();
    assert_eq!(id, request.id);
    assert_eq!(call.await.unwrap().unwrap(), "denied: no");
    assert_eq!(calls(&count), 0);
}

#[tokio::test]
async fn an_approval_replayed() {
    let (tool, count) = counting("refund");
    let approvals = PendingApprovals::new();
    let gate = Gate::builder().policy(Amounts::new("v1")).approver(approvals.clone()).build();
    let mut events = gate.subscribe(100);
    // The same call once more is another effect, and is asked about again.
    let input = json!({"name": "refund", "input": r#"{"amount":101}"#, "count": 2});
    let call =
        caller().call("call-many-in-a-row", input).tools(toolset([tool])).grants(granted(&["refund"])).gate(&gate);
    let call = tokio::spawn(call.into_future());
    let first = pending(&approvals, &mut events).await;
    approvals.approve(first.id).unwrap();
    let second = pending(&approvals, &mut events).await;
    assert_ne!(first.id, second.id);
    assert_eq!(first.hash, second.hash);
    assert!(approvals.approve(first.id).is_err());
    approvals.reject(second.id, "once is enough").unwrap();
    assert_eq!(call.await.unwrap().unwrap(), json!([1, 1]));
    assert_eq!(calls(&count), 1);
}

#[tokio::test]
async fn an_approval_expired() {
    let (tool, count) = counting("refund");
    let approvals = PendingApprovals::new();
    let time = Duration::from_millis(50);
    let gate = Gate::builder().policy(Amounts::new("v1")).approver(approvals.clone()).approval_time(time).build();
    let mut events = gate.subscribe(10);
    let call = tokio::spawn(refund(&gate, &tool, 101).into_future());
    let request = pending(&approvals, &mut events).await;
    assert_eq!(call.await.unwrap().unwrap(), "denied: nobody answered within 50ms");
    assert!(approvals.approve(request.id).is_err());
    assert!(approvals.list().is_empty());
    assert_eq!((types_seen(&mut events), calls(&count)), (vec!["rejected".to_owned()], 0));
}

#[tokio::test]
async fn arguments_changed_between_approval_and_call() {
    // Two calls that differ in one digit which a double cannot hold: each is asked about by itself.
    let amounts: [i64; 2] = [9_007_199_254_740_992, 9_007_199_254_740_993];
    let (tool, count) = counting("refund");
    let approvals = PendingApprovals::new();
    let gate = Gate::builder().approver(approvals.clone()).build();
    let mut events = gate.subscribe(100);
    let grants = Grants::none().tool_after_asking("refund", "Refund?").unwrap();
    let calls_in = amounts.map(|amount| ("refund", json!({"amount": amount}).to_string()));
    let call = caller().call("call-all", json!({"calls": calls_in})).tools(toolset([tool])).grants(grants).gate(&gate);
    let call = tokio::spawn(call.into_future());
    while approvals.list().len() < 2 {
        events.next().await;
        tokio::task::yield_now().await;
    }
    let requests = approvals.list();
    assert_ne!(requests[0].hash, requests[1].hash);
    let first = requests.iter().find(|request| request.input["amount"] == json!(amounts[0])).unwrap();
    let second = requests.iter().find(|request| request.input["amount"] == json!(amounts[1])).unwrap();
    approvals.approve(first.id).unwrap();
    approvals.reject(second.id, "another amount").unwrap();
    let said = call.await.unwrap().unwrap();
    assert_eq!(said, json!([r#"ok: {"amount":9007199254740992}"#, "denied: another amount"]));
    assert_eq!(calls(&count), 1);
}

#[tokio::test]
async fn an_asker_that_is_gone_takes_its_question_along() {
    let (tool, count) = counting("refund");
    let approvals = PendingApprovals::new();
    let gate = Gate::builder().policy(Amounts::new("v1")).approver(approvals.clone()).build();
    let mut events = gate.subscribe(10);
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    let call = refund(&gate, &tool, 101).until(async move { stopped.notified().await });
    let call = tokio::spawn(call.into_future());
    let request = pending(&approvals, &mut events).await;
    stop.notify_one();
    assert!(matches!(call.await.unwrap(), Err(CallError::Cancelled)));
    assert!(approvals.list().is_empty());
    assert!(approvals.approve(request.id).is_err());
    let events = seen(&mut events);
    assert_eq!((events.len(), &events[0].1["kind"]), (1, &json!("cancelled")));
    assert_eq!(calls(&count), 0);
}

#[tokio::test]
async fn the_time_that_a_person_takes_does_not_count() {
    let (tool, _) = counting("refund");
    let person = |_| async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        Answer::Approve
    };
    let gate = Gate::builder().policy(Amounts::new("v1")).approver(person).build();
    let limits = limits().wall_time(Duration::from_millis(200)).unwrap().build();
    assert_eq!(refund(&gate, &tool, 101).limits(limits).await.unwrap(), r#"ok: {"amount":101}"#);
    // Nor for a tool that waits below.
    let refund = caller().tool("try-tool").unwrap().limits(limits).inheriting();
    let input = json!({"name": "refund", "input": r#"{"amount":101}"#});
    let call = try_tool("try-tool", &input)
        .tools(toolset([tool, refund.into()]))
        .grants(granted(&["refund", "try-tool"]))
        .gate(&Gate::builder().policy(AskAboutRefunds).approver(person).build())
        .limits(limits);
    assert_eq!(call.await.unwrap(), r#"ok: "ok: {\"amount\":101}""#);
}

/// Asks about each refund, and allows all else.
struct AskAboutRefunds;

impl Policy for AskAboutRefunds {
    fn version(&self) -> &'static str {
        "asks"
    }

    fn decide(&self, query: &Query<'_>) -> Decision {
        let verdict = match query.action {
            Action::Call { tool, .. } if tool.name == "refund" => Verdict::Ask { question: "Refund?".to_owned() },
            _ => Verdict::Allow,
        };
        Decision { verdict, rules: Vec::new() }
    }
}

#[test]
fn a_policy_swapped_in_mid_call_decides_the_next_effect_and_never_half_of_one() {
    let gate = Gate::builder().policy(Amounts::new("old")).build();
    let swapping = gate.clone();
    let tool = Tool::new("refund", move |input: Anything| {
        swapping.set_policy(Amounts { version: "new".to_owned(), asks_from: 0 });
        async move { Ok::<_, String>(Value::Object(input.members)) }
    });
    let mut events = gate.subscribe(10);
    let call = caller().call("call-many-in-a-row", json!({"name": "refund", "input": r#"{"amount":1}"#, "count": 2}));
    assert_eq!(value(call.tools(toolset([tool])).grants(granted(&["refund"])).gate(&gate)), json!([1, 1]));
    let events = seen(&mut events);
    let versions: Vec<_> = events.iter().map(|(kind, data)| (kind.as_str(), data["policy"].as_str())).collect();
    assert_eq!(versions, [("tool_call", Some("old")), ("tool_result", None), ("denied", Some("new"))]);
}

#[tokio::test]
async fn an_approval_under_one_policy_is_none_under_another() {
    let (tool, count) = counting("refund");
    let approvals = PendingApprovals::new();
    let gate = Gate::builder().policy(Amounts::new("old")).approver(approvals.clone()).build();
    let mut events = gate.subscribe(10);
    let call = tokio::spawn(refund(&gate, &tool, 101).into_future());
    let first = pending(&approvals, &mut events).await;
    gate.set_policy(Amounts::new("new"));
    approvals.approve(first.id).unwrap();
    let second = pending(&approvals, &mut events).await;
    assert_eq!((first.policy.as_deref(), second.policy.as_deref()), (Some("old"), Some("new")));
    assert_eq!(calls(&count), 0);
    approvals.approve(second.id).unwrap();
    assert_eq!(call.await.unwrap().unwrap(), r#"ok: {"amount":101}"#);
    assert_eq!(calls(&count), 1);
}

#[test]
fn a_closure_that_panics() {
    let gate = Gate::default();
    let mut events = gate.subscribe(10);
    let at_once = Tool::new("at-once", |_: Anything| -> std::future::Ready<Result<(), String>> { panic!("at once") });
    let later = Tool::new("later", |input: Anything| async move {
        tokio::task::yield_now().await;
        assert!(!input.members.is_empty(), "later");
        Ok::<_, String>(())
    });
    for name in ["at-once", "later"] {
        let tools = toolset([at_once.clone(), later.clone()]);
        let call = try_tool(name, &json!({})).tools(tools).grants(granted(&["at-once", "later"])).gate(&gate);
        assert_eq!(value(call), "failed: the tool panicked");
        assert_eq!(types_seen(&mut events), ["tool_call", "error"]);
    }
}

#[test]
fn a_permit_leaked_through_a_panic() {
    // However a permit ends, and however often the same is tried, each intent has exactly one outcome.
    let gate = Gate::default();
    let mut events = gate.subscribe(1_000);
    let tool = Tool::new("t", |input: Anything| async move {
        match input.members.get("end").and_then(Value::as_str) {
            Some("panic") => panic!("it does"),
            Some("fail") => Err("it fails"),
            _ => Ok(()),
        }
    });
    let ends = ["panic", "fail", "well", "panic", "panic"].map(|end| ("t", json!({"end": end}).to_string()));
    let call = caller().call("call-all", json!({"calls": ends})).tools(toolset([tool])).grants(granted(&["t"]));
    let said = value(call.gate(&gate));
    assert_eq!(said[0], "failed: the tool panicked");
    let events = seen(&mut events);
    for id in 1..=5 {
        let of_id: Vec<_> = events.iter().filter(|event| event.1["id"] == id).map(|event| event.0.as_str()).collect();
        assert_eq!((of_id.len(), of_id[0]), (2, "tool_call"), "{of_id:?}");
    }
}

#[test]
fn a_closure_that_never_returns() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let marked = dropped.clone();
    let never = Tool::new("never", move |_: Anything| {
        let held = Dropped(marked.clone());
        async move {
            std::future::pending::<()>().await;
            drop(held);
            Ok::<_, String>(())
        }
    });
    let gate = Gate::default();
    let mut events = gate.subscribe(10);
    let call = try_tool("never", &json!({})).tools(toolset([never])).grants(granted(&["never"])).gate(&gate);
    let report = run(call.limits(limits().wall_time(Duration::from_millis(50)).unwrap().build()));
    assert_eq!(exceeded(&report).limit, LimitKind::WallTime);
    assert!(dropped.load(Ordering::SeqCst));
    let events = seen(&mut events);
    assert_eq!((events.len(), events[1].0.as_str(), &events[1].1["kind"]), (2, "error", &json!("cancelled")));
}

#[test]
fn a_guest_that_traps_while_its_calls_are_under_way_leaves_each_with_an_outcome() {
    let gate = Gate::default();
    let mut events = gate.subscribe(10);
    let trap = adversarial().tool("trap").unwrap();
    let call = try_tool("trap", &json!({})).tools(Toolset::new().with(trap).unwrap()).grants(granted(&["trap"]));
    assert_eq!(value(call.gate(&gate)), "failed: the tool crashed");
    let events = seen(&mut events);
    assert_eq!((events.len(), events[0].0.as_str(), &events[1].1["kind"]), (2, "tool_call", &json!("trap")));
    // Where it crashed is for those who watch, not for guests.
    assert!(events[1].1["message"].as_str().unwrap().starts_with("the guest trapped: "));
}

#[test]
fn a_tool_whose_schema_lies_about_its_result() {
    #[derive(serde::Serialize)]
    struct Lie(&'static str);
    impl schemars::JsonSchema for Lie {
        fn schema_name() -> std::borrow::Cow<'static, str> {
            "Lie".into()
        }

        fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
            u32::json_schema(generator)
        }
    }
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[allow(dead_code, reason = "only described")]
    struct Number {
        n: u32,
    }
    let lying = Tool::new("double", |_: Number| async { Ok::<_, String>(Lie("four")) });
    let component = crate::support::load(engine(), crate::support::wat!("imports-infallible"));
    let imports = component.imports().function("double", lying).unwrap();
    let call = component.call("quadruple", json!({"n": 1})).imports(imports).grants(granted(&["double"]));
    let CallError::Tool(error) = run(call).result.unwrap_err() else { panic!("not a tool error") };
    let said = error.value.as_str().unwrap();
    assert!(said.starts_with("the tool's result does not have its type: "), "{said}");
}

#[test]
fn an_event_flood_closes_only_those_who_do_not_read() {
    let (tool, count) = counting("t");
    let gate = Gate::default();
    let (mut idle, mut reading) = (gate.subscribe(16), gate.subscribe(20_000));
    let call = caller().call("call-many-in-a-row", json!({"name": "t", "input": "{}", "count": 5_000}));
    assert_eq!(value(call.tools(toolset([tool])).grants(granted(&["t"])).gate(&gate)), json!([5_000, 0]));
    assert_eq!((calls(&count), seen(&mut reading).len()), (5_000, 10_000));
    for sequence in 1..=16 {
        assert_eq!(idle.try_next().unwrap().unwrap().sequence, sequence);
    }
    assert_eq!(idle.try_next().unwrap().unwrap_err().last, 16);
    assert!(idle.try_next().is_none());
}

#[test]
fn what_is_marked_is_redacted_in_events_and_shown_to_who_approves() {
    let (tool, _) = counting("pay");
    let tool = tool.redact("/card/number").redact("/missing");
    let (approver, asked) = always(Answer::Approve);
    let gate = Gate::builder().approver(approver).build();
    let mut events = gate.subscribe(10);
    let input = json!({"card": {"number": "4711", "holder": "A"}});
    let grants = Grants::none().tool_after_asking("pay", "Pay?").unwrap();
    assert_eq!(
        value(try_tool("pay", &input).tools(toolset([tool])).grants(grants).gate(&gate)),
        format!("ok: {input}")
    );
    let shown = json!({"card": {"number": "[redacted]", "holder": "A"}});
    let events = seen(&mut events);
    assert_eq!((&events[0].1["input"], &events[2].1["input"]), (&shown, &shown));
    assert_eq!(*asked.lock().unwrap()[0].input, input);
}

#[tokio::test]
async fn an_approver_that_panics_has_said_no() {
    let (tool, count) = counting("refund");
    let gate = Gate::builder().policy(Amounts::new("v1")).approver(|_| async { panic!("it breaks") }).build();
    assert_eq!(refund(&gate, &tool, 101).await.unwrap(), "denied: the approver failed");
    assert_eq!(calls(&count), 0);
}

#[tokio::test]
async fn a_hundred_guests_that_are_held_back_hold_nobody_up() {
    // Each call of the tool needs the one place there is. A guest at a hundredth of a processor that waited for it on
    // its own stack would keep its turn in the queue until it was polled again.
    let place = Arc::new(Semaphore::new(1));
    let queued = place.clone();
    let tool = Tool::new("queue", move |_: Anything| {
        let queued = queued.clone();
        async move {
            let _place = queued.acquire_owned().await.map_err(|error| error.to_string())?;
            tokio::task::yield_now().await;
            Ok::<_, String>(())
        }
    });
    let slow = limits().cpus(0.01).unwrap().wall_time(Duration::from_hours(1)).unwrap().build();
    let engine = crate::support::builder().max_sandboxes(128).build().unwrap();
    let guest = engine.load_bytes(casemate_guests::CALLER).await.unwrap();
    let gate = Gate::default();
    let mut events = gate.subscribe(100_000);
    let spinning = |limits| {
        let input = json!({"name": "queue", "input": "{}", "count": 1_000_000, "rounds": 1_000_000});
        guest.call("spin-between", input).tools(toolset([tool.clone()])).grants(granted(&["queue"])).limits(limits)
    };
    let held_back: Vec<_> = (0..100).map(|_| tokio::spawn(spinning(slow).gate(&gate).into_future())).collect();
    // All are under way, each somewhere between two calls.
    for _ in 0..100 {
        events.next().await.unwrap().unwrap();
    }
    let quick = guest
        .call("call-many-in-a-row", json!({"name": "queue", "input": "{}", "count": 10}))
        .tools(toolset([tool.clone()]))
        .grants(granted(&["queue"]));
    assert_eq!(quick.await.unwrap(), json!([10, 0]));
    held_back.iter().for_each(tokio::task::JoinHandle::abort);
}

#[test]
fn annotations_and_identity_reach_who_approves() {
    let annotations = Annotations { read_only: true, destructive: false, ..Annotations::default() };
    let (tool, _) = counting("look");
    let (approver, asked) = always(Answer::Approve);
    let gate = Gate::builder().approver(approver).build();
    let tools = toolset([tool.annotations(annotations)]).renamed("look", "peek").unwrap();
    let grants = Grants::none().tool_after_asking("look", "Look?").unwrap();
    value(try_tool("peek", &json!({})).tools(tools).grants(grants).gate(&gate));
    let asked = asked.lock().unwrap();
    assert_eq!((asked[0].subject.name(), asked[0].annotations), ("look", annotations));
}

#[tokio::test]
async fn two_gates_that_share_their_approvals() {
    let approvals = PendingApprovals::new();
    let gates = [(); 2].map(|()| Gate::builder().policy(Amounts::new("v1")).approver(approvals.clone()).build());
    let (tool, _) = counting("refund");
    let mut asked = Vec::new();
    for gate in &gates {
        let mut events = gate.subscribe(10);
        let call = tokio::spawn(refund(gate, &tool, 101 + i64::try_from(asked.len()).unwrap()).into_future());
        while approvals.list().len() <= asked.len() {
            events.next().await;
            tokio::task::yield_now().await;
        }
        asked.push(call);
    }
    let ids: Vec<_> = approvals.list().iter().map(|request| (request.input["amount"].clone(), request.id)).collect();
    let id = |amount: i64| ids.iter().find(|(asked, _)| *asked == json!(amount)).unwrap().1;
    approvals.approve(id(102)).unwrap();
    approvals.reject(id(101), "no").unwrap();
    let second = asked.pop().unwrap().await.unwrap().unwrap();
    let first = asked.pop().unwrap().await.unwrap().unwrap();
    assert_eq!((first, second), (json!("denied: no"), json!(r#"ok: {"amount":102}"#)));
}

#[test]
fn asking_without_end() {
    let (tool, _) = counting("refund");
    let (approver, asked) = always(Answer::Reject { reason: "no".to_owned() });
    let gate = Gate::builder().approver(approver).build();
    let call = caller().call("call-many-in-a-row", json!({"name": "refund", "input": "{}", "count": 1_000}));
    let grants = Grants::none().tool_after_asking("refund", "Refund?").unwrap();
    let call = call.tools(toolset([tool])).grants(grants).gate(&gate);
    assert_eq!(value(call), json!([0, 1_000]));
    assert_eq!(asked.lock().unwrap().len(), 100);
}

#[test]
fn rules_that_panic_deny() {
    struct Broken;
    impl Policy for Broken {
        fn version(&self) -> &'static str {
            "broken"
        }

        fn decide(&self, _query: &Query<'_>) -> Decision {
            panic!("it breaks")
        }
    }
    let (tool, count) = counting("refund");
    let gate = Gate::builder().policy(Broken).build();
    let mut events = gate.subscribe(10);
    assert_eq!(value(refund(&gate, &tool, 1)), "denied: the policy failed");
    assert_eq!((types_seen(&mut events), calls(&count)), (vec!["denied".to_owned()], 0));
}

#[test]
fn names_and_inputs_of_what_does_not_exist_are_not_kept() {
    let gate = Gate::default();
    let mut events = gate.subscribe(10);
    let said = value(try_tool(&"n".repeat(1_000_000), &json!({"secret": 1})).gate(&gate));
    assert!(said.as_str().unwrap().len() < 200, "{said}");
    let events = seen(&mut events);
    assert!(events[0].1.to_string().len() < 500, "{events:?}");
}

#[test]
fn an_engine_has_a_gate_for_calls_that_bring_none() {
    let gate = Gate::builder().policy(Amounts::new("v1")).build();
    let engine = crate::support::builder().gate(&gate).build().unwrap();
    let guest = crate::support::load(&engine, casemate_guests::CALLER);
    let (tool, _) = counting("refund");
    let call = guest.call("try-tool", json!({"name": "refund", "input": r#"{"amount":5000}"#}));
    let call = call.tools(toolset([tool])).grants(granted(&["refund"]));
    assert_eq!(engine.block_on(call).unwrap(), "denied: that is too much");
}
