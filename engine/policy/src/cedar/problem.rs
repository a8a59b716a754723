use std::fmt;

use serde::Serialize;

use super::shape::Hidden;
use crate::{GrantError, ToolIdentity};

/// Everything that is wrong with a set of policy files; one problem per line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct PolicyErrors {
    problems: Vec<PolicyProblem>,
}

impl PolicyErrors {
    pub(super) fn new(problems: Vec<PolicyProblem>) -> Self {
        Self { problems }
    }

    /// The problems in the order of the files; at least one.
    pub fn problems(&self) -> &[PolicyProblem] {
        &self.problems
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// Something wrong, or suspicious, in policy files or between them and the tools.
///
/// It shows as `rules.cedar:3:12: unknown attribute …: did you mean …?`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyProblem {
    /// Where it stands; nowhere if it is about all the rules together.
    pub place: Option<Place>,
    /// What it is.
    #[serde(serialize_with = "as_text")]
    pub fault: PolicyFault,
    /// What to write instead.
    pub help: Option<String>,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}", self.fault)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, ": {help}"))
    }
}

/// A place in a policy file; shows as `rules.cedar:3:12`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, by the name it was given.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// The character in that line, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// What can be wrong with rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFault {
    /// Cedar cannot read it.
    #[error("{message}")]
    Syntax {
        /// In Cedar's words.
        message: String,
    },
    /// Cedar can read it, and it does not fit the tools in scope.
    #[error("{message}")]
    Invalid {
        /// In Cedar's words.
        message: String,
    },
    /// A rule is longer or more deeply nested than any person writes.
    #[error("this rule is too long or too deeply nested")]
    TooLong,
    /// An attribute that nothing has.
    #[error("unknown attribute `{path}`{}", of(tool.as_deref()))]
    UnknownAttribute {
        /// The attribute as it was written.
        path: String,
        /// The tool whose calls lack it, where that is not every tool that the rule is about.
        tool: Option<String>,
    },
    /// An attribute of some of what a rule is about, such as tools, in a rule that is about more.
    #[error("only {} have `{path}`", having.join(" and "))]
    Only {
        /// The attribute.
        path: String,
        /// What has it: `tools`, `requests` or `chats`.
        having: Vec<&'static str>,
    },
    /// A part of an input that has no Cedar type.
    #[error("rules cannot see `{path}` of the tool `{tool}`, because {why}")]
    Hidden {
        /// The part.
        path: String,
        /// The tool.
        tool: String,
        /// Why it has none.
        why: Hidden,
    },
    /// An attribute is read that may not be there.
    #[error("`{path}` may be missing")]
    MayBeMissing {
        /// The attribute.
        path: String,
    },
    /// A rule names a tool that is not in scope.
    #[error("there is no tool `{name}` here")]
    UnknownTool {
        /// Its name in the rule.
        name: String,
    },
    /// A rule names a host in a form that no request has.
    #[error("no request has the host `{name}`")]
    ImpossibleHost {
        /// What was written.
        name: String,
    },
    /// A rule names a secret that cannot be granted.
    #[error(transparent)]
    ImpossibleSecret(GrantError),
    /// Only what forbids can ask.
    #[error("`@approval` belongs on a `forbid`")]
    ApprovalOnPermit,
    /// An approval without a question.
    #[error("`@approval` has no question")]
    NoQuestion,
    /// Two rules have one name.
    #[error("the rule at {first} has the id `{id}` too")]
    DuplicateId {
        /// The name.
        id: String,
        /// Where the first of them stands.
        first: Place,
    },
    /// An annotation that means nothing here.
    #[error("the annotation `@{name}` means nothing here")]
    UnknownAnnotation {
        /// Its name.
        name: String,
    },
    /// Rules name a tool by its own name alone, so two tools cannot share one.
    #[error("rules could not tell {first} from {second}")]
    AmbiguousTool {
        /// One of them.
        first: ToolIdentity,
        /// The other.
        second: ToolIdentity,
    },
    /// The tools make no Cedar schema.
    #[error("these tools make no schema: {message}")]
    Schema {
        /// In Cedar's words.
        message: String,
    },
    /// A rule that never matches.
    #[error("this rule never matches")]
    NeverMatches,
    /// Nothing can be allowed at all.
    #[error("no rule permits anything")]
    NothingPermitted,
    /// Some tools cannot be called.
    #[error("no rule permits {}", listed(tools))]
    NotPermitted {
        /// Their own names.
        tools: Vec<String>,
    },
}

fn of(tool: Option<&str>) -> String {
    tool.map_or_else(String::new, |tool| format!(" of the tool `{tool}`"))
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn as_text<S: serde::Serializer>(fault: &PolicyFault, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(fault)
}
