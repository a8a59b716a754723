//! Leaves something behind in a variable for the next call to find.
//! A fresh sandbox for each call should make the answer 1 always.

use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) fn next() -> u32 {
    COUNT.fetch_add(1, Ordering::Relaxed) + 1
}
