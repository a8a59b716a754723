//! What others tell a run: rows in its inbox, which its owner takes in order.

use serde::{Deserialize, Serialize};

use crate::event::Settlement;
use crate::gate::{Answer, ApprovalId};

/// A message to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Message {
    /// Input, for what it asks or will ask.
    Input { content: String },
    /// It is to pause.
    Pause,
    /// It is to go on.
    Resume,
    /// It is to stop.
    Cancel { reason: String },
    /// An approval was decided.
    Decided { approval: ApprovalId },
    /// What became of an effect in doubt.
    Settle { effect: u64, settlement: Settlement, by: String },
}

/// A decision, as the storage keeps it.
pub(super) fn written(answer: &Answer) -> String {
    // An answer is data without keys that are no text.
    serde_json::to_string(answer).unwrap_or_default()
}

impl Message {
    pub(super) fn text(&self) -> String {
        // As above.
        serde_json::to_string(self).unwrap_or_default()
    }
}
