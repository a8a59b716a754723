//! What code in a Casemate sandbox may reach, as plain data.
//!
//! A [`Grants`] table is *structure*: it is fixed before a sandbox exists and says which folders, variables,
//! arguments and input the guest will find inside, and which tools, models, hosts and secrets it may use. The default grants nothing.
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

mod address;
#[cfg(feature = "cedar")]
mod cedar;
mod decision;
mod document;
mod folder;
mod grant;
mod host;
mod principal;
mod request;
mod tool;

pub use address::{AddressClass, UnknownClass};
#[cfg(feature = "cedar")]
pub use cedar::{
    CedarPolicy, Hidden, HiddenInput, Place, PolicyErrors, PolicyFault, PolicyProblem, PolicySource, Presence,
    ToolInputs, VisibleInput,
};
pub use decision::{Action, Decision, Policy, Query, Rule, Verdict};
pub use document::DocumentError;
pub use folder::{Access, Folder};
pub use grant::{GrantError, Grants, ModelGrant, SecretGrant, ToolGrant, Widened, is_secret_name};
pub use host::{HostGrant, HostPattern};
pub use principal::{Principal, PrincipalParent};
pub use request::{HostName, Origin, RequestError, RequestLine, Scheme, canonical_path};
pub use tool::{Annotations, ToolFacts, ToolIdentity, ToolSource};
