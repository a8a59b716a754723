//! What passes the Gate, and what becomes of runs, as those who watch see it.

mod run;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use casemate_host_bindings::{Message, StopReason, TokenUsage};
use casemate_policy::{AddressClass, RequestLine, Rule, ToolSource};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::ErrorKind;
use crate::gate::ApprovalId;
use crate::life::{RunId, WaitingOn};

pub use run::{FileChange, ForkedFrom, Interruption, RunUsage, Settlement, Versions};
pub(crate) use watch::Events;
pub use watch::{Overflowed, Subscription};

/// Something that happened at a Gate. One happening is one event.
///
/// As JSON: `{"sequence": 3, "type": "tool_call", "data": {…}, "at": "2026-01-31T12:00:00.000000Z"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// The number of the event at its Gate, from 1 without holes.
    pub sequence: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
    /// When.
    #[serde(with = "timestamp")]
    pub at: SystemTime,
}

/// What an effect is about. In JSON a member beside others: `"tool": "refund"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Subject {
    /// A tool, by its own name; the name that was asked for where there is none.
    Tool(String),
    /// The host that a request goes to.
    Host(String),
    /// A secret, by its name.
    Secret(String),
    /// A model, by the name it is granted under; the name that was asked for where there is none.
    Model(String),
}

impl Subject {
    /// Its name, of whatever sort it is.
    pub fn name(&self) -> &str {
        match self {
            Self::Tool(name) | Self::Host(name) | Self::Secret(name) | Self::Model(name) => name,
        }
    }
}

/// ``tool `refund` ``.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool(name) => write!(f, "tool `{name}`"),
            Self::Host(name) => write!(f, "host `{name}`"),
            Self::Secret(name) => write!(f, "secret `{name}`"),
            Self::Model(name) => write!(f, "model `{name}`"),
        }
    }
}

/// What happened. `id` tells effects apart; `tool` is the tool's own name; what is marked by
/// [`Tool::redact`](crate::Tool::redact) shows as `"[redacted]"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A call was admitted and begins.
    ToolCall {
        /// Which effect.
        id: u64,
        /// Which tool.
        tool: String,
        /// Where the tool comes from.
        source: ToolSource,
        /// Its input.
        input: Arc<Value>,
        /// The id of the principal on whose behalf.
        principal: String,
        /// How deep in its tree of calls, from 1.
        depth: u32,
        /// The version of the policy that allowed it, where there is one.
        policy: Option<String>,
        /// The rules that allowed it.
        rules: Vec<Rule>,
    },
    /// An effect was not admitted: a grant is missing, or a rule forbids it.
    Denied {
        /// Which effect.
        id: u64,
        /// What it is about.
        #[serde(flatten)]
        subject: Subject,
        /// The input.
        input: Arc<Value>,
        /// The id of the principal on whose behalf.
        principal: String,
        /// Why, as the guest is told.
        reason: String,
        /// The rules that denied it; none where a grant is missing.
        rules: Vec<Rule>,
        /// The version of the policy that denied it, where one did.
        policy: Option<String>,
        /// What a person could do about it: a flag of the binary, or a line of policy.
        allow: Option<String>,
    },
    /// A person is asked.
    ApprovalRequired {
        /// Which effect.
        id: u64,
        /// Which approval, for answering.
        approval: ApprovalId,
        /// What it is about.
        #[serde(flatten)]
        subject: Subject,
        /// Where the tool comes from, where it is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<ToolSource>,
        /// The input to which the approval is bound.
        input: Arc<Value>,
        /// What the person is asked.
        question: String,
        /// The rules that ask; none where the grant does.
        rules: Vec<Rule>,
        /// The version of the policy under which it is asked, where there is one.
        policy: Option<String>,
    },
    /// A person said yes.
    Approved {
        /// Which effect.
        id: u64,
        /// Which approval.
        approval: ApprovalId,
        /// What it is about.
        #[serde(flatten)]
        subject: Subject,
        /// The input as the person changed it, if so.
        edited: Option<Arc<Value>>,
        /// Who, where somebody was named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// A person said no, or nobody answered in time.
    Rejected {
        /// Which effect.
        id: u64,
        /// Which approval.
        approval: ApprovalId,
        /// What it is about.
        #[serde(flatten)]
        subject: Subject,
        /// Why.
        reason: String,
        /// Who, where somebody was named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// A tool gave a result.
    ToolResult {
        /// Which effect.
        id: u64,
        /// Which tool.
        tool: String,
        /// The result.
        output: Arc<Value>,
        /// How long the tool took, in microseconds.
        #[serde(rename = "duration_us", with = "micros")]
        duration: Duration,
    },
    /// An HTTP request was admitted and leaves.
    Fetch {
        /// Which effect.
        id: u64,
        /// How, where to, and which path; the query is not shown.
        #[serde(flatten)]
        request: RequestLine,
        /// What sort of address it goes to.
        address: AddressClass,
        /// The id of the principal on whose behalf.
        principal: String,
        /// How deep in its tree of calls, from 1.
        depth: u32,
        /// The version of the policy that allowed it, where there is one.
        policy: Option<String>,
        /// The rules that allowed it.
        rules: Vec<Rule>,
    },
    /// A response ended, or nobody wanted the rest of it.
    Fetched {
        /// Which effect.
        id: u64,
        /// The host that it came from.
        host: String,
        /// Its status.
        status: u16,
        /// Bytes of its body, decoded.
        received: u64,
        /// From the departure of the request to the end of the response, in microseconds.
        #[serde(rename = "duration_us", with = "micros")]
        duration: Duration,
    },
    /// A secret is put into a request. Its value is in no event.
    SecretUsed {
        /// Which effect.
        id: u64,
        /// The effect of the request.
        fetch: u64,
        /// The name of the secret.
        secret: String,
        /// The request.
        #[serde(flatten)]
        request: RequestLine,
        /// Where in the request it goes.
        place: String,
        /// The id of the principal on whose behalf.
        principal: String,
        /// The version of the policy that allowed it, where there is one.
        policy: Option<String>,
        /// The rules that allowed it.
        rules: Vec<Rule>,
    },
    /// A chat was admitted, and the model is asked.
    Chat {
        /// Which effect.
        id: u64,
        /// The model, by the name it is granted under.
        model: String,
        /// How many of the first messages are those of the last such event of the outermost sandbox in this tree of
        /// calls, and are not told again; 0 for all other sandboxes.
        kept: u64,
        /// The messages after these.
        messages: Vec<Message>,
        /// The names of the tools that the model may ask for.
        tools: Vec<String>,
        /// The id of the principal on whose behalf.
        principal: String,
        /// How deep in its tree of calls, from 1.
        depth: u32,
        /// The version of the policy that allowed it, where there is one.
        policy: Option<String>,
        /// The rules that allowed it.
        rules: Vec<Rule>,
    },
    /// A model answered.
    ChatResult {
        /// Which effect.
        id: u64,
        /// The model, by the name it is granted under.
        model: String,
        /// The model, by its provider's name.
        answered_by: String,
        /// What it answered.
        message: Message,
        /// Why it ends there.
        stop_reason: StopReason,
        /// What it took.
        usage: TokenUsage,
        /// How long it took, in microseconds.
        #[serde(rename = "duration_us", with = "micros")]
        duration: Duration,
    },
    /// An effect has no result: it failed, a limit or budget was reached, or it was stopped.
    Error {
        /// Which effect.
        id: u64,
        /// What it is about.
        #[serde(flatten)]
        subject: Subject,
        /// What sort of end it was.
        kind: ErrorKind,
        /// What the guest is told, and more where it is about the inside of the host.
        message: String,
    },
    /// A run was created.
    Created {
        /// The name of its agent.
        agent: String,
        /// The hash of the component that handles its message.
        component: String,
        /// The message.
        message: Message,
        /// The versions of Casemate and wasmtime.
        versions: Versions,
        /// The run that it goes on from, where it is a fork.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forked_from: Option<ForkedFrom>,
    },
    /// A run goes on after it was given back: it had waited, was paused, or lost its worker.
    Resumed {
        /// Why it had stopped.
        after: Interruption,
        /// How long it had, in microseconds.
        #[serde(rename = "duration_us", with = "micros")]
        duration: Duration,
        /// The versions it goes on with, where they are others.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        versions: Option<Versions>,
    },
    /// A run pauses until somebody has it go on.
    Paused {
        /// Why, where nobody asked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A run waits, and its sandbox is gone until it goes on.
    Waiting {
        /// What for.
        on: WaitingOn,
    },
    /// The agent says what it is about.
    Thinking {
        /// In its words.
        content: String,
    },
    /// The output of a run grows.
    Output {
        /// By this.
        delta: String,
    },
    /// The agent was told which tools it has.
    ToolsListed {
        /// Which effect.
        id: u64,
        /// Their names.
        tools: Vec<String>,
    },
    /// The agent asks whoever started the run.
    InputRequired {
        /// Which effect.
        id: u64,
        /// What it asks.
        question: String,
    },
    /// Input came, for this question or a later one.
    Input {
        /// What was said.
        content: String,
    },
    /// The agent waits for a moment.
    Sleeping {
        /// Which effect.
        id: u64,
        /// For this one.
        #[serde(with = "timestamp")]
        until: SystemTime,
    },
    /// The moment came.
    Woke {
        /// Which effect.
        id: u64,
    },
    /// A tool call changed a file of the workspace.
    FileEdit {
        /// The effect of the call.
        id: u64,
        /// Which file, as tools see it.
        path: String,
        /// How.
        change: FileChange,
        /// The difference, as `diff -u` writes it; none where it is no text, or too long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        diff: Option<String>,
    },
    /// Nobody knows whether an effect happened: its worker was lost between its beginning and its end.
    InDoubt {
        /// Which effect.
        id: u64,
        /// What it is about.
        #[serde(flatten)]
        subject: Subject,
    },
    /// A person said what became of an effect in doubt.
    Settled {
        /// Which effect.
        id: u64,
        /// What.
        settlement: Settlement,
        /// Who said so.
        by: String,
    },
    /// On replay the agent did something else than before; or, where it tells of neither, the storage lost what was
    /// kept of the run. The run ends.
    Diverged {
        /// Which of the agent's own effects, from 1.
        position: u64,
        /// What it did before; none where it had come to its end.
        recorded: Option<String>,
        /// What it did now; none where it came to its end.
        attempted: Option<String>,
    },
    /// Somebody stopped a run. It ends.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// A run could not come to its end. It ends.
    Failed {
        /// What sort of end it was.
        kind: ErrorKind,
        /// Why.
        message: String,
        /// The run that tries again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retried_as: Option<RunId>,
    },
    /// A run came to its end.
    Complete {
        /// What was said.
        output: String,
        /// The files of the workspace that were created or changed.
        files: Vec<String>,
        /// What it took.
        usage: RunUsage,
    },
}

impl EventKind {
    /// Whether a run has no further events.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Complete { .. } | Self::Failed { .. } | Self::Cancelled { .. } | Self::Diverged { .. })
    }

    /// Whether it tells of the life of a run, and not of what its agent did.
    pub(crate) fn is_of_life(&self) -> bool {
        self.is_last()
            || matches!(
                self,
                Self::Created { .. }
                    | Self::Resumed { .. }
                    | Self::Paused { .. }
                    | Self::Waiting { .. }
                    | Self::InDoubt { .. }
                    | Self::Settled { .. }
            )
    }

    /// Whether the effect that it belongs to has come to its end.
    pub(crate) fn ends_effect(&self) -> bool {
        matches!(
            self,
            Self::Denied { .. }
                | Self::Rejected { .. }
                | Self::ToolResult { .. }
                | Self::Fetched { .. }
                | Self::ChatResult { .. }
                | Self::Error { .. }
                | Self::ToolsListed { .. }
                | Self::Woke { .. }
        )
    }

    /// The effect that it belongs to, where it belongs to one.
    pub fn effect(&self) -> Option<u64> {
        match self {
            Self::ToolCall { id, .. }
            | Self::Denied { id, .. }
            | Self::ApprovalRequired { id, .. }
            | Self::Approved { id, .. }
            | Self::Rejected { id, .. }
            | Self::ToolResult { id, .. }
            | Self::Fetch { id, .. }
            | Self::Fetched { id, .. }
            | Self::SecretUsed { id, .. }
            | Self::Chat { id, .. }
            | Self::ChatResult { id, .. }
            | Self::Error { id, .. }
            | Self::ToolsListed { id, .. }
            | Self::InputRequired { id, .. }
            | Self::Sleeping { id, .. }
            | Self::Woke { id }
            | Self::FileEdit { id, .. }
            | Self::InDoubt { id, .. }
            | Self::Settled { id, .. } => Some(*id),
            _ => None,
        }
    }
}

/// RFC 3339 in UTC, to the microsecond.
pub(crate) mod timestamp {
    use std::time::SystemTime;

    use serde::{Deserialize as _, Deserializer, Serializer, de, ser};

    pub(crate) fn serialize<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        let timestamp = jiff::Timestamp::try_from(*at).map_err(ser::Error::custom)?;
        serializer.collect_str(&format_args!("{timestamp:.6}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let timestamp: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
        Ok(timestamp.into())
    }
}

/// Whole microseconds.
mod micros {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn something() -> EventKind {
        EventKind::Error {
            id: 1,
            subject: Subject::Tool("a".into()),
            kind: ErrorKind::Cancelled,
            message: String::new(),
        }
    }

    #[test]
    fn an_event_has_the_shape_that_watchers_know() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let event = Event { sequence: 7, kind: something(), at };
        assert_eq!(
            serde_json::to_value(event).unwrap(),
            serde_json::json!({
                "sequence": 7,
                "type": "error",
                "data": {"id": 1, "tool": "a", "kind": "cancelled", "message": ""},
                "at": "1970-01-01T00:00:01.500000Z",
            })
        );
    }
}
