//! What a guest hands to its driver instead of waiting for it on its own stack.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How many handed-over tasks of one call are under way at once; more wait in order.
const AT_ONCE: usize = 64;

/// The guest's end: work goes in, and its answer can be awaited.
#[derive(Clone, Default)]
pub(crate) struct Handover(Arc<Mutex<Vec<Task>>>);

impl Handover {
    /// Hands `work` to the driver of the call, which goes on with it for as long as somebody waits for the answer. `None`
    /// means that the driver is gone, and the guest soon will be.
    pub(crate) fn run<W>(&self, work: W) -> impl Future<Output = Option<W::Output>> + Send + use<W>
    where
        W: Future<Output: Send> + Send + 'static,
    {
        let (mut answer, answered) = oneshot::channel();
        let task = async move {
            let worked = match select(pin!(answer.closed()), pin!(work)).await {
                Either::Left(_) => None,
                Either::Right((worked, _)) => Some(worked),
            };
            // Whoever asked may be gone.
            let _ = worked.map(|worked| answer.send(worked));
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(task));
        async move { answered.await.ok() }
    }

    fn take(&self) -> Vec<Task> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The driver's end: polls what was handed over. Dropping it drops all of that where it stands.
pub(crate) struct Handed {
    queue: Handover,
    /// Made for the first task: most calls hand nothing over.
    tasks: Option<Box<Tasks>>,
}

impl Handed {
    pub(crate) fn new(queue: Handover) -> Self {
        Self { queue, tasks: None }
    }

    /// Polls what can go on, for one slice at most; what is left then wakes the driver again.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, slice: Duration) {
        let new = self.queue.take();
        if !new.is_empty() {
            self.tasks.get_or_insert_default().waiting.extend(new);
        }
        if let Some(tasks) = &mut self.tasks {
            tasks.poll(cx, slice);
        }
    }
}

#[derive(Default)]
struct Tasks {
    waiting: VecDeque<Task>,
    running: FuturesUnordered<Paced>,
    turn: Arc<Turn>,
}

impl Tasks {
    fn poll(&mut self, cx: &mut Context<'_>, slice: Duration) {
        self.turn.begin(slice);
        loop {
            while self.running.len() < AT_ONCE
                && let Some(task) = self.waiting.pop_front()
            {
                self.running.push(Paced { task, turn: self.turn.clone() });
            }
            if !matches!(self.running.poll_next_unpin(cx), Poll::Ready(Some(()))) {
                return;
            }
        }
    }
}

/// A task that gives way when the turn of all is over: many sandboxes that compute, each for its own slice, would hold
/// the thread for as many slices.
struct Paced {
    task: Task,
    turn: Arc<Turn>,
}

impl Future for Paced {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn.is_over() {
            // Like a guest at the end of its slice: woken once timers and sockets were served.
            return pin!(tokio::task::yield_now()).poll(cx);
        }
        self.task.as_mut().poll(cx)
    }
}

/// When the turn of all tasks ends, in nanoseconds since `base`.
struct Turn {
    base: Instant,
    end: AtomicU64,
}

impl Default for Turn {
    fn default() -> Self {
        Self { base: Instant::now(), end: AtomicU64::new(0) }
    }
}

impl Turn {
    fn begin(&self, slice: Duration) {
        self.end.store(nanos(self.base.elapsed() + slice), Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        nanos(self.base.elapsed()) > self.end.load(Ordering::Relaxed)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
