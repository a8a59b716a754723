//! Everything that can become of a call.

use std::fmt;

use casemate_host_bindings::{FromJsonError, InvalidValue};
use casemate_policy::Widened;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::component::Unbound;
use crate::engine::NoSlot;
use crate::host::{FolderError, Refused};
use crate::limits::{InvalidLimit, LimitExceeded, LimitKind, Usage};
use crate::tool::{ToolsetError, Widening};

/// The result of a call, and what it took.
#[derive(Debug)]
#[non_exhaustive]
pub struct CallReport<R = Value> {
    /// What the tool gave back, or what became of the call instead.
    pub result: Result<R, CallError>,
    /// What it used up; all zero where no sandbox was made.
    pub usage: Usage,
    /// What it printed, unless that went to a callback.
    pub output: CapturedOutput,
}

impl<R> CallReport<R> {
    pub(super) fn early(error: CallError) -> Self {
        Self { result: Err(error), usage: Usage::default(), output: CapturedOutput::default() }
    }
}

/// What a guest printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CapturedOutput {
    /// The bytes of standard output, up to the limit.
    pub stdout: Vec<u8>,
    /// The bytes of standard error, up to the limit.
    pub stderr: Vec<u8>,
    /// Whether standard output was cut.
    pub stdout_truncated: bool,
    /// Whether standard error was cut.
    pub stderr_truncated: bool,
}

/// What became of a call that has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The tool ran and answered with its own error.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A tool that its component describes did not take the input, or answered with an error that has a kind.
    #[error(transparent)]
    Declined(#[from] Declined),
    /// The input does not fit the tool's type.
    #[error("invalid input: {0}")]
    InvalidInput(#[from] InvalidValue),
    /// The tool cannot be called with JSON.
    #[error("`{name}` cannot be called with JSON: {reason}")]
    NotCallable {
        /// The tool.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The component has no such tool.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// A granted folder cannot be opened.
    #[error(transparent)]
    Folder(FolderError),
    /// A limit that this engine cannot keep.
    #[error(transparent)]
    InvalidLimit(#[from] InvalidLimit),
    /// A tool would reach more than its caller.
    #[error(transparent)]
    Widening(#[from] Widening),
    /// What the component itself was to reach is more than the call reaches.
    #[error("the call was narrowed to more than it is granted: {0}")]
    Narrowing(#[from] Widened),
    /// Two of its tools would have one name.
    #[error(transparent)]
    Namesakes(#[from] ToolsetError),
    /// The component imports a function that nothing serves.
    #[error(transparent)]
    Unbound(#[from] Unbound),
    /// A limit was reached.
    #[error(transparent)]
    LimitExceeded(#[from] LimitExceeded),
    /// The host refused the guest something, and it ended badly.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The guest broke a rule of WebAssembly, or aborted.
    #[error(transparent)]
    Trap(#[from] Trap),
    /// The signal of [`Call::until`](crate::Call::until) came.
    #[error("the call was cancelled")]
    Cancelled,
    /// There was no place for a sandbox.
    #[error(transparent)]
    Busy(NoSlot),
    /// The system refused the agent of a run memory which it may have. All others are told, and go on without.
    #[error("the system refused the sandbox memory: try again later")]
    NoMemory,
    /// The host's own fault, or the embedder's.
    #[error("{message}")]
    Internal {
        /// What went wrong.
        message: String,
    },
}

impl From<FromJsonError> for CallError {
    fn from(error: FromJsonError) -> Self {
        match error {
            FromJsonError::Invalid(error) => error.into(),
            FromJsonError::TooLarge { bytes, max } => {
                LimitExceeded::new(LimitKind::HostCallBytes, bytes as u64, max as u64).into()
            }
            error => Self::Internal { message: error.to_string() },
        }
    }
}

/// The kinds of [`CallError`], as JSON and exit statuses know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The tool's own error.
    ToolError,
    /// The input, or a grant or limit that came with it, cannot be.
    InvalidInput,
    /// No such tool.
    NotFound,
    /// The component cannot be loaded.
    InvalidComponent,
    /// A limit was reached.
    LimitExceeded,
    /// The host refused something.
    Denied,
    /// The guest broke a rule of WebAssembly, or aborted.
    Trap,
    /// Stopped by the caller.
    Cancelled,
    /// No place, or no memory.
    Busy,
    /// The host's fault.
    Internal,
}

impl CallError {
    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Tool(_) => ErrorKind::ToolError,
            Self::Declined(declined) => declined.kind,
            Self::InvalidInput(_)
            | Self::NotCallable { .. }
            | Self::Folder(_)
            | Self::InvalidLimit(_)
            | Self::Widening(_)
            | Self::Narrowing(_)
            | Self::Namesakes(_)
            | Self::Unbound(_) => ErrorKind::InvalidInput,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::LimitExceeded(_) => ErrorKind::LimitExceeded,
            Self::Denied(_) => ErrorKind::Denied,
            Self::Trap(_) => ErrorKind::Trap,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Busy(_) | Self::NoMemory => ErrorKind::Busy,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// As JSON: `kind`, `message`, and what else the kind has to tell.
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("kind".into(), json!(self.kind()));
        members.insert("message".into(), self.to_string().into());
        if let Value::Object(facts) = self.facts() {
            members.extend(facts);
        }
        Value::Object(members)
    }

    fn facts(&self) -> Value {
        match self {
            Self::Tool(error) => json!(error),
            Self::InvalidInput(error) => json!({"path": error.path, "expected": error.expected, "found": error.found}),
            Self::NotFound(error) => json!(error),
            Self::LimitExceeded(error) => json!(error),
            Self::Denied(error) => json!({"refused": error.refused, "cause": error.cause.to_json()}),
            Self::Trap(error) => json!(error),
            _ => Value::Null,
        }
    }
}

/// A tool's own error: the `err` of its result, or an exit with a status other than 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ToolError {
    /// The payload of `err`; `null` where it has none.
    pub value: Value,
    /// The status, if the guest exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// What the caller may have forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

impl ToolError {
    pub(crate) fn exit(status: i32) -> Self {
        Self { value: Value::Null, exit_status: Some(status), hint: None }
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.value, self.exit_status) {
            (_, Some(status)) => write!(f, "the tool exited with status {status}"),
            (Value::Null, None) => f.write_str("the tool failed without saying why"),
            (Value::String(message), None) => f.write_str(message),
            (value, None) => write!(f, "{value}"),
        }
    }
}

impl std::error::Error for ToolError {}

/// A tool that its component describes did not take the input, or did not do what it was asked, and says why. Its `failed`
/// is a [`ToolError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Declined {
    /// Denied, not found, invalid input, limit exceeded, or cancelled.
    pub kind: ErrorKind,
    /// Why; of an answer, in the tool's own words.
    pub message: String,
}

/// A name that no tool of the component has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NotFound {
    /// What was asked for.
    pub name: String,
    /// The tool whose name is nearest, if one is near.
    pub nearest: Option<String>,
    /// The full names, where several tools could be meant.
    pub candidates: Vec<String>,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, nearest, candidates } = self;
        if !candidates.is_empty() {
            return write!(f, "`{name}` can mean several tools: {}", candidates.join(", "));
        }
        match nearest {
            Some(nearest) => write!(f, "there is no tool `{name}`: did you mean `{nearest}`?"),
            None => write!(f, "there is no tool `{name}`: `casemate inspect` lists those there are"),
        }
    }
}

impl std::error::Error for NotFound {}

/// The host refused the guest something, and then the guest ended badly.
#[derive(Debug)]
#[non_exhaustive]
pub struct Denied {
    /// What was refused, in order.
    pub refused: Vec<Refused>,
    /// The guest's own account: a tool error or a trap.
    pub cause: Box<CallError>,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused: Vec<_> = self.refused.iter().map(ToString::to_string).collect();
        write!(f, "refused: {}", refused.join("; "))
    }
}

impl std::error::Error for Denied {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}

/// The guest broke a rule of WebAssembly, or aborted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Trap {
    /// What wasmtime says of it.
    pub reason: String,
    /// Where, innermost first.
    pub backtrace: Vec<Frame>,
}

/// One frame of a guest's backtrace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Frame {
    /// The function, where the component carries names.
    pub function: Option<String>,
    /// The source file, where it carries debug information.
    pub file: Option<String>,
    /// The line in that file.
    pub line: Option<u32>,
}

impl Trap {
    pub(crate) fn new(error: &wasmtime::Error) -> Self {
        let frames = error.downcast_ref::<wasmtime::WasmBacktrace>().map_or(&[][..], |trace| trace.frames());
        Self { reason: error.root_cause().to_string(), backtrace: frames.iter().flat_map(Frame::all).collect() }
    }
}

impl Frame {
    /// One frame of code can be several of source, where functions were inlined.
    fn all(frame: &wasmtime::FrameInfo) -> Vec<Self> {
        let readable = |name: &str| format!("{:#}", rustc_demangle::demangle(name));
        if frame.symbols().is_empty() {
            return vec![Self { function: frame.func_name().map(readable), file: None, line: None }];
        }
        let symbols = frame.symbols().iter().map(|symbol| Self {
            function: symbol.name().or(frame.func_name()).map(readable),
            file: symbol.file().map(str::to_owned),
            line: symbol.line(),
        });
        symbols.collect()
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the guest trapped: {}", self.reason)?;
        for frame in &self.backtrace {
            write!(f, "\n    at {}", frame.function.as_deref().unwrap_or("?"))?;
            if let Some(file) = &frame.file {
                write!(f, " ({file}:{})", frame.line.unwrap_or(0))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Trap {}
