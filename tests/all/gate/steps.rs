//! The steps in order: grants, rules, budget, a person; and what is recorded of each.

use casemate::{Answer, Budget, CallError, Gate, Grants, Principal, Tool};
use serde_json::{Value, json};

use super::{Amounts, always, calls, refund};
use crate::support::{Anything, caller, counting, granted, run, seen, toolset, try_tool, types_seen, value};

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
fn nobody_is_asked_about_what_the_budget_refuses() {
    let (tool, _) = counting("refund");
    let (approver, asked) = always(Answer::Approve);
    let gate = Gate::builder().policy(Amounts::new("v1")).approver(approver).build();
    let said = value(refund(&gate, &tool, 101).budget(Budget::default().calls(0)));
    assert!(said.as_str().unwrap().starts_with("limit-exceeded: "), "{said}");
    assert!(asked.lock().unwrap().is_empty());
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
