//! What agents and tools see of the SDK, on a scripted host.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "all of this is tests, helpers included"
)]

/// What `#[agent]` takes, and what it leaves alone.
mod agent;
/// The loop: tools, limits, budgets and ends.
mod conversation;
/// The scripted host itself.
mod host;
/// The JSON form of messages.
mod message;
/// What `#[tool]` makes of a function.
mod tool;
