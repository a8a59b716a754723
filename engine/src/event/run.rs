//! What events tell of runs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::life::RunId;

/// What executes a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Versions {
    /// Of Casemate.
    pub casemate: String,
    /// Of wasmtime.
    pub wasmtime: String,
}

impl Versions {
    /// Those of this process.
    pub(crate) fn current() -> Self {
        Self { casemate: env!("CARGO_PKG_VERSION").to_owned(), wasmtime: wasmtime_environ::VERSION.to_owned() }
    }
}

/// Where a fork comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ForkedFrom {
    /// Which run.
    pub run: RunId,
    /// Up to which of its events.
    pub at: u64,
}

/// Why a run had stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Interruption {
    /// It waited.
    Wait,
    /// It was paused.
    Pause,
    /// Its worker stopped, and gave it back.
    Handover,
    /// Its worker was lost.
    Loss,
}

/// How a file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileChange {
    /// There was none.
    Created,
    /// It says something else.
    Modified,
    /// It is gone.
    Deleted,
}

/// What a person says of an effect in doubt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
#[non_exhaustive]
pub enum Settlement {
    /// It happened, with this result.
    Happened {
        /// The result, as the tool would have given it.
        result: Arc<Value>,
    },
    /// It did not happen: perform it.
    DidNotHappen,
    /// The run fails.
    Fail {
        /// Why.
        reason: String,
    },
}

/// What a run took, in all its pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunUsage {
    /// Tokens of conversations.
    pub input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// What models cost, in millionths of a US dollar, as far as it is known.
    pub cost: u64,
    /// Answers of models.
    pub turns: u64,
    /// Calls of tools.
    pub calls: u64,
    /// Fuel of the agent itself since it was started last; of its tools none is counted.
    pub fuel: u64,
    /// Milliseconds in which it did not wait.
    pub active_ms: u64,
}
