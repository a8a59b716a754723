use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use casemate::{
    Access, Answer, Call, CedarPolicy, Gate, PolicyErrors, PolicySource, Principal, PrincipalParent, Tool, Toolset,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{caller, counting, folder, granted, ledger, planner, seen, toolset, try_tool, value, weather};

/// The example that embedders are shown, as it stands.
#[path = "../../engine/examples/gate.rs"]
mod example;

#[test]
fn the_example_runs() {
    example::main().unwrap();
}

#[derive(Deserialize, JsonSchema)]
struct Refund {
    #[allow(dead_code, reason = "only rules look at it")]
    amount: u64,
    #[allow(dead_code, reason = "only rules look at it")]
    share: Option<f64>,
}

/// The tool `refund`, which counts its calls.
fn refund() -> (Tool, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let tool = Tool::new("refund", move |_: Refund| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, String>("done") }
    });
    (tool, count)
}

fn compile(rules: &str, tools: &Toolset) -> Result<CedarPolicy, PolicyErrors> {
    CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text: rules }], &tools.facts())
}

const UP_TO_100: &str = r#"
permit(principal, action, resource);
@id("small-refunds") @reason("refunds end at 100")
forbid(principal, action == Action::"call:refund", resource) when { context.input.amount > 100 };
"#;

/// Calls `refund` with `input`, given as text, under these rules; what the guest got, and how often the tool ran.
#[track_caller]
fn try_refund(rules: &str, input: &str) -> (String, usize) {
    let (tool, count) = refund();
    let tools = toolset([tool]);
    let gate = Gate::builder().policy(compile(rules, &tools).unwrap()).build();
    let call = caller().call("try-tool", json!({"name": "refund", "input": input}));
    let said = value(call.tools(tools).grants(granted(&["refund"])).gate(&gate));
    (said.as_str().unwrap().to_owned(), count.load(Ordering::SeqCst))
}

#[test]
fn an_argument_past_a_rule() {
    assert_eq!(try_refund(UP_TO_100, r#"{"amount":100}"#), (r#"ok: "done""#.to_owned(), 1));
    // More than it says, more than Cedar can count, as another type, under a name that only looks the same, twice.
    for (input, answer) in [
        (r#"{"amount":101}"#, "denied: refunds end at 100"),
        (r#"{"amount":9223372036854775808}"#, "denied: "),
        (r#"{"amount":"101"}"#, "denied: "),
        (r#"{"amount":101.5}"#, "denied: "),
        (r#"{"amount":1.0e3}"#, "denied: "),
        (r#"{"amount":null}"#, "denied: "),
        (r#"{"\u0061mount":101}"#, "denied: refunds end at 100"),
        (r#"{"amоunt":101}"#, "denied: "),
        (r#"{"amount":1,"amount":101}"#, "invalid-input: "),
        ("[101]", "denied: "),
    ] {
        let (said, count) = try_refund(UP_TO_100, input);
        assert!(said.starts_with(answer), "{input}: {said}");
        assert_eq!(count, 0, "{input}");
    }
}

#[test]
fn a_rule_that_errs() {
    // Cedar alone skips what errs, and a forbid that is skipped forbids nothing.
    let rules = r#"
        permit(principal, action, resource);
        forbid(principal, action == Action::"call:refund", resource)
        when { context.input.amount * 9223372036854775807 > 100 };"#;
    let (said, count) = try_refund(rules, r#"{"amount":50}"#);
    assert!(said.starts_with("denied: "), "{said}");
    assert_eq!(count, 0);
    let rules = r#"
        permit(principal, action, resource);
        forbid(principal, action == Action::"call:refund", resource)
        when { context.input has share && context.input.share.greaterThan(decimal("0.5")) };"#;
    assert_eq!(try_refund(rules, r#"{"amount":1}"#).1, 1);
    assert_eq!(try_refund(rules, r#"{"amount":1,"share":0.25}"#).1, 1);
    assert_eq!(try_refund(rules, r#"{"amount":1,"share":0.75}"#).1, 0);
    let (said, count) = try_refund(rules, r#"{"amount":1,"share":0.123456}"#);
    assert!(said.starts_with("denied: "), "{said}");
    assert_eq!(count, 0);
}

#[test]
fn a_renamed_tool_that_slips_a_rule() {
    let (tool, count) = refund();
    let tools = toolset([tool, counting("harmless").0]);
    let policy = compile(UP_TO_100, &tools).unwrap();
    let gate = Gate::builder().policy(policy).build();
    let mut events = gate.subscribe(10);
    let disguised = tools.filtered(|name, _| name == "refund").renamed("refund", "harmless").unwrap();
    let call = |amount| {
        let call = try_tool("harmless", &json!({"amount": amount})).tools(disguised.clone());
        value(call.grants(granted(&["refund", "harmless"])).gate(&gate))
    };
    assert_eq!(call(101), "denied: refunds end at 100");
    assert_eq!(count.load(Ordering::SeqCst), 0);
    assert_eq!(seen(&mut events)[0].1["rules"][0]["id"], "small-refunds");
    // The grant too is for the own name.
    let call = try_tool("harmless", &json!({"amount": 1})).tools(disguised).grants(granted(&["harmless"]));
    assert_eq!(value(call), "denied: the tool `refund` is not granted");
}

#[test]
fn a_tool_of_another_source_under_a_known_name() {
    let gate = Gate::builder().policy(compile(UP_TO_100, &toolset([refund().0])).unwrap()).build();
    let impostor = Toolset::new().with(ledger().tool("refund").unwrap()).unwrap();
    let call = try_tool("refund", &json!({"order": "A", "amount": 1})).tools(impostor).grants(granted(&["refund"]));
    let said = value(call.gate(&gate));
    assert!(said.as_str().unwrap().starts_with("denied: "), "{said}");
}

#[test]
fn a_policy_file_with_a_typo() {
    let rules = "permit(principal, action, resource);\nforbid(principal, action == Action::\"call:refund\", resource)\nwhen { context.inptu.amount > 100 };";
    let error = compile(rules, &toolset([refund().0])).unwrap_err().to_string();
    assert!(error.starts_with("rules.cedar:3:"), "{error}");
    assert!(error.contains("inptu") && error.contains("`input`"), "{error}");
}

#[test]
fn a_guest_is_not_shown_what_no_input_could_be_allowed() {
    let tools = toolset([refund().0, counting("other").0]);
    let rules = r#"permit(principal, action == Action::"call:refund", resource);"#;
    let gate = Gate::builder().policy(compile(rules, &tools).unwrap()).build();
    let call = caller().call("list-tools", json!({})).tools(tools).grants(granted(&["refund", "other"])).gate(&gate);
    assert_eq!(value(call), json!(["refund"]));
}

#[test]
fn rules_know_on_whose_behalf_how_deep_and_how_often() {
    let rules = r#"
        permit(principal in Group::"support", action, resource)
        when { context.depth == 1 && context.calls < 2 };"#;
    let (tool, _) = refund();
    let tools = toolset([tool, caller().tool("try-tool").unwrap().inheriting().into()]);
    let gate = Gate::builder().policy(compile(rules, &tools).unwrap()).build();
    let grants = granted(&["refund", "try-tool"]);
    let with = |call: Call| call.tools(tools.clone()).grants(grants.clone()).gate(&gate);
    let ann = || Principal::new("ann's agent").parent(PrincipalParent::Group("support".to_owned()));
    let many =
        || caller().call("call-many-in-a-row", json!({"name": "refund", "input": r#"{"amount":1}"#, "count": 3}));
    assert_eq!(value(with(many()).principal(ann())), json!([2, 1]));
    assert_eq!(value(with(many())), json!([0, 3]));
    let inner = json!({"name": "refund", "input": r#"{"amount":1}"#});
    let said = value(with(try_tool("try-tool", &inner)).principal(ann()));
    assert!(said.as_str().unwrap().starts_with(r#"ok: "denied: "#), "{said}");
}

#[test]
fn rules_ask_and_a_person_answers() {
    let rules = r#"
        permit(principal, action, resource);
        @approval("Refund that much?")
        forbid(principal, action == Action::"call:refund", resource) when { context.input.amount > 100 };"#;
    let (tool, count) = refund();
    let tools = toolset([tool]);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let approver = move |request: casemate::ApprovalRequest| {
        counted.fetch_add(1, Ordering::SeqCst);
        assert_eq!((request.question.as_str(), request.rules.len()), ("Refund that much?", 1));
        std::future::ready(Answer::Approve)
    };
    let gate = Gate::builder().policy(compile(rules, &tools).unwrap()).approver(approver).build();
    for amount in [100, 101] {
        let call = try_tool("refund", &json!({"amount": amount})).tools(tools.clone()).grants(granted(&["refund"]));
        assert_eq!(value(call.gate(&gate)), r#"ok: "done""#);
    }
    assert_eq!((asked.load(Ordering::SeqCst), count.load(Ordering::SeqCst)), (1, 2));
}

#[test]
fn rules_see_the_input_of_components_and_of_typed_imports() {
    let place = tempfile::tempdir().unwrap();
    let books = folder(place.path(), "/ledger", Access::ReadWrite);
    let tools = Toolset::new()
        .with(ledger().tool("refund").unwrap().inheriting())
        .and_then(|tools| tools.with(ledger().tool("lookup").unwrap()))
        .unwrap();
    let gate = Gate::builder().policy(compile(UP_TO_100, &tools).unwrap()).build();
    let flow = |amount: u32| {
        let call = caller().call("flow", json!({"order": "A", "amount": amount})).tools(tools.clone()).gate(&gate);
        call.grants(books.clone().tool("refund").unwrap().tool("lookup").unwrap())
    };
    assert_eq!(value(flow(100)), r#"{"order":"A","amount":100,"count":1}"#);
    let error = crate::support::run(flow(101)).result.unwrap_err();
    assert_eq!(error.to_string(), "refused: call `refund`: refunds end at 100");
    assert_eq!(std::fs::read_to_string(place.path().join("refunds.log")).unwrap(), "A 100\n");

    let imports = planner().imports().interface("forecast", weather()).unwrap();
    let facts: Vec<_> = imports.tools().map(|tool| tool.facts().clone()).collect();
    let rules = r#"
        permit(principal, action, resource);
        @reason("not Oslo again")
        forbid(principal, action == Action::"call:acme:weather/forecast#get-forecast", resource)
        when { context.input.city == "Oslo" };"#;
    let policy = CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text: rules }], &facts).unwrap();
    let gate = Gate::builder().policy(policy).build();
    let grants = granted(&["acme:weather/forecast#get-forecast"]);
    let advise = |city: &str| {
        let call = planner().call("advise", json!({"city": city})).imports(imports.clone());
        crate::support::run(call.grants(grants.clone()).gate(&gate)).result
    };
    assert!(matches!(advise("Quito"), Ok(Value::String(_))));
    assert_eq!(
        advise("Oslo").unwrap_err().to_string(),
        "refused: call `acme:weather/forecast@1.0.0#get-forecast`: not Oslo again"
    );
}
