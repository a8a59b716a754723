//! A clock that stands still until a test moves it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::clock::Clock;

/// A clock that a test sets. Its clones are the same clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<watch::Sender<SystemTime>>);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: SystemTime) -> Self {
        Self(Arc::new(watch::Sender::new(now)))
    }

    /// Sets it, backwards too, as clocks of systems are.
    pub fn set(&self, now: SystemTime) {
        self.0.send_replace(now);
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by);
    }
}

/// A clock that stands at the first second of the year 2026.
impl Default for ManualClock {
    fn default() -> Self {
        Self::at(UNIX_EPOCH + Duration::from_hours(490_896))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.0.borrow()
    }

    fn sleep_until(&self, moment: SystemTime) -> BoxFuture<'static, ()> {
        let mut set = self.0.subscribe();
        Box::pin(async move {
            // Where the clock is gone, the moment never comes.
            if set.wait_for(|now| *now >= moment).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
