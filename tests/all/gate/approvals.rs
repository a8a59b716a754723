//! Questions to a person: what they are about, who answers, and for how long an answer holds.

use std::sync::Arc;
use std::time::Duration;

use casemate::{
    Action, Annotations, Answer, ApprovalRequest, CallError, Decision, Gate, Grants, NotPending, PendingApprovals,
    Policy, Query, Subscription, Verdict,
};
use serde_json::json;
use tokio::sync::Notify;

use super::{Amounts, always, calls, refund};
use crate::support::{caller, counting, granted, limits, seen, toolset, try_tool, types_seen, value};

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
