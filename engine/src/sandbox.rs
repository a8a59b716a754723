//! One wasmtime store executing one component, from its making to its end.
//!
//! A sandbox serves one call and is dropped. This file knows stores, meters and wasmtime's errors; it knows nothing of
//! JSON.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use tokio::runtime::Handle;
use wasmtime::component::{Instance, ResourceTableError};
use wasmtime::{PoolConcurrencyLimitError, Store, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::call::{CallError, ToolError, Trap};
use crate::component::Component;
use crate::driver::{self, Hold, Pace, Signal, Stopped};
use crate::engine::{FUEL_YIELD_INTERVAL, Metering, Running, Slot};
use crate::gate::Scope;
use crate::host::imports::EffectEnded;
use crate::host::{self, CallbackPanicked, Host, HostLimit, Output, Phase, SystemRefused};
use crate::limits::{DEFAULT_MEMORY_GROWTH, DEFAULT_MEMORY_START, LimitExceeded, LimitKind, Limits, Usage, millis};

/// A sandbox that held more is dropped off the executor: unmapping 56 MiB takes 3 ms.
const DROP_ELSEWHERE_ABOVE: u64 = 16 << 20;

/// What a component of an ordinary size starts with. One that starts with more may write as much at once.
const USUAL_START: u64 = 16 << 20;

/// All that a sandbox is made of.
pub(crate) struct Plan {
    pub(crate) component: Component,
    pub(crate) scope: Scope,
    pub(crate) limits: Limits,
    pub(crate) output: Output,
    /// Holds the guest back, where somebody may want to.
    pub(crate) hold: Option<Hold>,
}

/// What is done in a sandbox once it is instantiated.
pub(crate) type Work<R> = Box<dyn for<'a> FnOnce(&'a mut Store<Host>, Instance) -> WorkFuture<'a, R> + Send>;

pub(crate) type WorkFuture<'a, R> = Pin<Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>>;

/// How it went.
pub(crate) struct Ended<R> {
    pub(crate) result: Result<R, CallError>,
    pub(crate) usage: Usage,
    pub(crate) refused: Vec<host::Refused>,
}

impl<R> Ended<R> {
    fn early(error: CallError) -> Self {
        Self { result: Err(error), usage: Usage::default(), refused: Vec::new() }
    }
}

/// Runs `work` in a fresh sandbox.
///
/// The future is boxed once: held in place, each layer of futures above would keep room for all those below.
pub(crate) fn run<R: Send + 'static>(
    plan: Plan,
    cancel: Option<Signal>,
    work: Work<R>,
) -> Pin<Box<dyn Future<Output = Ended<R>> + Send>> {
    if plan.may_hold_its_thread() {
        Box::pin(run_elsewhere(plan, cancel, work))
    } else {
        Box::pin(run_here(plan, None, cancel, work))
    }
}

/// On a thread of its own. The place comes first: a thread that waited for one would be wasted.
async fn run_elsewhere<R: Send + 'static>(plan: Plan, mut cancel: Option<Signal>, work: Work<R>) -> Ended<R> {
    match unless_cancelled(find_place(&plan), &mut cancel).await {
        Ok(placed) => on_own_thread(run_here(plan, Some(placed), cancel, work)).await,
        Err(error) => Ended::early(error),
    }
}

impl Plan {
    /// Bytes in all memories and tables together.
    pub(crate) fn max_memory(&self) -> u64 {
        let start = self.component.initial_memory().min(DEFAULT_MEMORY_START);
        self.limits.memory.unwrap_or(start + DEFAULT_MEMORY_GROWTH)
    }

    /// One bulk instruction is not interrupted, and takes as long as there is memory.
    fn may_hold_its_thread(&self) -> bool {
        match self.limits.memory {
            Some(limit) => limit > DEFAULT_MEMORY_GROWTH,
            None => self.component.initial_memory() > USUAL_START,
        }
    }

    fn check(&self) -> Result<(), CallError> {
        self.limits.check_metering(self.component.engine().metering())?;
        let used = self.component.demand().core_instances;
        let max = self.limits.instances;
        if used > max { Err(LimitExceeded::new(LimitKind::Instances, used, max).into()) } else { Ok(()) }
    }
}

// A block, since an `async fn` would hold its arguments twice.
#[allow(clippy::manual_async_fn, reason = "see above")]
fn run_here<R: Send + 'static>(
    plan: Plan,
    placed: Option<Placed>,
    mut cancel: Option<Signal>,
    work: Work<R>,
) -> impl Future<Output = Ended<R>> + Send + 'static {
    async move {
        let placed = match placed {
            Some(placed) => Ok(placed),
            None => unless_cancelled(find_place(&plan), &mut cancel).await,
        };
        let mut sandbox = match placed.and_then(|placed| Sandbox::new(&plan, placed)) {
            Ok(sandbox) => sandbox,
            Err(error) => return Ended::early(error),
        };
        let pace = Pace {
            wall_time: plan.limits.wall_time,
            cpus: plan.limits.cpus,
            cancel,
            excused: plan.scope.excused(),
            hold: plan.hold.clone(),
        };
        let handover = sandbox.store().data().handover().clone();
        let started = Instant::now();
        let driven = {
            let execution = AssertUnwindSafe(sandbox.execute(&plan.component, work)).catch_unwind();
            driver::drive(pin!(execution), handover, pace).await
        };
        let wall_time = started.elapsed();
        let result = match driven {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => Err(sandbox.failure(&error, &plan)),
            Ok(Err(_panic)) => Err(CallError::Internal { message: "the embedder's closure panicked".to_owned() }),
            Err(Stopped::Cancelled) => Err(CallError::Cancelled),
            Err(Stopped::Deadline) => Err(LimitExceeded::new(
                LimitKind::WallTime,
                millis(wall_time).max(millis(plan.limits.wall_time)),
                millis(plan.limits.wall_time),
            )
            .into()),
        };
        let usage = sandbox.usage(&plan, wall_time);
        let refused = sandbox.store().data().refusals.take();
        Ended { result, usage, refused }
    }
}

/// A place can be long in coming, and a caller may not want to wait for it.
async fn unless_cancelled<T>(
    place: impl Future<Output = Result<T, CallError>>,
    cancel: &mut Option<Signal>,
) -> Result<T, CallError> {
    let Some(signal) = cancel else { return place.await };
    match select(signal, pin!(place)).await {
        Either::Left(_) => Err(CallError::Cancelled),
        Either::Right((place, _)) => place,
    }
}

/// Runs a call on a thread of its own; dropping the answer stops it within a slice.
async fn on_own_thread<R: Send + 'static>(call: impl Future<Output = Ended<R>> + Send + 'static) -> Ended<R> {
    let (mut answer, ended) = tokio::sync::oneshot::channel();
    let runtime = Handle::current();
    let run = move || {
        runtime
            .block_on(async {
                match select(pin!(answer.closed()), pin!(call)).await {
                    Either::Left(_) => None,
                    Either::Right((ended, _)) => Some(ended),
                }
            })
            .and_then(|ended| answer.send(ended).err())
    };
    let spawned = std::thread::Builder::new().name("casemate-guest".into()).spawn(run);
    if let Err(error) = spawned {
        return Ended::early(CallError::Internal { message: format!("no thread for a guest of much memory: {error}") });
    }
    ended.await.unwrap_or_else(|_| {
        Ended::early(CallError::Internal { message: "the guest's thread ended without an answer".to_owned() })
    })
}

/// A place for one more sandbox. The outermost waits for it in order.
///
/// INVARIANT: a call that a guest made never waits for a place that its caller could hold. It takes a slot of the pool
/// only if one is free now; else it runs on demand, where each depth of the tree has places of its own, so that whoever
/// holds one waits for deeper ones only.
async fn find_place(plan: &Plan) -> Result<Placed, CallError> {
    plan.check()?;
    let component = &plan.component;
    let slots = component.demand().slots();
    let depth = plan.scope.depth();
    if depth == 0 {
        let slot = component.lane().slots.take(slots).await.map_err(CallError::Busy)?;
        return Ok(Placed { place: Place::Usual, slot });
    }
    if component.is_pooled()
        && let Some(slot) = component.lane().slots.try_take(slots)
    {
        return Ok(Placed { place: Place::Usual, slot });
    }
    let slot = component.engine().nested_slots(depth).take(slots).await.map_err(CallError::Busy)?;
    if !component.is_pooled() {
        return Ok(Placed { place: Place::Usual, slot });
    }
    component.prepare_on_demand().await;
    Ok(Placed { place: Place::OnDemand, slot })
}

struct Sandbox {
    /// Taken by `drop` only.
    alive: Option<Alive>,
    place: Place,
}

/// The store goes first, then its place.
struct Alive {
    store: Store<Host>,
    _slot: Slot,
    _running: Option<Running>,
}

/// A place that is held for a sandbox.
struct Placed {
    place: Place,
    slot: Slot,
}

/// On which of the two engines a sandbox lives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On that of its component.
    Usual,
    /// On the one that allocates on demand, though its component has slots in the pool.
    OnDemand,
}

impl Sandbox {
    fn new(plan: &Plan, Placed { place, slot }: Placed) -> Result<Self, CallError> {
        let engine = plan.component.engine();
        let lane = if place == Place::Usual { plan.component.lane() } else { engine.on_demand() };
        let host = Host::new(plan).map_err(CallError::Folder)?;
        let mut store = Store::new(&lane.wasmtime, host);
        configure(&mut store, &plan.limits, engine.metering()).map_err(|error| internal(&error))?;
        Ok(Self { alive: Some(Alive { store, _slot: slot, _running: engine.running() }), place })
    }

    async fn execute<R>(&mut self, component: &Component, work: Work<R>) -> wasmtime::Result<R> {
        let linked = match self.place {
            Place::Usual => component.instance_pre()?,
            Place::OnDemand => component.instance_pre_on_demand()?,
        };
        let store = self.store_mut();
        // Boxed, since its room would be kept for as long as the guest runs.
        let instance = Box::pin(linked.instantiate_async(&mut *store)).await?;
        work(store, instance).await
    }

    fn usage(&self, plan: &Plan, wall_time: Duration) -> Usage {
        let store = self.store();
        let (stdout_bytes, stderr_bytes) = plan.output.counts();
        Usage {
            fuel: store.get_fuel().ok().map(|left| fuel(&plan.limits).saturating_sub(left)),
            peak_memory: store.data().meter.peak(),
            refused_growths: store.data().meter.refused(),
            wall_time,
            stdout_bytes,
            stderr_bytes,
        }
    }

    /// What wasmtime's error means. Its text is never looked at: where it has no type, our own counters decide.
    fn failure(&self, error: &wasmtime::Error, plan: &Plan) -> CallError {
        let host = self.store().data();
        let limits = &plan.limits;
        let exceeded = |limit, max| LimitExceeded::new(limit, max, max).into();
        if let Some(HostLimit(limit)) = error.downcast_ref() {
            return (*limit).into();
        }
        if error.is::<SystemRefused>() {
            return CallError::NoMemory;
        }
        if let Some(ended) = error.downcast_ref::<EffectEnded>() {
            return ended.error();
        }
        if let Some(error) = error.downcast_ref::<CallError>() {
            return CallError::Internal { message: error.to_string() };
        }
        if error.is::<CallbackPanicked>() {
            return CallError::Internal { message: CallbackPanicked.to_string() };
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return internal(error);
        }
        if let Some(ResourceTableError::Full) = error.downcast_ref() {
            return exceeded(LimitKind::Resources, limits.resources as u64);
        }
        match error.downcast_ref() {
            Some(wasmtime::Trap::OutOfFuel) => return exceeded(LimitKind::Fuel, fuel(limits)),
            Some(wasmtime::Trap::StackOverflow) => {
                return exceeded(LimitKind::Stack, plan.component.engine().max_wasm_stack() as u64);
            }
            _ => {}
        }
        if let Some(limit) = host.meter.exceeded() {
            return limit.into();
        }
        if let Some(I32Exit(status)) = error.downcast_ref() {
            return CallError::Tool(ToolError::exit(*status));
        }
        // Whatever ends a guest while it runs carries its backtrace, what goes wrong with its result does not.
        let in_guest = error.is::<WasmBacktrace>();
        match host.phase() {
            Phase::Guest if in_guest && copied_too_much(error) => {
                exceeded(LimitKind::HostCallBytes, limits.host_call_bytes as u64)
            }
            Phase::Guest | Phase::Serving if !in_guest && copied_too_much(error) => {
                exceeded(LimitKind::Result, limits.result as u64)
            }
            Phase::Starting if !error.is::<wasmtime::Trap>() => internal(error),
            _ if !in_guest && !is_broken_value(error) => internal(error),
            _ => CallError::Trap(Trap::new(error)),
        }
    }

    #[allow(clippy::expect_used, reason = "see the message")]
    fn store(&self) -> &Store<Host> {
        &self.alive.as_ref().expect("INVARIANT: there until dropped").store
    }

    #[allow(clippy::expect_used, reason = "see the message")]
    fn store_mut(&mut self) -> &mut Store<Host> {
        &mut self.alive.as_mut().expect("INVARIANT: there until dropped").store
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let Some(alive) = self.alive.take() else { return };
        if alive.store.data().meter.peak() > DROP_ELSEWHERE_ABOVE
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(alive));
        }
    }
}

fn configure(store: &mut Store<Host>, limits: &Limits, metering: Metering) -> wasmtime::Result<()> {
    store.limiter(|host| &mut host.meter);
    // WASI's own table says by a type that it is full, so it is the one to be full first: a handle that is lent to a
    // call counts twice here.
    store.set_max_component_handles(limits.resources.saturating_mul(2));
    store.set_hostcall_fuel(limits.host_call_bytes);
    let copies = (limits.host_call_bytes, limits.result);
    store.call_hook(move |store, transition| host::on_transition(store, transition, copies));
    match metering {
        Metering::Fuel => {
            store.set_fuel(fuel(limits))?;
            store.fuel_async_yield_interval(Some(FUEL_YIELD_INTERVAL))
        }
        Metering::Time => {
            store.set_epoch_deadline(1);
            store.epoch_deadline_async_yield_and_update(1);
            Ok(())
        }
    }
}

fn fuel(limits: &Limits) -> u64 {
    limits.fuel.unwrap_or(Limits::DEFAULT_FUEL)
}

fn internal(error: &wasmtime::Error) -> CallError {
    CallError::Internal { message: format!("{error:#}") }
}

/// Whether a copy between guest and host ran out of its budget.
///
/// wasmtime's error for that has a type, but a private one, of which is known that it has no fields. Everything else
/// that copying can fail with is recognised, and an embedder's own error, which can come at the same place, has fields
/// as a rule.
fn copied_too_much(error: &wasmtime::Error) -> bool {
    !is_broken_value(error) && size_of_val(error.root_cause()) == 0
}

/// Whether it is what wasmtime says of values that break the canonical ABI: a plain message, a trap, or a text or
/// number that cannot be converted.
fn is_broken_value(error: &wasmtime::Error) -> bool {
    error.is::<String>()
        || error.is::<&'static str>()
        || error.is::<wasmtime::Trap>()
        || error.is::<std::str::Utf8Error>()
        || error.is::<std::string::FromUtf16Error>()
        || error.is::<std::char::CharTryFromError>()
        || error.is::<std::num::TryFromIntError>()
}
