//! Drives one call: gives the guest slices of time and acts between them.
//!
//! wasmtime's own yields wake themselves at once. A runtime then sees a task that is always ready and serves its
//! timers and sockets rarely: beside one spinning guest a 10 ms timer was more than a second late. So a call is never
//! handed to tokio bare. Here the guest is polled for one slice by the clock, and then the driver gives way with
//! tokio's own `yield_now`. Deadline, cancellation and the CPU share act at the same places.
//!
//! This file knows nothing of wasmtime: it drives any future that gives way often.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::task::coop::unconstrained;

/// How long a guest computes before others get their turn.
const SLICE: Duration = Duration::from_millis(5);

/// What may stop a call from outside.
pub(crate) type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// When and how a driven call is held back or stopped.
pub(crate) struct Pace {
    /// The time by the clock that it may take.
    pub(crate) wall_time: Duration,
    /// The share of one processor that it may take, if less than one.
    pub(crate) cpus: Option<f64>,
    /// Stops the call when it completes.
    pub(crate) cancel: Option<Signal>,
}

/// Why a driven call did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    Deadline,
    Cancelled,
}

/// Drives `call` to its end, or until `pace` stops it; a stopped call is dropped where it stands.
pub(crate) async fn drive<F: Future>(call: Pin<&mut F>, pace: Pace) -> Result<F::Output, Stopped> {
    let started = Instant::now();
    let signal = Arc::new(Wakes::default());
    let guest_waker = Waker::from(signal.clone());
    // Tokio's own budget would make ready things pend while a slice still runs.
    let mut call = pin!(unconstrained(call));
    let mut cancel = pace.cancel;
    // Made at the first wait: most calls end before they need it.
    let mut deadline = None;

    loop {
        let slice = poll_fn(|cx| {
            if let Some(cancel) = &mut cancel
                && cancel.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Slice::Stopped(Stopped::Cancelled));
            }
            signal.parent.register(cx.waker());
            let slice = run_slice(call.as_mut(), &signal, &guest_waker);
            if slice.is_pending() || matches!(slice, Poll::Ready(Slice::Spent(_))) {
                let timer = deadline
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until((started + pace.wall_time).into())));
                if started.elapsed() >= pace.wall_time || timer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Slice::Stopped(Stopped::Deadline));
                }
            }
            slice
        })
        .await;
        match slice {
            Slice::Done(output) => return Ok(output),
            Slice::Stopped(why) => return Err(why),
            Slice::Spent(time) => match pace.cpus {
                Some(share) => rest(time.mul_f64(1.0 / share - 1.0), started + pace.wall_time, &mut cancel).await?,
                None => tokio::task::yield_now().await,
            },
        }
    }
}

enum Slice<T> {
    Done(T),
    /// The guest computed for this long and would go on.
    Spent(Duration),
    Stopped(Stopped),
}

fn run_slice<F: Future>(mut call: Pin<&mut F>, signal: &Wakes, waker: &Waker) -> Poll<Slice<F::Output>> {
    let started = Instant::now();
    loop {
        signal.begin_poll();
        if let Poll::Ready(output) = call.as_mut().poll(&mut Context::from_waker(waker)) {
            return Poll::Ready(Slice::Done(output));
        }
        if !signal.end_poll() {
            return Poll::Pending;
        }
        let spent = started.elapsed();
        if spent >= SLICE {
            return Poll::Ready(Slice::Spent(spent));
        }
    }
}

/// Holds the guest back for `pause`; it is between two instructions and holds nothing that others wait for.
async fn rest(pause: Duration, deadline: Instant, cancel: &mut Option<Signal>) -> Result<(), Stopped> {
    let until = (Instant::now() + pause).min(deadline);
    let mut timer = pin!(tokio::time::sleep_until(until.into()));
    poll_fn(|cx| {
        if let Some(cancel) = cancel
            && cancel.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(Stopped::Cancelled));
        }
        timer.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// Tells a guest that gave way and would go on from one that waits for the world.
///
/// A wake while the guest is polled only leaves a mark. Passing it on would put the task back into tokio's queue at
/// once, and `yield_now` would no longer let timers and sockets come first.
#[derive(Default)]
struct Wakes {
    state: AtomicU8,
    parent: AtomicWaker,
}

const IDLE: u8 = 0;
const POLLING: u8 = 1;
const WOKEN: u8 = 2;

impl Wakes {
    fn begin_poll(&self) {
        self.state.store(POLLING, Ordering::Release);
    }

    /// Whether there was a wake since [`begin_poll`](Self::begin_poll).
    fn end_poll(&self) -> bool {
        self.state.swap(IDLE, Ordering::AcqRel) == WOKEN
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let marked = self.state.compare_exchange(POLLING, WOKEN, Ordering::AcqRel, Ordering::Acquire);
        if marked == Err(IDLE) {
            self.parent.wake();
        }
    }
}
