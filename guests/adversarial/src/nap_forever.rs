//! Sleeps a millisecond at a time, for ever: nearly no fuel, and no single wait that looks long.
//! The wall time limit should stop it.

use wasip2::clocks::monotonic_clock;

const MILLISECOND: u64 = 1_000_000;

pub(crate) fn nap_forever() {
    loop {
        monotonic_clock::subscribe_duration(MILLISECOND).block();
    }
}
