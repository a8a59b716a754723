//! Components: loading, and what is known of them.

#[cfg(feature = "compiler")]
pub(crate) mod authoring;
mod describe;
mod imports;
mod load;
#[cfg(feature = "compiler")]
mod preflight;
mod provider;
mod tool;

use std::fmt;
use std::sync::{Arc, OnceLock};

use casemate_host_bindings::agent::handler;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wasmtime::component::{self as wasm, ComponentExportIndex, InstancePre};

use crate::call::{Call, CallError, NotFound};
use crate::engine::{Demand, Engine, Lane};
use crate::host::{self, Host};

pub use describe::{Description, Import, Placement, ToolDescription};
pub(crate) use describe::{Export, Exports, Form, Returns, Signature};
pub use imports::{BindError, Imports, Unbound};
pub(crate) use imports::{ImportedFunction, OwnImports};
pub use load::{LoadError, MissingImport};
pub use provider::ProviderError;
pub(crate) use provider::Providers;
pub use tool::{ComponentTool, ExportError};

/// A compiled component, ready to run in any number of sandboxes. Cheap to clone.
#[derive(Clone)]
pub struct Component {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    hash: ContentHash,
    placement: Placement,
    demand: Demand,
    /// The most bytes of memories and tables that it starts with: as many as if all were as large as the largest.
    initial_memory: u64,
    /// Of a component that describes its own tools, there from when it is loaded.
    exports: OnceLock<Exports>,
    docs: Option<String>,
    own_imports: OwnImports,
    wasm: wasm::Component,
    linked: OnceLock<wasmtime::Result<InstancePre<Host>>>,
    #[cfg(feature = "http")]
    speaks_http: OnceLock<bool>,
    /// Made at the first call of a guest that finds the pool full.
    spare: OnceLock<wasmtime::Result<Spare>>,
}

/// A pooled component on the engine that allocates on demand.
struct Spare {
    linked: InstancePre<Host>,
    /// For each export, in their order.
    exports: Vec<ComponentExportIndex>,
}

impl Component {
    /// Calls the tool `name` with `input`, an object keyed by its parameter names, in a fresh sandbox.
    ///
    /// `name` is a short name where that is unambiguous (`read-file`), the full one (`files#read-file`), or the wire
    /// name (`read_file`). Nothing runs until the answer is awaited.
    pub fn call(&self, name: impl Into<String>, input: impl Into<Value>) -> Call {
        Call::new(self.clone(), name.into(), input.into())
    }

    /// [`call`](Self::call) for callers without an async runtime, with the default grants and limits.
    /// [`Engine::block_on`] runs any other call.
    pub fn call_blocking(&self, name: impl Into<String>, input: impl Into<Value>) -> Result<Value, CallError> {
        self.inner.engine.block_on(self.call(name, input))
    }

    /// What it imports, what it exports, and its tools: each exported function, and those that it describes itself.
    pub fn description(&self) -> Description {
        describe::describe(self)
    }

    /// The hash of the component's bytes.
    pub fn hash(&self) -> ContentHash {
        self.inner.hash
    }

    /// The engine that runs it.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// The component linked with what guests may import: for bindings of your own, made by
    /// `wasmtime::component::bindgen!`, which look exports up in it once.
    ///
    /// # Errors
    ///
    /// Where an import has another type than what is offered under its name.
    pub fn instance_pre(&self) -> Result<&InstancePre<Host>, CallError> {
        let link = || self.link(&self.inner.wasm, self.lane());
        self.inner.linked.get_or_init(link).as_ref().map_err(|error| CallError::Internal {
            message: format!("the component's imports do not have the expected types: {error:#}"),
        })
    }

    /// [`instance_pre`](Self::instance_pre) on the engine that allocates on demand.
    pub(crate) fn instance_pre_on_demand(&self) -> Result<&InstancePre<Host>, CallError> {
        if !self.is_pooled() {
            return self.instance_pre();
        }
        let make = || {
            let wasm = load::copy_on_demand(&self.inner.wasm, &self.inner.engine)?;
            let linked = self.link(&wasm, self.inner.engine.on_demand())?;
            Ok(Spare { linked, exports: describe::export_indices(&wasm) })
        };
        let spare = self.inner.spare.get_or_init(make).as_ref();
        let internal = |error: &wasmtime::Error| CallError::Internal { message: format!("{error:#}") };
        spare.map(|spare| &spare.linked).map_err(internal)
    }

    /// Makes ready what [`instance_pre_on_demand`](Self::instance_pre_on_demand) gives, off the executor.
    pub(crate) async fn prepare_on_demand(&self) {
        if self.inner.spare.get().is_none() {
            let component = self.clone();
            // What goes wrong is found again by whoever asks for it.
            let _ = tokio::task::spawn_blocking(move || component.instance_pre_on_demand().is_ok()).await;
        }
    }

    fn link(&self, wasm: &wasm::Component, lane: &Lane) -> wasmtime::Result<InstancePre<Host>> {
        let own = &self.inner.own_imports;
        if own.interfaces.is_empty() && own.functions.is_empty() {
            return lane.linker.instantiate_pre(wasm);
        }
        let mut linker = lane.linker.clone();
        host::imports::link(&mut linker, own)?;
        linker.instantiate_pre(wasm)
    }

    /// Where the export of that position is, on each of the engines where there are instances.
    pub(crate) fn export_indices(&self, position: usize) -> impl Iterator<Item = ComponentExportIndex> {
        let spare = self.inner.spare.get().and_then(|spare| spare.as_ref().ok());
        let spare = spare.and_then(|spare| spare.exports.get(position).copied());
        [self.exports().index(position), spare].into_iter().flatten()
    }

    pub(crate) fn own_imports(&self) -> &OwnImports {
        &self.inner.own_imports
    }

    pub(crate) fn is_pooled(&self) -> bool {
        self.inner.placement == Placement::Pooled && self.inner.engine.pooled().is_some()
    }

    pub(crate) fn export(&self, name: &str) -> Result<&Export, NotFound> {
        self.exports().find(name)
    }

    pub(crate) fn exports(&self) -> &Exports {
        self.inner.exports.get_or_init(|| Exports::of(&self.inner.wasm, self.inner.docs.as_deref()))
    }

    pub(crate) fn wasm(&self) -> &wasm::Component {
        &self.inner.wasm
    }

    pub(crate) fn demand(&self) -> Demand {
        self.inner.demand
    }

    /// Where its handler is, where it is an agent.
    pub(crate) fn handler(&self) -> Option<handler::GuestIndices> {
        handler::GuestIndices::new(self.instance_pre().ok()?).ok()
    }

    /// Whether it could use a folder if it had one.
    pub(crate) fn wants_folders(&self) -> bool {
        let engine = self.inner.wasm.engine();
        self.inner.wasm.component_type().imports(engine).any(|(name, _)| name.starts_with("wasi:filesystem/"))
    }

    /// Whether it can send HTTP requests at all.
    #[cfg(feature = "http")]
    pub(crate) fn speaks_http(&self) -> bool {
        *self.inner.speaks_http.get_or_init(|| {
            let engine = self.inner.wasm.engine();
            let component = self.inner.wasm.component_type();
            component.imports(engine).any(|(name, _)| name.starts_with("wasi:http/outgoing-handler"))
        })
    }

    pub(crate) fn placement(&self) -> Placement {
        self.inner.placement
    }

    pub(crate) fn initial_memory(&self) -> u64 {
        self.inner.initial_memory
    }

    /// Where its sandboxes live.
    pub(crate) fn lane(&self) -> &Lane {
        let pooled = self.inner.engine.pooled().filter(|_| self.is_pooled());
        pooled.unwrap_or(self.inner.engine.on_demand())
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("hash", &self.inner.hash)
            .field("placement", &self.inner.placement)
            .finish_non_exhaustive()
    }
}

/// The blake3 of a component's bytes: its identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The hash that [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for whoever stores it.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(serde::de::Error::custom)
    }
}
