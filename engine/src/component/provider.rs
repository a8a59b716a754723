//! Components that describe their own tools: each is asked for them once, before anybody else has it.
//!
//! What such a component says is a guest's word. It is asked in a sandbox that reaches nothing, and its answer is
//! checked before it names or describes anything. Knows nothing of how the tools are called.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use casemate_host_bindings::ToolDefinition;
use casemate_host_bindings::agent::{provider, types};
use casemate_policy::Grants;
#[cfg(feature = "cache")]
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::OnceCell;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{self as wasm};

use super::describe::{DIALECT, Exports};
use super::load::off_executor;
use super::{Component, ContentHash, LoadError};
use crate::call::{self, CallError};
use crate::engine::{Engine, Metering};
use crate::gate::{Scope, Tree};
use crate::host::{Output, Sink};
use crate::json::{Reader, Unreadable, text_len};
use crate::limits::{DEFAULT_MEMORY_START, Limits};
use crate::sandbox::{self, Plan, Work};
use crate::tool::{Toolset, is_name};

const INTERFACE: &str = "casemate:agent/provider@0.1.";

/// Tools of one component.
const MOST_TOOLS: usize = 1_000;
/// Bytes of one description.
const LONGEST_DESCRIPTION: usize = 16 << 10;
/// Bytes of one schema, as JSON text.
const LONGEST_SCHEMA: usize = 64 << 10;
/// Bytes of memory for all schemas of one component.
const ALL_SCHEMAS: usize = 16 << 20;
/// Bytes of a name that is told to whoever reads an error.
const SHOWN_NAME: usize = 64;

/// Whether that is the interface by which components describe their own tools.
pub(super) fn is_provider(interface: &str) -> bool {
    interface.starts_with(INTERFACE)
}

/// Tools as their component describes them, checked.
pub(super) type Definitions = Arc<[Arc<ToolDefinition>]>;

/// What the components of one engine said of their tools, by their content.
#[derive(Default)]
pub(crate) struct Providers(Mutex<HashMap<ContentHash, Arc<OnceCell<Definitions>>>>);

impl Providers {
    /// Where that component's answer is, or will be: whoever is first asks, and all others wait for the answer.
    fn answer_of(&self, hash: ContentHash) -> Arc<OnceCell<Definitions>> {
        const MOST_REMEMBERED: usize = 1_000;
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST_REMEMBERED {
            answers.retain(|_, answer| Arc::strong_count(answer) > 1);
        }
        answers.entry(hash).or_default().clone()
    }
}

impl Component {
    /// The component with the tools that it describes itself, where it does. Nobody else has it yet.
    pub(super) async fn described(self) -> Result<Self, LoadError> {
        match provider_count(self.wasm()) {
            0 => return Ok(self),
            1 => {}
            _ => return Err(ProviderError::Several.into()),
        }
        let answer = self.engine().providers().answer_of(self.hash());
        let definitions = answer.get_or_try_init(|| self.definitions()).await?;
        let exports = Exports::with_provided(self.wasm(), self.inner.docs.as_deref(), definitions)?;
        self.inner.exports.get_or_init(|| exports);
        Ok(self)
    }

    async fn definitions(&self) -> Result<Definitions, ProviderError> {
        let (engine, hash) = (self.engine().clone(), self.hash());
        if let Some(definitions) = off_executor(move || find_kept(&engine, hash)).await {
            return Ok(definitions);
        }
        let told = self.ask().await?;
        let engine = self.engine().clone();
        off_executor(move || {
            let definitions = checked(read(told)?)?;
            keep(&engine, hash, &definitions);
            Ok(definitions)
        })
        .await
    }

    async fn ask(&self) -> Result<Vec<types::ToolDefinition>, ProviderError> {
        let limits = self.asking_limits();
        let gate = self.engine().gate().clone();
        let outermost = Scope::outermost(Tree::new(gate, None, None), Grants::none(), Toolset::new(), Arc::default());
        // A tool may load components, so whoever is asked takes no place that the tool's caller could hold.
        let scope = outermost.child(Arc::default(), Toolset::new(), Arc::default());
        let output = Output::new(&limits, Sink::Capture);
        let work: Work<Result<Vec<types::ToolDefinition>, String>> = Box::new(|store, instance| {
            Box::pin(async move {
                let exported = provider::GuestIndices::new(&instance.instance_pre(&*store));
                match exported.and_then(|exported| exported.load(&mut *store, &instance)) {
                    Ok(provider) => provider.call_definitions(&mut *store).await.map(Ok),
                    Err(error) => Ok(Err(format!("{error:#}"))),
                }
            })
        });
        let plan = Plan { component: self.clone(), scope, limits, output, hold: None };
        let ended = sandbox::run(plan, None, work).await;
        match ended.result.map_err(|error| call::denied(error, ended.refused)) {
            Ok(Ok(told)) => Ok(told),
            Ok(Err(message)) => Err(ProviderError::Types { message }),
            Err(source) => Err(ProviderError::Asked { source: Box::new(source) }),
        }
    }

    fn asking_limits(&self) -> Limits {
        let start = self.initial_memory().min(DEFAULT_MEMORY_START);
        Limits {
            fuel: (self.engine().metering() == Metering::Fuel).then_some(100_000_000),
            wall_time: Duration::from_secs(1),
            memory: Some(start + (16 << 20)),
            output: 4 << 10,
            result: 4 << 20,
            host_call_bytes: 1 << 20,
            ..Limits::default()
        }
    }
}

fn provider_count(component: &wasm::Component) -> usize {
    let exports = component.component_type();
    let exports = exports.exports(component.engine());
    exports
        .filter(|(name, export)| is_provider(name) && matches!(export.ty, ComponentItem::ComponentInstance(_)))
        .count()
}

/// What was told, with its schemas as JSON.
fn read(told: Vec<types::ToolDefinition>) -> Result<Vec<ToolDefinition>, ProviderError> {
    check_count(told.len())?;
    let reader = Reader::new(ALL_SCHEMAS);
    told.into_iter()
        .map(|types::ToolDefinition { name, description, input_schema }| {
            check_name(&name)?;
            check_schema_size(&name, input_schema.len() as u64)?;
            let schema = reader.read(&input_schema).map_err(|error| match error {
                Unreadable::NotJson(error) => {
                    ProviderError::SchemaNotJson { name: name.clone(), message: error.to_string() }
                }
                Unreadable::TooLarge => ProviderError::SchemasTooLarge { max: ALL_SCHEMAS as u64 },
            });
            Ok(ToolDefinition { input_schema: schema?, name, description })
        })
        .collect()
}

/// The one way to [`Definitions`], from a component's answer or from what was kept of it.
fn checked(definitions: Vec<ToolDefinition>) -> Result<Definitions, ProviderError> {
    check_count(definitions.len())?;
    let mut names = HashSet::new();
    for ToolDefinition { name, description, input_schema } in &definitions {
        check_name(name)?;
        if !names.insert(name) {
            return Err(ProviderError::Namesakes { name: name.clone() });
        }
        let size = description.len();
        if size > LONGEST_DESCRIPTION {
            return Err(ProviderError::DescriptionTooLong { name: name.clone(), size, max: LONGEST_DESCRIPTION });
        }
        check_schema_size(name, text_len(input_schema))?;
        check_schema(name, input_schema)?;
    }
    Ok(definitions.into_iter().map(Arc::new).collect())
}

fn check_count(count: usize) -> Result<(), ProviderError> {
    if count > MOST_TOOLS { Err(ProviderError::TooMany { count, max: MOST_TOOLS }) } else { Ok(()) }
}

fn check_name(name: &str) -> Result<(), ProviderError> {
    if is_name(name) {
        return Ok(());
    }
    Err(ProviderError::Name { name: name.chars().take(SHOWN_NAME).collect() })
}

fn check_schema_size(name: &str, size: u64) -> Result<(), ProviderError> {
    let max = LONGEST_SCHEMA as u64;
    if size > max { Err(ProviderError::SchemaTooLong { name: name.to_owned(), size, max }) } else { Ok(()) }
}

/// Whether it is the schema of an object, in those keywords that decide what is passed on and what rules see.
fn check_schema(name: &str, schema: &Value) -> Result<(), ProviderError> {
    if schema.get("type").is_none_or(|kind| kind != "object") {
        return Err(ProviderError::SchemaNotObject { name: name.to_owned() });
    }
    let is = |keyword, sound: &dyn Fn(&Value) -> bool| schema.get(keyword).is_none_or(sound);
    let is_schema = |value: &Value| value.is_object() || value.is_boolean();
    let are_schemas = |value: &Value| value.as_object().is_some_and(|members| members.values().all(is_schema));
    let are_names = |value: &Value| value.as_array().is_some_and(|names| names.iter().all(Value::is_string));
    let is_dialect = |value: &Value| value.as_str().is_some_and(|uri| uri.trim_end_matches('#') == DIALECT);
    let keywords = [
        ("$schema", is("$schema", &is_dialect)),
        ("properties", is("properties", &are_schemas)),
        ("required", is("required", &are_names)),
        ("additionalProperties", is("additionalProperties", &is_schema)),
        ("$defs", is("$defs", &are_schemas)),
    ];
    match keywords.iter().find(|(_, sound)| !sound) {
        Some((keyword, _)) => Err(ProviderError::SchemaInvalid { name: name.to_owned(), keyword }),
        None => Ok(()),
    }
}

/// An answer as it is kept on disk.
#[cfg(feature = "cache")]
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    component: ContentHash,
    definitions: Vec<ToolDefinition>,
}

#[cfg(feature = "cache")]
fn find_kept(engine: &Engine, hash: ContentHash) -> Option<Definitions> {
    let kept = engine.cache()?.find_tools(&hash)?;
    let kept = serde_json::from_slice::<Kept>(&kept)
        .inspect_err(|error| tracing::warn!(%error, "tools in the cache not used"))
        .ok()
        .filter(|kept| kept.component == hash)?;
    checked(kept.definitions).inspect_err(|error| tracing::warn!(%error, "tools in the cache not used")).ok()
}

#[cfg(feature = "cache")]
fn keep(engine: &Engine, hash: ContentHash, definitions: &Definitions) {
    let Some(cache) = engine.cache() else { return };
    let definitions = definitions.iter().map(|definition| (**definition).clone()).collect();
    match serde_json::to_vec(&Kept { component: hash, definitions }) {
        Ok(kept) => cache.keep_tools(&hash, &kept),
        Err(error) => tracing::warn!(%error, "tools not cached"),
    }
}

#[cfg(not(feature = "cache"))]
fn find_kept(_engine: &Engine, _hash: ContentHash) -> Option<Definitions> {
    None
}

#[cfg(not(feature = "cache"))]
fn keep(_engine: &Engine, _hash: ContentHash, _definitions: &Definitions) {}

/// What is wrong with a component that describes its own tools.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// It exports several versions of the interface.
    #[error("it exports several versions of `casemate:agent/provider`")]
    Several,
    /// It exports something else under the interface's name.
    #[error("what it exports as `casemate:agent/provider` has other types: {message}")]
    Types {
        /// What wasmtime says.
        message: String,
    },
    /// It did not answer: it trapped, or reached one of the limits that hold while it is asked.
    #[error("asked for them, it did not answer: {source}")]
    Asked {
        /// What became of it.
        source: Box<CallError>,
    },
    /// More tools than one component may have.
    #[error("it has {count} tools, and {max} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
    /// Not a name for a tool.
    #[error(
        "`{name}` cannot be the name of a tool: it takes 1 to 128 of the letters A-Z and a-z, digits, and `_-.:/@#`"
    )]
    Name {
        /// The name, as far as 64 characters show it.
        name: String,
    },
    /// Two of its tools have one name.
    #[error("it has two tools `{name}`")]
    Namesakes {
        /// The name.
        name: String,
    },
    /// It exports a function that is known by the name of a tool.
    #[error("its tool `{name}` has the name of a function that it exports")]
    Exported {
        /// The name.
        name: String,
    },
    /// A description longer than allowed.
    #[error("the description of its tool `{name}` has {size} bytes, and {max} are allowed")]
    DescriptionTooLong {
        /// The tool.
        name: String,
        /// Its length in bytes.
        size: usize,
        /// The most bytes allowed.
        max: usize,
    },
    /// A schema longer than allowed.
    #[error("the input schema of its tool `{name}` has {size} bytes, and {max} are allowed")]
    SchemaTooLong {
        /// The tool.
        name: String,
        /// Its length as JSON text, in bytes.
        size: u64,
        /// The most bytes allowed.
        max: u64,
    },
    /// All schemas together take more memory than allowed.
    #[error("the input schemas of its tools take more than {max} bytes of memory")]
    SchemasTooLarge {
        /// The most bytes allowed.
        max: u64,
    },
    /// A schema that is no JSON, or has a key twice.
    #[error("the input schema of its tool `{name}` is not JSON: {message}")]
    SchemaNotJson {
        /// The tool.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A schema that is not that of an object.
    #[error("the input schema of its tool `{name}` is not of the type `object`")]
    SchemaNotObject {
        /// The tool.
        name: String,
    },
    /// A schema that is not one.
    #[error("the input schema of its tool `{name}` is no JSON Schema (2020-12): `{keyword}` is not what it has to be")]
    SchemaInvalid {
        /// The tool.
        name: String,
        /// The keyword with a value that it cannot have.
        keyword: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn check(schema: Value, expected: Result<(), &str>) {
        let told = check_schema("t", &schema).map_err(|error| match error {
            ProviderError::SchemaNotObject { .. } => "type",
            ProviderError::SchemaInvalid { keyword, .. } => keyword,
            other => panic!("{other}"),
        });
        assert_eq!(told, expected, "{schema}");
    }

    #[test]
    fn a_schema_is_that_of_an_object() {
        check(json!({"type": "object"}), Ok(()));
        check(json!({"type": "object", "$schema": DIALECT, "additionalProperties": false}), Ok(()));
        check(json!({"type": "object", "properties": {"a": true, "b": {"type": "string"}}, "required": ["a"]}), Ok(()));
        for schema in
            [json!({}), json!(true), json!([]), json!({"type": "string"}), json!({"type": ["object", "null"]})]
        {
            check(schema, Err("type"));
        }
        check(json!({"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}), Err("$schema"));
        check(json!({"type": "object", "properties": ["a"]}), Err("properties"));
        check(json!({"type": "object", "properties": {"a": "string"}}), Err("properties"));
        check(json!({"type": "object", "required": "a"}), Err("required"));
        check(json!({"type": "object", "required": [1]}), Err("required"));
        check(json!({"type": "object", "additionalProperties": "no"}), Err("additionalProperties"));
        check(json!({"type": "object", "$defs": {"a": 1}}), Err("$defs"));
    }
}
