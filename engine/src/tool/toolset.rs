use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use casemate_policy::ToolFacts;

use super::Tool;

/// The tools that one sandbox sees, under the names it sees them. What it may call of them is what it is granted.
///
/// ```
/// use casemate::{Tool, Toolset};
///
/// # fn main() -> Result<(), casemate::ToolsetError> {
/// # #[derive(serde::Deserialize, schemars::JsonSchema)] struct Nothing {}
/// let now = Tool::new("clock-now", |_: Nothing| async { Ok::<_, String>(12) });
/// let tools = Toolset::new().with(now)?.renamed("clock-now", "now")?;
/// assert_eq!(tools.names().collect::<Vec<_>>(), ["now"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Toolset(Arc<BTreeMap<String, Tool>>);

/// Which tool has which own name, among all that can be reached from one place.
///
/// INVARIANT: grants and rules name tools by their own names, so no two tools in one tree of calls have the same.
#[derive(Default)]
pub(crate) struct OwnNames(BTreeMap<String, Tool>);

impl OwnNames {
    /// Adds a tool and all that it brings along.
    pub(crate) fn add(&mut self, tool: &Tool) -> Result<(), ToolsetError> {
        check_name(tool.name())?;
        match self.0.get(tool.name()) {
            Some(known) if known.is(tool) => {}
            Some(_) => return Err(ToolsetError::Duplicate { name: tool.name().to_owned() }),
            None => {
                self.0.insert(tool.name().to_owned(), tool.clone());
            }
        }
        tool.brings().iter().try_for_each(|brought| self.add(brought))
    }
}

impl Toolset {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool under its own name.
    pub fn with(self, tool: impl Into<Tool>) -> Result<Self, ToolsetError> {
        let tool = tool.into();
        let name = tool.name().to_owned();
        self.add(name, tool)
    }

    /// Shows the tool `from` as `to`. Its own name stays what it was, and grants and rules know it by that.
    pub fn renamed(mut self, from: &str, to: impl Into<String>) -> Result<Self, ToolsetError> {
        let tool = Arc::make_mut(&mut self.0).remove(from);
        let tool = tool.ok_or_else(|| ToolsetError::Missing { name: from.to_owned() })?;
        self.add(to.into(), tool)
    }

    /// Leaves out all tools for which `keep` says no; it gets the shown name and the tool.
    #[must_use]
    pub fn filtered(mut self, mut keep: impl FnMut(&str, &Tool) -> bool) -> Self {
        Arc::make_mut(&mut self.0).retain(|name, tool| keep(name, tool));
        self
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The shown names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The tools by their shown names, sorted.
    pub fn tools(&self) -> impl Iterator<Item = (&str, &Tool)> {
        self.0.iter().map(|(name, tool)| (name.as_str(), tool))
    }

    /// What rules can know of them: what a policy is compiled for.
    pub fn facts(&self) -> Vec<ToolFacts> {
        self.0.values().map(|tool| tool.facts().clone()).collect()
    }

    /// The tool that is shown under that name. Names are compared byte by byte.
    pub fn get(&self, name: &str) -> Option<&Tool> {
        self.0.get(name)
    }

    fn add(mut self, name: String, tool: Tool) -> Result<Self, ToolsetError> {
        check_name(&name)?;
        if self.0.contains_key(&name) {
            return Err(ToolsetError::Duplicate { name });
        }
        let mut own_names = OwnNames::default();
        self.0.values().chain([&tool]).try_for_each(|tool| own_names.add(tool))?;
        Arc::make_mut(&mut self.0).insert(name, tool);
        Ok(self)
    }
}

impl fmt::Debug for Toolset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter()).finish()
    }
}

const LONGEST_NAME: usize = 128;

fn check_name(name: &str) -> Result<(), ToolsetError> {
    if is_name(name) { Ok(()) } else { Err(ToolsetError::Name { name: name.to_owned() }) }
}

/// Whether a tool or a model can be called so. Names that look alike are the same: no letters but those of ASCII.
pub(crate) fn is_name(name: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/@#".contains(&byte);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(sound)
}

/// Why a set of tools cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ToolsetError {
    /// Two tools would have one name.
    #[error("two tools would be `{name}`: give one another name where it is made")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// There is nothing to rename.
    #[error("there is no tool `{name}` to rename")]
    Missing {
        /// The name.
        name: String,
    },
    /// Not a name for a tool.
    #[error(
        "`{name}` cannot be the name of a tool: it takes 1 to 128 of the letters A-Z and a-z, digits, and `_-.:/@#`"
    )]
    Name {
        /// The name.
        name: String,
    },
}
