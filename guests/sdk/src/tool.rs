//! Tools that are functions of this component.

use crate::effects::Error;
use crate::json;
use crate::message::ToolDefinition;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::any::Any;
use std::fmt::{self, Display};

/// A function as a tool: what [`macro@crate::tool`] makes beside it.
///
/// ```
/// use casemate_sdk::{json, tool};
///
/// /// Counts the words of a text.
/// #[tool]
/// fn word_count(text: &str) -> usize {
///     text.split_whitespace().count()
/// }
///
/// assert_eq!(word_count("one two"), 2);
/// assert_eq!(WORD_COUNT.name(), "word-count");
/// assert_eq!(WORD_COUNT.description(), "Counts the words of a text.");
/// assert_eq!(WORD_COUNT.invoke(json!({"text": "one two"})), Ok(json!(2)));
/// ```
#[derive(Clone, Copy)]
pub struct Tool {
    name: &'static str,
    description: &'static str,
    input_schema: fn() -> Value,
    invoke: fn(Value) -> Result<Value, Error>,
}

impl Tool {
    #[doc(hidden)]
    pub const fn new(
        name: &'static str,
        description: &'static str,
        input_schema: fn() -> Value,
        invoke: fn(Value) -> Result<Value, Error>,
    ) -> Self {
        Self { name, description, input_schema, invoke }
    }

    /// The name to call it by.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it does; empty where nobody said.
    pub const fn description(&self) -> &'static str {
        self.description
    }

    /// JSON Schema (2020-12) of its input, an object with a member for each parameter.
    pub fn input_schema(&self) -> Value {
        (self.input_schema)()
    }

    /// Does what the tool does.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where the input is not what the parameters say. What the function itself fails
    /// with is `Failed`, but for an [`Error`], which stays what it is.
    pub fn invoke(&self, input: Value) -> Result<Value, Error> {
        (self.invoke)(input)
    }
}

impl From<Tool> for ToolDefinition {
    fn from(tool: Tool) -> Self {
        Self { name: tool.name.into(), description: tool.description.into(), input_schema: tool.input_schema() }
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tool").field(&self.name).finish()
    }
}

/// What a component exports as `casemate:agent/provider`; [`crate::export_tools!`] implements it.
pub trait Provider {
    /// The tools, in the order in which they are listed.
    const TOOLS: &'static [Tool];
}

/// The tools of a provider, as a caller sees them.
#[cfg(target_family = "wasm")]
pub(crate) fn definitions<P: Provider>() -> Vec<ToolDefinition> {
    P::TOOLS.iter().copied().map(ToolDefinition::from).collect()
}

/// Does what a provider's tool of that name does, with JSON text in and out.
#[cfg(target_family = "wasm")]
pub(crate) fn invoke<P: Provider>(name: &str, input: &str) -> Result<String, Error> {
    let tool = P::TOOLS.iter().find(|tool| tool.name == name);
    let tool = tool.ok_or_else(|| Error::NotFound(format!("there is no tool `{name}`")))?;
    let input = serde_json::from_str(input).map_err(|error| Error::InvalidInput(error.to_string()))?;
    tool.invoke(input).map(|result| json::written(&result))
}

/// The schema of a tool's parameters, with all that it needs in it.
pub fn schema<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.meta_schema = None;
    settings.inline_subschemas = true;
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    // The parameters are a type that only the macro knows.
    schema.remove("title");
    schema.to_value()
}

/// A tool's parameters, from its input.
pub fn parameters<T: DeserializeOwned>(input: Value) -> Result<T, Error> {
    json::taken(input)
}

/// A tool's result, from what a function gave that cannot fail.
pub fn result(given: impl Serialize) -> Result<Value, Error> {
    json::made(&given)
}

/// Why a tool failed: an error of ours as it is, any other by what it says.
pub fn failure(error: impl Display + 'static) -> Error {
    match (&error as &dyn Any).downcast_ref::<Error>() {
        Some(own) => own.clone(),
        None => Error::Failed(error.to_string()),
    }
}
