//! What the macros write down. No part of the public interface.

pub use crate::request::Agent;
pub use crate::tool::{Provider, failure, parameters, result, schema};

#[cfg(target_family = "wasm")]
pub use crate::bindings::{agent, agent::export_agent, provider, provider::export_provider};
