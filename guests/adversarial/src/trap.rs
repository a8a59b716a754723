//! Panics three calls deep, which traps.
//! The outcome should be a trap with a backtrace that names all three functions.

use std::hint::black_box;

#[inline(never)]
pub(crate) fn adversarial_depth_one() {
    adversarial_depth_two(black_box(1));
    black_box(());
}

#[inline(never)]
fn adversarial_depth_two(depth: u32) {
    adversarial_depth_three(black_box(depth) + 1);
    black_box(());
}

#[inline(never)]
#[allow(clippy::panic, reason = "the attack")]
fn adversarial_depth_three(depth: u32) {
    panic!("trap on purpose, {} calls deep", black_box(depth) + 1);
}
