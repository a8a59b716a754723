//! What time it is, for everything that lasts longer than a process.

use std::time::SystemTime;

use futures_util::future::BoxFuture;

/// A clock that runs are timed by. It may jump: what is recorded never goes back.
pub trait Clock: Send + Sync + 'static {
    /// The time.
    fn now(&self) -> SystemTime;

    /// Completes at that moment, or a little later.
    fn sleep_until(&self, moment: SystemTime) -> BoxFuture<'static, ()>;
}

/// The clock of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep_until(&self, moment: SystemTime) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // The system's clock can be set: so it is looked at now and then.
            const AT_MOST: std::time::Duration = std::time::Duration::from_mins(1);
            while let Ok(left) = moment.duration_since(SystemTime::now())
                && !left.is_zero()
            {
                tokio::time::sleep(left.min(AT_MOST)).await;
            }
        })
    }
}
