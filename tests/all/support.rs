//! The harness: engines and guests that all tests share, so that nothing is compiled twice, and one helper for each
//! boundary.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use casemate::{
    Access, Call, CallError, CallReport, Component, Engine, EngineBuilder, Folder, Grants, LimitExceeded, LimitKind,
    LimitsBuilder, LoadError, Metering, SecretFuture, SecretSource, Subscription, Tool, ToolError, Toolset,
};
use serde_json::{Value, json};

/// The text of a guest in `guests/adversarial/wat`.
macro_rules! wat {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/adversarial/wat/", $name, ".wat"))
    };
}
pub(crate) use wat;

static BY_FUEL: LazyLock<Engine> = LazyLock::new(|| builder().build().unwrap());
static BY_TIME: LazyLock<Engine> = LazyLock::new(|| builder().metering(Metering::Time).build().unwrap());
static ADVERSARIAL: LazyLock<Component> = LazyLock::new(|| load(&BY_FUEL, casemate_guests::ADVERSARIAL));
static ADVERSARIAL_BY_TIME: LazyLock<Component> = LazyLock::new(|| load(&BY_TIME, casemate_guests::ADVERSARIAL));
static TOOLBOX: LazyLock<Component> = LazyLock::new(|| load(&BY_FUEL, casemate_guests::TOOLBOX));
static CALLER: LazyLock<Component> = LazyLock::new(|| load(&BY_FUEL, casemate_guests::CALLER));
static TALKER: LazyLock<Component> = LazyLock::new(|| load(&BY_FUEL, casemate_guests::TALKER));
static LEDGER: LazyLock<Component> = LazyLock::new(|| load(&BY_FUEL, casemate_guests::LEDGER));
static WEATHER: LazyLock<Component> = LazyLock::new(|| load(&BY_FUEL, casemate_guests::WEATHER));
static FETCHER: LazyLock<Component> = LazyLock::new(|| load(&BY_FUEL, casemate_guests::FETCHER));
static PLANNER: LazyLock<Component> = LazyLock::new(|| load(&BY_FUEL, casemate_guests::PLANNER));

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

/// The guest that calls tools.
pub(crate) fn caller() -> &'static Component {
    &CALLER
}

/// The guest that asks models.
pub(crate) fn talker() -> &'static Component {
    &TALKER
}

/// The guest whose tools leave traces in a folder.
pub(crate) fn ledger() -> &'static Component {
    &LEDGER
}

/// The guest that exports `acme:weather/forecast`.
pub(crate) fn weather() -> &'static Component {
    &WEATHER
}

/// The guest that imports `acme:weather/forecast`.
pub(crate) fn planner() -> &'static Component {
    &PLANNER
}

/// The guest that knows only HTTP and its environment.
pub(crate) fn fetcher() -> &'static Component {
    &FETCHER
}

/// A secret that never changes.
pub(crate) struct Fixed(pub(crate) &'static str);

impl SecretSource for Fixed {
    fn read(&self) -> SecretFuture<'_> {
        Box::pin(std::future::ready(Ok(Some(self.0.into()))))
    }

    fn place(&self) -> String {
        "the test".to_owned()
    }
}

/// An input of any kind.
#[derive(serde::Deserialize, schemars::JsonSchema)]
pub(crate) struct Anything {
    #[serde(flatten)]
    pub(crate) members: serde_json::Map<String, Value>,
}

/// A tool that gives back its input, and counts how often it was called.
pub(crate) fn counting(name: &str) -> (Tool, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let tool = Tool::new(name, move |input: Anything| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<_, String>(Value::Object(input.members)) }
    });
    (tool, count)
}

/// Tools under their own names.
#[track_caller]
pub(crate) fn toolset(tools: impl IntoIterator<Item = Tool>) -> Toolset {
    tools.into_iter().try_fold(Toolset::new(), Toolset::with).unwrap()
}

/// Grants of these tools.
#[track_caller]
pub(crate) fn granted(tools: &[&str]) -> Grants {
    tools.iter().try_fold(Grants::none(), |grants, tool| grants.tool(*tool)).unwrap()
}

/// What a subscriber has got so far, each event as `type` and JSON data.
pub(crate) fn seen(events: &mut Subscription) -> Vec<(String, Value)> {
    let events = std::iter::from_fn(|| events.try_next()).map(|event| serde_json::to_value(&*event.unwrap()).unwrap());
    events.map(|event| (event["type"].as_str().unwrap().to_owned(), event["data"].clone())).collect()
}

/// The types of what a subscriber has got so far.
pub(crate) fn types_seen(events: &mut Subscription) -> Vec<String> {
    seen(events).into_iter().map(|(kind, _)| kind).collect()
}

/// Has the guest call one tool, and tells what it got: `ok: JSON`, or `CASE: text`.
pub(crate) fn try_tool(name: &str, input: &Value) -> Call {
    caller().call("try-tool", json!({"name": name, "input": input.to_string()}))
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
