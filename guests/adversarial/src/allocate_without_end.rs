//! Allocates and touches memory until the allocator gives up, which aborts.
//! The memory limit should refuse the growth, and the outcome should name memory instead of the trap.

use std::hint::black_box;

const MEBIBYTE: usize = 1 << 20;

pub(crate) fn allocate_without_end() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![0xA5_u8; MEBIBYTE]);
        black_box(&mut hoard);
    }
}
