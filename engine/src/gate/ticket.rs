//! The number of an effect, and what a run's journal knows of it.

use serde_json::Value;

use crate::effect::Outcome;
use crate::journal::{Blocked, Deed, DeedKind, PastEffect, Place, Recalled, recorded_outcome};

/// An effect's number.
pub(super) enum Ticket {
    /// Of a run's own agent, which waits for it: replay goes by it.
    Own(Place, Blocked),
    /// Of a tool, or outside of runs.
    Passing(u64),
}

impl Ticket {
    /// What tells the effect from all others of its run or Gate.
    pub(super) fn id(&self) -> u64 {
        match self {
            Self::Own(place, _) => place.id,
            Self::Passing(id) => *id,
        }
    }

    /// How far it came before, or how it ended then.
    pub(super) async fn recall(
        &self,
        kind: DeedKind,
        name: &str,
        arguments: &Value,
    ) -> Result<Option<Box<PastEffect>>, Outcome> {
        let Self::Own(place, _) = self else { return Ok(None) };
        match place.journal().recall(place, Deed::new(kind, name, arguments)).await {
            Recalled::New => Ok(None),
            Recalled::Unfinished(past) => Ok(Some(past)),
            Recalled::Ended(end) => Err(recorded_outcome(&end.what)),
        }
    }

    /// The guest learns of the outcome, once that is kept.
    pub(super) async fn told<T>(self, outcome: T) -> T {
        if let Self::Own(place, _blocked) = self {
            place.journal().durable().await;
            place.journal().observe(&place);
        }
        outcome
    }
}
