//! The work in the background: claims runs, keeps the lease, and has those that are executed look at their news.

use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

use super::Inner;
use super::execute::execute;
use crate::life::{RunId, RunStatus};
use crate::model::Delta;
use crate::storage::{Claimed, Hint, Hints, Interest, StorageError, WorkerId};

/// How often is looked for work where no hint comes.
const POLL: Duration = Duration::from_secs(1);

/// How long after a look hints are gathered before the next one.
const GATHER: Duration = Duration::from_millis(20);

/// Runs that are queued by timers at once.
const BATCH: usize = 500;

/// A run that is being executed here.
pub(super) struct Live {
    /// There may be something in its inbox.
    pub(super) news: Notify,
    /// The lease of this worker is over.
    pub(super) abandoned: Notify,
    pub(super) deltas: broadcast::Sender<Delta>,
}

impl Live {
    fn new() -> Self {
        const KEPT: usize = 256;
        Self { news: Notify::new(), abandoned: Notify::new(), deltas: broadcast::Sender::new(KEPT) }
    }
}

/// Works until it is stopped.
pub(super) async fn work(inner: Arc<Inner>) {
    let mut hints = inner.storage.watch(Interest::Work);
    let mut stop = inner.stop.clone();
    let mut renewed = Instant::now();
    while !*stop.borrow_and_update() {
        let next = inner.step(&mut renewed).await;
        let wait = match next {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!(%error, "the storage of the runs fails: trying again");
                POLL
            }
        };
        let gathered = Instant::now() + GATHER;
        tokio::select! {
            _ = stop.changed() => return,
            () = inner.work.notified() => {}
            hint = hints.next() => inner.spread(hint, hints.as_mut(), gathered).await,
            () = tokio::time::sleep(wait) => inner.tell_all(),
        }
    }
}

impl Inner {
    /// One look at everything; answers when to look again.
    async fn step(self: &Arc<Self>, renewed: &mut Instant) -> Result<Duration, StorageError> {
        let worker = self.keep_lease(renewed).await?;
        let due = self.storage.due(self.clock.now(), BATCH).await?;
        self.claim_adopted(worker).await?;
        self.claim_named(worker).await?;
        if due.queued == BATCH {
            return Ok(Duration::ZERO);
        }
        let next = due.next.and_then(|next| next.duration_since(self.clock.now()).ok());
        let longest = POLL.min(self.lease / 3);
        Ok(next.map_or(longest, |next| next.clamp(Duration::from_millis(1), longest)))
    }

    async fn claim_named(self: &Arc<Self>, worker: WorkerId) -> Result<(), StorageError> {
        loop {
            let free = self.max_active.saturating_sub(self.live().len()).min(BATCH);
            if free == 0 || self.names.is_empty() {
                return Ok(());
            }
            let claimed = self.storage.claim(worker, Some(self.names.clone()), free).await?;
            let more = claimed.len() == free;
            for run in claimed {
                self.begin(run);
            }
            if !more {
                return Ok(());
            }
        }
    }

    async fn claim_adopted(self: &Arc<Self>, worker: WorkerId) -> Result<(), StorageError> {
        let adopted: Vec<_> = self.adopted().iter().copied().collect();
        for id in adopted {
            if self.live().contains_key(&id) {
                continue;
            }
            match self.storage.run(id).await?.map(|run| run.state.status) {
                Some(RunStatus::Queued | RunStatus::Running) => {
                    if let Some(claimed) = self.storage.claim_one(worker, id).await? {
                        self.begin(claimed);
                    }
                }
                Some(status) if !status.is_finished() => {}
                _ => drop(self.adopted().remove(&id)),
            }
        }
        Ok(())
    }

    async fn keep_lease(self: &Arc<Self>, renewed: &mut Instant) -> Result<WorkerId, StorageError> {
        let known = *self.worker();
        if let Some(worker) = known {
            if renewed.elapsed() < self.lease / 3 {
                return Ok(worker);
            }
            if self.storage.renew(worker, self.lease).await? {
                *renewed = Instant::now();
                return Ok(worker);
            }
            tracing::warn!("the lease of this worker is over: it gives up its runs");
            self.abandon_all().await;
        }
        let worker = self.storage.register(self.lease).await?;
        *renewed = Instant::now();
        *self.worker() = Some(worker);
        Ok(worker)
    }

    fn worker(&self) -> std::sync::MutexGuard<'_, Option<WorkerId>> {
        self.worker.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Has others take over at once what this worker did not give back.
    pub(super) async fn give_up_lease(&self) {
        let worker = self.worker().take();
        if let Some(worker) = worker {
            // It is over by itself in a while.
            let _ = self.storage.renew(worker, Duration::ZERO).await;
        }
    }

    /// Has all executions stop, and waits until they have.
    async fn abandon_all(&self) {
        loop {
            let drained = self.drained.notified();
            {
                let live = self.live();
                if live.is_empty() {
                    return;
                }
                live.values().for_each(|live| live.abandoned.notify_one());
            }
            drained.await;
        }
    }

    /// Does not execute it here any more, unless somebody says so again.
    pub(super) fn disown(&self, run: RunId) {
        self.adopted().remove(&run);
    }

    fn begin(self: &Arc<Self>, claimed: Claimed) {
        let (id, live) = (claimed.record.id, Arc::new(Live::new()));
        match self.live().entry(id) {
            Entry::Vacant(place) => drop(place.insert(live.clone())),
            // Its execution ends by itself: it is fenced.
            Entry::Occupied(_) => return,
        }
        let inner = self.clone();
        tokio::spawn(async move {
            // Also where it panics, its place is free again.
            let _place = LivePlace { inner: inner.clone(), id, live: live.clone() };
            execute(&inner, claimed, &live).await;
        });
    }

    /// Tells those of whom the hints speak; several hints about one run are taken as one.
    async fn spread(&self, first: Hint, hints: &mut dyn Hints, until: Instant) {
        self.tell(first);
        let gathered = tokio::time::sleep_until(until);
        tokio::pin!(gathered);
        let mut news = HashSet::new();
        loop {
            tokio::select! {
                () = &mut gathered => break,
                hint = hints.next() => drop(news.insert(hint)),
            }
        }
        for hint in news {
            self.tell(hint);
        }
    }

    fn tell(&self, hint: Hint) {
        match hint {
            Hint::Run(id) => {
                if let Some(live) = self.live().get(&id) {
                    live.news.notify_one();
                }
            }
            Hint::Anything => self.tell_all(),
        }
    }

    fn tell_all(&self) {
        for live in self.live().values() {
            live.news.notify_one();
        }
    }
}

/// The place of a run among those that are executed.
struct LivePlace {
    inner: Arc<Inner>,
    id: RunId,
    live: Arc<Live>,
}

impl Drop for LivePlace {
    fn drop(&mut self) {
        let mut live = self.inner.live();
        if live.get(&self.id).is_some_and(|live| Arc::ptr_eq(live, &self.live)) {
            live.remove(&self.id);
        }
        drop(live);
        self.inner.drained.notify_waiters();
        self.inner.work.notify_one();
    }
}
