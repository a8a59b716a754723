//! What can be told of a whole run, by its entries.

use crate::event::{EventKind, RunUsage};

/// What a run did and took up to some entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) usage: RunUsage,
    pub(super) output: String,
    /// The files that it changed.
    pub(super) files: Vec<String>,
    /// Whether a person, or nobody in time, said no to something.
    pub(super) was_rejected: bool,
}

impl Told {
    /// Takes the next entry.
    pub(super) fn add(&mut self, kind: &EventKind) {
        match kind {
            EventKind::ToolCall { .. } => self.usage.calls += 1,
            EventKind::ChatResult { usage: took, .. } => {
                let usage = &mut self.usage;
                usage.turns += 1;
                usage.input_tokens = usage.input_tokens.saturating_add(took.input_tokens);
                usage.output_tokens = usage.output_tokens.saturating_add(took.output_tokens);
                usage.cost = usage.cost.saturating_add(took.cost.unwrap_or_default());
            }
            EventKind::Output { delta } => self.output.push_str(delta),
            EventKind::FileEdit { path, .. } if !self.files.contains(path) => self.files.push(path.clone()),
            EventKind::Rejected { .. } => self.was_rejected = true,
            _ => {}
        }
    }
}
