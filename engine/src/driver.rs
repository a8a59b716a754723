//! Drives one call: gives the guest slices of time and acts between them.
//!
//! wasmtime's own yields wake themselves at once. A runtime then sees a task that is always ready and serves its
//! timers and sockets rarely: beside one spinning guest a 10 ms timer was more than a second late. So a call is never
//! handed to tokio bare. Here the guest is polled for one slice by the clock, and then the driver gives way with
//! tokio's own `yield_now`. Deadline, cancellation and the CPU share act at the same places.
//!
//! A guest never waits for the world on its own stack: it hands its effects over, and the driver goes on with them also
//! while the guest is held back. So a guest that is held back keeps no lock, queue place or permit that others need.
//!
//! This file knows nothing of wasmtime: it drives any future that gives way often.

mod excused;
mod handover;
mod hold;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::task::coop::unconstrained;

pub(crate) use excused::{Excuse, Excused};
use handover::Handed;
pub(crate) use handover::Handover;
pub(crate) use hold::Hold;

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
    /// Time that does not count against `wall_time`.
    pub(crate) excused: Excused,
    /// Holds the guest back; that time does not count either.
    pub(crate) hold: Option<Hold>,
}

/// Why a driven call did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    Deadline,
    Cancelled,
}

/// Drives `call`, and what it hands over, to its end, or until `pace` stops it; what is stopped is dropped where it
/// stands.
pub(crate) async fn drive<F: Future>(call: Pin<&mut F>, handover: Handover, pace: Pace) -> Result<F::Output, Stopped> {
    let signal = Arc::new(Wakes::default());
    let guest_waker = Waker::from(signal.clone());
    // Tokio's own budget would make ready things pend while a slice still runs.
    let mut call = pin!(unconstrained(call));
    let mut handed = Handed::new(handover);
    let (mut cancel, mut held) = (pace.cancel, None);
    let mut deadline = Deadline::new(pace.wall_time, pace.excused.clone());
    // Since it last gave way; a guest that waits in between has still computed.
    let mut computed = Duration::ZERO;

    loop {
        let slice = poll_fn(|cx| {
            if is_cancelled(&mut cancel, cx) {
                return Poll::Ready(Slice::Stopped(Stopped::Cancelled));
            }
            if pace.hold.as_ref().is_some_and(|hold| hold.poll_off(cx).is_pending()) {
                held.get_or_insert_with(|| pace.excused.begin());
                handed.poll(cx, SLICE);
                return Poll::Pending;
            }
            held = None;
            signal.parent.register(cx.waker());
            let slice = run_turn(call.as_mut(), &mut handed, &signal, &guest_waker, &mut computed, cx);
            let goes_on = slice.is_pending() || matches!(slice, Poll::Ready(Slice::Spent));
            if goes_on && deadline.is_over(cx) {
                return Poll::Ready(Slice::Stopped(Stopped::Deadline));
            }
            slice
        })
        .await;
        match slice {
            Slice::Done(output) => return Ok(output),
            Slice::Stopped(why) => return Err(why),
            Slice::Spent => match (std::mem::take(&mut computed), pace.cpus) {
                (time, Some(share)) if !time.is_zero() => {
                    rest(time.mul_f64(1.0 / share - 1.0), &mut deadline, &mut cancel, &mut handed).await?;
                }
                _ => tokio::task::yield_now().await,
            },
        }
    }
}

enum Slice<T> {
    Done(T),
    /// The guest computed for a slice, or its turn is over, and it would go on.
    Spent,
    Stopped(Stopped),
}

/// The guest and what it handed over in turn, as long as one has an answer for the other, for a slice at most.
fn run_turn<F: Future>(
    mut call: Pin<&mut F>,
    handed: &mut Handed,
    signal: &Wakes,
    guest_waker: &Waker,
    computed: &mut Duration,
    cx: &mut Context<'_>,
) -> Poll<Slice<F::Output>> {
    let started = Instant::now();
    loop {
        let slice = run_slice(call.as_mut(), signal, guest_waker, computed);
        if matches!(slice, Poll::Ready(Slice::Done(_))) {
            return slice;
        }
        signal.begin_poll();
        handed.poll(cx, SLICE);
        let answered = signal.end_poll();
        if slice.is_ready() || !answered {
            return slice;
        }
        if started.elapsed() >= SLICE {
            return Poll::Ready(Slice::Spent);
        }
    }
}

/// Polls the guest until it waits, or has computed for a slice since `computed` was zero.
fn run_slice<F: Future>(
    mut call: Pin<&mut F>,
    signal: &Wakes,
    waker: &Waker,
    computed: &mut Duration,
) -> Poll<Slice<F::Output>> {
    let before = *computed;
    let started = Instant::now();
    loop {
        signal.begin_poll();
        if let Poll::Ready(output) = call.as_mut().poll(&mut Context::from_waker(waker)) {
            return Poll::Ready(Slice::Done(output));
        }
        let goes_on = signal.end_poll();
        *computed = before + started.elapsed();
        if !goes_on {
            return Poll::Pending;
        }
        if *computed >= SLICE {
            return Poll::Ready(Slice::Spent);
        }
    }
}

/// Holds the guest back for `pause`; it is between two instructions and holds nothing that others wait for.
async fn rest(
    pause: Duration,
    deadline: &mut Deadline,
    cancel: &mut Option<Signal>,
    handed: &mut Handed,
) -> Result<(), Stopped> {
    let mut timer = pin!(tokio::time::sleep(pause));
    poll_fn(|cx| {
        if is_cancelled(cancel, cx) {
            return Poll::Ready(Err(Stopped::Cancelled));
        }
        handed.poll(cx, SLICE);
        if deadline.is_over(cx) {
            return Poll::Ready(Err(Stopped::Deadline));
        }
        timer.as_mut().poll(cx).map(Ok)
    })
    .await
}

fn is_cancelled(cancel: &mut Option<Signal>, cx: &mut Context<'_>) -> bool {
    cancel.as_mut().is_some_and(|cancel| cancel.as_mut().poll(cx).is_ready())
}

/// When a call has taken as long as it may.
struct Deadline {
    started: Instant,
    wall_time: Duration,
    excused: Excused,
    /// Made at the first wait: most calls end before they need it.
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Deadline {
    fn new(wall_time: Duration, excused: Excused) -> Self {
        Self { started: Instant::now(), wall_time, excused, timer: None }
    }

    /// If not, `cx` is woken when it may be.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let counted = self.started.elapsed().saturating_sub(self.excused.so_far());
            let left = self.wall_time.saturating_sub(counted);
            if left.is_zero() {
                return true;
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            // Time was excused: look again when what is left has passed, and not at every moment of it.
            self.timer = Some(Box::pin(tokio::time::sleep(left.max(SLICE))));
        }
    }
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
