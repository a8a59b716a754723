//! Calls itself until the native stack is full.
//! The stack limit of the engine should stop it, long before fuel does.
//!
//! No local has an address, since the shadow stack in linear memory would overflow first, which is a different trap.

use std::hint::black_box;

pub(crate) fn recurse() -> u64 {
    descend(black_box(1))
}

/// Work remains after the call, so that it cannot become a loop.
#[inline(never)]
fn descend(depth: u64) -> u64 {
    if depth == u64::MAX {
        return 0;
    }
    descend(depth + 1).wrapping_mul(31).rotate_left(7) ^ depth
}
