//! What `wit-bindgen` makes of the contract, a module for each world that has exports.

#![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]

/// Of an agent.
pub mod agent {
    wit_bindgen::generate!({
        path: "../../wit/agent",
        world: "agent",
        pub_export_macro: true,
        export_macro_name: "export_agent",
        runtime_path: "::casemate_sdk::bindings::rt",
    });
}

/// Of a component that provides tools.
pub mod provider {
    wit_bindgen::generate!({
        path: "../../wit/agent",
        world: "tool-provider",
        pub_export_macro: true,
        export_macro_name: "export_provider",
        runtime_path: "::casemate_sdk::bindings::rt",
        with: {
            "casemate:agent/types@0.1.0": super::agent::casemate::agent::types,
            "casemate:agent/tools@0.1.0": super::agent::casemate::agent::tools,
        },
    });
}

pub use wit_bindgen::rt;
