//! Asks for pages with one `memory.grow` and survives a refusal.
//! The memory limit should answer -1, as WebAssembly says, and count the refusal.

use std::arch::wasm32::memory_grow;

/// The size before, in pages; `None` if refused.
pub(crate) fn try_grow(pages: u32) -> Option<u32> {
    let pages = usize::try_from(pages).ok()?;
    match memory_grow::<0>(pages) {
        usize::MAX => None,
        before => u32::try_from(before).ok(),
    }
}
