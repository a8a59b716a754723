//! Those who watch a Gate.
//!
//! None of them can hold up a guest or each other: each has a bounded queue, and one whose queue is full is closed.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};

use super::{Event, EventKind};

/// Hands events to whoever watches; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Hub>);

#[derive(Default)]
struct Hub {
    state: Mutex<State>,
    watching: AtomicUsize,
}

#[derive(Default)]
struct State {
    sequence: u64,
    watchers: Vec<Watcher>,
}

struct Watcher {
    queue: mpsc::Sender<Arc<Event>>,
    closed_after: Arc<AtomicU64>,
}

impl Events {
    /// Numbers an event and hands it on; it is made only where somebody watches.
    pub(crate) fn publish(&self, kind: impl FnOnce() -> EventKind) {
        let mut kind = Some(kind);
        let mut make = || kind.take().map(|make| make());
        // Before the lock, where that can be.
        let early = if self.0.watching.load(Ordering::Acquire) > 0 { make() } else { None };
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sequence += 1;
        if state.watchers.is_empty() {
            return;
        }
        let Some(kind) = early.or_else(make) else { return };
        let event = Arc::new(Event { sequence: state.sequence, kind, at: SystemTime::now() });
        state.watchers.retain(|watcher| watcher.offer(&event));
        self.0.watching.store(state.watchers.len(), Ordering::Release);
    }

    pub(crate) fn subscribe(&self, capacity: usize) -> Subscription {
        let (queue, receiver) = mpsc::channel(capacity.clamp(1, MOST_KEPT));
        let closed_after = Arc::new(AtomicU64::new(OPEN));
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.watchers.push(Watcher { queue, closed_after: closed_after.clone() });
        self.0.watching.store(state.watchers.len(), Ordering::Release);
        Subscription { receiver, closed_after }
    }
}

const OPEN: u64 = u64::MAX;
const MOST_KEPT: usize = 1 << 24;

impl Watcher {
    /// Whether it goes on watching.
    fn offer(&self, event: &Arc<Event>) -> bool {
        match self.queue.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                self.closed_after.store(event.sequence - 1, Ordering::Release);
                false
            }
        }
    }
}

/// The events of a Gate from a moment on, in order; also a [`Stream`].
///
/// What does not fit its queue closes it: the events in the queue still come, then [`Overflowed`], then the end.
#[derive(Debug)]
pub struct Subscription {
    receiver: mpsc::Receiver<Arc<Event>>,
    closed_after: Arc<AtomicU64>,
}

/// A subscription was closed because its events were not taken in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("events came faster than they were taken: the last one kept is number {last}")]
#[non_exhaustive]
pub struct Overflowed {
    /// The sequence of the last event before the gap.
    pub last: u64,
}

impl Subscription {
    /// The next event; `None` once the Gate is gone, or after the subscription overflowed.
    pub async fn next(&mut self) -> Option<Result<Arc<Event>, Overflowed>> {
        let event = self.receiver.recv().await;
        self.or_overflow(event)
    }

    /// The next event, if it is there already.
    pub fn try_next(&mut self) -> Option<Result<Arc<Event>, Overflowed>> {
        match self.receiver.try_recv() {
            Ok(event) => Some(Ok(event)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => self.or_overflow(None),
        }
    }

    fn or_overflow(&self, event: Option<Arc<Event>>) -> Option<Result<Arc<Event>, Overflowed>> {
        event.map(Ok).or_else(|| {
            let last = self.closed_after.swap(OPEN, Ordering::AcqRel);
            (last != OPEN).then_some(Err(Overflowed { last }))
        })
    }
}

impl Stream for Subscription {
    type Item = Result<Arc<Event>, Overflowed>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(cx).map(|event| self.or_overflow(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_that_never_reads_is_closed_and_holds_up_nobody() {
        let events = Events::default();
        let (mut idle, mut busy) = (events.subscribe(2), events.subscribe(10));
        for _ in 0..5 {
            events.publish(|| EventKind::Paused { reason: None });
        }
        let sequences: Vec<_> = std::iter::from_fn(|| idle.try_next()).map(|event| event.map(|e| e.sequence)).collect();
        assert_eq!(sequences, [Ok(1), Ok(2), Err(Overflowed { last: 2 })]);
        let sequences: Vec<_> = std::iter::from_fn(|| busy.try_next()).map(|event| event.map(|e| e.sequence)).collect();
        assert_eq!(sequences, (1..=5).map(Ok).collect::<Vec<_>>());
    }
}
