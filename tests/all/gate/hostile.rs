//! Closures, rules and guests that panic, hang, lie or flood.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use casemate::{CallError, Decision, Gate, LimitKind, Policy, Query, Tool, Toolset};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{Amounts, calls, refund};
use crate::support::{
    Anything, adversarial, caller, counting, engine, exceeded, granted, limits, run, seen, toolset, try_tool,
    types_seen, value,
};

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
