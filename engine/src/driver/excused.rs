//! Time that does not count against a deadline: while a person is asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The excused time of one call; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Excused(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// How many questions are open, and since when one is.
    open: u32,
    since: Option<Instant>,
    /// In all, without what is open.
    total: Duration,
}

impl Excused {
    /// Stops the clock until the answer is dropped.
    pub(crate) fn begin(&self) -> Excuse {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.open += 1;
        state.since.get_or_insert_with(Instant::now);
        Excuse(self.clone())
    }

    pub(crate) fn so_far(&self) -> Duration {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.total + state.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// While it lives, time does not count.
pub(crate) struct Excuse(Excused);

impl Drop for Excuse {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.open = state.open.saturating_sub(1);
        if state.open == 0
            && let Some(since) = state.since.take()
        {
            state.total += since.elapsed();
        }
    }
}
