//! Guests that try to reach what they may not reach, and servers that try to harm whoever asks.

mod addresses;
mod connections;
mod names;
mod responses;
mod smuggling;
pub(crate) mod tls;
