//! Runs code that nobody vouches for, as WebAssembly components inside your own process.
//!
//! A [`Component`] is loaded and described by an [`Engine`]; each of its exported functions is a tool, called with
//! JSON. A call runs in a fresh sandbox: it reaches only what its [`Grants`] say, uses no more than its [`Limits`]
//! say, and nothing of it survives. On the world it acts by calling [`Tool`]s and asking [`Model`]s, through the [`Gate`]:
//! grants, a [`Policy`], a [`Budget`] and a person's approval decide each call before it happens, and all of it is an
//! [`Event`].
//!
//! ```
//! use casemate::{Access, Engine, Folder, Grants};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::new()?;
//! # #[cfg(feature = "toolbox")] {
//! let toolbox = engine.load_bytes(casemate::TOOLBOX).await?;
//!
//! let grants = Grants::none().folder(Folder::new("src", "/src", Access::ReadOnly)?)?;
//! let limits = engine.limits().fuel(500_000_000)?.build();
//! let found = toolbox
//!     .call("grep", json!({"pattern": "pub struct Engine\\b", "path": "/src"}))
//!     .grants(grants)
//!     .limits(limits)
//!     .await?;
//! assert_eq!(found["matches"][0]["path"], "/src/engine.rs");
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! Callers without an async runtime use [`Component::call_blocking`] or [`Engine::block_on`].
//!
//! # Features
//!
//! | feature | default | brings |
//! | --- | --- | --- |
//! | `compiler` | yes | compiling components; without it only what `casemate component compile` made is loaded, by [`Engine::load_compiled`] |
//! | `cache` | yes | keeping compiled components on disk: `EngineBuilder::cache` |
//! | `wat` | yes | loading WebAssembly text |
//! | `cedar` | no | rules in Cedar: `CedarPolicy` |
//! | `http` | no | HTTP requests of guests, tools of HTTP endpoints, secrets: `HttpClient`, `HttpTool`, `Secret`; without it there is no network code at all |
//! | `keyring` | no | secrets in the system's keyring: `KeyringSecret` |
//! | `sqlite` | no | runs, journals and approvals in a SQLite file: [`storage`]`::SqliteStorage` |
//! | `testing` | no | what tests of your own need: a clock to be set, storages that fail, and what each storage is held to |
//! | `toolbox` | no | the component `TOOLBOX`: files, search and edits |
//!
//! # What it does to the process
//!
//! It installs no subscriber and no panic hook, reads no environment variable but those that an
//! `EnvironmentSecret` is made for, keeps no global state and sends nothing home. wasmtime installs process-wide signal handlers, unless [`EngineBuilder::signal_handlers`] says otherwise.
//! Errors are typed and `#[non_exhaustive]`; handles are `Clone + Send + Sync`; futures are `Send`.

mod artifact;
#[cfg(feature = "cache")]
mod cache;
mod call;
mod clock;
mod component;
mod document;
mod driver;
mod effect;
#[cfg(feature = "http")]
mod egress;
mod engine;
mod event;
mod gate;
mod host;
mod journal;
mod json;
mod life;
mod limits;
mod model;
mod perform;
mod run;
mod sandbox;
#[cfg(feature = "http")]
mod secret;
pub mod storage;
#[cfg(feature = "testing")]
pub mod testing;
mod tool;
mod workspace;

pub use artifact::ArtifactError;
#[cfg(feature = "cache")]
pub use cache::{CacheEntry, CacheError, CacheFolder, EntryHealth};
pub use call::{
    Call, CallError, CallReport, CapturedOutput, Declined, Denied, ErrorKind, Frame, InstanceFuture, NotFound,
    ToolError, Trap,
};
pub use clock::{Clock, SystemClock};
#[cfg(feature = "compiler")]
pub use component::authoring::{AddDocsError, add_docs, wit_text};
pub use component::{
    BindError, Component, ComponentTool, ContentHash, Description, ExportError, Import, Imports, LoadError,
    MissingImport, Placement, ProviderError, ToolDescription, Unbound,
};
#[cfg(feature = "http")]
pub use egress::{Connection, Dial, DialFuture, HttpClient, HttpClientBuilder, Resolve, ResolveFuture, RootsError};
pub use engine::{Engine, EngineBuilder, EngineError, Metering, NoSlot, SignalHandlers};
pub use event::{
    Event, EventKind, FileChange, ForkedFrom, Interruption, Overflowed, RunUsage, Settlement, Subject, Subscription,
    Versions,
};
pub use gate::{
    Answer, AnswerFuture, ApprovalId, ApprovalRequest, Approver, Budget, Gate, GateBuilder, NotPending,
    PendingApprovals,
};
pub use host::{FolderError, Host, Refused, RefusedAction, Stream};
pub use life::{RunId, RunStatus, WaitingOn};
#[cfg(feature = "http")]
pub use limits::HttpLimits;
pub use limits::{InvalidLimit, LimitExceeded, LimitKind, Limits, LimitsBuilder, OnExcess, Usage};

pub use journal::UnreadableEntry;
pub use json::ArgumentsHash;
pub use model::{
    ChatContext, ChatFuture, Delta, DeltaPart, Deltas, Model, ModelError, Models, ModelsError, PlaygroundModel,
    ScriptError, ScriptedModel, tool_input,
};
pub use run::{
    Agent, Approval, DecideError, EventsError, FindAgent, FindAgentFuture, ForkError, ReplayEnd, ReplayError, Replayed,
    Run, RunError, RunEvents, RunFailure, RunRequest, RunSummary, Runs, RunsBuilder, StartError,
};
#[cfg(feature = "keyring")]
pub use secret::KeyringSecret;
#[cfg(feature = "http")]
pub use secret::{
    EnvironmentSecret, FileSecret, InvalidPlace, Secret, SecretError, SecretFolder, SecretFolderError, SecretFuture,
    SecretNameError, SecretPlace, SecretReadError, SecretSource, Secrets,
};
#[cfg(feature = "http")]
pub use tool::http::{Declaration, DeclarationError, HttpTool, HttpToolError, OpenApiTools};
pub use tool::{Tool, Toolset, ToolsetError, Widening};

pub use casemate_host_bindings::{
    ChatRequest, ChatResponse, Content, Image, InvalidValue, Message, Role, StopReason, Thought, TokenUsage, ToolCall,
    ToolDefinition, ToolOutcome, ToolResult,
};
pub use casemate_policy::{
    Access, Action, AddressClass, Annotations, Decision, DocumentError, Folder, GrantError, Grants, HostGrant,
    HostName, HostPattern, ModelGrant, Origin, Policy, Principal, PrincipalParent, Query, RequestError, RequestLine,
    Rule, Scheme, SecretGrant, ToolFacts, ToolGrant, ToolIdentity, ToolSource, UnknownClass, Verdict, Widened,
    is_secret_name,
};
#[cfg(feature = "cedar")]
pub use casemate_policy::{
    CedarPolicy, Hidden, HiddenInput, Place, PolicyErrors, PolicyFault, PolicyProblem, PolicySource, Presence,
    ToolInputs, VisibleInput,
};

/// The toolbox: a component that reads, writes, edits, finds and lists files in the folders it is granted.
#[cfg(feature = "toolbox")]
pub use casemate_guests::TOOLBOX;
