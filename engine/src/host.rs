//! The state of one sandbox, and what is linked into it.

mod clocks;
mod files;
#[cfg(feature = "http")]
pub(crate) mod http;
pub(crate) mod imports;
mod meter;
mod model;
mod network;
mod output;
mod random;
mod refusals;
mod run;
mod tools;
pub(crate) mod wasi;

use wasmtime::component::ResourceTable;
use wasmtime::{CallHook, StoreContextMut};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::driver::Handover;
use crate::gate::Scope;
use crate::journal::Journal;
use crate::limits::LimitExceeded;
use crate::sandbox::Plan;
use casemate_policy::{Access, Folder};
#[cfg(feature = "http")]
use http::Http;
#[cfg(not(feature = "http"))]
use network::ClosedHttp as Http;

use clocks::{Exchanges, RunClock, Timers};
pub(crate) use files::OpenFolders;
pub(crate) use meter::SystemRefused;
use meter::{Meter, OnRefusal};
pub use output::Stream;
pub(crate) use output::{CallbackPanicked, Output, Sink};
pub(crate) use refusals::Refusals;
pub use refusals::{Refused, RefusedAction};
pub(crate) use wasi::linker;

/// What a sandbox's store holds. Opaque: it appears in the types of the typed path only
/// (see [`Call::with_instance`](crate::Call::with_instance)).
pub struct Host {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Http,
    table: ResourceTable,
    pub(crate) meter: Meter,
    pub(crate) refusals: Refusals,
    timers: Timers,
    exchanges: Exchanges,
    open_folders: OpenFolders,
    folders: Vec<Folder>,
    random_limit: u64,
    copy_limit: usize,
    scope: Scope,
    handover: Handover,
    /// Bytes of what an agent said.
    said: u64,
    output_limit: u64,
    /// Fuel for work of ours that the guest has not paid yet.
    owed: u64,
    phase: Phase,
}

/// How far a sandbox has come, so that what wasmtime's error means can be told from where it arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No code of the guest has run.
    Starting,
    /// The guest runs, or the arguments of a host call that it made are being copied.
    Guest,
    /// A host function has its arguments and does its work.
    Serving,
}

/// A limit reached inside a host function: ends the guest, and is found again in wasmtime's error.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct HostLimit(pub(crate) LimitExceeded);

/// A granted folder that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the granted folder `{}` cannot be opened: {source}", folder.display())]
#[non_exhaustive]
pub struct FolderError {
    /// The folder on the host.
    pub folder: std::path::PathBuf,
    /// What was wrong.
    pub source: wasmtime::Error,
}

impl Host {
    pub(crate) fn new(plan: &Plan) -> Result<Self, FolderError> {
        let Plan { scope, limits, .. } = plan;
        let grants = scope.reach();
        let refusals = Refusals::default();
        let on_refusal = if scope.own_journal().is_some() { OnRefusal::End } else { OnRefusal::Tell };
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.resources);
        let handover = Handover::default();
        #[cfg(feature = "http")]
        let hooks = Http::new(scope.clone(), handover.clone(), refusals.clone(), *limits);
        #[cfg(not(feature = "http"))]
        let hooks = Http(refusals.clone());
        Ok(Self {
            wasi: wasi_context(plan)?,
            http: WasiHttpCtx::new(),
            hooks,
            table,
            meter: Meter::new(plan.max_memory(), on_refusal),
            refusals,
            timers: Timers::default(),
            exchanges: Exchanges::default(),
            open_folders: OpenFolders::default(),
            folders: grants.folders().to_vec(),
            random_limit: limits.random,
            copy_limit: limits.host_call_bytes,
            scope: scope.clone(),
            handover,
            said: 0,
            output_limit: limits.output,
            owed: 0,
            phase: Phase::Starting,
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Where what the guest attempts is handed over.
    pub(crate) fn handover(&self) -> &Handover {
        &self.handover
    }

    /// Has the guest pay for work that grows with what it asks for: about as much as if it had done it itself.
    fn charge(&mut self, bytes: usize) {
        const EACH: u64 = 1_000;
        self.owed = self.owed.saturating_add(EACH).saturating_add(bytes as u64);
    }

    /// Every host function asks for its state first, once its arguments are copied.
    fn serving(&mut self) {
        self.phase = Phase::Serving;
    }
}

/// Bounds what is copied, a result by one limit, what passes through a host call by another; and takes what is owed.
pub(crate) fn on_transition(
    mut store: StoreContextMut<'_, Host>,
    transition: CallHook,
    limits: (usize, usize),
) -> wasmtime::Result<()> {
    let (host_call_bytes, result) = limits;
    match transition {
        CallHook::CallingHost => {
            store.data_mut().phase = Phase::Guest;
            store.set_hostcall_fuel(host_call_bytes);
        }
        // Also where the guest trapped, so this tells nothing of how it went.
        CallHook::ReturningFromWasm => store.set_hostcall_fuel(result),
        CallHook::CallingWasm => store.data_mut().phase = Phase::Guest,
        CallHook::ReturningFromHost => {
            let owed = std::mem::take(&mut store.data_mut().owed);
            if owed > 0
                && let Ok(left) = store.get_fuel()
            {
                store.set_fuel(left.saturating_sub(owed))?;
            }
        }
    }
    Ok(())
}

fn wasi_context(plan: &Plan) -> Result<WasiCtx, FolderError> {
    let (grants, output) = (plan.scope.reach(), &plan.output);
    let mut wasi = WasiCtx::builder();
    wasi.stdout(output.stream(Stream::Stdout)).stderr(output.stream(Stream::Stderr));
    if let Some(journal) = plan.scope.own_journal() {
        return Ok(run_context(wasi, journal));
    }
    if !grants.input().is_empty() {
        wasi.stdin(MemoryInputPipe::new(grants.input().to_vec()));
    }
    #[cfg(feature = "http")]
    wasi.envs(&http::variables(&plan.scope, &plan.component));
    wasi.args(grants.arguments()).envs(grants.variables());
    for folder in grants.folders() {
        let access = match folder.access() {
            Access::ReadOnly => FsPerms::ReadOnly,
            Access::ReadWrite => FsPerms::ReadWrite,
        };
        wasi.preopened_dir(folder.host(), folder.guest(), access)
            .map_err(|source| FolderError { folder: folder.host().to_owned(), source })?;
    }
    Ok(wasi.build())
}

/// What the agent of a run has of WASI: no folders, and nothing that could be different on replay.
fn run_context(mut wasi: WasiCtxBuilder, journal: &Journal) -> WasiCtx {
    let mut seed = [0; 16];
    journal.fill_random(&mut seed);
    wasi.envs(&journal.setting().variables)
        .wall_clock(RunClock(journal.clone()))
        .monotonic_clock(RunClock(journal.clone()))
        .insecure_random_seed(u128::from_le_bytes(seed))
        .build()
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.serving();
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.serving();
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}
