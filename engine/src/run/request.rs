//! What a run is started with, and what is kept of that.

use std::path::PathBuf;
use std::time::Duration;

use casemate_host_bindings::{Message, Role};
use casemate_policy::Folder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::component::ContentHash;
use crate::event::ForkedFrom;
use crate::journal::{ContextFile, Setting};
use crate::life::RunId;
use crate::limits::Limits;

/// What a run is started with.
#[derive(Clone, Debug)]
#[must_use]
pub struct RunRequest {
    pub(super) message: Message,
    pub(super) history: Vec<Message>,
    pub(super) files: Vec<String>,
    pub(super) workspace: Option<PathBuf>,
    pub(super) mounts: Vec<Folder>,
    pub(super) timeout: Option<Duration>,
    pub(super) retries: u32,
    pub(super) idempotency_key: Option<String>,
    pub(super) attachment: Value,
}

impl RunRequest {
    /// A run that is asked this.
    pub fn new(text: impl Into<String>) -> Self {
        Self::of(Message::text(Role::User, text))
    }

    /// A run that is asked this.
    pub fn of(message: Message) -> Self {
        Self {
            message,
            history: Vec::new(),
            files: Vec::new(),
            workspace: None,
            mounts: Vec::new(),
            timeout: None,
            retries: 0,
            idempotency_key: None,
            attachment: Value::Null,
        }
    }

    /// The conversation that it goes on with, oldest first: that of another run, as
    /// [`Run::messages`](crate::Run::messages) tells it, or any other.
    pub fn history(mut self, messages: impl IntoIterator<Item = Message>) -> Self {
        self.history = messages.into_iter().collect();
        self
    }

    /// A file of the workspace that the agent is shown before anything else, by its path there: `src/main.rs`, or
    /// `/workspace/src/main.rs`. It is read when the run is created, and may have 1 MiB.
    pub fn file(mut self, path: impl Into<String>) -> Self {
        self.files.push(path.into());
        self
    }

    /// A folder of the host that its tools see at `/workspace`; by default one of its own, where the runs have a folder
    /// for such, and else none.
    pub fn workspace(mut self, folder: impl Into<PathBuf>) -> Self {
        self.workspace = Some(folder.into());
        self
    }

    /// A further folder for its tools.
    pub fn mount(mut self, folder: Folder) -> Self {
        self.mounts.push(folder);
        self
    }

    /// How long it may be at work in all, without the time in which it waits for people, input and timers or is paused;
    /// by default there is no limit but that of the agent's sandboxes.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// How often it is started anew where it fails, as another run with the same message and workspace; default 0. Its
    /// last event tells which. What was cancelled, diverged, or was denied by a person is not tried again.
    pub fn retries(mut self, count: u32) -> Self {
        self.retries = count;
        self
    }

    /// Makes starting it twice the same as once: where there is a run of that key, it is the answer.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Whatever the embedder wants kept with the run; Casemate does not look at it.
    pub fn attachment(mut self, value: impl Into<Value>) -> Self {
        self.attachment = value.into();
        self
    }
}

/// What is kept of a run's beginning, and does not change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Of what is written here.
    pub(crate) format: u32,
    pub(crate) agent: String,
    pub(crate) component: ContentHash,
    pub(crate) message: Message,
    pub(crate) seed: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) system_prompt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) files: Vec<ContextFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) history: Vec<Message>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) turns: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cost: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) variables: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) workspace: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) mounts: Vec<Mount>,
    /// Those of its sandboxes; of these, time and processors are the agent's own when it goes on.
    pub(crate) limits: Limits,
    pub(crate) fan_out: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    #[serde(default)]
    pub(crate) retries: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) forked_from: Option<ForkedFrom>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) attachment: Value,
}

/// What every version can read of it.
#[derive(Deserialize)]
pub(crate) struct Format {
    pub(crate) format: u32,
}

/// A folder of the host, and where tools see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mount {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
    pub(crate) writable: bool,
}

impl Spec {
    /// The version of what is written by this one.
    pub(crate) const FORMAT: u32 = 1;

    pub(crate) fn setting(&self, run: RunId) -> Setting {
        Setting {
            run,
            agent: self.agent.clone(),
            system_prompt: self.system_prompt.clone(),
            model: self.model.clone(),
            files: self.files.clone(),
            history: self.history.clone(),
            turns: self.turns,
            tokens: self.tokens,
            cost: self.cost,
            workspace: self.workspace.clone(),
            events: self.limits.events,
            variables: self.variables.clone(),
        }
    }

    pub(crate) fn seed(&self) -> [u8; 32] {
        *blake3::hash(self.seed.as_bytes()).as_bytes()
    }
}
