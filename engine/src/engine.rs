//! The engine: wasmtime set up once, and the places where sandboxes live.
//!
//! An [`Engine`] owns up to two wasmtime engines with the same compile settings, so that both run the same compiled
//! file: one with a pool of ready slots, and one that allocates on demand, for components that fit no slot.

mod settings;
mod slots;
mod ticker;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
#[cfg(feature = "compiler")]
use tokio::sync::Semaphore;
use wasmtime::component::Linker;

use crate::component::Providers;
use crate::gate::{Budget, Gate};
use crate::host::{self, Host};
use crate::limits::LimitsBuilder;

#[cfg(feature = "cache")]
pub(crate) use settings::DENSE_IMAGE_SIZE;
pub(crate) use settings::FUEL_YIELD_INTERVAL;
use settings::Reservation;
pub use slots::NoSlot;
pub(crate) use slots::{Demand, Slot, Slots};
pub(crate) use ticker::Running;
use ticker::Ticker;

#[cfg(feature = "cache")]
use crate::cache::Cache;

/// Compiles components and runs them in sandboxes.
///
/// Cheap to clone; all clones share one pool. Several engines can live in one process. An engine keeps no global
/// state, but wasmtime installs process-wide handlers for the signals that guest code raises (`SIGSEGV`, `SIGILL`,
/// `SIGFPE`, and `SIGBUS` where the system has it so); [`EngineBuilder::signal_handlers`] turns that off.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = casemate::Engine::builder().max_sandboxes(16).build()?;
/// let component = engine.block_on(engine.load_bytes(br#"
///     (component
///       (core module $m (func (export "add") (param i32 i32) (result i32)
///         (i32.add (local.get 0) (local.get 1))))
///       (core instance $i (instantiate $m))
///       (func (export "add") (param "a" u32) (param "b" u32) (result u32)
///         (canon lift (core func $i "add"))))
/// "#))?;
/// let sum = engine.block_on(component.call("add", serde_json::json!({"a": 2, "b": 3})))?;
/// assert_eq!(sum, 5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    metering: Metering,
    max_wasm_stack: usize,
    pooled: Option<Lane>,
    on_demand: Lane,
    /// For sandboxes that guests' calls make, by their depth: those that find the pool full run on demand.
    nested: Vec<Slots>,
    gate: Gate,
    providers: Providers,
    ticker: Option<Ticker>,
    #[cfg(feature = "compiler")]
    compiles: Arc<Semaphore>,
    #[cfg(feature = "compiler")]
    max_component_size: u64,
    #[cfg(feature = "cache")]
    cache: Option<Cache>,
    runtime: OnceLock<std::io::Result<BlockingRuntime>>,
}

/// One wasmtime engine, with WASI linked for it and the places for its sandboxes.
pub(crate) struct Lane {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) linker: Linker<Host>,
    pub(crate) slots: Slots,
}

/// How an engine counts what guests compute. Never both: together they slow interpreters by more than half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Metering {
    /// By fuel: exact and repeatable.
    #[default]
    Fuel,
    /// By the clock only: faster code, and [`LimitsBuilder::fuel`] is refused.
    Time,
}

impl Engine {
    /// An engine with the default settings.
    pub fn new() -> Result<Self, EngineError> {
        Self::builder().build()
    }

    /// Settings to choose before the engine is made.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// How this engine meters.
    pub fn metering(&self) -> Metering {
        self.inner.metering
    }

    /// Limits for calls on this engine, all at their defaults.
    pub fn limits(&self) -> LimitsBuilder {
        LimitsBuilder::new(self.inner.metering)
    }

    /// How many sandboxes of pooled components can be alive at once; `None` where there is no pool.
    pub fn pool_size(&self) -> Option<u32> {
        self.inner.pooled.as_ref().map(|lane| lane.slots.size())
    }

    /// Runs `future` to its end on a runtime that the engine keeps for this, for callers without one.
    ///
    /// The calling thread is blocked. Called on a thread of an async runtime, it still works, and blocks that thread:
    /// there, await instead.
    ///
    /// # Panics
    ///
    /// Where the system gives no threads or timers for a runtime, and where `future` panics.
    pub fn block_on<F>(&self, future: F) -> F::Output
    where
        F: IntoFuture<IntoFuture: Send, Output: Send>,
    {
        let runtime = self.inner.runtime.get_or_init(BlockingRuntime::new);
        #[allow(clippy::panic, reason = "documented; there is nothing to run on")]
        let runtime = match runtime {
            Ok(runtime) => runtime.handle(),
            Err(error) => panic!("no runtime to block on: {error}"),
        };
        let future = future.into_future();
        if Handle::try_current().is_err() {
            return runtime.block_on(future);
        }
        // Tokio refuses to block inside a runtime; a thread beside it may.
        let ended = std::thread::scope(|scope| scope.spawn(|| runtime.block_on(future)).join());
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    pub(crate) fn pooled(&self) -> Option<&Lane> {
        self.inner.pooled.as_ref()
    }

    pub(crate) fn on_demand(&self) -> &Lane {
        &self.inner.on_demand
    }

    /// The places on demand for sandboxes of that depth, from 1.
    pub(crate) fn nested_slots(&self, depth: u32) -> &Slots {
        let index = usize::try_from(depth).unwrap_or(usize::MAX).saturating_sub(1);
        self.inner.nested.get(index).unwrap_or(&self.inner.on_demand.slots)
    }

    /// The Gate of calls that bring none.
    pub(crate) fn gate(&self) -> &Gate {
        &self.inner.gate
    }

    /// What its components said of their tools.
    pub(crate) fn providers(&self) -> &Providers {
        &self.inner.providers
    }

    pub(crate) fn max_wasm_stack(&self) -> usize {
        self.inner.max_wasm_stack
    }

    /// Waits until one more component may be compiled; it may be until the answer is dropped. The answer goes where the
    /// compiling goes, since that goes on when nobody waits for it any more.
    #[cfg(feature = "compiler")]
    pub(crate) async fn compile_place(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        // The semaphore is never closed, so there is always an answer.
        self.inner.compiles.clone().acquire_owned().await.ok()
    }

    #[cfg(feature = "compiler")]
    pub(crate) fn max_component_size(&self) -> u64 {
        self.inner.max_component_size
    }

    #[cfg(feature = "cache")]
    pub(crate) fn cache(&self) -> Option<&Cache> {
        self.inner.cache.as_ref()
    }

    /// Keeps the ticker of a time-metered engine going until the answer is dropped.
    pub(crate) fn running(&self) -> Option<Running> {
        self.inner.ticker.as_ref().map(Ticker::running)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("metering", &self.metering())
            .field("pool_size", &self.pool_size())
            .finish_non_exhaustive()
    }
}

/// Settings of an [`Engine`].
#[derive(Clone, Debug)]
#[must_use]
pub struct EngineBuilder {
    metering: Metering,
    max_sandboxes: Option<u32>,
    max_waiting: u32,
    max_wait: Duration,
    max_wasm_stack: usize,
    signal_handlers: bool,
    gate: Gate,
    #[cfg(feature = "compiler")]
    max_component_size: u64,
    #[cfg(feature = "compiler")]
    max_compiles: u32,
    #[cfg(feature = "cache")]
    cache: Option<std::path::PathBuf>,
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            metering: Metering::Fuel,
            max_sandboxes: None,
            max_waiting: 10_000,
            max_wait: Duration::from_secs(30),
            max_wasm_stack: 512 << 10,
            signal_handlers: true,
            gate: Gate::default(),
            #[cfg(feature = "compiler")]
            max_component_size: 64 << 20,
            #[cfg(feature = "compiler")]
            max_compiles: 2,
            #[cfg(feature = "cache")]
            cache: None,
        }
    }
}

impl EngineBuilder {
    /// How guests are metered. Default: by fuel.
    pub fn metering(mut self, metering: Metering) -> Self {
        self.metering = metering;
        self
    }

    /// How many sandboxes can be alive at once; callers beyond it wait in order. Default 128.
    ///
    /// Sandboxes of tools that guests call take a slot if one is free, and are allocated on demand otherwise: up to as
    /// many again for each level of calls, as far as the process can map them.
    ///
    /// Each slot of the pool reserves 4 GiB of address space, which is not memory, and a live sandbox takes about six
    /// of the process's memory mappings: on Linux at most `vm.max_map_count / 7` slots fit, and
    /// [`build`](Self::build) refuses more.
    pub fn max_sandboxes(mut self, count: u32) -> Self {
        self.max_sandboxes = Some(count);
        self
    }

    /// How many callers may wait for a place before the next is told that the engine is busy. Default 10,000.
    pub fn max_waiting(mut self, count: u32) -> Self {
        self.max_waiting = count;
        self
    }

    /// How long a caller waits for a place before it is told that the engine is busy. Default 30 s.
    pub fn max_wait(mut self, time: Duration) -> Self {
        self.max_wait = time;
        self
    }

    /// Bytes of native stack for a guest, from 64 KiB to 64 MiB; default 512 KiB. How deep a recursion that allows
    /// differs between processors and versions of wasmtime.
    pub fn max_stack(mut self, bytes: usize) -> Self {
        self.max_wasm_stack = bytes;
        self
    }

    /// The Gate of calls that bring none of their own. By default one without policy, where nobody is asked.
    pub fn gate(mut self, gate: &Gate) -> Self {
        self.gate = gate.clone();
        self
    }

    /// Whether wasmtime may install process-wide signal handlers, which make bounds checks free. Default: yes.
    ///
    /// Without them the compiled code checks by itself, is slower, and does not share cache entries with the other.
    pub fn signal_handlers(mut self, mode: SignalHandlers) -> Self {
        self.signal_handlers = mode == SignalHandlers::Install;
        self
    }

    /// The largest component that is compiled, in bytes; default 64 MiB. Compiling cannot be metered or cancelled.
    #[cfg(feature = "compiler")]
    pub fn max_component_size(mut self, bytes: u64) -> Self {
        self.max_component_size = bytes;
        self
    }

    /// How many components are compiled at once; default 2. Others wait in order.
    #[cfg(feature = "compiler")]
    pub fn max_compiles(mut self, count: u32) -> Self {
        self.max_compiles = count;
        self
    }

    /// Keeps compiled components in `folder`, which is created where it is missing, private to the user. By default
    /// nothing is kept.
    ///
    /// The folder is trusted with native code: one that others can write is refused when it is used, and then each
    /// component is compiled again.
    #[cfg(feature = "cache")]
    pub fn cache(mut self, folder: impl Into<std::path::PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Makes the engine.
    ///
    /// Where the address space for the pool cannot be had (`ulimit -v`, small containers), the engine works without a
    /// pool and says so once through `tracing`.
    pub fn build(self) -> Result<Engine, EngineError> {
        self.check()?;
        let slots = settings::pool_size(self.max_sandboxes)?;
        let nested = settings::nested_size(slots, Budget::DEEPEST);
        let compile = settings::Compile {
            metering: self.metering,
            max_wasm_stack: self.max_wasm_stack,
            signals: self.signal_handlers,
        };
        let lane = |wasmtime: wasmtime::Engine| {
            let linker = host::linker(&wasmtime).map_err(|source| EngineError::Wasmtime { source })?;
            Ok::<_, EngineError>(Lane { wasmtime, linker, slots: Slots::new(slots, self.max_waiting, self.max_wait) })
        };
        let (pooled, on_demand) = match settings::pooled(compile, slots) {
            Ok(engine) => (Some(lane(engine)?), settings::on_demand(compile, Reservation::Whole)),
            Err(error) => {
                tracing::warn!(slots, %error, "no pool: sandboxes are allocated on demand");
                (None, settings::on_demand(compile, settings::possible_reservation(compile)))
            }
        };
        let on_demand = lane(on_demand.map_err(|source| EngineError::Wasmtime { source })?)?;
        let engines = pooled.iter().chain([&on_demand]).map(|lane| lane.wasmtime.weak()).collect();
        let ticker = (self.metering == Metering::Time).then(|| Ticker::start(engines)).transpose();
        Ok(Engine {
            inner: Arc::new(Inner {
                metering: self.metering,
                max_wasm_stack: self.max_wasm_stack,
                pooled,
                on_demand,
                nested: (0..Budget::DEEPEST).map(|_| Slots::new(nested, self.max_waiting, self.max_wait)).collect(),
                gate: self.gate,
                providers: Providers::default(),
                ticker: ticker.map_err(|source| EngineError::Ticker { source })?,
                #[cfg(feature = "compiler")]
                compiles: Arc::new(Semaphore::new(self.max_compiles as usize)),
                #[cfg(feature = "compiler")]
                max_component_size: self.max_component_size,
                #[cfg(feature = "cache")]
                cache: self.cache.map(Cache::new),
                runtime: OnceLock::new(),
            }),
        })
    }

    fn check(&self) -> Result<(), EngineError> {
        let refuse = |setting, value: u64, min, max| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(EngineError::OutOfRange { setting, value, min, max })
            }
        };
        refuse("max_sandboxes", u64::from(self.max_sandboxes.unwrap_or(1)), 1, u64::from(u32::MAX))?;
        #[cfg(feature = "compiler")]
        refuse("max_compiles", u64::from(self.max_compiles), 1, 1_024)?;
        refuse("max_stack", self.max_wasm_stack as u64, 64 << 10, 64 << 20)
    }
}

/// Whether wasmtime installs process-wide signal handlers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignalHandlers {
    /// Yes: the default.
    #[default]
    Install,
    /// No: the process's signals stay untouched.
    Avoid,
}

/// Why an engine could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A setting that makes no sense.
    #[error("the engine's `{setting}` cannot be {value}: it must be from {min} to {max}")]
    OutOfRange {
        /// The setting's name.
        setting: &'static str,
        /// What was given.
        value: u64,
        /// The smallest possible.
        min: u64,
        /// The largest possible.
        max: u64,
    },
    /// More sandboxes than the process can map.
    #[error(
        "{asked} sandboxes do not fit the {max} that `vm.max_map_count = {map_count}` allows: raise it with `sysctl -w vm.max_map_count={needed}`, or ask for fewer"
    )]
    TooManySandboxes {
        /// What was asked for.
        asked: u32,
        /// The most that fit now.
        max: u32,
        /// The setting as it is.
        map_count: u64,
        /// The setting that would do.
        needed: u64,
    },
    /// The thread that ticks for a time-metered engine could not be started.
    #[error("could not start the ticker thread of a time-metered engine")]
    Ticker {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// wasmtime refused the settings on this machine.
    #[error("wasmtime cannot run here: {source}")]
    Wasmtime {
        /// What it said.
        source: wasmtime::Error,
    },
}

/// A runtime that may be dropped anywhere, also inside another runtime.
struct BlockingRuntime(Option<Runtime>);

impl BlockingRuntime {
    fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("casemate-blocking")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    fn handle(&self) -> &Handle {
        #[allow(clippy::expect_used, reason = "the runtime is taken only by drop")]
        self.0.as_ref().expect("INVARIANT: there until dropped").handle()
    }
}

impl Drop for BlockingRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
