use casemate::{
    Access, Budget, CallError, ExportError, Grants, Imports, LimitKind, LoadError, Tool, Toolset, ToolsetError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::{
    builder, caller, counting, engine, exceeds, folder, granted, ledger, limits, load, load_error, planner, run, seen,
    tool_error, toolset, try_tool, value, wat, weather,
};

#[derive(Deserialize, JsonSchema)]
struct Add {
    a: u32,
    b: u32,
}

fn add() -> Tool {
    Tool::new("add", |Add { a, b }: Add| async move { a.checked_add(b).ok_or("too much") })
        .description("Adds two numbers")
}

#[test]
fn a_closure_is_a_tool_with_schemas() {
    let tool = add();
    assert_eq!(tool.input_schema()["properties"]["a"]["format"], "uint32");
    assert_eq!(tool.output_schema()["type"], "integer");
    let call = |input: &Value| value(try_tool("add", input).tools(toolset([add()])).grants(granted(&["add"])));
    assert_eq!(call(&json!({"a": 2, "b": 3})), "ok: 5");
    assert_eq!(call(&json!({"a": u32::MAX, "b": 1})), "failed: too much");
    assert_eq!(call(&json!({"a": 2})), "invalid-input: missing field `b`");
    assert_eq!(call(&json!([])), "invalid-input: invalid length 0, expected struct Add with 2 elements");
}

#[test]
fn input_that_is_no_json_or_says_a_thing_twice_is_refused() {
    let call = |input: &str| {
        let call = caller().call("try-tool", json!({"name": "add", "input": input}));
        value(call.tools(toolset([add()])).grants(granted(&["add"])))
    };
    assert_eq!(call("{"), "invalid-input: the input is not JSON: EOF while parsing an object at line 1 column 1");
    assert!(
        call(r#"{"a":1,"b":1,"a":2}"#)
            .as_str()
            .unwrap()
            .starts_with("invalid-input: the input is not JSON: the key `a` stands there twice")
    );
}

#[test]
fn an_export_is_a_tool_in_a_fresh_sandbox() {
    let info: Tool = ledger().tool("lookup").unwrap().into();
    assert_eq!(info.input_schema()["required"], json!(["order"]));
    assert!(!info.about().is_empty());
    let call =
        try_tool("lookup", &json!({"order": "A-1001"})).tools(toolset([info.clone()])).grants(granted(&["lookup"]));
    assert_eq!(value(call), r#"ok: {"order":"A-1001","paid":3155,"currency":"GBP"}"#);
    let call = try_tool("lookup", &json!({"order": ""})).tools(toolset([info])).grants(granted(&["lookup"]));
    assert_eq!(value(call), "failed: the number of the order is empty");
}

#[test]
fn a_component_tool_reaches_what_it_is_granted_and_its_caller_does_not() {
    let place = tempfile::tempdir().unwrap();
    let books = folder(place.path(), "/ledger", Access::ReadWrite);
    let refund = ledger().tool("refund").unwrap().grants(books.clone());
    let call = caller()
        .call("call-tool", json!({"name": "refund", "input": r#"{"order":"A","amount":5}"#}))
        .tools(Toolset::new().with(refund).unwrap())
        .grants(books.tool("refund").unwrap())
        .narrowed_to(granted(&["refund"]));
    assert_eq!(value(call), r#"{"order":"A","amount":5,"count":1}"#);
    assert_eq!(std::fs::read_to_string(place.path().join("refunds.log")).unwrap(), "A 5\n");
}

#[test]
fn a_component_tool_without_grants_reaches_nothing_of_its_callers() {
    let place = tempfile::tempdir().unwrap();
    let call = try_tool("refund", &json!({"order": "A", "amount": 5}))
        .tools(Toolset::new().with(ledger().tool("refund").unwrap()).unwrap())
        .grants(folder(place.path(), "/ledger", Access::ReadWrite).tool("refund").unwrap());
    assert_eq!(value(call), "failed: there is no folder `/ledger`; grant one with `--dir HOST::/ledger:rw`");
}

#[test]
fn grants_widened_by_a_child() {
    let place = tempfile::tempdir().unwrap();
    let tool = |grants: Grants| Toolset::new().with(ledger().tool("refund").unwrap().grants(grants)).unwrap();
    let widened = |own: Grants, around: Grants| {
        let call = try_tool("refund", &json!({})).tools(tool(own)).grants(around.tool("refund").unwrap());
        let CallError::Widening(widening) = run(call).result.unwrap_err() else { panic!("not a widening") };
        assert_eq!(widening.tool, "refund");
        widening.widened.to_string()
    };
    let books = |access| folder(place.path(), "/ledger", access);
    assert!(widened(books(Access::ReadOnly), Grants::none()).starts_with("the folder `"));
    assert!(widened(books(Access::ReadWrite), books(Access::ReadOnly)).starts_with("the folder `"));
    assert!(widened(granted(&["lookup"]), Grants::none()).starts_with("the tool `lookup`"));
    assert!(widened(Grants::none().env("KEY", "1").unwrap(), Grants::none()).starts_with("the variable `KEY`"));
    // A tool of a tool.
    let inner = tool(books(Access::ReadOnly));
    let outer = caller().tool("try-tool").unwrap().grants(granted(&["refund"])).tools(inner);
    let call = try_tool("try-tool", &json!({}))
        .tools(Toolset::new().with(outer).unwrap())
        .grants(books(Access::ReadWrite).tool("try-tool").unwrap().tool("refund").unwrap());
    assert!(matches!(run(call).result, Err(CallError::Widening(_))));
    // The called component itself.
    let call = try_tool("refund", &json!({})).narrowed_to(granted(&["refund"]));
    assert!(matches!(run(call).result, Err(CallError::Narrowing(_))));
}

#[test]
fn an_undeclared_tool() {
    let (tool, count) = counting("known");
    let gate = casemate::Gate::default();
    let mut events = gate.subscribe(10);
    let call =
        try_tool("unknown", &json!({})).tools(toolset([tool])).grants(granted(&["unknown", "known"])).gate(&gate);
    assert_eq!(value(call), "not-found: there is no tool `unknown`");
    let events = seen(&mut events);
    assert_eq!((events.len(), events[0].0.as_str()), (1, "denied"));
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn a_tool_outside_the_grants_by_a_trick_of_case_or_unicode() {
    for name in ["Refund", "REFUND", "refund ", "refund\u{200b}", "r\u{435}fund", "refund\0"] {
        let (tool, count) = counting("refund");
        let call = try_tool(name, &json!({})).tools(toolset([tool])).grants(granted(&["refund"]));
        let said = value(call);
        assert!(said.as_str().unwrap().starts_with("not-found: "), "{said}");
        let (tool, _) = counting("refund");
        let call = try_tool("refund", &json!({})).tools(toolset([tool])).grants(granted(&[name]));
        assert_eq!(value(call), "denied: the tool `refund` is not granted");
        assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 0);
    }
    for name in ["r\u{435}fund", "refund ", "", "a\0b"] {
        assert!(matches!(Toolset::new().with(counting(name).0), Err(ToolsetError::Name { .. })), "{name}");
    }
}

#[test]
fn a_toolset_has_each_name_once() {
    let set = toolset([counting("one").0, counting("two").0]);
    let duplicate = |name: &str| Err(ToolsetError::Duplicate { name: name.to_owned() });
    let names = |set: Result<Toolset, ToolsetError>| set.map(|set| set.names().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(names(set.clone().renamed("one", "two")), duplicate("two"));
    assert_eq!(names(set.clone().with(ledger().tool("lookup").unwrap().named("one"))), duplicate("one"));
    // Under another name it would still be `one` for grants and rules.
    let renamed = set.clone().renamed("one", "uno").unwrap();
    assert_eq!(names(renamed.with(ledger().tool("lookup").unwrap().named("one"))), duplicate("one"));
    assert_eq!(names(Ok(set.filtered(|name, _| name != "one"))), Ok(vec!["two".to_owned()]));
}

#[test]
fn a_guest_is_shown_what_it_can_call_and_no_more() {
    let tools = toolset([add(), counting("hidden").0]).renamed("add", "plus").unwrap();
    let call = caller().call("describe-tools", json!({})).tools(tools).grants(granted(&["add"]));
    let described = value(call);
    assert_eq!(described[0][0], "plus");
    assert_eq!(described[0][1], "Adds two numbers");
    assert_eq!(
        serde_json::from_str::<Value>(described[0][2].as_str().unwrap()).unwrap()["required"],
        json!(["a", "b"])
    );
    assert_eq!(described.as_array().unwrap().len(), 1);
    assert_eq!(value(caller().call("list-tools", json!({}))), json!([]));
}

#[test]
fn results_of_calls_side_by_side_come_in_order() {
    let calls: Vec<_> = (0..100).map(|n| ("add", json!({"a": n, "b": 1}).to_string())).collect();
    let call = caller().call("call-all", json!({"calls": calls})).tools(toolset([add()])).grants(granted(&["add"]));
    let expected: Vec<_> = (0..100).map(|n| format!("ok: {}", n + 1)).collect();
    assert_eq!(value(call), json!(expected));
}

#[test]
fn calls_side_by_side_wait_for_each_other_only_where_they_must() {
    // Each of the two goes on only once the other has begun.
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let meet = Tool::new("meet", move |_: Add| {
        let barrier = barrier.clone();
        async move { Ok::<_, String>(barrier.wait().await.is_leader()) }
    });
    let call = caller()
        .call("call-many-at-once", json!({"name": "meet", "input": r#"{"a":1,"b":1}"#, "count": 2}))
        .tools(toolset([meet]))
        .grants(granted(&["meet"]));
    assert_eq!(value(call), json!([2, 0]));
}

#[test]
fn a_hundred_thousand_calls_at_once() {
    let (tool, count) = counting("t");
    let gate = casemate::Gate::default();
    let mut events = gate.subscribe(100_000);
    let call = caller()
        .call("call-many-at-once", json!({"name": "t", "input": "{}", "count": 100_000}))
        .tools(toolset([tool]))
        .grants(granted(&["t"]))
        .gate(&gate);
    assert_eq!(value(call), json!([256, 99_744]));
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 256);
    assert_eq!(seen(&mut events).len(), 2 * 256 + 1);
}

#[test]
fn recursion_of_tools_without_end() {
    let recurse = caller().tool("recurse").unwrap().inheriting();
    let call = caller()
        .call("recurse", json!({"name": "recurse"}))
        .tools(Toolset::new().with(recurse).unwrap())
        .grants(granted(&["recurse"]))
        .budget(Budget::default().depth(5));
    let error = tool_error(run(call).result.unwrap_err());
    let said = error.value.as_str().unwrap();
    assert!(said.ends_with("limit-exceeded: the limit `depth` was reached: 6 of at most 5 levels"), "{said}");
}

#[test]
fn a_component_calls_a_component_that_calls_a_component_with_a_pool_of_one_slot() {
    let engine = builder().max_sandboxes(1).build().unwrap();
    let caller = load(&engine, casemate_guests::CALLER);
    let deeper = caller.tool("ask-below").unwrap().inheriting();
    let call = caller
        .call("ask-below", json!({"name": "ask-below", "depth": 4}))
        .tools(Toolset::new().with(deeper).unwrap())
        .grants(granted(&["ask-below"]));
    assert_eq!(engine.block_on(call).unwrap(), "bottom");
}

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Sky {
    Clear,
    Cloudy,
    Rain,
}

#[derive(Serialize, JsonSchema)]
struct Forecast {
    city: String,
    high: i32,
    low: i32,
    sky: Sky,
}

#[derive(Deserialize, JsonSchema)]
struct City {
    city: String,
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

fn forecast() -> Tool {
    Tool::new("my-forecast", |City { city }: City| async move {
        if city == "Nowhere" {
            return Err("no such city");
        }
        Ok(Forecast { city, high: 30, low: 20, sky: Sky::Rain })
    })
}

fn cities() -> Tool {
    Tool::new("my-cities", |_: Nothing| async { Ok::<_, String>(vec!["Atlantis".to_owned()]) })
}

fn by_closures() -> Imports {
    let imports = planner().imports().function("get-forecast", forecast()).unwrap();
    imports.function("acme:weather/forecast#cities", cities()).unwrap()
}

#[test]
fn a_typed_import_is_served_by_a_component() {
    let imports = planner().imports().interface("acme:weather/forecast", weather()).unwrap();
    let grants = granted(&["acme:weather/forecast#get-forecast", "acme:weather/forecast#cities"]);
    let call = |city| planner().call("advise", json!({"city": city})).imports(imports.clone()).grants(grants.clone());
    assert_eq!(value(call("Oslo")), "Take sunglasses to Oslo: a clear sky, 3 to 14 degrees.");
    assert_eq!(tool_error(run(call("")).result.unwrap_err()).value, "the name of the city is empty");
    let call = planner().call("known-cities", json!({})).imports(imports).grants(grants);
    assert_eq!(value(call), json!(["Lisbon", "Nairobi", "Oslo", "Quito", "Tokyo"]));
}

#[test]
fn a_typed_import_is_served_by_closures() {
    let grants = granted(&["my-forecast", "my-cities"]);
    let call = |city| planner().call("advise", json!({"city": city})).imports(by_closures()).grants(grants.clone());
    let said = value(call("Oslo"));
    assert!(said.as_str().unwrap().contains("20 to 30 degrees"), "{said}");
    assert_eq!(tool_error(run(call("Nowhere")).result.unwrap_err()).value, "no such city");
    let call = planner().call("known-cities", json!({})).imports(by_closures()).grants(grants);
    assert_eq!(value(call), json!(["Atlantis"]));
}

#[test]
fn a_typed_call_goes_through_the_gate() {
    let gate = casemate::Gate::default();
    let mut events = gate.subscribe(10);
    let call = planner().call("advise", json!({"city": "Oslo"})).imports(by_closures()).gate(&gate);
    let CallError::Denied(denied) = run(call).result.unwrap_err() else { panic!("not denied") };
    assert_eq!(denied.refused[0].allow.as_deref(), Some("--allow-tool my-forecast"));
    assert_eq!(denied.cause.to_string(), "denied: the tool `my-forecast` is not granted");
    let events = seen(&mut events);
    assert_eq!((events[0].0.as_str(), &events[0].1["input"]), ("denied", &json!({"city": "Oslo"})));
    // A function that cannot say so ends its guest.
    let CallError::Denied(denied) =
        run(planner().call("known-cities", json!({})).imports(by_closures())).result.unwrap_err()
    else {
        panic!("not denied")
    };
    assert_eq!(denied.cause.to_string(), "the tool `my-cities` is not granted");
}

#[test]
fn a_type_that_differs_is_refused_with_both_types() {
    let refused = |tool: Tool| planner().imports().function("get-forecast", tool).unwrap_err().to_string();
    let wanted = "`acme:weather/forecast@1.0.0#get-forecast` is func(city: string) -> result<record { city: string, \
                  high: s32, low: s32, sky: enum { clear, cloudy, rain } }, string>";
    assert_eq!(
        refused(Tool::new("town", |_: Add| async { Ok::<_, String>(1_u64) })),
        format!("{wanted}, but the tool `town` is func(a: u32, b: u32) -> result<u64, string>")
    );
    assert_eq!(
        refused(counting("any").0),
        format!("{wanted}, but the type of the tool `any` cannot be written as WIT at `$`: WIT has no maps")
    );
    assert_eq!(
        refused(weather().tool("cities").unwrap().into()),
        format!("{wanted}, but the tool `cities` is func() -> list<string>")
    );
    let other = load(engine(), wat!("imports-unserved"));
    let error = other.imports().interface("acme:weather/forecast", weather()).unwrap_err().to_string();
    assert!(
        error.contains("-> string, but the tool `acme:weather/forecast#get-forecast` is func(city: string) -> result<"),
        "{error}"
    );
}

#[test]
fn an_import_that_nothing_serves_is_said_before_anything_runs() {
    let error = run(planner().call("known-cities", json!({}))).result.unwrap_err();
    assert!(error.to_string().starts_with("the component imports `acme:weather/forecast@1.0.0#"), "{error}");
    let half = planner().imports().function("cities", cities()).unwrap();
    let CallError::Unbound(unbound) = run(planner().call("known-cities", json!({})).imports(half)).result.unwrap_err()
    else {
        panic!("not unbound")
    };
    assert_eq!(unbound.import, "acme:weather/forecast@1.0.0#get-forecast");
    let error = planner().imports().function("towns", cities()).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "the component imports no function or interface `towns`; it imports acme:weather/forecast@1.0.0#"
        ),
        "{error}"
    );
    let error = planner().imports().interface("forecast", ledger()).unwrap_err().to_string();
    assert!(error.contains("is not served: there is no tool `forecast#"), "{error}");
}

#[derive(Deserialize, JsonSchema)]
struct Line {
    text: String,
}

#[derive(Deserialize, JsonSchema)]
struct Number {
    n: u32,
}

#[test]
fn functions_that_stand_alone_cannot_fail_or_are_none_are_imports_too() {
    let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = lines.clone();
    let log = Tool::new("log", move |Line { text }: Line| {
        kept.lock().unwrap().push(text);
        async { Ok::<_, String>(()) }
    });
    let plain = load(engine(), wat!("imports-plain"));
    let imports = plain.imports().function("log", log).unwrap();
    assert_eq!(value(plain.call("run", json!({})).imports(imports).grants(granted(&["log"]))), Value::Null);
    assert_eq!(*lines.lock().unwrap(), ["hello"]);

    let double = Tool::new("double", |Number { n }: Number| async move { n.checked_mul(2).ok_or("too much") });
    let infallible = load(engine(), wat!("imports-infallible"));
    let imports = infallible.imports().function("double", double).unwrap();
    let call = |n| infallible.call("quadruple", json!({"n": n})).imports(imports.clone()).grants(granted(&["double"]));
    assert_eq!(value(call(3_u32)), 12);
    assert_eq!(tool_error(run(call(u32::MAX)).result.unwrap_err()).value, "too much");

    let types_only = load(engine(), wat!("imports-types-only"));
    assert_eq!(value(types_only.call("one", json!({}))), 1);
}

#[test]
fn a_resource_cannot_be_served_by_a_tool() {
    let LoadError::UnsupportedImport { name, reason } = load_error(wat!("imports-resource")) else { panic!() };
    assert!(name.starts_with("acme:odd/things#"), "{name}");
    assert!(reason.contains("resource"), "{reason}");
}

#[test]
fn an_export_that_is_not_there_is_no_tool() {
    let Err(ExportError::NotFound(missing)) = ledger().tool("refnd") else { panic!() };
    assert_eq!(missing.nearest.as_deref(), Some("refund"));
}

#[test]
fn a_limit_of_a_component_tool_is_the_tools_own() {
    let spin = crate::support::adversarial().tool("spin").unwrap().limits(limits().fuel(100_000).unwrap().build());
    let call = try_tool("spin", &json!({})).tools(Toolset::new().with(spin).unwrap()).grants(granted(&["spin"]));
    assert_eq!(value(call), "limit-exceeded: the limit `fuel` was reached: 100000 of at most 100000 units");
    // Its caller's wall time goes on.
    let spin = crate::support::adversarial()
        .tool("spin")
        .unwrap()
        .limits(limits().fuel(u64::MAX / 4).unwrap().wall_time(std::time::Duration::from_mins(10)).unwrap().build());
    let call = try_tool("spin", &json!({})).tools(Toolset::new().with(spin).unwrap()).grants(granted(&["spin"]));
    let limits = limits().wall_time(std::time::Duration::from_millis(50)).unwrap().build();
    exceeds(call.limits(limits), LimitKind::WallTime, 50);
}

#[test]
fn two_tools_of_one_name_anywhere_in_a_tree_of_calls() {
    let duplicate = ToolsetError::Duplicate { name: "t".to_owned() };
    // A tool of a tool, which its caller's grant of another would cover.
    let inner = toolset([ledger().tool("lookup").unwrap().named("t").into()]);
    let outer = caller().tool("try-tool").unwrap().grants(granted(&["t"])).tools(inner);
    let set = toolset([counting("t").0]).with(outer);
    assert_eq!(set.map(|_| ()), Err(duplicate.clone()));
    // One tool in the set, and another that serves an import.
    let plain = load(engine(), wat!("imports-plain"));
    let log =
        Tool::new("t", |Line { text }: Line| async move { if text.is_empty() { Err("nothing") } else { Ok(()) } });
    let imports = plain.imports().function("log", log).unwrap();
    let other = Toolset::new().with(ledger().tool("lookup").unwrap().named("t")).unwrap();
    let call = plain.call("run", json!({})).imports(imports).tools(other).grants(granted(&["t"]));
    let CallError::Namesakes(found) = run(call).result.unwrap_err() else { panic!("not refused") };
    assert_eq!(found, duplicate);
}

#[test]
fn a_guest_pays_for_the_work_that_it_asks_for() {
    let (tool, count) = counting("t");
    let call = caller()
        .call(
            "call-many-in-a-row",
            json!({"name": "t", "input": format!("\"{}\"", "x".repeat(1_000_000)), "count": 1_000}),
        )
        .tools(toolset([tool]))
        .grants(granted(&["t"]))
        .limits(limits().fuel(50_000_000).unwrap().build());
    exceeds(call, LimitKind::Fuel, 50_000_000);
    assert!(count.load(std::sync::atomic::Ordering::SeqCst) < 50);
}

#[test]
fn a_tool_that_inherits_has_what_its_caller_has_and_not_what_the_call_has() {
    let (refund, count) = counting("refund");
    let tools = Toolset::new().with(refund).unwrap().with(caller().tool("try-tool").unwrap().inheriting()).unwrap();
    let call = try_tool("try-tool", &json!({"name": "refund", "input": "{}"}))
        .tools(tools)
        .grants(granted(&["refund", "try-tool"]))
        .narrowed_to(granted(&["try-tool"]));
    assert_eq!(value(call), r#"ok: "denied: the tool `refund` is not granted""#);
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn a_key_that_rules_cannot_see_does_not_reach_a_closure() {
    #[derive(Deserialize, JsonSchema)]
    struct Inner {
        #[serde(alias = "amt")]
        amount: Option<u32>,
    }
    #[derive(Deserialize, JsonSchema)]
    struct Outer {
        inner: Inner,
    }
    let tool = || Tool::new("t", |outer: Outer| async move { Ok::<_, String>(outer.inner.amount) });
    let call = |input| value(try_tool("t", &input).tools(toolset([tool()])).grants(granted(&["t"])));
    assert_eq!(call(json!({"inner": {"amount": 1}})), "ok: 1");
    assert_eq!(call(json!({"inner": {"amt": 1}})), "invalid-input: unknown field `amt`");
}

#[test]
fn input_that_is_much_larger_than_its_text() {
    let call = caller().call("try-tool", json!({"name": "t", "input": format!("[{}0]", "0,".repeat(5_000_000))}));
    let call = call.tools(toolset([counting("t").0])).grants(granted(&["t"]));
    let said = value(call.limits(limits().memory(256 << 20).unwrap().build()));
    assert!(said.as_str().unwrap().starts_with("limit-exceeded: the limit `host-call-bytes`"), "{said}");
}
