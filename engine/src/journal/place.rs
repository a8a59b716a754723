//! One of the agent's own effects: its number, and what is recorded under that.

use super::{Deed, DeedKind, End, Halt, Happening, Journal, Mode, Open, PastEffect, State};
use crate::effect::Outcome;

/// One of the agent's own effects, from where it is numbered to where it has an end.
pub(crate) struct Place {
    journal: Journal,
    pub(crate) position: u64,
    pub(crate) id: u64,
}

/// What is known of an effect that an agent attempts.
pub(crate) enum Recalled {
    /// Nothing: it is new.
    New,
    /// It began, and has no end.
    Unfinished(Box<PastEffect>),
    /// It has an end.
    Ended(Box<Happening<End>>),
}

impl Journal {
    /// Numbers the next of the agent's own effects.
    pub(crate) fn place(&self) -> Place {
        let mut state = self.state();
        state.last_position += 1;
        let position = state.last_position;
        let id = match state.past.effects.get(&position) {
            Some(effect) if effect.id > 0 => effect.id,
            _ => state.new_id(),
        };
        state.open.insert(id, Open { position, deed: None, touched: None, end: None, forming: false });
        Place { journal: self.clone(), position, id }
    }

    /// Whether that is one of the agent's own effects, which a run can go on with from where it came to: the use of a secret
    /// on the way of one, and what a tool does, is done anew.
    pub(crate) fn is_own(&self, effect: u64) -> bool {
        self.state().open.contains_key(&effect)
    }

    async fn recall(&self, place: &Place, deed: Deed) -> Recalled {
        match self.look_back(place, deed) {
            Some(recalled) => recalled,
            None => std::future::pending().await,
        }
    }

    fn look_back(&self, place: &Place, deed: Deed) -> Option<Recalled> {
        let mut state = self.state();
        if state.halt.is_some() {
            return None;
        }
        if let Some(open) = state.open.get_mut(&place.id) {
            open.forming = false;
        }
        let Some(effect) = state.past.effects.get(&place.position) else {
            // Of a timer that something else came before, nothing is recorded.
            if self.0.mode == Mode::Replay && deed.kind != DeedKind::Sleep {
                self.use_up(&mut state, deed.kind);
                return None;
            }
            if !self.check_room(&mut state) {
                return None;
            }
            if let Some(open) = state.open.get_mut(&place.id) {
                open.deed = Some(deed);
            }
            return Some(Recalled::New);
        };
        if effect.deed != deed {
            let (recorded, attempted) = (Some(effect.deed.to_string()), Some(deed.to_string()));
            self.halt_in(&mut state, Halt::Diverged { position: place.position, recorded, attempted });
            return None;
        }
        let effect = state.past.effects.remove(&place.position)?;
        if let Some(open) = state.open.get_mut(&place.id) {
            open.touched = Some(effect.touched);
        }
        if let Some(end) = effect.end {
            return Some(Recalled::Ended(Box::new(end)));
        }
        // Whether there is what these wait for is found out where they do.
        if self.0.mode == Mode::Replay && !matches!(effect.deed.kind, DeedKind::Ask | DeedKind::Sleep) {
            self.use_up(&mut state, effect.deed.kind);
            return None;
        }
        Some(Recalled::Unfinished(Box::new(effect)))
    }

    /// A replay came to an effect without an end. The agent may have given an exchange up, and gone on: that is where the
    /// record ends only if it waits for it.
    fn use_up(&self, state: &mut State, kind: DeedKind) {
        if kind != DeedKind::Exchange {
            self.halt_in(state, Halt::UsedUp);
        }
    }

    /// The agent learns of the end of an effect, and its time goes on to there.
    pub(crate) fn observe(&self, place: &Place) {
        let mut state = self.state();
        if let Some((sequence, at)) = state.open.get(&place.id).and_then(|open| open.touched) {
            state.time.observe(sequence, at);
        }
    }
}

impl Place {
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What is recorded of this effect. Never answers where it is another one than was recorded: then the run stops.
    pub(crate) async fn recall(&self, deed: Deed) -> Recalled {
        self.journal.recall(self, deed).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.journal.state();
        state.open.remove(&self.id);
        // It was attempted again, if only that.
        state.past.effects.remove(&self.position);
        drop(state);
        self.journal.0.news.notify_waiters();
    }
}

/// The outcome of an effect as it was recorded.
pub(crate) fn recorded_outcome(end: &End) -> Outcome {
    end.outcome.clone().unwrap_or(Outcome::Cancelled)
}
