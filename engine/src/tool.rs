//! Tools: named functions with a JSON Schema in and out, whatever provides them, and the sets that sandboxes see.
//!
//! A tool cannot be called from here, nor from anywhere else in the crate: only the Gate makes the
//! [`Invocation`](crate::gate::Invocation) that a provider takes.

mod closure;
pub(crate) mod declared;
#[cfg(feature = "http")]
pub(crate) mod http;
mod toolset;

use std::fmt;
use std::sync::Arc;

use casemate_host_bindings::{Field, Shape};
use casemate_policy::{Annotations, Grants, ToolFacts, ToolIdentity, ToolSource, Widened};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::effect::Outcome;
use crate::gate::Invocation;

pub(crate) use toolset::{OwnNames, is_name};
pub use toolset::{Toolset, ToolsetError};

/// A named function with a JSON Schema in and out.
///
/// It is made of a closure by [`Tool::new`], of a component's export by [`Component::tool`](crate::Component::tool), or of
/// an HTTP endpoint by `HttpTool`.
/// Guests call it through the Gate only. Cheap to clone; a clone is the same tool.
#[derive(Clone)]
pub struct Tool {
    definition: Arc<Definition>,
    provider: Arc<dyn Provide>,
}

#[derive(Clone)]
struct Definition {
    facts: ToolFacts,
    description: String,
    output_schema: Value,
    redacted: Vec<String>,
    /// What stands in the input where it says nothing.
    defaults: Map<String, Value>,
}

/// What does a tool's work.
pub(crate) trait Provide: Send + Sync {
    /// Does it; a failure is an outcome too.
    fn provide(&self, invocation: Invocation) -> BoxFuture<'static, Outcome>;

    /// Its types in the words of WIT, if it has any.
    fn signature(&self) -> Result<ToolSignature, String>;

    /// Whether what it reaches is granted to whoever would call it, `caller`.
    fn narrows(&self, caller: &Grants) -> Result<(), Widening>;

    /// The tools that it brings along for its own use.
    fn brings(&self) -> Vec<Tool>;
}

/// The types of a tool in the words of WIT.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ToolSignature {
    pub(crate) parameters: Vec<Field>,
    pub(crate) result: Option<Shape>,
    pub(crate) known_from: KnownFrom,
}

/// Where types are known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KnownFrom {
    /// A component: exactly.
    Wit,
    /// A JSON Schema, which does not tell the order of fields; its failure is a text beside the result.
    Schema,
}

/// A tool that would reach more than whoever calls it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tool `{tool}` would reach more than its caller: {widened}")]
#[non_exhaustive]
pub struct Widening {
    /// The tool's own name.
    pub tool: String,
    /// What is more.
    pub widened: Widened,
}

impl Tool {
    pub(crate) fn provided(
        name: String,
        source: ToolSource,
        (input_schema, output_schema): (Value, Value),
        provider: impl Provide + 'static,
    ) -> Self {
        let identity = ToolIdentity { name, source };
        let definition = Definition {
            facts: ToolFacts { identity, annotations: Annotations::default(), input_schema },
            description: String::new(),
            output_schema,
            redacted: Vec::new(),
            defaults: Map::new(),
        };
        Self { definition: Arc::new(definition), provider: Arc::new(provider) }
    }

    /// Says what it does, for models and people.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.definition).description = text.into();
        self
    }

    /// Says how it behaves, for rules and people. Without it everything must be expected of it.
    #[must_use]
    pub fn annotations(mut self, annotations: Annotations) -> Self {
        Arc::make_mut(&mut self.definition).facts.annotations = annotations;
        self
    }

    /// Shows the part of the input at `pointer` (RFC 6901: `/card/number`) as `"[redacted]"` in events. Whoever
    /// approves a call still sees it.
    #[must_use]
    pub fn redact(mut self, pointer: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.definition).redacted.push(pointer.into());
        self
    }

    /// Fills in what an input does not say, so that rules see it too.
    #[cfg(feature = "http")]
    fn with_defaults(mut self, defaults: Map<String, Value>) -> Self {
        Arc::make_mut(&mut self.definition).defaults = defaults;
        self
    }

    /// The input with what it does not say.
    pub(crate) fn completed(&self, mut input: Arc<Value>) -> Arc<Value> {
        let missing = |input: &Value, name: &str| input.as_object().is_some_and(|members| !members.contains_key(name));
        for (name, value) in &self.definition.defaults {
            if missing(&input, name)
                && let Some(members) = Arc::make_mut(&mut input).as_object_mut()
            {
                members.insert(name.clone(), value.clone());
            }
        }
        input
    }

    /// What it is under any name: its own name, and where it comes from.
    pub fn identity(&self) -> &ToolIdentity {
        &self.definition.facts.identity
    }

    /// Its own name, as grants and rules write it.
    pub fn name(&self) -> &str {
        &self.identity().name
    }

    /// What rules can know of it.
    pub fn facts(&self) -> &ToolFacts {
        &self.definition.facts
    }

    /// What it does; empty where nobody said.
    pub fn about(&self) -> &str {
        &self.definition.description
    }

    /// JSON Schema (2020-12) of its input.
    pub fn input_schema(&self) -> &Value {
        &self.definition.facts.input_schema
    }

    /// JSON Schema (2020-12) of its result.
    pub fn output_schema(&self) -> &Value {
        &self.definition.output_schema
    }

    /// The input as events show it.
    pub(crate) fn shown(&self, input: &Arc<Value>) -> Arc<Value> {
        if self.definition.redacted.is_empty() {
            return input.clone();
        }
        let mut shown = (**input).clone();
        for pointer in &self.definition.redacted {
            if let Some(part) = shown.pointer_mut(pointer) {
                *part = Value::from("[redacted]");
            }
        }
        Arc::new(shown)
    }

    /// Whether parts of its input do not show in events.
    pub(crate) fn redacts(&self) -> bool {
        !self.definition.redacted.is_empty()
    }

    /// Whether `other` is this very tool. What tells two closures of one name apart is which they are.
    fn is(&self, other: &Self) -> bool {
        let same_code = self.identity().source != ToolSource::Closure || Arc::ptr_eq(&self.provider, &other.provider);
        self.identity() == other.identity() && same_code
    }

    /// Does its work: called by the invocation itself.
    pub(crate) fn provide(&self, invocation: Invocation) -> BoxFuture<'static, Outcome> {
        self.provider.provide(invocation)
    }

    pub(crate) fn signature(&self) -> Result<ToolSignature, String> {
        self.provider.signature()
    }

    pub(crate) fn narrows(&self, caller: &Grants) -> Result<(), Widening> {
        self.provider.narrows(caller)
    }

    fn brings(&self) -> Vec<Self> {
        self.provider.brings()
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tool").field(&format_args!("{}", self.identity())).finish()
    }
}
