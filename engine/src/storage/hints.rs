//! Hints to all who watch within this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;

use super::{Append, Hint, Hints, Interest};
use crate::life::RunId;

/// How many hints wait for a slow worker, before it is told no more than that something changed.
const KEPT: usize = 256;

/// What changed of a run, from what concerns few to what concerns many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// Its journal goes on.
    Entries,
    /// Where it is in its life.
    State,
    /// Whoever executes it, or could, has to look.
    Work,
}

impl Change {
    /// What an owner's append changes.
    pub(super) fn of(append: &Append) -> Self {
        if append.state.is_some() { Self::State } else { Self::Entries }
    }
}

/// Those who watch. Clones are the same.
#[derive(Clone)]
pub(super) struct Watchers(Arc<Shared>);

struct Shared {
    work: broadcast::Sender<Hint>,
    /// Of single runs, and only what somebody watches.
    runs: Mutex<Watched>,
}

type Watched = HashMap<Interest, watch::Sender<()>>;

impl Watchers {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared { work: broadcast::channel(KEPT).0, runs: Mutex::default() }))
    }

    pub(super) fn tell(&self, run: RunId, change: Change) {
        self.0.wake(run, change);
        if change == Change::Work {
            // It fails where nobody watches.
            let _ = self.0.work.send(Hint::Run(run));
        }
    }

    /// Anything may have changed.
    #[cfg(feature = "sqlite")]
    pub(super) fn tell_all(&self) {
        for changes in self.0.runs().values() {
            changes.send_replace(());
        }
        let _ = self.0.work.send(Hint::Anything);
    }

    #[cfg(feature = "sqlite")]
    pub(super) fn are_there(&self) -> bool {
        self.0.work.receiver_count() > 0 || !self.0.runs().is_empty()
    }

    pub(super) fn join(&self, interest: Interest) -> Box<dyn Hints> {
        match interest {
            Interest::Work => Box::new(Worker(self.0.work.subscribe())),
            Interest::Run(run) | Interest::State(run) => {
                let changes = self.0.runs().entry(interest).or_default().subscribe();
                Box::new(Watcher { run, interest, changes, shared: self.0.clone() })
            }
        }
    }
}

impl Shared {
    fn runs(&self) -> MutexGuard<'_, Watched> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, run: RunId, change: Change) {
        let watched = self.runs();
        if watched.is_empty() {
            return;
        }
        let of_state = (change >= Change::State).then_some(Interest::State(run));
        for interest in [Some(Interest::Run(run)), of_state].into_iter().flatten() {
            if let Some(changes) = watched.get(&interest) {
                changes.send_replace(());
            }
        }
    }
}

struct Worker(broadcast::Receiver<Hint>);

impl Hints for Worker {
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

/// However much changed since it was told last, it is told once.
struct Watcher {
    run: RunId,
    interest: Interest,
    changes: watch::Receiver<()>,
    shared: Arc<Shared>,
}

impl Hints for Watcher {
    fn next(&mut self) -> BoxFuture<'_, Hint> {
        let next = async {
            // INVARIANT: the sender is there for as long as this is.
            let _ = self.changes.changed().await;
            Hint::Run(self.run)
        };
        next.boxed()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut runs = self.shared.runs();
        if runs.get(&self.interest).is_some_and(|changes| changes.receiver_count() == 1) {
            runs.remove(&self.interest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_of_what_concerns_it() {
        let (watchers, run) = (Watchers::new(), RunId::new());
        let rows = [
            (Change::Entries, [true, false, false, false]),
            (Change::State, [true, true, false, false]),
            (Change::Work, [true, true, true, false]),
        ];
        for (change, expected) in rows {
            let interests = [Interest::Run(run), Interest::State(run), Interest::Work, Interest::Run(RunId::new())];
            let mut all = interests.map(|interest| watchers.join(interest));
            watchers.tell(run, change);
            let told = all.each_mut().map(|hints| hints.next().now_or_never());
            assert_eq!(told, expected.map(|is_told| is_told.then_some(Hint::Run(run))), "{change:?}");
        }
    }

    #[test]
    fn nothing_is_kept_of_a_run_that_nobody_watches_any_more() {
        let watchers = Watchers::new();
        let interest = Interest::Run(RunId::new());
        let (one, other) = (watchers.join(interest), watchers.join(interest));
        drop(one);
        assert_eq!(watchers.0.runs().len(), 1);
        drop(other);
        assert!(watchers.0.runs().is_empty());
    }
}
