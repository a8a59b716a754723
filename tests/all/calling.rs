use std::sync::{Arc, Mutex};
use std::time::Duration;

use casemate::{CallError, ErrorKind, Grants, LimitKind, OnExcess, Stream};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::{
    adversarial, adversarial_by_time, builder, engine, exceeded, limits, load, run, time_engine, tool_error, value, wat,
};

#[test]
fn nothing_survives_between_calls() {
    for component in [adversarial(), adversarial_by_time()] {
        for _ in 0..3 {
            assert_eq!(value(component.call("counter-next", json!({}))), 1);
        }
    }
}

#[test]
fn a_tool_is_found_by_each_of_its_names() {
    for name in ["counter-next", "counter_next", "compute#counter-next"] {
        assert_eq!(value(adversarial().call(name, json!({}))), 1, "{name}");
    }
    assert_eq!(value(adversarial().call("casemate:adversarial/compute@0.1.0#counter-next", json!({}))), 1);
}

#[test]
fn a_function_without_result_gives_null() {
    assert_eq!(value(adversarial().call("print", json!({"text": ""}))), Value::Null);
}

#[test]
fn bytes_come_as_base64() {
    use base64::Engine as _;
    let expected = base64::engine::general_purpose::STANDARD.encode([0xA5; 10]);
    assert_eq!(value(adversarial().call("big-list", json!({"count": 10}))), expected);
}

#[test]
fn exit_zero_is_a_normal_end() {
    assert_eq!(value(adversarial().call("exit", json!({"status": 0}))), Value::Null);
}

#[test]
fn exit_with_another_status_is_a_tool_error_with_that_status() {
    let error = tool_error(run(adversarial().call("exit", json!({"status": 7}))).result.unwrap_err());
    assert_eq!((error.exit_status, error.value), (Some(7), Value::Null));
}

#[test]
fn a_trap_names_the_functions_it_came_through() {
    for component in [adversarial(), adversarial_by_time()] {
        let report = run(component.call("trap", json!({})));
        let Err(CallError::Trap(trap)) = report.result else { panic!("no trap: {:?}", report.result) };
        let functions: Vec<_> = trap.backtrace.iter().filter_map(|frame| frame.function.as_deref()).collect();
        let position = |name| functions.iter().position(|function| function.ends_with(name));
        let depths = ["adversarial_depth_three", "adversarial_depth_two", "adversarial_depth_one"].map(position);
        assert!(depths.is_sorted() && depths[0].is_some(), "{functions:#?}");
        assert!(String::from_utf8_lossy(&report.output.stderr).contains("trap on purpose"));
    }
}

#[test]
fn a_trap_names_file_and_line_where_the_component_has_debug_information() {
    let text = "(component\n(core module $m (func (export \"f\")\n(nop)\n(unreachable)))\n\
        (core instance $i (instantiate $m))\n(func (export \"f\") (canon lift (core func $i \"f\"))))";
    let bytes = ::wat::Parser::new()
        .generate_dwarf(::wat::GenerateDwarf::Lines)
        .parse_str(Some(std::path::Path::new("trapping.wat")), text)
        .expect("the text parses");
    let Err(CallError::Trap(trap)) = run(load(engine(), bytes).call("f", json!({}))).result else {
        panic!("it does not trap");
    };
    let frame = trap.backtrace.first().expect("a frame");
    assert!(frame.file.as_deref().is_some_and(|file| file.ends_with("trapping.wat")), "{frame:?}");
    assert_eq!(frame.line, Some(4));
}

#[test]
fn what_is_printed_is_captured_by_stream() {
    let report = run(adversarial().call("print", json!({"text": "out"})));
    assert_eq!((report.output.stdout.as_slice(), report.output.stderr.as_slice()), (&b"out"[..], &b""[..]));
    let report = run(adversarial().call("warn", json!({"text": "err"})));
    assert_eq!((report.output.stdout.as_slice(), report.output.stderr.as_slice()), (&b""[..], &b"err"[..]));
    assert_eq!((report.usage.stdout_bytes, report.usage.stderr_bytes), (0, 3));
}

#[test]
fn what_is_printed_goes_to_a_callback_and_is_cut_at_the_limit() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let call = adversarial()
        .call("flood-stdout", json!({"bytes": 100_000}))
        .limits(limits().output(10_000, OnExcess::Truncate).unwrap().build())
        .on_output(move |stream, bytes| {
            assert!(!bytes.is_empty());
            sink.lock().unwrap().push((stream, bytes.len()));
        });
    let report = run(call);
    assert_eq!(report.result.unwrap(), 100_000);
    let seen = seen.lock().unwrap();
    assert!(seen.len() > 1 && seen.iter().all(|(stream, _)| *stream == Stream::Stdout));
    assert_eq!(seen.iter().map(|(_, bytes)| bytes).sum::<usize>(), 10_000);
    assert!(report.output.stdout.is_empty() && report.output.stdout_truncated);
}

#[test]
fn a_panic_in_an_output_callback_fails_its_call_and_no_other() {
    let engine = builder().max_sandboxes(1).build().unwrap();
    let component = load(&engine, casemate_guests::ADVERSARIAL);
    let call = component.call("print", json!({"text": "x"})).on_output(|_, _| panic!("on purpose"));
    let error = engine.block_on(call.report()).result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    assert_eq!(engine.block_on(component.call("counter-next", json!({}))).unwrap(), 1);
}

#[test]
fn a_panic_in_a_closure_fails_its_call_and_no_other() {
    let engine = builder().max_sandboxes(1).build().unwrap();
    let component = load(&engine, casemate_guests::ADVERSARIAL);
    for limits in [engine.limits(), engine.limits().memory(500 << 20).unwrap()] {
        let call = component.call("", ()).limits(limits.build());
        let report = engine.block_on(call.with_instance::<()>(|_, _| Box::pin(async { panic!("on purpose") })));
        assert_eq!(report.result.unwrap_err().kind(), ErrorKind::Internal);
    }
    assert_eq!(engine.block_on(component.call("counter-next", json!({}))).unwrap(), 1);
}

#[derive(Debug, thiserror::Error)]
#[error("trouble number {0}")]
struct OwnTrouble(u32);

#[test]
fn an_error_of_a_closure_is_no_fault_of_the_guest() {
    let component = load(engine(), wat!("five-exports"));
    let report = engine().block_on(component.call("", ()).with_instance::<()>(|store, instance| {
        Box::pin(async move {
            let add = instance.get_typed_func::<(u32, u32), (u32,)>(&mut *store, "add")?;
            assert_eq!(add.call_async(&mut *store, (1, 2)).await?, (3,));
            Err(OwnTrouble(7).into())
        })
    }));
    let error = report.result.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Internal, "trouble number 7"));
}

#[test]
fn limits_hold_on_the_typed_path() {
    let component = load(engine(), wat!("five-exports"));
    let limits = limits().fuel(100_000).unwrap().build();
    let report = engine().block_on(component.call("", ()).limits(limits).with_instance(|store, instance| {
        Box::pin(async move { instance.get_typed_func::<(), ()>(&mut *store, "spin")?.call_async(store, ()).await })
    }));
    let Err(CallError::LimitExceeded(exceeded)) = report.result else { panic!("{:?}", report.result) };
    assert_eq!(exceeded.limit, LimitKind::Fuel);
}

#[test]
fn each_of_five_handwritten_exports_is_stopped_by_its_limit() {
    let component = load(engine(), wat!("five-exports"));
    let call =
        |name: &str, limits: casemate::LimitsBuilder| run(component.call(name, json!({})).limits(limits.build()));
    let short = || limits().fuel(u64::MAX).unwrap().wall_time(Duration::from_millis(20)).unwrap();
    for name in ["spin", "park"] {
        assert_eq!(exceeded(&call(name, short())).limit, LimitKind::WallTime, "{name}");
    }
    assert_eq!(exceeded(&call("spin", limits().fuel(10_000).unwrap())).limit, LimitKind::Fuel);
    assert_eq!(exceeded(&call("grow", limits())).limit, LimitKind::Memory);
    assert_eq!(exceeded(&call("print", limits().output(100, OnExcess::Fail).unwrap())).limit, LimitKind::Output);
    assert_eq!(value(component.call("add", json!({"a": 2, "b": u32::MAX}))), 1);
}

/// Drops a handle while another that depends on it is alive.
const DROPS_A_PARENT: &str = r#"(component
    (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
    (alias export $error "error" (type $error))
    (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:io/streams@0.2.0" (instance $streams
        (alias outer 1 $error (type $e)) (export "error" (type (eq $e)))
        (alias outer 1 $pollable (type $p)) (export "pollable" (type $pollable (eq $p)))
        (export "output-stream" (type $out (sub resource)))
        (export "[method]output-stream.subscribe"
            (func (param "self" (borrow $out)) (result (own $pollable))))))
    (alias export $streams "output-stream" (type $out))
    (import "wasi:cli/stdout@0.2.0" (instance $stdout
        (alias outer 1 $out (type $o)) (export "output-stream" (type $out (eq $o)))
        (export "get-stdout" (func (result (own $out))))))
    (core func $get (canon lower (func $stdout "get-stdout")))
    (core func $subscribe (canon lower (func $streams "[method]output-stream.subscribe")))
    (core func $drop (canon resource.drop $out))
    (core module $m
        (import "host" "get" (func $get (result i32)))
        (import "host" "subscribe" (func $subscribe (param i32) (result i32)))
        (import "host" "drop" (func $drop (param i32)))
        (func (export "run") (local $out i32)
            (local.set $out (call $get))
            (drop (call $subscribe (local.get $out)))
            (call $drop (local.get $out))))
    (core instance $i (instantiate $m (with "host" (instance
        (export "get" (func $get)) (export "subscribe" (func $subscribe)) (export "drop" (func $drop))))))
    (func (export "run") (canon lift (core func $i "run"))))"#;

#[test]
fn breaking_a_rule_of_a_host_interface_is_a_trap() {
    let component = load(engine(), DROPS_A_PARENT);
    let error = run(component.call("run", json!({}))).result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Trap, "{error}");
}

#[test]
fn a_guest_that_cannot_even_start_traps() {
    let outside = r#"(component
        (core module $m (memory 1) (data (i32.const 65536) "x") (func (export "f")))
        (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f"))))"#;
    let error = run(load(engine(), outside).call("f", json!({}))).result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Trap, "{error}");
}

#[test]
fn a_result_too_large_is_one_on_the_typed_path_too() {
    let component = load(engine(), wat!("shared-result"));
    let report = engine().block_on(component.call("", ()).with_instance(|store, instance| {
        Box::pin(async move {
            let amplify = instance.get_typed_func::<(u32,), (Vec<String>,)>(&mut *store, "amplify")?;
            amplify.call_async(store, (10_000,)).await
        })
    }));
    let Err(CallError::LimitExceeded(exceeded)) = report.result else { panic!("{:?}", report.result) };
    assert_eq!(exceeded.limit, LimitKind::Result);
}

#[tokio::test]
async fn a_signal_cancels_a_call_and_there_is_a_report() {
    for limits in [limits(), limits().memory(500 << 20).unwrap()] {
        let limits = limits.fuel(u64::MAX).unwrap().build();
        let (started, has_started) = oneshot::channel();
        let mut started = Some(started);
        let call = adversarial()
            .call("flood-forever", json!({}))
            .limits(limits)
            .on_output(move |_, _| {
                started.take().map(|started| started.send(()));
            })
            .until(async {
                has_started.await.unwrap();
            });
        let report = call.report().await;
        assert!(matches!(report.result, Err(CallError::Cancelled)), "{:?}", report.result);
        assert!(report.usage.fuel > Some(0) && report.usage.stdout_bytes > 0, "{:?}", report.usage);
    }
}

#[tokio::test]
async fn a_signal_reaches_a_guest_that_waits_in_the_host() {
    let report = adversarial().call("sleep-an-hour", json!({})).until(std::future::ready(())).report().await;
    assert!(matches!(report.result, Err(CallError::Cancelled)), "{:?}", report.result);
}

#[tokio::test]
async fn a_signal_reaches_a_call_that_waits_for_its_place() {
    let engine = builder().max_sandboxes(1).build().unwrap();
    let component = engine.load_bytes(casemate_guests::ADVERSARIAL).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let holds = tokio::spawn({
        let call = component.call("sleep-an-hour", json!({})).until(async { stopped.await.unwrap() });
        call.report()
    });
    tokio::task::yield_now().await;
    let report = component.call("counter-next", json!({})).until(std::future::ready(())).report().await;
    assert!(matches!(report.result, Err(CallError::Cancelled)), "{:?}", report.result);
    stop.send(()).unwrap();
    assert!(matches!(holds.await.unwrap().result, Err(CallError::Cancelled)));
}

#[tokio::test]
async fn dropping_a_call_frees_its_place() {
    let engine = builder().max_sandboxes(1).build().unwrap();
    let component = engine.load_bytes(casemate_guests::ADVERSARIAL).await.unwrap();
    for limits in [engine.limits(), engine.limits().memory(500 << 20).unwrap()] {
        for name in ["flood-forever", "spin", "sleep-an-hour"] {
            let (started, has_started) = oneshot::channel();
            let mut started = Some(started);
            let limits = limits.clone().fuel(u64::MAX).unwrap().build();
            let call = component.call(name, json!({})).limits(limits).on_output(move |_, _| {
                started.take().map(|started| started.send(()));
            });
            let running = tokio::spawn(call.report());
            if name == "flood-forever" {
                has_started.await.unwrap();
            } else {
                tokio::task::yield_now().await;
            }
            running.abort();
            assert!(running.await.unwrap_err().is_cancelled());
            assert_eq!(component.call("counter-next", json!({})).await.unwrap(), 1, "after {name}");
        }
    }
}

#[test]
fn a_call_has_no_usage_where_no_sandbox_was_made() {
    let report = run(adversarial().call("exit", json!({"status": 256})));
    assert_eq!(report.result.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(report.usage, casemate::Usage::default());
}

#[test]
fn usage_tells_what_a_call_took() {
    let report = run(adversarial().call("fill", json!({"bytes": 20 << 20})));
    assert_eq!(report.result.unwrap(), 20 << 20);
    assert!(report.usage.peak_memory > 20 << 20 && report.usage.wall_time > Duration::ZERO, "{:?}", report.usage);
    let json = serde_json::to_value(report.usage).unwrap();
    for key in ["fuel", "peak_memory_bytes", "refused_growths", "wall_time_us", "stdout_bytes", "stderr_bytes"] {
        assert!(json[key].is_u64(), "{key}: {json}");
    }
}

#[test]
fn an_error_as_json_has_a_kind_a_message_and_its_facts() {
    let limits = limits().fuel(10_000).unwrap().build();
    let error = run(adversarial().call("spin", json!({})).limits(limits)).result.unwrap_err().to_json();
    assert_eq!((&error["kind"], &error["limit"]), (&json!("limit-exceeded"), &json!("fuel")));
    assert_eq!((&error["used"], &error["max"]), (&json!(10_000), &json!(10_000)));
    let error = run(adversarial().call("exit", json!({"status": 3}))).result.unwrap_err().to_json();
    assert_eq!((&error["kind"], &error["exit_status"]), (&json!("tool-error"), &json!(3)));
    let error = run(adversarial().call("exit", json!({"status": "x"}))).result.unwrap_err().to_json();
    assert_eq!((&error["kind"], &error["path"]), (&json!("invalid-input"), &json!("$.status")));
}

#[test]
fn a_time_metered_call_is_like_any_other() {
    let limits = time_engine().limits().wall_time(Duration::from_mins(1)).unwrap().build();
    let call = adversarial_by_time().call("environment", json!({})).limits(limits).grants(Grants::none());
    assert_eq!(value(call), json!([]));
}
