//! A switch by which a guest is held back: while it is on, the guest computes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// The switch of one call; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Hold(Arc<Switch>);

#[derive(Default)]
struct Switch {
    on: AtomicBool,
    driver: AtomicWaker,
}

impl Hold {
    /// Holds the guest back, from its next slice on.
    pub(crate) fn on(&self) {
        self.0.on.store(true, Ordering::Release);
        self.0.driver.wake();
    }

    /// Lets it go on.
    pub(crate) fn off(&self) {
        self.0.on.store(false, Ordering::Release);
        self.0.driver.wake();
    }

    /// Pending while the guest is held back; `cx` is woken when the switch is turned.
    pub(super) fn poll_off(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.driver.register(cx.waker());
        if self.0.on.load(Ordering::Acquire) { Poll::Pending } else { Poll::Ready(()) }
    }
}
