//! Parks for an hour in one call of the host.
//! The wall time limit should stop it while it is parked.

use wasip2::clocks::monotonic_clock;

const HOUR: u64 = 3_600_000_000_000;

pub(crate) fn sleep_an_hour() {
    monotonic_clock::subscribe_duration(HOUR).block();
}
