use std::time::Duration;

use casemate::{
    Access, Call, CallError, Component, ErrorKind, InvalidLimit, LimitKind, Limits, LimitsBuilder, OnExcess,
};
use serde_json::{Value, json};

use crate::support::{
    adversarial, adversarial_by_time, engine, exceeded, exceeds, folder, limits, load, run, time_engine, toolbox,
    value, wat,
};

const MIB: u64 = 1 << 20;

fn with(name: &str, input: Value, limits: LimitsBuilder) -> Call {
    adversarial().call(name, input).limits(limits.build())
}

/// The guest under each metering, with limits that its engine can keep.
fn both() -> [(&'static Component, LimitsBuilder); 2] {
    [(adversarial(), limits().fuel(u64::MAX).unwrap()), (adversarial_by_time(), time_engine().limits())]
}

#[test]
fn a_spinning_guest_runs_out_of_fuel() {
    let report = exceeds(with("spin", json!({}), limits().fuel(1_000_000).unwrap()), LimitKind::Fuel, 1_000_000);
    assert!(report.usage.fuel >= Some(900_000), "{:?}", report.usage);
}

#[test]
fn fuel_is_repeatable() {
    let fuel = || run(with("busy-loop", json!({"iterations": 10_000}), limits())).usage.fuel.unwrap();
    assert_eq!(fuel(), fuel());
    let short = run(with("busy-loop", json!({"iterations": 1_000}), limits())).usage.fuel.unwrap();
    assert!(short < fuel());
}

#[test]
fn fuel_holds_at_the_start_and_around_the_call() {
    let few = || limits().fuel(100_000).unwrap().build();
    for (text, name, input) in [
        (wat!("spin-at-start"), "answer", json!({})),
        (wat!("spin-around-call"), "in-realloc", json!({"text": "x"})),
        (wat!("spin-around-call"), "in-post-return", json!({})),
    ] {
        let component = load(engine(), text);
        exceeds(component.call(name, input).limits(few()), LimitKind::Fuel, 100_000);
    }
}

#[test]
fn wall_time_holds_at_the_start_and_around_the_call() {
    for (text, name, input) in [
        (wat!("spin-at-start"), "answer", json!({})),
        (wat!("spin-around-call"), "in-realloc", json!({"text": "x"})),
        (wat!("spin-around-call"), "in-post-return", json!({})),
    ] {
        let component = load(time_engine(), text);
        let limits = time_engine().limits().wall_time(Duration::from_millis(20)).unwrap().build();
        exceeds(component.call(name, input).limits(limits), LimitKind::WallTime, 20);
    }
}

#[test]
fn wall_time_stops_a_guest_that_spins_naps_or_waits() {
    for name in ["spin", "spin-in-host", "nap-forever", "sleep-an-hour", "flood-forever"] {
        for (component, limits) in both() {
            let limits = limits.wall_time(Duration::from_millis(30)).unwrap().build();
            let report = exceeds(component.call(name, json!({})).limits(limits), LimitKind::WallTime, 30);
            assert!(report.usage.wall_time >= Duration::from_millis(30), "{name}: {:?}", report.usage);
        }
    }
}

#[test]
fn memory_allocated_without_end_is_named_and_not_the_trap_it_leads_to() {
    for (component, limits) in both() {
        let limits = limits.memory(16 * MIB).unwrap().build();
        let report =
            exceeds(component.call("allocate-without-end", json!({})).limits(limits), LimitKind::Memory, 16 * MIB);
        assert!(report.usage.refused_growths > 0);
        assert!((10 * MIB..=16 * MIB).contains(&report.usage.peak_memory), "{:?}", report.usage);
    }
}

#[test]
fn by_default_a_guest_gains_64_mib() {
    let report = run(adversarial().call("allocate-without-end", json!({})));
    let exceeded = exceeded(&report);
    assert_eq!(exceeded.limit, LimitKind::Memory);
    assert!((64 * MIB..80 * MIB).contains(&exceeded.max), "{exceeded}");
}

#[test]
fn a_refused_growth_is_minus_one_to_the_guest_and_counted() {
    let report = run(with("try-grow", json!({"pages": 60_000}), limits().memory(16 * MIB).unwrap()));
    assert_eq!(report.result.unwrap(), Value::Null);
    assert_eq!(report.usage.refused_growths, 1);
    let report = run(with("try-grow", json!({"pages": 1}), limits().memory(16 * MIB).unwrap()));
    assert!(report.result.unwrap().is_number());
    assert_eq!(report.usage.refused_growths, 0);
}

/// Asks for more memory than there is, and leaves with an error.
const REFUSED_AND_GONE: &str = r#"(component
    (import "wasi:cli/exit@0.2.0" (instance $cli (export "exit" (func (param "status" (result))))))
    (core func $exit (canon lower (func $cli "exit")))
    (core module $m
        (import "host" "exit" (func $exit (param i32)))
        (memory 1)
        (func (export "leave") (param $pages i32)
            (drop (memory.grow (local.get $pages)))
            (call $exit (i32.const 1))))
    (core instance $i (instantiate $m (with "host" (instance (export "exit" (func $exit))))))
    (func (export "leave") (param "pages" u32) (canon lift (core func $i "leave"))))"#;

#[test]
fn an_exit_after_a_refused_growth_names_memory() {
    let component = load(engine(), REFUSED_AND_GONE);
    let leave = |pages: u32| run(component.call("leave", json!({"pages": pages})));
    assert_eq!(exceeded(&leave(60_000)).limit, LimitKind::Memory);
    assert_eq!(leave(1).result.unwrap_err().kind(), ErrorKind::ToolError);
}

#[test]
fn memory_is_the_sum_over_all_memories() {
    let component = load(engine(), wat!("many-memories"));
    let grow = |pages: u32, bytes: u64| {
        let limits = limits().memory(bytes).unwrap().build();
        run(component.call("grow-each", json!({"pages": pages})).limits(limits))
    };
    let report = grow(4, MIB);
    assert_eq!(report.result.unwrap(), 3);
    assert_eq!((report.usage.refused_growths, report.usage.peak_memory), (1, MIB));
    assert_eq!(grow(3, MIB).result.unwrap(), 4);
}

#[test]
fn tables_count_as_memory() {
    let component = load(engine(), wat!("grow-table"));
    let grow = |elements: u32| {
        let limits = limits().memory(64 << 10).unwrap().build();
        run(component.call("grow", json!({"elements": elements})).limits(limits))
    };
    assert_eq!(grow(8_191).result.unwrap(), 1);
    let report = grow(8_192);
    assert_eq!(report.result.unwrap(), -1);
    assert_eq!(report.usage.refused_growths, 1);
}

/// Asks each memory for more than its own type allows, and then the other for what the limit allows.
const BEYOND_ITS_OWN_MAXIMUM: &str = r#"(component
    (core module $m
        (memory $small 1 1) (memory $other 1)
        (func (export "try") (result i32)
            (drop (memory.grow $small (i32.const 200)))
            (drop (memory.grow $small (i32.const 200)))
            (memory.grow $other (i32.const 200))))
    (core instance $i (instantiate $m))
    (func (export "try") (result s32) (canon lift (core func $i "try"))))"#;

#[test]
fn memory_that_was_not_gained_in_the_end_is_not_counted() {
    let component = load(engine(), BEYOND_ITS_OWN_MAXIMUM);
    let report = run(component.call("try", json!({})).limits(limits().memory(16 * MIB).unwrap().build()));
    assert_eq!(report.result.unwrap(), 1);
    assert_eq!(report.usage.peak_memory, 202 << 16);
}

/// Starts with nothing, so that its first growth looks like a start.
const STARTS_WITH_NOTHING: &str = r#"(component
    (core module $m
        (memory 0)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))
    (core instance $i (instantiate $m))
    (func (export "grow") (param "pages" u32) (result s32) (canon lift (core func $i "grow"))))"#;

#[test]
fn growing_from_nothing_is_growing() {
    let component = load(engine(), STARTS_WITH_NOTHING);
    let grow = |pages: u32| value(component.call("grow", json!({"pages": pages})));
    assert_eq!(grow(1_024), 0);
    assert_eq!(grow(1_025), -1);
}

#[test]
fn a_component_that_starts_too_large_does_not_start() {
    let component = load(engine(), wat!("starts-large"));
    let report = run(component.call("answer", json!({})));
    assert_eq!(exceeded(&report).limit, LimitKind::Memory);
    let limits = limits().memory(4 << 30).unwrap().build();
    assert_eq!(value(component.call("answer", json!({})).limits(limits)), 42);
}

#[test]
fn a_guest_with_much_memory_is_filled_and_limited_like_any() {
    let much = || limits().memory(300 * MIB).unwrap();
    assert_eq!(value(with("fill", json!({"bytes": 200 * MIB}), much())), 200 * MIB);
    exceeds(with("fill", json!({"bytes": 400 * MIB}), much()), LimitKind::Memory, 300 * MIB);
    let spins = much().fuel(u64::MAX).unwrap().wall_time(Duration::from_millis(30)).unwrap();
    exceeds(with("spin", json!({}), spins), LimitKind::WallTime, 30);
    let waits = much().wall_time(Duration::from_millis(30)).unwrap();
    exceeds(with("sleep-an-hour", json!({}), waits), LimitKind::WallTime, 30);
}

#[test]
fn a_recursion_without_end_overflows_its_stack() {
    for (component, limits) in both() {
        exceeds(component.call("recurse", json!({})).limits(limits.build()), LimitKind::Stack, 512 << 10);
    }
}

#[test]
fn instances_are_counted_before_it_starts() {
    let component = load(engine(), wat!("many-instances"));
    let call = || component.call("answer", json!({}));
    let report = exceeds(call().limits(limits().instances(200).unwrap().build()), LimitKind::Instances, 200);
    assert_eq!(exceeded(&report).used, 201);
    assert_eq!(value(call().limits(limits().instances(201).unwrap().build())), 42);
    assert_eq!(value(call()), 42);
}

#[test]
fn output_beyond_its_limit_is_cut_and_flagged() {
    let small = || limits().output(1_000, OnExcess::Truncate).unwrap();
    let report = run(with("flood-stdout", json!({"bytes": 1_000_000}), small()));
    assert_eq!(report.result.unwrap(), 1_000_000);
    assert_eq!((report.output.stdout.len(), report.output.stdout_truncated), (1_000, true));
    assert_eq!((report.output.stderr.len(), report.output.stderr_truncated), (0, false));
    assert_eq!((report.usage.stdout_bytes, report.usage.stderr_bytes), (1_000_000, 0));

    let report = run(with("flood-stderr", json!({"bytes": 5_000}), small()));
    assert_eq!(report.result.unwrap(), 5_000);
    assert_eq!((report.output.stderr.len(), report.output.stderr_truncated), (1_000, true));
    assert_eq!(report.usage.stderr_bytes, 5_000);
}

#[test]
fn output_within_its_limit_is_whole() {
    let exact = limits().output(1_000, OnExcess::Fail).unwrap();
    let report = run(with("flood-stdout", json!({"bytes": 1_000}), exact));
    assert_eq!(report.result.unwrap(), 1_000);
    assert_eq!((report.output.stdout.len(), report.output.stdout_truncated), (1_000, false));
}

#[test]
fn output_beyond_its_limit_ends_the_guest_where_that_is_asked_for() {
    for name in ["flood-stdout", "flood-stderr"] {
        let strict = limits().output(1_000, OnExcess::Fail).unwrap();
        let report = exceeds(with(name, json!({"bytes": 1_000_000}), strict), LimitKind::Output, 1_000);
        assert_eq!(report.output.stdout.len() + report.output.stderr.len(), 1_000);
    }
    let strict = limits().output(1_000, OnExcess::Fail).unwrap();
    exceeds(with("flood-forever", json!({}), strict), LimitKind::Output, 1_000);
}

#[test]
fn writing_more_than_permitted_at_once_is_a_trap_and_nothing_is_kept() {
    for (name, bytes) in [("write-unasked", MIB), ("flood-zeroes", MIB), ("flood-zeroes", u64::MAX)] {
        let report = run(with(name, json!({"bytes": bytes}), limits()));
        assert_eq!(report.result.unwrap_err().kind(), ErrorKind::Trap, "{name}");
        assert_eq!(report.output.stdout, b"");
    }
}

#[test]
fn a_result_too_large_is_not_copied_out() {
    let small = || limits().result(MIB).unwrap();
    exceeds(with("big-list", json!({"count": MIB}), small()), LimitKind::Result, MIB);
    exceeds(with("big-result", json!({"bytes": 2 * MIB}), small()), LimitKind::Result, MIB);
    exceeds(with("big-nested", json!({"width": 100}), small()), LimitKind::Result, MIB);
    assert_eq!(value(with("big-result", json!({"bytes": 1_000}), small())).as_str().unwrap().len(), 1_000);
    assert_eq!(value(with("big-nested", json!({"width": 10}), small())).as_array().unwrap().len(), 10);
}

#[test]
fn a_result_that_shares_its_parts_counts_as_what_it_becomes() {
    let component = load(engine(), wat!("shared-result"));
    let report = exceeds(component.call("amplify", json!({"count": 10_000})), LimitKind::Result, 64 * MIB);
    assert!(report.usage.peak_memory < MIB, "{:?}", report.usage);
    assert_eq!(value(component.call("amplify", json!({"count": 10}))).as_array().unwrap().len(), 10);
}

#[test]
fn what_a_guest_hands_to_one_host_call_is_bounded() {
    let small = || limits().host_call_bytes(4_096).unwrap();
    exceeds(with("write-unasked", json!({"bytes": 10_000}), small()), LimitKind::HostCallBytes, 4_096);
    // Many calls that are each small enough pass.
    assert_eq!(value(with("print", json!({"text": "x".repeat(1_000)}), small())), Value::Null);
}

#[test]
fn what_a_caller_hands_to_a_guest_is_bounded_too() {
    let small = limits().host_call_bytes(4_096).unwrap();
    let report = exceeds(with("print", json!({"text": "x".repeat(5_000)}), small), LimitKind::HostCallBytes, 4_096);
    assert_eq!(report.usage.wall_time, Duration::ZERO);
}

#[test]
fn random_bytes_are_bounded_for_one_call() {
    for name in ["random-bytes", "insecure-random-bytes"] {
        assert_eq!(value(with(name, json!({"len": 65_536}), limits())), 65_536);
        for len in [65_537, u64::MAX] {
            let report = exceeds(with(name, json!({"len": len}), limits()), LimitKind::Random, 65_536);
            assert_eq!(exceeded(&report).used, len);
        }
        let wider = limits().random(100_000).unwrap();
        assert_eq!(value(with(name, json!({"len": 100_000}), wider)), 100_000);
    }
}

#[test]
fn handles_are_bounded() {
    let few = || limits().resources(100).unwrap();
    exceeds(with("hoard-resources", json!({"count": 1_000}), few()), LimitKind::Resources, 100);
    let dir = tempfile::tempdir().unwrap();
    let hoard = with("hoard-descriptors", json!({"count": 1_000}), few());
    exceeds(hoard.grants(folder(dir.path(), "/d", Access::ReadOnly)), LimitKind::Resources, 100);
    assert_eq!(value(with("hoard-resources", json!({"count": 50}), few())), 50);
}

/// Makes handles to a resource of its own, which the host keeps, but in no table of WASI.
const HOARDS_ITS_OWN: &str = r#"(component
    (type $thing (resource (rep i32)))
    (core func $new (canon resource.new $thing))
    (core module $m
        (import "host" "new" (func $new (param i32) (result i32)))
        (func (export "hoard") (param $left i32)
            (loop $next
                (drop (call $new (i32.const 7)))
                (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                (br_if $next (local.get $left)))))
    (core instance $i (instantiate $m (with "host" (instance (export "new" (func $new))))))
    (func (export "hoard") (param "count" u32) (canon lift (core func $i "hoard"))))"#;

#[test]
fn handles_of_a_guest_to_its_own_resources_are_bounded() {
    let component = load(engine(), HOARDS_ITS_OWN);
    let hoard = |count: u32| component.call("hoard", json!({"count": count}));
    let few = || limits().resources(100).unwrap().build();
    assert_eq!(value(hoard(90).limits(few())), Value::Null);
    let error = run(hoard(1_000).limits(few())).result.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::LimitExceeded | ErrorKind::Trap), "{error}");
}

#[test]
fn broken_results_are_traps_and_no_limits() {
    let error = run(adversarial().call("return-invalid-utf8", json!({}))).result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Trap, "{error}");
    let component = load(engine(), wat!("broken-results"));
    for (name, input) in [
        ("text-outside", json!({})),
        ("answer-outside", json!({})),
        ("answer-misaligned", json!({})),
        ("no-such-case", json!({})),
        ("no-such-char", json!({})),
        ("take", json!({"text": "some"})),
    ] {
        let error = run(component.call(name, input)).result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Trap, "{name}: {error}");
    }
}

#[track_caller]
fn refused(set: impl Fn(LimitsBuilder) -> Result<LimitsBuilder, InvalidLimit>) {
    assert!(set(limits()).is_err());
}

#[test]
fn limits_of_zero_and_absurd_ones_are_refused() {
    refused(|limits| limits.fuel(0));
    for time in [Duration::ZERO, Duration::from_micros(999), Duration::from_hours(400 * 24), Duration::MAX] {
        refused(|limits| limits.wall_time(time));
    }
    for bytes in [0, 65_535, (64 << 30) + 1, u64::MAX] {
        refused(|limits| limits.memory(bytes));
    }
    for value in [0, u64::MAX] {
        refused(|limits| limits.instances(value));
        refused(|limits| limits.output(value, OnExcess::Fail));
        refused(|limits| limits.result(value));
        refused(|limits| limits.host_call_bytes(value));
        refused(|limits| limits.random(value));
        refused(|limits| limits.resources(value));
    }
    for share in [0.0, -1.0, 1.01, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 1e-300] {
        refused(|limits| limits.cpus(share));
    }
}

#[test]
fn fuel_on_an_engine_that_meters_time_is_refused() {
    assert!(matches!(time_engine().limits().fuel(1_000), Err(InvalidLimit::FuelNotMetered)));
    let smuggled = limits().fuel(1_000).unwrap().build();
    let report = run(adversarial_by_time().call("counter-next", json!({})).limits(smuggled));
    assert!(matches!(report.result, Err(CallError::InvalidLimit(InvalidLimit::FuelNotMetered))), "{report:?}");
}

#[test]
fn an_engine_that_meters_time_counts_no_fuel() {
    let report = run(adversarial_by_time().call("counter-next", json!({})).limits(Limits::default()));
    assert_eq!(report.result.unwrap(), 1);
    assert_eq!(report.usage.fuel, None);
}

#[test]
fn a_share_of_a_processor_stretches_a_call() {
    let iterations = json!({"iterations": 20_000_000});
    let free = run(with("busy-loop", iterations.clone(), limits()));
    let held = run(with("busy-loop", iterations, limits().cpus(0.1).unwrap()));
    assert_eq!(free.usage.fuel, held.usage.fuel);
    assert_eq!(free.result.unwrap(), held.result.unwrap());
    // Ten times in theory, as far as the call takes longer than one slice.
    assert!(held.usage.wall_time > free.usage.wall_time * 2, "{:?} beside {:?}", held.usage, free.usage);
}

#[test]
fn a_share_of_a_processor_still_ends_at_the_deadline() {
    let limits = limits().fuel(u64::MAX).unwrap().cpus(0.01).unwrap().wall_time(Duration::from_millis(50)).unwrap();
    exceeds(with("spin", json!({}), limits), LimitKind::WallTime, 50);
}

#[test]
fn the_toolbox_keeps_within_the_default_limits_of_an_empty_call() {
    let report = run(toolbox().call("list-dir", json!({"path": "/"})));
    assert_eq!(report.result.unwrap_err().kind(), ErrorKind::ToolError);
    assert!(report.usage.peak_memory < 8 * MIB, "{:?}", report.usage);
}
