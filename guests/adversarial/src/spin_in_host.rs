//! Calls a cheap function of the host for ever, so that little of the time is the guest's own.
//! The wall time limit should stop it, and slices by the clock should keep the executor free.

use wasip2::clocks::monotonic_clock;

pub(crate) fn spin_in_host() {
    loop {
        std::hint::black_box(monotonic_clock::now());
    }
}
