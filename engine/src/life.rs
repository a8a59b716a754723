//! A run as all who speak of it know it: its name, and where it is in its life.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What tells a run from all others: a UUID whose order is about that of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Uuid);

/// Where a run is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RunStatus {
    /// It can go on, and waits for a worker.
    Queued,
    /// A worker executes it.
    Running,
    /// It waits for the world: see [`WaitingOn`].
    Waiting,
    /// Somebody paused it.
    Paused,
    /// It came to its end.
    Completed,
    /// It could not come to its end.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// What it did on replay is not what it did before.
    Diverged,
}

/// What a waiting run waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WaitingOn {
    /// A person's decision.
    Approval,
    /// Input.
    Input,
    /// A moment in time.
    Timer,
    /// A person, who knows whether an effect happened.
    InDoubt,
}

impl RunStatus {
    /// Whether nothing more will come of it.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Diverged)
    }
}

impl RunId {
    /// A new one.
    #[allow(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id that [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its bytes, for whoever stores it; in their order ids are about in that of creation.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}
