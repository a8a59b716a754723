//! Asks for random bytes by the gigabyte, in one call that the guest pays nothing for.
//! The limit on random bytes for one call should stop it before the host makes them.

use wasip2::random::{insecure, random};

pub(crate) fn secure(len: u64) -> u64 {
    random::get_random_bytes(len).len() as u64
}

pub(crate) fn insecure(len: u64) -> u64 {
    insecure::get_insecure_random_bytes(len).len() as u64
}
