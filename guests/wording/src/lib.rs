//! How guests that only do as they are told say what became of it: in texts, for whoever told them.
//!
//! It knows the types of `casemate:agent` and none of its effects, so a guest imports nothing through it.

mod json;

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]

    wit_bindgen::generate!({
        path: "../../wit/agent",
        inline: "
            package casemate:wording;

            world wording {
                import casemate:agent/types@0.1.0;
            }
        ",
        world: "casemate:wording/wording",
        generate_all,
    });
}

pub use bindings::casemate::agent::types;
pub use json::{quoted, unquoted};

use types::Error;

/// An error: its case, and what it says.
pub fn reason(error: Error) -> String {
    let (case, reason) = match error {
        Error::Denied(reason) => ("denied", reason),
        Error::NotFound(reason) => ("not-found", reason),
        Error::InvalidInput(reason) => ("invalid-input", reason),
        Error::LimitExceeded(reason) => ("limit-exceeded", reason),
        Error::Failed(reason) => ("failed", reason),
        Error::Cancelled => return "cancelled".to_owned(),
    };
    format!("{case}: {reason}")
}

/// What became of something that may fail: `ok: ` and its text, or the error's text.
pub fn told(result: Result<String, String>) -> String {
    result.map_or_else(|error| error, |text| format!("ok: {text}"))
}

/// How many succeeded, and how many did not.
pub fn tally<T, E>(results: impl IntoIterator<Item = Result<T, E>>) -> (u32, u32) {
    results.into_iter().fold((0, 0), |(good, bad), result| match result {
        Ok(_) => (good + 1, bad),
        Err(_) => (good, bad + 1),
    })
}
