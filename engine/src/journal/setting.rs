//! What an agent knows of its run from the beginning, and what of it does not change.

use std::path::PathBuf;

use casemate_host_bindings::Message;
use serde::{Deserialize, Serialize};

use crate::life::RunId;

/// What a run was started with, as its agent sees it.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) run: RunId,
    pub(crate) agent: String,
    pub(crate) system_prompt: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) files: Vec<ContextFile>,
    pub(crate) history: Vec<Message>,
    pub(crate) turns: Option<u32>,
    pub(crate) tokens: Option<u64>,
    pub(crate) cost: Option<u64>,
    /// The folder of the host that its tools see as its workspace.
    pub(crate) workspace: Option<PathBuf>,
    /// How many events it may have.
    pub(crate) events: u64,
    /// Its environment variables.
    pub(crate) variables: Vec<(String, String)>,
}

/// A file of the workspace that an agent is shown before anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContextFile {
    pub(crate) path: String,
    pub(crate) text: String,
}
