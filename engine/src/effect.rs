//! What guest code attempts, and what becomes of it, as plain data.

mod chat;
#[cfg(feature = "http")]
mod fetch;

use std::sync::Arc;

use casemate_policy::{Action, Annotations, Grants, Rule, ToolSource};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::ErrorKind;
use crate::event::{EventKind, Subject};
use crate::gate::Account;
use crate::json::text_len;
use crate::limits::LimitExceeded;
use crate::tool::Tool;

pub(crate) use chat::{Chat, Conversation};
#[cfg(feature = "http")]
pub(crate) use fetch::{Fetch, SecretUse};

/// One attempt of guest code to touch the world, as the steps of the Gate see it.
pub(crate) trait Effect: Send + Sync {
    /// What it is about.
    fn subject(&self) -> Subject;

    /// All its arguments, as rules and people see them.
    fn input(&self) -> &Arc<Value>;

    /// What a person who is asked is told beside the arguments.
    fn origin(&self) -> (Option<ToolSource>, Annotations);

    /// Arguments as events show them.
    fn shown(&self, input: &Arc<Value>) -> Arc<Value> {
        input.clone()
    }

    /// Whether parts of its arguments do not show in events.
    fn hides(&self) -> bool {
        false
    }

    /// Whether doing it twice does no more than doing it once.
    fn repeats(&self) -> bool {
        let (_, annotations) = self.origin();
        annotations.read_only || annotations.idempotent
    }

    /// What a person is asked each time, where it is granted so.
    fn granted(&self, reach: &Grants) -> Result<Option<String>, Denial>;

    /// The same for rules.
    fn action(&self) -> Action<'_>;

    /// Takes other arguments in the place of its own, where it can have others.
    fn edit(&mut self, input: Arc<Value>) -> Result<(), Denial>;

    /// Spends what an attempt costs, whatever becomes of it. A request has spent it before its host was looked up.
    fn spend_attempt(&self, _account: &Account, _depth: u32) -> Result<(), LimitExceeded> {
        Ok(())
    }

    /// Whether there is room for it in the budget now.
    fn check(&self, _account: &Account) -> Result<(), LimitExceeded> {
        Ok(())
    }

    /// Spends what an admitted one costs; others may have spent since [`check`](Self::check).
    fn spend(&self, _account: &Account) -> Result<(), LimitExceeded> {
        Ok(())
    }

    /// The event of its beginning.
    fn begun(&self, admitted: Admitted) -> EventKind;
}

/// How an effect was admitted.
pub(crate) struct Admitted {
    pub(crate) id: u64,
    pub(crate) principal: String,
    pub(crate) depth: u32,
    pub(crate) policy: Option<String>,
    pub(crate) rules: Vec<Rule>,
}

/// The call of a tool.
pub(crate) struct ToolCall {
    pub(crate) tool: Tool,
    pub(crate) input: Arc<Value>,
}

impl ToolCall {
    pub(crate) fn new(tool: Tool, input: Arc<Value>) -> Self {
        let input = tool.completed(input);
        Self { tool, input }
    }
}

impl Effect for ToolCall {
    fn subject(&self) -> Subject {
        Subject::Tool(self.tool.name().to_owned())
    }

    fn input(&self) -> &Arc<Value> {
        &self.input
    }

    fn origin(&self) -> (Option<ToolSource>, Annotations) {
        (Some(self.tool.identity().source.clone()), self.tool.facts().annotations)
    }

    fn shown(&self, input: &Arc<Value>) -> Arc<Value> {
        self.tool.shown(input)
    }

    fn hides(&self) -> bool {
        self.tool.redacts()
    }

    fn granted(&self, reach: &Grants) -> Result<Option<String>, Denial> {
        let name = self.tool.name();
        let grant = reach.find_tool(name).ok_or_else(|| {
            let allow = Some(format!("--allow-tool {name}"));
            Denial { allow, ..Denial::new(format!("the tool `{name}` is not granted")) }
        })?;
        Ok(grant.question().map(str::to_owned))
    }

    fn action(&self) -> Action<'_> {
        Action::Call { tool: self.tool.identity(), input: &self.input }
    }

    fn edit(&mut self, input: Arc<Value>) -> Result<(), Denial> {
        self.input = self.tool.completed(input);
        Ok(())
    }

    fn spend_attempt(&self, account: &Account, depth: u32) -> Result<(), LimitExceeded> {
        account.spend_input(text_len(&self.input))?;
        account.check_depth(depth)
    }

    fn check(&self, account: &Account) -> Result<(), LimitExceeded> {
        account.check_call(self.tool.name())
    }

    fn spend(&self, account: &Account) -> Result<(), LimitExceeded> {
        account.spend_call(self.tool.name())
    }

    fn begun(&self, admitted: Admitted) -> EventKind {
        let Admitted { id, principal, depth, policy, rules } = admitted;
        let source = self.tool.identity().source.clone();
        let (tool, input) = (self.tool.name().to_owned(), self.tool.shown(&self.input));
        EventKind::ToolCall { id, tool, source, input, principal, depth, policy, rules }
    }
}

/// What became of an effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Result(Arc<Value>),
    Denied(Box<Denial>),
    NotFound(String),
    InvalidInput(String),
    LimitExceeded(LimitExceeded),
    Failed(Box<Failure>),
    Cancelled,
}

impl Outcome {
    /// The name of its case, as `error` in `casemate:agent/types` has it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Result(_) => "result",
            Self::Denied(_) => "denied",
            Self::NotFound(_) => "not-found",
            Self::InvalidInput(_) => "invalid-input",
            Self::LimitExceeded(_) => "limit-exceeded",
            Self::Failed(failure) if failure.kind == ErrorKind::LimitExceeded => "limit-exceeded",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// What a guest is told.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Result(_) => "it has a result".to_owned(),
            Self::Denied(denial) => denial.reason.clone(),
            Self::NotFound(text) | Self::InvalidInput(text) => text.clone(),
            Self::LimitExceeded(limit) => limit.to_string(),
            Self::Failed(failure) => failure.message.clone(),
            Self::Cancelled => "it was stopped before its end".to_owned(),
        }
    }
}

/// The Gate's "no".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Denial {
    /// Why, in words fit to show a model.
    pub(crate) reason: String,
    /// The rules that decided.
    pub(crate) rules: Vec<Rule>,
    /// What a person could do about it: a flag of the binary, or a line of policy.
    pub(crate) allow: Option<String>,
}

/// A tool ran, and has no result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// The tool's own error, as JSON.
    pub(crate) value: Value,
    /// The same for people.
    pub(crate) message: String,
    /// Whose failure it was.
    pub(crate) kind: ErrorKind,
    /// What only those who watch are told.
    pub(crate) detail: Option<String>,
}

impl Denial {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), rules: Vec::new(), allow: None }
    }
}

/// A flag of the binary, quoted where a shell would take it apart.
pub(crate) fn flag(name: &str, value: &str) -> String {
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./:@%+=,-".contains(&byte));
    if plain { format!("{name} {value}") } else { format!("{name} '{}'", value.replace('\'', r"'\''")) }
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { value: message.clone().into(), message, kind: ErrorKind::ToolError, detail: None }
    }
}
