//! What `wit-bindgen` makes of the contract.
#![allow(warnings, clippy::all, clippy::pedantic, clippy::restriction, reason = "the code is generated")]

wit_bindgen::generate!({
    path: "../../wit/toolbox",
    world: "toolbox",
});
