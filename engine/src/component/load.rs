//! From a file, bytes or text to a [`Component`]: check, find in the cache or compile, and place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use wasmtime::component as wasm;

use super::imports::OwnImports;
use super::{Component, Inner, Placement, ProviderError};
use crate::artifact::{self, ArtifactError, Facts};
use crate::engine::{Demand, Engine, Lane};

#[cfg(feature = "compiler")]
use super::{ContentHash, preflight::preflight};

const WASM_PAGE: u64 = 64 << 10;
const TABLE_ELEMENT: u64 = 8;

#[cfg(feature = "compiler")]
impl Engine {
    /// Loads a component from a file: the binary form, or text with the feature `wat`.
    ///
    /// Compiling takes from milliseconds to many seconds, happens off the executor, and cannot be metered or
    /// cancelled: do it before it is needed, keep it in a cache, or do it ahead with `casemate component compile`.
    pub async fn load(&self, path: impl AsRef<Path>) -> Result<Component, LoadError> {
        let path = path.as_ref().to_owned();
        let max = self.max_component_size();
        let bytes = off_executor(move || read_bounded(&path, max)).await?;
        self.load_bytes(bytes).await
    }

    /// Loads a component from bytes: the binary form, or text with the feature `wat`. Compiles as [`load`](Self::load)
    /// does.
    ///
    /// One that exports `casemate:agent/provider` is then asked for its tools, in a sandbox that is granted nothing and
    /// has a second; once for each content, since the answer is kept by the engine and in its cache. However it is
    /// loaded, it has the tools that it described.
    pub async fn load_bytes(&self, bytes: impl AsRef<[u8]> + Send + 'static) -> Result<Component, LoadError> {
        let place = self.compile_place().await;
        let engine = self.clone();
        let component = off_executor(move || {
            let _place = place;
            let bytes = engine.binary(bytes.as_ref())?;
            let facts = preflight(&bytes)?;
            if let Some(component) = engine.find_cached(&facts.hash) {
                return Ok(component);
            }
            let artifact = engine.compile_checked(&bytes, &facts)?;
            engine.keep_cached(&facts.hash, &artifact);
            engine.place(&Code::Bytes(&artifact), facts)
        })
        .await?;
        component.described().await
    }

    /// The component of that hash, if the engine's cache holds it: no bytes are read or compiled.
    #[cfg(feature = "cache")]
    pub async fn load_cached(&self, hash: ContentHash) -> Option<Component> {
        let engine = self.clone();
        let component = off_executor(move || engine.find_cached(&hash)).await?;
        component.described().await.inspect_err(|error| tracing::warn!(%error, "cache entry not used")).ok()
    }

    /// Compiles a component to the bytes of a file that [`load_compiled`](Self::load_compiled) reads, on this kind of
    /// machine and with the same version and settings.
    pub async fn compile(&self, bytes: impl AsRef<[u8]> + Send + 'static) -> Result<Vec<u8>, LoadError> {
        let place = self.compile_place().await;
        let engine = self.clone();
        off_executor(move || {
            let _place = place;
            let bytes = engine.binary(bytes.as_ref())?;
            let facts = preflight(&bytes)?;
            engine.compile_checked(&bytes, &facts)
        })
        .await
    }

    /// The binary form of a component's bytes.
    pub(crate) fn to_binary(&self, bytes: bytes::Bytes) -> Result<bytes::Bytes, LoadError> {
        match self.binary(&bytes)? {
            std::borrow::Cow::Borrowed(_) => Ok(bytes),
            std::borrow::Cow::Owned(binary) => Ok(binary.into()),
        }
    }

    fn binary<'a>(&self, bytes: &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>, LoadError> {
        let (size, max) = (bytes.len() as u64, self.max_component_size());
        if size > max {
            return Err(LoadError::TooLarge { size, max });
        }
        parse_text(bytes)
    }

    fn compile_checked(&self, bytes: &[u8], facts: &Facts) -> Result<Vec<u8>, LoadError> {
        let lane = self.pooled().unwrap_or(self.on_demand());
        let code = lane.wasmtime.precompile_component(bytes).map_err(|source| LoadError::Invalid { source })?;
        Ok(artifact::seal(code, facts))
    }

    #[cfg(feature = "cache")]
    fn find_cached(&self, hash: &ContentHash) -> Option<Component> {
        let hit = self.cache()?.find(hash, &self.on_demand().wasmtime)?;
        let component = self.place(&Code::file(hit.file, hit.path), hit.seal.facts);
        component.inspect_err(|error| tracing::warn!(%error, "cache entry not used")).ok()
    }

    #[cfg(feature = "cache")]
    fn keep_cached(&self, hash: &ContentHash, artifact: &[u8]) {
        if let Some(cache) = self.cache() {
            cache.keep(hash, &self.on_demand().wasmtime, artifact);
        }
    }

    #[cfg(not(feature = "cache"))]
    #[allow(clippy::unused_self, reason = "the same call with and without the feature")]
    fn find_cached(&self, _hash: &ContentHash) -> Option<Component> {
        None
    }

    #[cfg(not(feature = "cache"))]
    #[allow(clippy::unused_self, reason = "the same call with and without the feature")]
    fn keep_cached(&self, _hash: &ContentHash, _artifact: &[u8]) {}
}

impl Engine {
    /// Loads what `casemate component compile` or [`Engine::compile`] wrote. No compiler is needed.
    ///
    /// # Safety
    ///
    /// The file holds native code that will run in this process, outside any sandbox. It must be one that
    /// [`Engine::compile`] made and that nobody untrusted could change, and it must not change while the component
    /// lives. The checksum in it guards against accidents only.
    pub async unsafe fn load_compiled(&self, path: impl AsRef<Path>) -> Result<Component, LoadError> {
        let path = path.as_ref().to_owned();
        let engine = self.clone();
        let component = off_executor(move || {
            let read = |source| LoadError::Read { path: path.clone(), source };
            let mut file = std::fs::File::open(&path).map_err(read)?;
            let len = file.metadata().map_err(read)?.len();
            let damaged = |source| LoadError::Artifact { path: path.clone(), source };
            let seal = artifact::read_seal(&mut file, len).map_err(damaged)?;
            artifact::verify(&mut file, &seal, len).map_err(damaged)?;
            engine.place(&Code::file(file, path.clone()), seal.facts)
        })
        .await?;
        component.described().await
    }

    /// Puts the code where it fits: in the pool, or else on demand.
    fn place(&self, code: &Code<'_>, facts: Facts) -> Result<Component, LoadError> {
        let pooled = self.pooled().and_then(|lane| {
            let wasm = code.load(lane).ok()?;
            let demand = demand(&wasm, &facts);
            (demand.slots() <= lane.slots.size()).then_some((wasm, demand, Placement::Pooled))
        });
        let (wasm, demand, placement) = if let Some(placed) = pooled {
            placed
        } else {
            let wasm = code.load(self.on_demand()).map_err(|source| LoadError::Incompatible { source })?;
            let demand = demand(&wasm, &facts);
            (wasm, demand, Placement::OnDemand)
        };
        let initial_memory = wasm.resources_required().map_or(0, |needs| {
            let pages = u64::from(needs.num_memories).saturating_mul(needs.max_initial_memory_size.unwrap_or(0));
            let elements = u64::from(needs.num_tables).saturating_mul(needs.max_initial_table_size.unwrap_or(0));
            pages.saturating_mul(WASM_PAGE).saturating_add(elements.saturating_mul(TABLE_ELEMENT))
        });
        let own_imports = OwnImports::of(&wasm)?;
        Ok(Component {
            inner: Arc::new(Inner {
                engine: self.clone(),
                own_imports,
                hash: facts.hash,
                placement,
                demand,
                initial_memory,
                exports: OnceLock::new(),
                docs: facts.docs,
                wasm,
                linked: OnceLock::new(),
                #[cfg(feature = "http")]
                speaks_http: OnceLock::new(),
                spare: OnceLock::new(),
            }),
        })
    }
}

fn demand(wasm: &wasm::Component, facts: &Facts) -> Demand {
    let needs = wasm.resources_required();
    Demand {
        memories: needs.as_ref().map_or(1, |needs| needs.num_memories),
        tables: needs.as_ref().map_or(1, |needs| needs.num_tables),
        core_instances: facts.core_instances,
    }
}

/// The same code on the engine that allocates on demand.
pub(super) fn copy_on_demand(wasm: &wasm::Component, engine: &Engine) -> wasmtime::Result<wasm::Component> {
    Code::Bytes(&wasm.serialize()?).load(engine.on_demand())
}

/// An artifact, sealed by this version of Casemate.
enum Code<'a> {
    Bytes(&'a [u8]),
    File { path: PathBuf, _open: std::fs::File },
}

impl Code<'_> {
    /// The file that was checked is the file that is mapped, where the system can name an open file.
    fn file(open: std::fs::File, path: PathBuf) -> Self {
        #[cfg(target_os = "linux")]
        let path = {
            use std::os::fd::AsRawFd as _;
            let named = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
            if named.exists() { named } else { path }
        };
        Self::File { path, _open: open }
    }

    /// The one place where native code enters the process.
    #[allow(unsafe_code, reason = "wasmtime cannot check native code; see the safety comment")]
    fn load(&self, lane: &Lane) -> wasmtime::Result<wasm::Component> {
        // SAFETY: the code is what wasmtime's compiler made. It comes straight from the compiler; or from a component
        // that is loaded already; or from a cache entry that is private to the user and whose checksum was compared;
        // or from a file whose caller vouched for it in `load_compiled`. wasmtime itself checks version and settings.
        unsafe {
            match self {
                Self::Bytes(bytes) => wasm::Component::deserialize(&lane.wasmtime, bytes),
                Self::File { path, .. } => wasm::Component::deserialize_file(&lane.wasmtime, path),
            }
        }
    }
}

/// The binary form of text; what is not text stays as it is.
#[cfg(feature = "wat")]
pub(super) fn parse_text(bytes: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, LoadError> {
    // Whatever is neither is told apart later, with a better message than "expected `(`".
    let looks_like_text = bytes.trim_ascii_start().starts_with(b"(") || bytes.trim_ascii_start().starts_with(b";;");
    if !looks_like_text {
        return Ok(bytes.into());
    }
    wat::parse_bytes(bytes).map_err(|error| LoadError::Text { message: error.to_string() })
}

#[cfg(all(feature = "compiler", not(feature = "wat")))]
pub(super) fn parse_text(bytes: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, LoadError> {
    Ok(bytes.into())
}

#[cfg(feature = "compiler")]
fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, LoadError> {
    use std::io::Read as _;
    let read = |source| LoadError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(read)?;
    let size = file.metadata().map_err(read)?.len();
    if size > max {
        return Err(LoadError::TooLarge { size, max });
    }
    let mut bytes = Vec::new();
    // A device or pipe tells no size; one byte more than allowed is enough to notice.
    file.take(max + 1).read_to_end(&mut bytes).map_err(read)?;
    Ok(bytes)
}

pub(super) async fn off_executor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking work is cancelled only when the runtime shuts down, and then nobody polls this.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Why a component could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("the file is empty: a component was expected")]
    Empty,
    /// A core module.
    #[error(
        "this is a core module, not a component: build it for `wasm32-wasip2`, or make a component of it with `wasm-tools component new MODULE --adapt wasi_snapshot_preview1.wasm -o COMPONENT`"
    )]
    CoreModule,
    /// Native code.
    #[error(
        "this is a compiled component: it is loaded by `Engine::load_compiled`, which trusts it, or give the component that it was made of"
    )]
    AlreadyCompiled,
    /// Neither WebAssembly nor its text.
    #[error("this is not WebAssembly: a component starts with the bytes 00 61 73 6d 0d 00 01 00")]
    NotWebAssembly,
    /// The end is missing.
    #[error("the component is cut short after {size} bytes: copy or download it again")]
    Truncated {
        /// How much there is.
        size: usize,
    },
    /// The binary does not hold together.
    #[error("the component is malformed at byte {offset}: {message}")]
    Malformed {
        /// Where.
        offset: usize,
        /// What is wrong there.
        message: String,
    },
    /// The text does not hold together.
    #[error("the component's text is malformed: {message}")]
    Text {
        /// Where and what, over several lines.
        message: String,
    },
    /// It does not validate, or uses a proposal that is not enabled.
    #[error("the component is invalid: {source:#}")]
    Invalid {
        /// What wasmtime says.
        source: wasmtime::Error,
    },
    /// Its types cannot be written as WIT.
    #[error("the component's types cannot be written as WIT: {message}")]
    Wit {
        /// Why not.
        message: String,
    },
    /// Larger than the engine compiles.
    #[error("the component has {size} bytes, and this engine compiles at most {max}: raise `max_component_size`")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The most allowed.
        max: u64,
    },
    /// WASI 0.3 or later.
    #[error(
        "the component is made for a later WASI (`{interface}`), and this version of Casemate runs WASI 0.2: build it for `wasm32-wasip2`"
    )]
    LaterWasi {
        /// One interface that says so.
        interface: String,
    },
    /// It wants imports that nobody offers.
    #[error("the component imports what nobody offers: {}", imports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    MissingImports {
        /// Each of them.
        imports: Vec<MissingImport>,
    },
    /// It imports a function that no tool can serve.
    #[error("the component imports `{name}`, which no tool can serve: {reason}")]
    UnsupportedImport {
        /// The function, with its interface.
        name: String,
        /// Why not.
        reason: String,
    },
    /// It describes its own tools, and not in a way that can be used.
    #[error("the component's description of its own tools cannot be used: {0}")]
    Provider(#[from] ProviderError),
    /// A compiled file that cannot be used.
    #[error("compiled component `{}` {source}", path.display())]
    Artifact {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ArtifactError,
    },
    /// Compiled by another version or with other settings.
    #[error("the compiled component does not fit this engine: {source:#}")]
    Incompatible {
        /// What wasmtime says.
        source: wasmtime::Error,
    },
}

/// An import that nobody offers, and what could provide it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` ({hint})")]
#[non_exhaustive]
pub struct MissingImport {
    /// The import's name.
    pub name: String,
    /// What could provide it.
    pub hint: &'static str,
}

#[cfg(feature = "compiler")]
impl MissingImport {
    pub(super) fn new(name: &str) -> Self {
        let hint = if name.starts_with("wasi:") {
            "an interface of WASI that Casemate does not offer"
        } else if name.starts_with("casemate:") {
            "an interface that this version of Casemate does not have"
        } else {
            "neither a function nor an interface, so no tool can serve it"
        };
        Self { name: name.to_owned(), hint }
    }
}
