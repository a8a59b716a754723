//! What tests of whoever uses Casemate need: an approver that answers as it is told, a clock that is set, storages that fail as storages do, and what every
//! storage is held to.
//!
//! Nothing of it belongs into a program that people use.

mod approver;
mod clock;
pub mod storage;

pub use approver::ScriptedApprover;
pub use clock::ManualClock;
