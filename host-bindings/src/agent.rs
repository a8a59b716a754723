//! The contract between Casemate and the code it runs, as Rust: the only place where `bindgen!` runs.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]

wasmtime::component::bindgen!({
    path: "../wit/agent",
    world: "tool-user",
    imports: { default: async | trappable },
});

pub use casemate::agent::{tools, types};
