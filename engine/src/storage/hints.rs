//! Hints to all who watch within this process.

use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use tokio::sync::broadcast::{self, error::RecvError};

use super::{Hint, Hints};

/// How many hints wait for a slow watcher, before it is told no more than that something changed.
const KEPT: usize = 256;

/// Those who watch.
pub(super) struct Watchers(broadcast::Sender<Hint>);

impl Watchers {
    pub(super) fn new() -> Self {
        Self(broadcast::channel(KEPT).0)
    }

    pub(super) fn tell(&self, hint: Hint) {
        // It fails where nobody watches.
        let _ = self.0.send(hint);
    }

    #[cfg(feature = "sqlite")]
    pub(super) fn are_there(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(super) fn join(&self) -> Box<dyn Hints> {
        Box::new(Watcher(self.0.subscribe()))
    }
}

struct Watcher(broadcast::Receiver<Hint>);

impl Hints for Watcher {
    fn next(&mut self) -> BoxFuture<'_, Hint> {
        let next = async {
            match self.0.recv().await {
                Ok(hint) => hint,
                Err(RecvError::Lagged(_)) => Hint::Anything,
                // The storage is gone: nothing changes any more.
                Err(RecvError::Closed) => future::pending().await,
            }
        };
        next.boxed()
    }
}
