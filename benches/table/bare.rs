//! Bare wasmtime, set up as Casemate sets it up and used as its own documentation says: what a call costs that has the
//! same meters and nothing of ours.

use std::fmt;
use std::path::Path;

use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, ComponentType, InstancePre, Lift, Linker, Lower,
    ResourceTable, TypedFunc,
};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, Result, Store, StoreLimits,
    StoreLimitsBuilder, WasmBacktraceDetails,
};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

const FUEL: u64 = 1_000_000_000;
const YIELD_INTERVAL: u64 = 100_000;
const MEMORY: usize = 64 << 20;
const OUTPUT: usize = 1 << 20;
const STACK: usize = 512 << 10;

/// What differs between the engines that are measured.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) metering: Metering,
    pub(crate) pool: Pool,
}

#[derive(Clone, Copy)]
pub(crate) enum Metering {
    Fuel,
    Off,
}

#[derive(Clone, Copy)]
pub(crate) enum Pool {
    /// This many slots, memory kept resident and reset by `PAGEMAP_SCAN`.
    Chosen { slots: u32 },
    /// As wasmtime makes one.
    Default,
}

impl Settings {
    /// Those of Casemate's default engine.
    pub(crate) const CHOSEN: Self = Self { metering: Metering::Fuel, pool: Pool::Chosen { slots: 128 } };

    fn config(self) -> Config {
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .concurrency_support(false)
            .memory_init_cow(true)
            .memory_guaranteed_dense_image_size(64 << 20)
            .max_wasm_stack(STACK)
            .async_stack_size(STACK + (3 << 19))
            .wasm_backtrace_details(WasmBacktraceDetails::Enable)
            .relaxed_simd_deterministic(true)
            .signals_based_traps(true)
            .consume_fuel(matches!(self.metering, Metering::Fuel))
            .cranelift_nan_canonicalization(true)
            .parallel_compilation(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(self.pool.config()));
        config
    }
}

impl Pool {
    fn config(self) -> PoolingAllocationConfig {
        let mut pool = PoolingAllocationConfig::new();
        if let Self::Chosen { slots } = self {
            pool.total_component_instances(slots)
                .total_core_instances(slots * 64)
                .total_memories(slots)
                .total_tables(slots * 4)
                .total_stacks(slots)
                .max_core_instances_per_component(slots * 64)
                .max_memories_per_component(slots)
                .max_tables_per_component(slots * 4)
                .max_memory_size(4 << 30)
                .table_elements(100_000)
                .max_unused_warm_slots(slots)
                .pagemap_scan(Enabled::Yes)
                .linear_memory_keep_resident(16 << 20)
                .table_keep_resident(1 << 20);
        }
        pool
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pool {
            Pool::Chosen { slots } => write!(f, "pool of {slots}, 16 MiB kept resident, pagemap scan")?,
            Pool::Default => f.write_str("wasmtime's default pool")?,
        }
        match self.metering {
            Metering::Fuel => write!(f, "; {FUEL} fuel, yield every {YIELD_INTERVAL}")?,
            Metering::Off => f.write_str("; unmetered")?,
        }
        write!(
            f,
            "; limiter of {} MiB; stack {} KiB; CoW images; no concurrency support; NaN canonical; a `WasiCtx` with \
             two pipes, `instantiate_async`, a typed function, `call_async`",
            MEMORY >> 20,
            STACK >> 10,
        )
    }
}

/// wasmtime, with WASI linked.
pub(crate) struct Engine {
    wasmtime: wasmtime::Engine,
    linker: Linker<State>,
    settings: Settings,
}

impl Engine {
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        let wasmtime = wasmtime::Engine::new(&settings.config())?;
        let mut linker = Linker::new(&wasmtime);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        add_tools(&mut linker)?;
        Ok(Self { wasmtime, linker, settings })
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings
    }

    /// Compiles a component.
    pub(crate) fn load(&self, bytes: &[u8]) -> Result<Guest> {
        let component = Component::new(&self.wasmtime, bytes)?;
        let pre = self.linker.instantiate_pre(&component)?;
        Ok(Guest { pre, metering: self.settings.metering })
    }

    pub(crate) fn compile(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.wasmtime.precompile_component(bytes)
    }

    /// Maps what [`compile`](Self::compile) made.
    ///
    /// # Safety
    ///
    /// The file is native code.
    #[allow(unsafe_code, reason = "the caller vouches for the file")]
    pub(crate) unsafe fn map(&self, file: &Path) -> Result<Component> {
        // SAFETY: passed on to the caller.
        unsafe { Component::deserialize_file(&self.wasmtime, file) }
    }
}

/// A component that is ready to run.
#[derive(Clone)]
pub(crate) struct Guest {
    pre: InstancePre<State>,
    metering: Metering,
}

pub(crate) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl Guest {
    /// Looks an exported function up, once.
    pub(crate) fn export(&self, interface: Option<&str>, name: &str) -> Result<ComponentExportIndex> {
        let component = self.pre.component();
        let interface = interface.map(|name| component.get_export_index(None, name).ok_or_else(|| missing(name)));
        component.get_export_index(interface.transpose()?.as_ref(), name).ok_or_else(|| missing(name))
    }

    /// Calls a function in a fresh store, which sees `folder` as `/data`.
    pub(crate) async fn call<P, R>(
        &self,
        export: ComponentExportIndex,
        parameters: P,
        folder: Option<&Path>,
    ) -> Result<R>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let (mut store, function) = self.instantiate::<P, R>(export, folder).await?;
        function.call_async(&mut store, parameters).await
    }

    /// A fresh store, and a function in it to call.
    pub(crate) async fn instantiate<P, R>(
        &self,
        export: ComponentExportIndex,
        folder: Option<&Path>,
    ) -> Result<(Store<State>, TypedFunc<P, R>)>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let mut store = self.store(folder)?;
        let instance = self.pre.instantiate_async(&mut store).await?;
        let function = instance.get_typed_func(&mut store, export)?;
        Ok((store, function))
    }

    /// The names of what the component imports and exports, which is as much as wasmtime describes.
    pub(crate) fn names(&self) -> usize {
        let engine = self.pre.engine();
        let component = self.pre.component().component_type();
        component.imports(engine).count() + component.exports(engine).count()
    }

    fn store(&self, folder: Option<&Path>) -> Result<Store<State>> {
        let mut wasi = WasiCtx::builder();
        wasi.stdout(MemoryOutputPipe::new(OUTPUT)).stderr(MemoryOutputPipe::new(OUTPUT));
        if let Some(folder) = folder {
            wasi.preopened_dir(folder, "/data", FsPerms::ReadOnly)?;
        }
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY).build();
        let state = State { wasi: wasi.build(), table: ResourceTable::new(), limits };
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        if let Metering::Fuel = self.metering {
            store.set_fuel(FUEL)?;
            store.fuel_async_yield_interval(Some(YIELD_INTERVAL))?;
        }
        Ok(store)
    }
}

/// Host functions that answer at once: what a call from a guest costs that does nothing.
fn add_tools(linker: &mut Linker<State>) -> Result<()> {
    let mut tools = linker.instance("casemate:agent/tools@0.1.0")?;
    tools.func_wrap_async("call", |_, (_, _): (String, String)| {
        Box::new(async { Ok((Ok::<_, ToolError>("null".to_owned()),)) })
    })?;
    for unused in ["available", "call-all"] {
        tools.func_new(unused, |_, _, _, _| Err(wasmtime::Error::msg("not measured")))?;
    }
    linker
        .instance("acme:math/ops")?
        .func_wrap_async("double", |_, (number,): (u32,)| Box::new(async move { Ok((number.wrapping_mul(2),)) }))
}

fn missing(export: &str) -> wasmtime::Error {
    wasmtime::Error::msg(format!("no export `{export}`"))
}

/// What `list-dir` of the toolbox gives.
#[derive(ComponentType, Lift)]
#[component(record)]
#[expect(dead_code, reason = "lifted for what lifting costs")]
pub(crate) struct Listing {
    entries: Vec<Entry>,
    truncated: bool,
}

#[derive(ComponentType, Lift)]
#[component(record)]
#[expect(dead_code, reason = "lifted for what lifting costs")]
pub(crate) struct Entry {
    name: String,
    kind: Kind,
    size: u64,
}

#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[expect(dead_code, reason = "only a guest makes one")]
#[repr(u8)]
pub(crate) enum Kind {
    #[component(name = "file")]
    File,
    #[component(name = "directory")]
    Directory,
    #[component(name = "symlink")]
    Symlink,
    #[component(name = "other")]
    Other,
}

/// What `read-file` gives.
#[derive(ComponentType, Lift)]
#[component(record)]
#[expect(dead_code, reason = "lifted for what lifting costs")]
pub(crate) struct FileText {
    text: String,
    #[component(name = "first-line")]
    first_line: u64,
    #[component(name = "last-line")]
    last_line: u64,
    #[component(name = "total-lines")]
    total_lines: Option<u64>,
    truncated: bool,
    lossy: bool,
}

/// What `glob` gives.
#[derive(ComponentType, Lift)]
#[component(record)]
#[expect(dead_code, reason = "lifted for what lifting costs")]
pub(crate) struct GlobResult {
    paths: Vec<String>,
    truncated: bool,
}

/// Why a tool has no result.
#[derive(ComponentType, Lower)]
#[component(variant)]
#[expect(dead_code, reason = "no tool of ours fails")]
enum ToolError {
    #[component(name = "denied")]
    Denied(String),
    #[component(name = "not-found")]
    NotFound(String),
    #[component(name = "invalid-input")]
    InvalidInput(String),
    #[component(name = "limit-exceeded")]
    LimitExceeded(String),
    #[component(name = "failed")]
    Failed(String),
    #[component(name = "cancelled")]
    Cancelled,
}

/// What `lookup` of the ledger gives.
#[derive(ComponentType, Lift)]
#[component(record)]
#[expect(dead_code, reason = "lifted for what lifting costs")]
pub(crate) struct OrderInfo {
    order: String,
    paid: u32,
    currency: String,
}
