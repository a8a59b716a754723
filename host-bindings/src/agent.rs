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
    world: "agent",
    imports: { default: async | trappable },
    exports: { default: async },
});

pub use casemate::agent::{model, run, tools, types};
pub use exports::casemate::agent::handler;

/// What a component that describes its own tools exports.
pub mod provider {
    wasmtime::component::bindgen!({
        path: "../wit/agent",
        world: "tool-provider",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "casemate:agent/types": super::casemate::agent::types,
            "casemate:agent/tools": super::casemate::agent::tools,
        },
    });

    pub use exports::casemate::agent::provider::*;
}
