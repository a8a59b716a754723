//! One entry of a journal: an event, and what replay needs beside it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::effect::Outcome;
use crate::event::{Event, EventKind};
use crate::json::ArgumentsHash;
use crate::storage::StoredEntry;

/// An entry as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(flatten)]
    pub(crate) event: Event,
    #[serde(default, skip_serializing_if = "Trace::is_empty")]
    pub(crate) trace: Trace,
}

/// What only replay looks at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trace {
    /// Which of the agent's own effects begins here, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<u64>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deed: Option<Deed>,
    /// Whether what begins here may happen once only, by what was known of it then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) once: bool,
    /// What the agent was told at its end, where the event does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) told: Option<Outcome>,
    /// The questions that an approval answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) questions: Vec<String>,
    /// What the agent was told at once, where the event does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Arc<Value>>,
    /// The arguments as a person chose them, where the event does not show them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) edited: Option<Arc<Value>>,
}

/// What an agent attempts, as replay compares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deed {
    pub(crate) kind: DeedKind,
    /// What it is about, as the agent calls it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Of its arguments.
    pub(crate) hash: ArgumentsHash,
}

/// What sort of thing an agent attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DeedKind {
    Call,
    Import,
    Chat,
    ListTools,
    Ask,
    Thinking,
    Output,
    Sleep,
    Exchange,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Trace {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Deed {
    pub(crate) fn new(kind: DeedKind, name: impl Into<String>, arguments: &Value) -> Self {
        Self { kind, name: name.into(), hash: ArgumentsHash::of(arguments) }
    }
}

/// ``call `refund` (3f2a61c09b1d)``: the first digits of the hash tell arguments apart.
impl std::fmt::Display for Deed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            DeedKind::Call => "call",
            DeedKind::Import => "import",
            DeedKind::Chat => "chat",
            DeedKind::ListTools => "list tools",
            DeedKind::Ask => "ask",
            DeedKind::Thinking => "thinking",
            DeedKind::Output => "output",
            DeedKind::Sleep => "sleep",
            DeedKind::Exchange => "exchange",
        };
        f.write_str(kind)?;
        if !self.name.is_empty() {
            write!(f, " `{}`", self.name)?;
        }
        let hash = self.hash.to_string();
        write!(f, " ({})", hash.get(..12).unwrap_or(&hash))
    }
}

/// An entry that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("entry {sequence} of the journal cannot be read: {source}")]
#[non_exhaustive]
pub struct UnreadableEntry {
    /// Its number.
    pub sequence: u64,
    /// What is wrong.
    pub source: serde_json::Error,
}

impl Entry {
    pub(crate) fn read(stored: &StoredEntry) -> Result<Self, UnreadableEntry> {
        serde_json::from_str(&stored.text).map_err(|source| UnreadableEntry { sequence: stored.sequence, source })
    }

    /// The entries as they are kept.
    pub(crate) fn stored(entries: &[Self]) -> Vec<StoredEntry> {
        // Most take less; the room is used again for each.
        let mut room = Vec::with_capacity(1 << 10);
        let store = |entry: &Self| {
            room.clear();
            // An event that was made is data without keys that are no text.
            let written = serde_json::to_writer(&mut room, entry).is_ok();
            let text = std::str::from_utf8(&room).ok().filter(|_| written).unwrap_or_default();
            StoredEntry { sequence: entry.event.sequence, text: text.into() }
        };
        entries.iter().map(store).collect()
    }
}

/// The event of a stored entry.
pub(crate) fn read_event(stored: &StoredEntry) -> Result<Event, UnreadableEntry> {
    serde_json::from_str(&stored.text).map_err(|source| UnreadableEntry { sequence: stored.sequence, source })
}

/// How an effect of that last entry ended, as its guest was told.
pub(crate) fn outcome(kind: &EventKind, told: Option<&Outcome>) -> Option<Outcome> {
    if let Some(told) = told {
        return Some(told.clone());
    }
    match kind {
        EventKind::ToolResult { output, .. } => Some(Outcome::Result(output.clone())),
        _ => None,
    }
}
