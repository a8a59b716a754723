use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a tool is, under whatever name a toolset shows it: its own name and where it comes from.
///
/// Grants and rules write the own name; decisions, approvals and events carry the whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ToolIdentity {
    /// The own name, given where the tool is made.
    pub name: String,
    /// Where it comes from.
    pub source: ToolSource,
}

/// `refund (closure)`; of a hash only the first digits are shown.
impl fmt::Display for ToolIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#})", self.name, self.source)
    }
}

/// Where a tool comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ToolSource {
    /// Code of the embedder's own.
    Closure,
    /// An exported function of a component.
    Export {
        /// The hash of the component's bytes, in hexadecimal digits.
        component: String,
        /// The function's name there.
        export: String,
    },
    /// An HTTP endpoint.
    Http {
        /// Its base URL.
        url: String,
        /// Method and path of the one operation; none where it is the whole base.
        operation: Option<String>,
    },
}

/// `closure`, `HASH#export`, or a base URL with `GET /path at ` before it where it is one operation; in the alternate form (`{:#}`) with the first digits of the hash only.
impl fmt::Display for ToolSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closure => f.write_str("closure"),
            Self::Export { component, export } => {
                let digits = if f.alternate() { component.get(..12) } else { None };
                write!(f, "{}#{export}", digits.unwrap_or(component))
            }
            Self::Http { url, operation: None } => f.write_str(url),
            Self::Http { url, operation: Some(operation) } => write!(f, "{operation} at {url}"),
        }
    }
}

/// What a tool says of itself, in MCP's words: hints from whoever made it, never checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "four independent facts, as MCP has them")]
pub struct Annotations {
    /// It changes nothing.
    pub read_only: bool,
    /// Doing it twice is as doing it once.
    pub idempotent: bool,
    /// It may destroy something. Means nothing where it is read-only.
    pub destructive: bool,
    /// It reaches beyond what the caller can see, such as the web.
    pub open_world: bool,
}

/// The worst, as MCP has it: of a tool that says nothing, everything must be expected.
impl Default for Annotations {
    fn default() -> Self {
        Self { read_only: false, idempotent: false, destructive: true, open_world: true }
    }
}

/// What rules can know of a tool before it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolFacts {
    /// Which tool.
    pub identity: ToolIdentity,
    /// What it says of itself.
    pub annotations: Annotations,
    /// JSON Schema (2020-12) of its input.
    pub input_schema: Value,
}
