//! wasmtime's settings, in one place, with the reason for each that is not the default.

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::engine::{EngineError, Metering};

/// Fuel between two yields of a guest. At 100,000 a loop over a cheap host call stays within 6 ms, and it costs nothing
/// that can be measured; at 5,000,000 such a loop held its thread for 102 ms.
pub(crate) const FUEL_YIELD_INTERVAL: u64 = 100_000;

/// A component whose tables and core instances need more takes several slots.
pub(crate) const TABLES_PER_SLOT: u32 = 4;
pub(crate) const CORE_INSTANCES_PER_SLOT: u32 = 64;

/// A live sandbox takes about six mappings: two for its stack and four more.
const MAPPINGS_PER_SLOT: u64 = 7;

const DEFAULT_SLOTS: u32 = 128;

/// An image of up to this size is mapped, not copied. It is read at compile time only, and is part of the cache key.
pub(crate) const DENSE_IMAGE_SIZE: u64 = 64 << 20;

/// The settings that change compiled code or what it may do; both engines share them.
#[derive(Clone, Copy)]
pub(crate) struct Compile {
    pub(crate) metering: Metering,
    pub(crate) max_wasm_stack: usize,
    pub(crate) signals: bool,
}

/// How much address space each memory reserves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reservation {
    /// 4 GiB, so that no access needs a bounds check.
    Whole,
    /// As much as is used, for processes that get no more; the code checks each access.
    AsUsed,
}

impl Compile {
    fn config(self, reservation: Reservation) -> Config {
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .concurrency_support(false)
            .memory_init_cow(true)
            .memory_guaranteed_dense_image_size(DENSE_IMAGE_SIZE)
            .max_wasm_stack(self.max_wasm_stack)
            // Host functions are polled on the guest's fiber, above what the guest may use.
            .async_stack_size(self.max_wasm_stack + (3 << 19))
            // Said here, since wasmtime would ask an environment variable otherwise.
            .wasm_backtrace_details(WasmBacktraceDetails::Enable)
            .relaxed_simd_deterministic(true)
            .signals_based_traps(self.signals);
        match self.metering {
            Metering::Fuel => config.consume_fuel(true),
            Metering::Time => config.epoch_interruption(true),
        };
        if reservation == Reservation::AsUsed {
            config.memory_reservation(0).memory_reservation_for_growth(1 << 20).memory_guard_size(64 << 10);
        }
        #[cfg(feature = "compiler")]
        config.cranelift_nan_canonicalization(true).parallel_compilation(true);
        config
    }
}

/// An engine that allocates each sandbox by itself.
pub(crate) fn on_demand(compile: Compile, reservation: Reservation) -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(compile.config(reservation).allocation_strategy(InstanceAllocationStrategy::OnDemand))
}

/// Whether this process gets the address space for even one memory: a pool of one slot tells.
pub(crate) fn possible_reservation(compile: Compile) -> Reservation {
    if pooled(compile, 1).is_ok() { Reservation::Whole } else { Reservation::AsUsed }
}

/// An engine with a pool of `slots`.
///
/// With defaults the pool scales backwards: two threads do less than one, because each reset changes the process's
/// mappings. Keeping memory resident and resetting only what `PAGEMAP_SCAN` (Linux 6.7) shows as written avoids that.
/// Without the scan the kept part is written as a whole at each reset, so it is small there.
pub(crate) fn pooled(compile: Compile, slots: u32) -> wasmtime::Result<wasmtime::Engine> {
    let pool = |configure: fn(&mut PoolingAllocationConfig) -> &mut PoolingAllocationConfig| {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(slots)
            .total_core_instances(slots.saturating_mul(CORE_INSTANCES_PER_SLOT))
            .total_memories(slots)
            .total_tables(slots.saturating_mul(TABLES_PER_SLOT))
            .total_stacks(slots)
            .max_core_instances_per_component(slots.saturating_mul(CORE_INSTANCES_PER_SLOT))
            .max_memories_per_component(slots)
            .max_tables_per_component(slots.saturating_mul(TABLES_PER_SLOT))
            // Address space only: our own limiter bounds what is used of it.
            .max_memory_size(4 << 30)
            .table_elements(100_000)
            .max_unused_warm_slots(slots);
        configure(&mut pool);
        wasmtime::Engine::new(
            compile.config(Reservation::Whole).allocation_strategy(InstanceAllocationStrategy::Pooling(pool)),
        )
    };
    pool(|pool| pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(16 << 20).table_keep_resident(1 << 20))
        .or_else(|_| {
            pool(|pool| {
                pool.pagemap_scan(Enabled::No).linear_memory_keep_resident(128 << 10).table_keep_resident(16 << 10)
            })
        })
}

/// The number of slots to make, if the process can map that many.
pub(crate) fn pool_size(asked: Option<u32>) -> Result<u32, EngineError> {
    let map_count = max_map_count();
    let max = map_count.map_or(u32::MAX, |count| u32::try_from(count / MAPPINGS_PER_SLOT).unwrap_or(u32::MAX)).max(1);
    match (asked, map_count) {
        (None, _) => Ok(DEFAULT_SLOTS.min(max)),
        (Some(asked), Some(map_count)) if asked > max => {
            let needed = u64::from(asked) * MAPPINGS_PER_SLOT;
            Err(EngineError::TooManySandboxes { asked, max, map_count, needed })
        }
        (Some(asked), _) => Ok(asked),
    }
}

/// How many sandboxes on demand there can be at each of `depths` levels of calls, beside a pool of `slots` and as many
/// on demand: as many again where the process can map them, and always one.
pub(crate) fn nested_size(slots: u32, depths: u32) -> u32 {
    let possible = max_map_count().map_or(u64::from(u32::MAX), |count| count / MAPPINGS_PER_SLOT);
    let left = possible.saturating_sub(2 * u64::from(slots)) / u64::from(depths.max(1));
    u32::try_from(left).unwrap_or(u32::MAX).clamp(1, slots)
}

/// Linux's bound on the mappings of a process; other systems have none that we know of.
fn max_map_count() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}
