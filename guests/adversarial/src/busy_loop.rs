//! Computes for real and returns: no attack, but what timing and metering are measured with.

/// Each round needs the one before (xorshift64), so that none can be left out.
pub(crate) fn busy_loop(iterations: u64) -> u64 {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..iterations {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state
}
