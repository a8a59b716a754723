//! Randomness that comes again: one stream for all three sources of a run.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

pub(super) fn stream(seed: [u8; 32]) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(seed)
}

pub(super) fn fill(stream: &mut ChaCha20Rng, bytes: &mut [u8]) {
    stream.fill_bytes(bytes);
}
