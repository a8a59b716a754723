//! Returns a string that is not UTF-8, which the canonical ABI forbids.
//! The host should refuse the value, and the outcome should be a fault of the guest.

pub(crate) fn invalid_utf8() -> String {
    let bytes = vec![b'o', b'k', 0xC3, 0x28, 0xFF, 0xFE];
    // SAFETY: there is none, and that is the attack. The string is only moved out of the guest and never read as text here.
    unsafe { String::from_utf8_unchecked(bytes) }
}
