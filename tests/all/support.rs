//! The harness: engines and guests that all tests share, so that nothing is compiled twice, and one helper for each
//! boundary.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use casemate::{
    Access, Call, CallError, CallReport, Component, Engine, EngineBuilder, Folder, Grants, LimitExceeded, LimitKind,
    LimitsBuilder, LoadError, Metering, ToolError,
};
use serde_json::Value;

/// The text of a guest in `guests/adversarial/wat`.
macro_rules! wat {
    ($name:literal) => {
        include_str!(concat!("../../guests/adversarial/wat/", $name, ".wat"))
    };
}
pub(crate) use wat;

static BY_FUEL: LazyLock<Engine> = LazyLock::new(|| builder().build().unwrap());
static BY_TIME: LazyLock<Engine> = LazyLock::new(|| builder().metering(Metering::Time).build().unwrap());
static ADVERSARIAL: LazyLock<Component> = LazyLock::new(|| load(&BY_FUEL, casemate_guests::ADVERSARIAL));
static ADVERSARIAL_BY_TIME: LazyLock<Component> = LazyLock::new(|| load(&BY_TIME, casemate_guests::ADVERSARIAL));
static TOOLBOX: LazyLock<Component> = LazyLock::new(|| load(&BY_FUEL, casemate_guests::TOOLBOX));

/// An engine with few slots and a cache that all tests share.
pub(crate) fn builder() -> EngineBuilder {
    Engine::builder().max_sandboxes(16).cache(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"))
}

/// The engine that meters fuel.
pub(crate) fn engine() -> &'static Engine {
    &BY_FUEL
}

/// The engine that meters time only.
pub(crate) fn time_engine() -> &'static Engine {
    &BY_TIME
}

/// The guest that misbehaves, metered by fuel.
pub(crate) fn adversarial() -> &'static Component {
    &ADVERSARIAL
}

/// The guest that misbehaves, metered by time.
pub(crate) fn adversarial_by_time() -> &'static Component {
    &ADVERSARIAL_BY_TIME
}

/// The toolbox, metered by fuel.
pub(crate) fn toolbox() -> &'static Component {
    &TOOLBOX
}

#[track_caller]
pub(crate) fn load(engine: &Engine, bytes: impl AsRef<[u8]> + Send + 'static) -> Component {
    engine.block_on(engine.load_bytes(bytes)).unwrap()
}

#[track_caller]
pub(crate) fn load_error(bytes: impl AsRef<[u8]> + Send + 'static) -> LoadError {
    engine().block_on(engine().load_bytes(bytes)).unwrap_err()
}

/// Runs a call to its end on a thread without a runtime.
pub(crate) fn run(call: Call) -> CallReport {
    engine().block_on(call.report())
}

#[track_caller]
pub(crate) fn value(call: Call) -> Value {
    run(call).result.unwrap()
}

#[track_caller]
pub(crate) fn tool_error(error: CallError) -> ToolError {
    match error {
        CallError::Tool(error) => error,
        other => panic!("not a tool error: {other:?}"),
    }
}

/// The call ends at the limit `limit`, of which there were `max`.
#[track_caller]
pub(crate) fn exceeds(call: Call, limit: LimitKind, max: u64) -> CallReport {
    let report = run(call);
    let exceeded = exceeded(&report);
    assert_eq!((exceeded.limit, exceeded.max), (limit, max), "{exceeded}");
    assert!(exceeded.used >= exceeded.max, "{exceeded}");
    report
}

#[track_caller]
pub(crate) fn exceeded(report: &CallReport) -> LimitExceeded {
    match &report.result {
        Err(CallError::LimitExceeded(exceeded)) => *exceeded,
        other => panic!("no limit was exceeded: {other:?}"),
    }
}

/// Limits for calls on the engine that meters fuel.
pub(crate) fn limits() -> LimitsBuilder {
    engine().limits()
}

/// A grant of one folder.
pub(crate) fn folder(host: impl Into<PathBuf>, guest: &str, access: Access) -> Grants {
    Grants::none().folder(Folder::new(host, guest, access).unwrap()).unwrap()
}
