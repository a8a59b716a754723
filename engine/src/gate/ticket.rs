//! The number of an effect, and what a run's journal knows of it.

use crate::journal::{Blocked, Deed, DeedKind, End, PastEffect, Place, Recalled};
use crate::json::ArgumentsHash;

/// An effect's number.
pub(super) enum Ticket {
    /// Of a run's own agent, which waits for it: replay goes by it.
    Own(Place, Blocked),
    /// Of a tool, or outside of runs.
    Passing(u64),
}

/// What a journal knows of an effect.
pub(super) enum LookedBack {
    /// It came to its end before.
    Ended(Box<End>),
    /// It goes on: from where it came to before, where it began then.
    Goes(Option<Box<PastEffect>>),
}

impl Ticket {
    /// What tells the effect from all others of its run or Gate.
    pub(super) fn id(&self) -> u64 {
        match self {
            Self::Own(place, _) => place.id,
            Self::Passing(id) => *id,
        }
    }

    /// What tells the effect from all others there are, and stays the same where it is performed again.
    pub(super) fn idempotency_key(&self) -> Option<String> {
        match self {
            Self::Own(place, _) => Some(format!("{}/{}", place.journal().run(), place.position)),
            Self::Passing(_) => None,
        }
    }

    /// How far it came before, or how it ended then.
    pub(super) async fn look_back(
        &self,
        kind: DeedKind,
        name: &str,
        hash: impl FnOnce() -> ArgumentsHash,
    ) -> LookedBack {
        let Self::Own(place, _) = self else { return LookedBack::Goes(None) };
        let deed = Deed { kind, name: name.to_owned(), hash: hash() };
        match place.recall(deed).await {
            Recalled::New => LookedBack::Goes(None),
            Recalled::Unfinished(past) => LookedBack::Goes(Some(past)),
            Recalled::Ended(end) => LookedBack::Ended(Box::new(end.what)),
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
