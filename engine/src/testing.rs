//! What tests of whoever uses Casemate need: a clock that is set, storages that fail as storages do, and what every
//! storage is held to.
//!
//! Nothing of it belongs into a program that people use.

mod clock;
pub mod storage;

pub use clock::ManualClock;
