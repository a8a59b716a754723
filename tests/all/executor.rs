use std::time::Duration;

use casemate::{Call, CallError, Component, ErrorKind, LimitKind};
use serde_json::json;
use tokio::sync::oneshot;

use crate::support::{adversarial, adversarial_by_time, builder, engine, exceeded, limits, load, time_engine};

/// A call that computes without end, until it is told to stop.
fn spin(component: &Component) -> (Call, oneshot::Sender<()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let limits = match component.engine().limits().fuel(u64::MAX) {
        Ok(limits) => limits,
        Err(_not_metered) => component.engine().limits(),
    };
    let call = component.call("spin", json!({})).limits(limits.build()).until(async {
        let _ = stopped.await;
    });
    (call, stop)
}

#[tokio::test(flavor = "current_thread")]
async fn a_second_call_finishes_while_the_first_spins() {
    for component in [adversarial(), adversarial_by_time()] {
        let (call, stop) = spin(component);
        let spinning = tokio::spawn(call.report());
        for _ in 0..10 {
            assert_eq!(component.call("counter-next", json!({})).await.unwrap(), 1);
        }
        assert!(!spinning.is_finished());
        stop.send(()).unwrap();
        assert!(matches!(spinning.await.unwrap().result, Err(CallError::Cancelled)));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn timers_fire_while_a_guest_spins() {
    for component in [adversarial(), adversarial_by_time()] {
        let (call, stop) = spin(component);
        let spinning = tokio::spawn(call.report());
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        for _ in 0..20 {
            ticks.tick().await;
        }
        // Twenty slices or so are far from the wall time of thirty seconds that would end it.
        assert!(!spinning.is_finished());
        stop.send(()).unwrap();
        let report = spinning.await.unwrap();
        assert!(matches!(report.result, Err(CallError::Cancelled)), "{:?}", report.result);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn other_tasks_run_while_a_guest_of_much_memory_fills_it() {
    let limits = limits().memory(300 << 20).unwrap().build();
    let fill = tokio::spawn(adversarial().call("fill", json!({"bytes": 200 << 20})).limits(limits).into_future());
    assert_eq!(adversarial().call("counter-next", json!({})).await.unwrap(), 1);
    assert_eq!(fill.await.unwrap().unwrap(), 200 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_spinning_guests_than_threads_stop_nobody() {
    let spinning: Vec<_> = (0..6)
        .map(|_| {
            let (call, stop) = spin(adversarial());
            (tokio::spawn(call.report()), stop)
        })
        .collect();
    for _ in 0..10 {
        assert_eq!(
            tokio::spawn(adversarial().call("counter-next", json!({})).into_future()).await.unwrap().unwrap(),
            1
        );
    }
    for (call, stop) in spinning {
        assert!(!call.is_finished());
        stop.send(()).unwrap();
        assert!(matches!(call.await.unwrap().result, Err(CallError::Cancelled)));
    }
}

#[test]
fn calls_work_without_a_runtime() {
    assert_eq!(adversarial().call_blocking("counter-next", json!({})).unwrap(), 1);
    assert_eq!(engine().block_on(adversarial().call("counter-next", json!({}))).unwrap(), 1);
    let limits = limits().wall_time(Duration::from_millis(20)).unwrap().build();
    let report = engine().block_on(adversarial().call("sleep-an-hour", json!({})).limits(limits).report());
    assert_eq!(exceeded(&report).limit, LimitKind::WallTime);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn blocking_calls_work_inside_a_multi_thread_runtime() {
    assert_eq!(adversarial().call_blocking("counter-next", json!({})).unwrap(), 1);
    let beside = tokio::task::spawn_blocking(|| adversarial().call_blocking("counter-next", json!({})));
    assert_eq!(beside.await.unwrap().unwrap(), 1);
    assert_eq!(
        tokio::spawn(async { adversarial().call_blocking("counter-next", json!({})) }).await.unwrap().unwrap(),
        1
    );
}

#[tokio::test(flavor = "current_thread")]
async fn blocking_calls_work_inside_a_current_thread_runtime() {
    assert_eq!(adversarial().call_blocking("counter-next", json!({})).unwrap(), 1);
    let beside = tokio::task::spawn_blocking(|| adversarial().call_blocking("counter-next", json!({})));
    assert_eq!(beside.await.unwrap().unwrap(), 1);
    let limits = time_engine().limits().wall_time(Duration::from_millis(20)).unwrap().memory(300 << 20).unwrap();
    let report = time_engine().block_on(adversarial_by_time().call("spin", json!({})).limits(limits.build()).report());
    assert_eq!(exceeded(&report).limit, LimitKind::WallTime);
}

#[test]
fn a_panic_of_a_blocked_future_is_the_callers() {
    let panics = || engine().block_on(async { panic!("on purpose") });
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics));
    assert!(caught.is_err());
    assert_eq!(adversarial().call_blocking("counter-next", json!({})).unwrap(), 1);
}

#[tokio::test]
async fn an_engine_that_was_blocked_on_may_be_dropped_inside_a_runtime() {
    let engine = builder().max_sandboxes(1).build().unwrap();
    let component = engine.load_bytes(casemate_guests::ADVERSARIAL).await.unwrap();
    assert_eq!(component.call_blocking("counter-next", json!({})).unwrap(), 1);
    drop((engine, component));
}

#[test]
fn a_component_outlives_the_runtime_it_was_loaded_on() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = builder().max_sandboxes(2).build().unwrap();
    let component = runtime().block_on(engine.load_bytes(casemate_guests::ADVERSARIAL)).unwrap();
    for _ in 0..2 {
        assert_eq!(runtime().block_on(component.call("counter-next", json!({})).into_future()).unwrap(), 1);
    }
}

#[test]
fn a_runtime_that_ends_takes_its_guests_along() {
    let engine = builder().max_sandboxes(1).build().unwrap();
    let component = load(&engine, casemate_guests::ADVERSARIAL);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (call, _stop) = spin(&component);
    runtime.spawn(call.report());
    drop(runtime);
    let limits = engine.limits().fuel(10_000).unwrap().build();
    let error = engine.block_on(component.call("spin", json!({})).limits(limits)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}
