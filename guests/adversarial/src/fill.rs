//! Fills much memory with one `memory.fill`, which the engine charges first and then runs in one piece.
//! The memory limit should bound it, and a guest with a high one should run on a thread of its own.

use std::hint::black_box;

pub(crate) fn fill(bytes: u64) -> u64 {
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut filled: Vec<u8> = Vec::with_capacity(length);
    // The length is hidden, so that the compiler neither unrolls the fill nor leaves it out.
    filled.resize(black_box(length), black_box(0xA5));
    black_box(&filled).len() as u64
}
