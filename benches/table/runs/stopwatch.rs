//! Times the calls of a tool where they arrive.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::Result;

/// Longer than any sample takes: a run that fails calls its tool no more.
const NEVER: Duration = Duration::from_mins(2);

/// Times calls from the first to the last of so many.
#[derive(Clone, Default)]
pub(super) struct Stopwatch(Arc<Shared>);

#[derive(Default)]
struct Shared {
    laps: Mutex<Laps>,
    done: Notify,
}

#[derive(Default)]
struct Laps {
    left: u32,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Stopwatch {
    /// The tool was called.
    pub(super) fn lap(&self) {
        let now = Instant::now();
        let mut laps = self.0.laps.lock().unwrap_or_else(PoisonError::into_inner);
        laps.first.get_or_insert(now);
        laps.last = Some(now);
        // Where nobody times them, none is left.
        let Some(left) = laps.left.checked_sub(1) else { return };
        laps.left = left;
        if left == 0 {
            self.0.done.notify_one();
        }
    }

    /// What one of so many calls takes, the first of which is not counted. `begin` has them made, and need not wait for
    /// them.
    pub(super) async fn each_of(&self, calls: u32, begin: impl AsyncFnOnce() -> Result<()>) -> Result<Duration> {
        *self.0.laps.lock().unwrap_or_else(PoisonError::into_inner) = Laps { left: calls, ..Laps::default() };
        begin().await?;
        tokio::time::timeout(NEVER, self.0.done.notified()).await.map_err(|_| "the tool was not called so often")?;
        let laps = self.0.laps.lock().unwrap_or_else(PoisonError::into_inner);
        match (laps.first, laps.last) {
            (Some(first), Some(last)) => Ok((last - first) / (calls - 1)),
            _ => Err("the tool was not called".into()),
        }
    }
}
