//! Loops for ever without calling the host.
//! The wall time limit should stop it, or the fuel limit where that is reached first.
//!
//! Square roots take long and burn little fuel, so that a test of either limit can have it reached first.

use std::hint::black_box;

pub(crate) fn spin() {
    let mut value = 2.0_f64;
    loop {
        value = black_box((value + 1.0).sqrt().sqrt().sqrt().sqrt());
    }
}
