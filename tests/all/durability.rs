//! What a run survives: kills at each step, storages that fail, clocks that jump, agents that misbehave, and people who
//! all speak at once.

mod agents;
mod clocks;
mod crashes;
mod crowds;
mod exchanges;
mod orders;
mod people;
mod replays;
#[cfg(target_os = "linux")]
mod scarcity;
mod scene;
mod storages;
mod support;
mod workers;
