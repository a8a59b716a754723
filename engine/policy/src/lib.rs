//! What code in a Casemate sandbox may reach, as plain data.
//!
//! A [`Grants`] table is *structure*: it is fixed before a sandbox exists and says which folders, variables,
//! arguments and input the guest will find inside. The default grants nothing.
//!
//! This crate decides and describes; it does no I/O, knows nothing of wasmtime, and never asks the clock. Whether a
//! granted folder exists is found out by whoever opens it.
//!
//! ```
//! use casemate_policy::{Access, Folder, Grants};
//!
//! let grants = Grants::none()
//!     .folder(Folder::new("./src", "/src", Access::ReadOnly)?)?
//!     .env("LANG", "C")?;
//! assert_eq!(grants.folders()[0].to_string(), "./src::/src:ro");
//! # Ok::<(), casemate_policy::GrantError>(())
//! ```

#[cfg(feature = "cedar")]
mod cedar;
mod decision;
mod document;
mod folder;
mod grant;
mod principal;
mod tool;

#[cfg(feature = "cedar")]
pub use cedar::{
    CedarPolicy, Hidden, HiddenInput, Place, PolicyErrors, PolicyFault, PolicyProblem, PolicySource, Presence,
    ToolInputs, VisibleInput,
};
pub use decision::{Decision, Policy, Query, Rule, Verdict};
pub use document::DocumentError;
pub use folder::{Access, Folder};
pub use grant::{GrantError, Grants, ToolGrant, Widened};
pub use principal::{Principal, PrincipalParent};
pub use tool::{Annotations, ToolFacts, ToolIdentity, ToolSource};
