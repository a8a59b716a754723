//! Looking for a text in all of the guest's own memory.

use core::arch::wasm32::memory_size;
use std::ops::Range;

/// Everything above the first kilobyte, where there is the far end of the stack.
const FIRST: usize = 1024;
const PAGE: usize = 64 * 1024;

/// How often the text occurs whose bytes, from the last to the first, are `reversed`.
pub(crate) fn count(reversed: &[u8]) -> u32 {
    if reversed.is_empty() {
        return 0;
    }
    let end = memory_size::<0>().saturating_mul(PAGE);
    let starts = FIRST..end.saturating_sub(reversed.len() - 1);
    starts.fold(0, |count, start| count + u32::from(is_at(start..end, reversed)))
}

/// Whether the text is where the range starts. It is compared byte by byte and never put together.
fn is_at(range: Range<usize>, reversed: &[u8]) -> bool {
    range.zip(reversed.iter().rev()).all(|(address, byte)| byte_at(address) == *byte)
}

fn byte_at(address: usize) -> u8 {
    let place = std::ptr::with_exposed_provenance::<u8>(address);
    // SAFETY: a byte below the memory's size is there, memory never shrinks, and nothing else runs meanwhile. To Rust
    // most of these bytes belong to somebody else; volatile, the read is one that the compiler assumes nothing about.
    unsafe { place.read_volatile() }
}
