use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// On whose behalf a sandbox acts: what the embedder names when it makes one.
///
/// ```
/// use casemate_policy::{Principal, PrincipalParent};
///
/// let agent = Principal::new("support-agent")
///     .attribute("team", "billing")
///     .parent(PrincipalParent::User("ann".into()))
///     .parent(PrincipalParent::Tenant("acme".into()));
/// assert_eq!(agent.id(), "support-agent");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    id: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    parents: Vec<PrincipalParent>,
}

/// Somebody or something that a principal belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PrincipalParent {
    /// A person.
    User(String),
    /// A customer or an organisation.
    Tenant(String),
    /// Any other set of principals.
    Group(String),
}

impl Principal {
    /// A principal with that id, without attributes and parents.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), attributes: BTreeMap::new(), parents: Vec::new() }
    }

    /// Sets an attribute; the last value given for a name counts.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Adds a parent.
    #[must_use]
    pub fn parent(mut self, parent: PrincipalParent) -> Self {
        self.parents.push(parent);
        self
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its attributes by name.
    pub fn attributes(&self) -> &BTreeMap<String, String> {
        &self.attributes
    }

    /// What it belongs to.
    pub fn parents(&self) -> &[PrincipalParent] {
        &self.parents
    }
}

/// `anonymous`: a sandbox for which nobody was named.
impl Default for Principal {
    fn default() -> Self {
        Self::new("anonymous")
    }
}
