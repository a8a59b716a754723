//! HTTP exchanges of an agent: begun side by side, and each done when the agent learns of its end.
//!
//! When a response is there is a matter of timing. So the agent is told of it where it waits for something: of the one
//! whose end was recorded first, of those that it waits for. What is recorded first and what is kept first may be two
//! things, since an end is kept some time after it is recorded, and others may be recorded meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::{Journal, Place, State, Trace};
use crate::event::EventKind;

/// One exchange of an agent. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(crate) struct Exchange(Arc<Shared>);

struct Shared {
    id: u64,
    /// The number of its end, where that was recorded before the agent did it again.
    recorded: Option<u64>,
    /// Its place among those that may be under way, until the agent knows of its end or does not want it any more.
    held: Mutex<Option<OwnedSemaphorePermit>>,
    progress: Mutex<Progress>,
    news: Notify,
}

#[derive(Clone, Copy)]
enum Progress {
    Open,
    Ended(u64, SystemTime),
    /// The agent knows.
    Delivered,
}

impl Exchange {
    /// One that begins there, and holds a place for as long as it is under way as the agent sees it.
    pub(crate) fn new(place: &Place, held: Option<OwnedSemaphorePermit>) -> Self {
        let mut state = place.journal().state();
        if let Some(open) = state.open.get_mut(&place.id) {
            // Until its request is finished there is nothing to be done for it.
            open.forming = true;
        }
        let past = state.past.effects.get(&place.position);
        let shared = Shared {
            id: place.id,
            recorded: past.and_then(|effect| effect.end.as_ref()).map(|end| end.sequence),
            held: Mutex::new(held),
            progress: Mutex::new(Progress::Open),
            news: Notify::new(),
        };
        Self(Arc::new(shared))
    }

    fn progress(&self) -> Progress {
        *self.0.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, progress: Progress) {
        *self.0.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        self.0.news.notify_waiters();
    }

    /// Its end is recorded, and kept.
    pub(crate) fn end(&self, journal: &Journal) {
        let touched = journal.state().open.get(&self.0.id).and_then(|open| open.touched);
        let (sequence, at) = touched.unwrap_or((0, SystemTime::UNIX_EPOCH));
        self.set(Progress::Ended(sequence, at));
    }

    /// The number of its end, also where that is not gone through again, or not kept yet.
    fn recorded_end(&self, state: &State) -> Option<u64> {
        match self.progress() {
            Progress::Ended(sequence, _) => Some(sequence),
            Progress::Open => self.0.recorded.or_else(|| state.open.get(&self.0.id)?.end),
            Progress::Delivered => None,
        }
    }

    /// Whether there is an end of which the agent does not know.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.progress(), Progress::Ended(..))
    }

    pub(crate) fn is_delivered(&self) -> bool {
        matches!(self.progress(), Progress::Delivered)
    }

    /// Completes when it has ended.
    pub(crate) async fn ended(&self) {
        self.until(|progress| !matches!(progress, Progress::Open)).await;
    }

    /// The agent learns of its end.
    pub(crate) fn deliver(&self, journal: &Journal) {
        if let Progress::Ended(sequence, at) = self.progress() {
            journal.observe_at(sequence, at);
        }
        self.give_up();
        self.set(Progress::Delivered);
    }

    /// The agent does not want it any more.
    pub(crate) fn give_up(&self) {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Completes when the agent may have the response.
    pub(crate) async fn delivered(&self) {
        self.until(|progress| matches!(progress, Progress::Delivered)).await;
    }

    async fn until(&self, is: impl Fn(Progress) -> bool) {
        loop {
            let news = self.0.news.notified();
            if is(self.progress()) {
                return;
            }
            news.await;
        }
    }
}

impl Journal {
    /// The first of these to end, by the numbers of their ends, if one has.
    pub(crate) fn first_ended(&self, exchanges: &[Exchange]) -> Option<(u64, Exchange)> {
        first_ended(&self.state(), exchanges)
    }

    /// Completes with the first of these to end.
    pub(crate) async fn first_to_end(&self, exchanges: &[Exchange]) -> Exchange {
        loop {
            if let Some((_, first)) = self.first_ended(exchanges) {
                return first;
            }
            let waiting: Vec<_> = exchanges.iter().map(|exchange| Box::pin(exchange.ended())).collect();
            if waiting.is_empty() {
                return std::future::pending().await;
            }
            futures_util::future::select_all(waiting).await;
        }
    }

    /// Records that a timer is over; unless one of these ended before, which is then what the agent learns of.
    pub(crate) fn wake(&self, id: u64, or: &[Exchange]) -> Option<Exchange> {
        let mut state = self.state();
        let before = first_ended(&state, or);
        if before.is_none() && !state.closed {
            self.write(&mut state, EventKind::Woke { id }, Trace::default());
        }
        before.map(|(_, exchange)| exchange)
    }
}

fn first_ended(state: &State, exchanges: &[Exchange]) -> Option<(u64, Exchange)> {
    let ended = exchanges.iter().filter_map(|exchange| Some((exchange.recorded_end(state)?, exchange)));
    ended.min_by_key(|(sequence, _)| *sequence).map(|(sequence, exchange)| (sequence, exchange.clone()))
}
