//! HTTP exchanges of an agent: begun side by side, and each done when the agent learns of its end.
//!
//! When a response is there is a matter of timing. So the agent is told of it where it waits for something: of the one
//! whose end was recorded first, of those that it waits for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use super::Journal;

/// One exchange of an agent. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(crate) struct Exchange(Arc<Shared>);

struct Shared {
    position: u64,
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
    pub(crate) fn new(position: u64) -> Self {
        let progress = Mutex::new(Progress::Open);
        Self(Arc::new(Shared { position, progress, news: Notify::new() }))
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
        let (sequence, at) = journal.end_of(self.0.position).unwrap_or((0, SystemTime::UNIX_EPOCH));
        self.set(Progress::Ended(sequence, at));
    }

    /// The number of its end, also where that is not gone through again yet.
    pub(crate) fn recorded_end(&self, journal: &Journal) -> Option<u64> {
        match self.progress() {
            Progress::Ended(sequence, _) => Some(sequence),
            Progress::Open => journal.past_end_of(self.0.position),
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

    /// Completes when it has ended, with the number of its end.
    pub(crate) async fn ended(&self) -> u64 {
        loop {
            let news = self.0.news.notified();
            match self.progress() {
                Progress::Ended(sequence, _) => return sequence,
                Progress::Delivered => return 0,
                Progress::Open => news.await,
            }
        }
    }

    /// The agent learns of its end.
    pub(crate) fn deliver(&self, journal: &Journal) {
        if let Progress::Ended(sequence, at) = self.progress() {
            journal.observe_at(sequence, at);
        }
        self.set(Progress::Delivered);
    }

    /// Completes when the agent may have the response.
    pub(crate) async fn delivered(&self) {
        loop {
            let news = self.0.news.notified();
            if self.is_delivered() {
                return;
            }
            news.await;
        }
    }
}

/// The first of these to end, by the numbers of their ends.
pub(crate) async fn first_to_end(exchanges: &[Exchange]) -> Exchange {
    loop {
        let waiting: Vec<_> = exchanges.iter().map(|exchange| Box::pin(exchange.ended())).collect();
        if waiting.is_empty() {
            return std::future::pending().await;
        }
        futures_util::future::select_all(waiting).await;
        let ended = exchanges.iter().filter_map(|exchange| match exchange.progress() {
            Progress::Ended(sequence, _) => Some((sequence, exchange)),
            _ => None,
        });
        if let Some((_, first)) = ended.min_by_key(|(sequence, _)| *sequence) {
            return first.clone();
        }
    }
}
