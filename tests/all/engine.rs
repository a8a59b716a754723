use std::time::Duration;

use casemate::{
    AddDocsError, CacheError, Call, CallError, CallReport, Component, ContentHash, Description, DocumentError, Engine,
    EngineBuilder, EngineError, ErrorKind, GrantError, Grants, InvalidLimit, Limits, LoadError, Metering, NoSlot,
    Placement, SignalHandlers,
};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::support::{builder, load, wat};

fn assert_handle<T: Clone + Send + Sync + 'static>() {}
fn assert_error<T: std::error::Error + Send + Sync + 'static>() {}
fn assert_send<T: Send>(_: T) {}

#[test]
fn handles_are_clone_send_and_sync_and_errors_travel() {
    assert_handle::<Engine>();
    assert_handle::<Component>();
    assert_handle::<EngineBuilder>();
    assert_handle::<Limits>();
    assert_handle::<Grants>();
    assert_handle::<Description>();
    assert_handle::<ContentHash>();
    assert_error::<CallError>();
    assert_error::<LoadError>();
    assert_error::<EngineError>();
    assert_error::<InvalidLimit>();
    assert_error::<GrantError>();
    assert_error::<DocumentError>();
    assert_error::<CacheError>();
    assert_error::<AddDocsError>();
}

#[test]
fn futures_are_send() {
    #[allow(dead_code, reason = "it is enough that it compiles")]
    fn check(engine: &Engine, component: &Component, call: fn() -> Call) {
        assert_send(engine.load("x"));
        assert_send(engine.load_bytes(Vec::new()));
        assert_send(engine.load_cached(component.hash()));
        assert_send(engine.compile(Vec::new()));
        assert_send(component.call("x", ()));
        assert_send(call().report());
        assert_send(call().into_future());
        assert_send(call().with_instance(|_, _| Box::pin(async { Ok(()) })));
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for builder in [
        Engine::builder().max_sandboxes(0),
        Engine::builder().max_compiles(0),
        Engine::builder().max_compiles(100_000),
        Engine::builder().max_stack(1_000),
        Engine::builder().max_stack(1 << 30),
    ] {
        assert!(matches!(builder.build(), Err(EngineError::OutOfRange { .. })));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn more_sandboxes_than_the_process_can_map_are_refused_with_the_setting_to_raise() {
    let Err(EngineError::TooManySandboxes { asked, max, map_count, needed }) =
        Engine::builder().max_sandboxes(u32::MAX).build()
    else {
        panic!("such a pool cannot be");
    };
    assert_eq!((asked, needed), (u32::MAX, u64::from(u32::MAX) * 7));
    assert_eq!(u64::from(max), map_count / 7);
}

/// Where a sandbox is taken, tells so, and is given back on a word.
struct Held {
    done: tokio::task::JoinHandle<CallReport>,
    release: oneshot::Sender<()>,
}

async fn hold(component: &Component) -> Held {
    let (started, has_started) = oneshot::channel();
    let (release, released) = oneshot::channel();
    let mut started = Some(started);
    let limits = component.engine().limits().fuel(u64::MAX).unwrap().build();
    let call = component
        .call("flood-forever", json!({}))
        .limits(limits)
        .on_output(move |_, _| {
            started.take().map(|started| started.send(()));
        })
        .until(async {
            let _ = released.await;
        });
    let done = tokio::spawn(call.report());
    has_started.await.unwrap();
    Held { done, release }
}

impl Held {
    async fn give_back(self) {
        self.release.send(()).unwrap();
        assert!(matches!(self.done.await.unwrap().result, Err(CallError::Cancelled)));
    }
}

#[tokio::test]
async fn a_caller_beyond_the_queue_is_told_that_the_engine_is_busy() {
    let engine = builder().max_sandboxes(1).max_waiting(0).build().unwrap();
    let component = engine.load_bytes(casemate_guests::ADVERSARIAL).await.unwrap();
    let held = hold(&component).await;
    let error = component.call("counter-next", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(matches!(error, CallError::Busy(NoSlot::QueueFull { sandboxes: 1, waiting: 0, .. })), "{error:?}");
    held.give_back().await;
    assert_eq!(component.call("counter-next", json!({})).await.unwrap(), 1);
}

#[tokio::test]
async fn a_caller_that_waited_long_enough_is_told_that_the_engine_is_busy() {
    let engine = builder().max_sandboxes(1).max_wait(Duration::from_millis(10)).build().unwrap();
    let component = engine.load_bytes(casemate_guests::ADVERSARIAL).await.unwrap();
    let held = hold(&component).await;
    let error = component.call("counter-next", json!({})).await.unwrap_err();
    assert!(matches!(error, CallError::Busy(NoSlot::TimedOut { sandboxes: 1, .. })), "{error:?}");
    held.give_back().await;
}

#[tokio::test]
async fn waiting_callers_are_served_in_order() {
    let engine = builder().max_sandboxes(1).build().unwrap();
    let component = engine.load_bytes(casemate_guests::ADVERSARIAL).await.unwrap();
    let held = hold(&component).await;
    let (ended, mut order) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..20 {
        let (call, ended) = (component.call("counter-next", json!({})), ended.clone());
        tokio::spawn(async move {
            call.await.unwrap();
            ended.send(number).unwrap();
        });
        // On this thread the task runs up to its place in the queue.
        tokio::task::yield_now().await;
    }
    drop(ended);
    held.give_back().await;
    let mut seen = Vec::new();
    while let Some(number) = order.recv().await {
        seen.push(number);
    }
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_more_calls_than_slots_all_succeed() {
    for metering in [Metering::Fuel, Metering::Time] {
        let engine = builder().max_sandboxes(8).metering(metering).build().unwrap();
        assert_eq!(engine.pool_size(), Some(8));
        let component = engine.load_bytes(casemate_guests::ADVERSARIAL).await.unwrap();
        let mut calls = JoinSet::new();
        for _ in 0..300 {
            calls.spawn(component.call("counter-next", json!({})).into_future());
        }
        let results = calls.join_all().await;
        assert!(results.iter().all(|result| matches!(result, Ok(value) if *value == 1)), "{results:?}");
    }
}

#[tokio::test]
async fn a_component_of_several_slots_never_meets_the_pools_own_limit() {
    let engine = builder().max_sandboxes(8).build().unwrap();
    let component = engine.load_bytes(wat!("many-memories")).await.unwrap();
    assert_eq!(component.description().placement, Placement::Pooled);
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        calls.spawn(component.call("grow-each", json!({"pages": 1})).into_future());
    }
    assert!(calls.join_all().await.iter().all(|result| matches!(result, Ok(value) if *value == 4)));
}

#[test]
fn a_component_that_needs_more_than_the_pool_runs_on_demand_and_says_so() {
    let engine = builder().max_sandboxes(2).build().unwrap();
    let component = load(&engine, wat!("many-memories"));
    assert_eq!(component.description().placement, Placement::OnDemand);
    assert_eq!(component.call_blocking("grow-each", json!({"pages": 1})).unwrap(), 4);
    let small = load(&engine, casemate_guests::ADVERSARIAL);
    assert_eq!(small.description().placement, Placement::Pooled);
}

#[test]
fn an_engine_without_signal_handlers_contains_guests_too() {
    let engine = builder().max_sandboxes(2).signal_handlers(SignalHandlers::Avoid).build().unwrap();
    let component = load(&engine, wat!("five-exports"));
    assert_eq!(component.call_blocking("add", json!({"a": 1, "b": 1})).unwrap(), 2);
    let error = component.call_blocking("grow", json!({})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
}

#[test]
fn a_deeper_stack_is_deeper() {
    let depth = |bytes: usize| {
        let engine = builder().max_sandboxes(2).max_stack(bytes).build().unwrap();
        let component = load(&engine, wat!("five-exports"));
        let adversarial = load(&engine, casemate_guests::ADVERSARIAL);
        assert_eq!(component.call_blocking("add", json!({"a": 1, "b": 1})).unwrap(), 2);
        let report = engine.block_on(adversarial.call("recurse", json!({})).report());
        let Err(CallError::LimitExceeded(exceeded)) = report.result else { panic!("{:?}", report.result) };
        assert_eq!(exceeded.max, bytes as u64);
        report.usage.fuel.unwrap()
    };
    assert!(depth(2 << 20) > depth(128 << 10));
}

#[test]
fn engines_come_and_go_in_one_process() {
    for _ in 0..3 {
        let engines = [(); 2].map(|()| builder().max_sandboxes(1).metering(Metering::Time).build().unwrap());
        let components = engines.each_ref().map(|engine| load(engine, wat!("five-exports")));
        drop(engines);
        for component in components {
            assert_eq!(component.call_blocking("add", json!({"a": 1, "b": 1})).unwrap(), 2);
        }
    }
}
