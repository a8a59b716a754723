//! Where effects go: to the host of the component, or, in tests on the host, to a scripted one.

#[cfg(target_family = "wasm")]
mod component;
#[cfg(target_family = "wasm")]
pub(crate) use component::*;

#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::testing::host::*;
