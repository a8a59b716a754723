//! What a component imports and exports, and its tools: exported functions, and those that it describes itself.

use std::collections::HashMap;
use std::sync::Arc;

use casemate_host_bindings::{Field, Shape, ShapeBuilder, ToolDefinition, parameters_schema, schema};
use casemate_wit_docs::PackageDocs;
use serde::Serialize;
use serde_json::{Value, json};
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{self as wasm, ComponentExportIndex};

use super::provider::{Definitions, ProviderError, is_provider};
use super::{Component, ContentHash};
use crate::call::NotFound;
use crate::host::wasi;

/// What a component is, wants and offers.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Description {
    /// The blake3 of the component's bytes.
    pub hash: ContentHash,
    /// Where its sandboxes live.
    pub placement: Placement,
    /// What it imports.
    pub imports: Vec<Import>,
    /// The names that it exports: interfaces and functions.
    pub exports: Vec<String>,
    /// Every exported function; in the place of those of `casemate:agent/provider`, the tools that it describes.
    pub tools: Vec<ToolDescription>,
}

/// Where the sandboxes of a component live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// In a slot of the engine's pool.
    Pooled,
    /// Allocated one by one: the component fits no slot, or the engine has no pool. Starting is slower.
    OnDemand,
}

/// One import of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Import {
    /// The name, with its version.
    pub name: String,
    /// What it takes to be of use: a flag of the binary, or a sentence. `None` where it needs no grant.
    pub grant: Option<&'static str>,
}

/// One tool of a component: an exported function, or a tool that the component describes itself.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ToolDescription {
    /// The shortest name that is unambiguous: `read-file`, or `files#read-file`.
    pub name: String,
    /// The name for models and MCP clients: `[a-zA-Z0-9_]{1,64}`, unique in the component.
    pub wire_name: String,
    /// The doc comment of its WIT, where the component carries it; or what the component says of it.
    pub description: Option<String>,
    /// JSON Schema (2020-12) of the input; `null` where it is not callable.
    pub input_schema: Value,
    /// JSON Schema (2020-12) of the result, which is any JSON where the component describes the tool itself; `null`
    /// where it is not callable.
    pub output_schema: Value,
    /// Whether it can be called with JSON.
    pub callable: bool,
    /// Why it cannot.
    pub reason: Option<String>,
}

pub(super) fn describe(component: &Component) -> Description {
    let engine = component.wasm().engine();
    let ty = component.wasm().component_type();
    Description {
        hash: component.hash(),
        placement: component.placement(),
        imports: ty.imports(engine).map(|(name, _)| Import { name: name.to_owned(), grant: grant_for(name) }).collect(),
        exports: ty.exports(engine).map(|(name, _)| name.to_owned()).collect(),
        tools: component.exports().all.iter().map(Export::describe).collect(),
    }
}

fn grant_for(import: &str) -> Option<&'static str> {
    let (interface, _) = import.split_once('@').unwrap_or((import, ""));
    match interface {
        "wasi:cli/environment" => Some("--env NAME=VALUE, for variables"),
        "casemate:agent/tools" => Some("--tool NAME=SOURCE and --allow-tool NAME, for tools"),
        "casemate:agent/model" => Some("--model NAME=SOURCE and --allow-model NAME, for models"),
        _ if interface.starts_with("wasi:filesystem/") => Some("--dir HOST::GUEST, for folders"),
        _ if interface.starts_with("wasi:sockets/") || interface.starts_with("wasi:http/") => {
            Some("none: the network is closed")
        }
        _ if !wasi::offers(import) => Some("--tool FUNCTION=SOURCE and --allow-tool FUNCTION, for each function"),
        _ => None,
    }
}

/// All tools of a component, and the names by which each is found.
pub(crate) struct Exports {
    all: Vec<Export>,
    /// Where each exported function is, be it a tool or not.
    indices: Vec<ComponentExportIndex>,
    by_name: HashMap<String, Option<usize>>,
}

/// One tool of a component.
pub(crate) struct Export {
    pub(crate) name: String,
    /// Of the function that is called, among all exported functions.
    pub(crate) position: usize,
    wire_name: String,
    interface: Option<String>,
    function: String,
    pub(super) description: Option<String>,
    index: ComponentExportIndex,
    pub(crate) form: Result<Form, String>,
}

/// How a tool is called with JSON.
#[derive(Clone)]
pub(crate) enum Form {
    /// As the function of these types.
    Typed(Arc<Signature>),
    /// By its name, through the function `invoke` of its component, which described it.
    Provided(Arc<ToolDefinition>),
}

/// The types of a function that can be called with JSON.
pub(crate) struct Signature {
    pub(crate) parameters: Vec<Field>,
    pub(crate) returns: Returns,
}

/// What a function gives back.
pub(crate) enum Returns {
    Nothing,
    Value(Shape),
    /// A result: its `err` is the tool's own error.
    Fallible {
        ok: Option<Shape>,
        err: Option<Shape>,
    },
}

impl Exports {
    pub(super) fn of(component: &wasm::Component, docs: Option<&str>) -> Self {
        let all = functions(component);
        let indices = all.iter().map(|export| export.index).collect();
        Self::new(all, indices, docs)
    }

    /// With the tools that the component describes in the place of the functions by which it does.
    pub(super) fn with_provided(
        component: &wasm::Component,
        docs: Option<&str>,
        definitions: &Definitions,
    ) -> Result<Self, ProviderError> {
        let functions = functions(component);
        let indices = functions.iter().map(|export| export.index).collect();
        let (provider, others): (Vec<_>, _) =
            functions.into_iter().partition(|export| export.interface.as_deref().is_some_and(is_provider));
        let mut exports = Self::new(others, indices, docs);
        if let Some(taken) = definitions.iter().find(|definition| exports.by_name.contains_key(&definition.name)) {
            return Err(ProviderError::Exported { name: taken.name.clone() });
        }
        let invoke = provider.iter().find(|export| export.function == "invoke");
        exports.add(invoke.into_iter().flat_map(|invoke| definitions.iter().map(|tool| invoke.providing(tool))));
        Ok(exports)
    }

    fn new(mut all: Vec<Export>, indices: Vec<ComponentExportIndex>, docs: Option<&str>) -> Self {
        let docs = docs.and_then(|section| {
            PackageDocs::from_section(section.as_bytes())
                .inspect_err(|error| tracing::warn!(%error, "doc comments not used"))
                .ok()
        });
        describe_all(&mut all, docs.as_ref());
        name_all(&mut all);
        let by_name = names(&all);
        Self { all, indices, by_name }
    }

    fn add(&mut self, tools: impl Iterator<Item = Export>) {
        self.all.extend(tools);
        name_all(&mut self.all);
        self.by_name = names(&self.all);
    }

    pub(crate) fn index(&self, position: usize) -> Option<ComponentExportIndex> {
        self.indices.get(position).copied()
    }

    pub(crate) fn find(&self, name: &str) -> Result<&Export, NotFound> {
        match self.by_name.get(name) {
            Some(Some(index)) => self.all.get(*index),
            _ => None,
        }
        .ok_or_else(|| self.not_found(name))
    }

    fn not_found(&self, name: &str) -> NotFound {
        // What is longer is no slip of the pen, and comparing takes as long as both names.
        const LONGEST_SLIP: usize = 256;
        let near = |export: &&Export| strsim::osa_distance(name, &export.name);
        let nearest = if name.len() <= LONGEST_SLIP {
            self.all.iter().min_by_key(near).filter(|export| near(export) <= name.len().max(3) / 2 + 1)
        } else {
            None
        };
        let candidates = self.all.iter().filter(|export| export.function == name).map(|export| export.name.clone());
        NotFound {
            name: name.to_owned(),
            nearest: nearest.map(|export| export.name.clone()),
            candidates: candidates.collect(),
        }
    }
}

impl Export {
    fn describe(&self) -> ToolDescription {
        let (input_schema, output_schema) = self.schemas();
        let reason = self.form.as_ref().err().cloned();
        ToolDescription {
            name: self.name.clone(),
            wire_name: self.wire_name.clone(),
            description: self.description.clone(),
            input_schema,
            output_schema,
            callable: reason.is_none(),
            reason,
        }
    }

    /// Of the input and of the result; `null` where it is not callable.
    pub(super) fn schemas(&self) -> (Value, Value) {
        match &self.form {
            Ok(Form::Typed(signature)) => (whole(signature.input_schema()), whole(signature.returns.schema())),
            Ok(Form::Provided(definition)) => (whole(definition.input_schema.clone()), whole(json!({}))),
            Err(_) => Default::default(),
        }
    }

    /// A tool that this function, `invoke`, calls by name.
    fn providing(&self, definition: &Arc<ToolDefinition>) -> Self {
        let description = &definition.description;
        Self {
            name: String::new(),
            position: self.position,
            wire_name: String::new(),
            interface: None,
            function: definition.name.clone(),
            description: (!description.is_empty()).then(|| description.clone()),
            index: self.index,
            form: Ok(Form::Provided(definition.clone())),
        }
    }

    /// The interface without package and version.
    fn bare_interface(&self) -> Option<&str> {
        self.interface.as_deref().map(bare)
    }

    fn qualified(&self, interface: Option<&str>) -> String {
        interface.map_or_else(|| self.function.clone(), |interface| format!("{interface}#{}", self.function))
    }
}

impl Signature {
    fn input_schema(&self) -> Value {
        parameters_schema(&self.parameters)
    }
}

impl Returns {
    /// The type as a whole, if something comes back.
    pub(crate) fn shape(&self) -> Option<Shape> {
        let boxed = |shape: &Option<Shape>| shape.clone().map(Box::new);
        match self {
            Self::Nothing => None,
            Self::Value(shape) => Some(shape.clone()),
            Self::Fallible { ok, err } => Some(Shape::Result { ok: boxed(ok), err: boxed(err) }),
        }
    }

    /// How many component values come back.
    pub(crate) fn count(&self) -> usize {
        usize::from(!matches!(self, Self::Nothing))
    }

    fn schema(&self) -> Value {
        match self {
            Self::Value(shape) | Self::Fallible { ok: Some(shape), .. } => schema(shape),
            Self::Nothing | Self::Fallible { ok: None, .. } => json!({"type": "null"}),
        }
    }
}

/// The one dialect of JSON Schema here.
pub(super) const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

fn whole(mut schema: Value) -> Value {
    if let Some(members) = schema.as_object_mut() {
        members.shift_insert(0, "$schema".into(), DIALECT.into());
    }
    schema
}

pub(super) fn bare(interface: &str) -> &str {
    let name = interface.split_once('@').map_or(interface, |(name, _)| name);
    name.rsplit_once('/').map_or(name, |(_, bare)| bare)
}

fn functions(component: &wasm::Component) -> Vec<Export> {
    let engine = component.engine();
    let ty = component.component_type();
    let mut all = Vec::new();
    for (name, export) in ty.exports(engine) {
        match export.ty {
            ComponentItem::ComponentFunc(function) => {
                all.extend(
                    component.get_export_index(None, name).map(|index| new_export(None, name, index, &function)),
                );
            }
            ComponentItem::ComponentInstance(instance) => {
                let Some(parent) = component.get_export_index(None, name) else { continue };
                for (function_name, item) in instance.exports(engine) {
                    if let ComponentItem::ComponentFunc(function) = item.ty {
                        let index = component.get_export_index(Some(&parent), function_name);
                        all.extend(index.map(|index| new_export(Some(name), function_name, index, &function)));
                    }
                }
            }
            _ => {}
        }
    }
    for (position, export) in all.iter_mut().enumerate() {
        export.position = position;
    }
    all
}

/// Where the exported functions are in `component`, in the order of [`Export::position`].
pub(super) fn export_indices(component: &wasm::Component) -> Vec<ComponentExportIndex> {
    functions(component).into_iter().map(|export| export.index).collect()
}

fn new_export(interface: Option<&str>, function: &str, index: ComponentExportIndex, ty: &ComponentFunc) -> Export {
    Export {
        name: String::new(),
        position: 0,
        wire_name: String::new(),
        interface: interface.map(str::to_owned),
        function: function.to_owned(),
        description: None,
        index,
        form: signature(function, ty).map(Form::Typed),
    }
}

pub(super) fn signature(name: &str, ty: &ComponentFunc) -> Result<Arc<Signature>, String> {
    if ty.async_() {
        return Err("it is asynchronous, which WASI 0.2 does not have".to_owned());
    }
    if name.starts_with('[') {
        return Err("it belongs to a resource, which JSON cannot carry".to_owned());
    }
    let mut builder = ShapeBuilder::default();
    let mut types = || {
        let parameters = ty.params().map(|(name, ty)| builder.field(name, &ty)).collect::<Result<_, _>>()?;
        let returns = match ty.results().next().map(|ty| builder.shape(&ty)).transpose()? {
            None => Returns::Nothing,
            Some(Shape::Result { ok, err }) => Returns::Fallible { ok: ok.map(|ok| *ok), err: err.map(|err| *err) },
            Some(shape) => Returns::Value(shape),
        };
        Ok(Arc::new(Signature { parameters, returns }))
    };
    types().map_err(|reason: casemate_host_bindings::Unsupported| reason.to_string())
}

/// The docs speak of one package and name interfaces without it, so a name that two interfaces share tells nothing.
fn describe_all(all: &mut [Export], docs: Option<&PackageDocs>) {
    let Some(docs) = docs else { return };
    let mut interfaces: Vec<String> = all.iter().filter_map(|export| export.interface.clone()).collect();
    interfaces.sort();
    interfaces.dedup();
    for export in all {
        let bare = export.bare_interface();
        let shared = bare.is_some_and(|name| interfaces.iter().filter(|other| self::bare(other) == name).count() > 1);
        if !shared {
            export.description = docs.function(bare, &export.function).map(str::to_owned);
        }
    }
}

fn name_all(all: &mut [Export]) {
    let count = |matches: &dyn Fn(&Export) -> bool| all.iter().filter(|export| matches(export)).count();
    let names: Vec<_> = all
        .iter()
        .map(|export| {
            let bare = export.qualified(export.bare_interface());
            if count(&|other| other.function == export.function) == 1 {
                export.function.clone()
            } else if count(&|other| other.qualified(other.bare_interface()) == bare) == 1 {
                bare
            } else {
                export.qualified(export.interface.as_deref())
            }
        })
        .collect();
    let wires: Vec<_> = names.iter().map(|name| wire_name(name)).collect();
    for ((export, name), wire) in all.iter_mut().zip(names).zip(&wires) {
        let unique = wires.iter().filter(|other| *other == wire).count() == 1 && wire.len() <= MAX_WIRE_NAME;
        export.wire_name = if unique { wire.clone() } else { distinct_wire_name(wire, &name) };
        export.name = name;
    }
}

const MAX_WIRE_NAME: usize = 64;

fn wire_name(name: &str) -> String {
    name.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '_' }).collect()
}

fn distinct_wire_name(wire: &str, name: &str) -> String {
    const DIGITS: usize = 8;
    let hash = blake3::hash(name.as_bytes()).to_hex();
    let start: String = wire.chars().take(MAX_WIRE_NAME - DIGITS - 1).collect();
    format!("{start}_{}", &hash[..DIGITS])
}

fn names(all: &[Export]) -> HashMap<String, Option<usize>> {
    let mut by_name = HashMap::new();
    for (index, export) in all.iter().enumerate() {
        let mut accepted = vec![
            export.name.clone(),
            export.wire_name.clone(),
            export.qualified(export.bare_interface()),
            export.qualified(export.interface.as_deref()),
        ];
        accepted.sort();
        accepted.dedup();
        for name in accepted {
            by_name.entry(name).and_modify(|known| *known = None).or_insert(Some(index));
        }
    }
    // An own name always finds its tool, even where it is part of how another could be written.
    for (index, export) in all.iter().enumerate() {
        by_name.insert(export.name.clone(), Some(index));
    }
    by_name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_name_has_only_what_models_accept() {
        assert_eq!(wire_name("acme:weather/forecast@1.0.0#get-it"), "acme_weather_forecast_1_0_0_get_it");
        let long = distinct_wire_name(&"x".repeat(100), "name");
        assert_eq!(long.len(), MAX_WIRE_NAME);
        assert_ne!(long, distinct_wire_name(&"x".repeat(100), "other"));
    }

    #[test]
    fn an_interface_is_known_without_package_and_version() {
        assert_eq!(bare("casemate:toolbox/files@0.1.0"), "files");
        assert_eq!(bare("plain"), "plain");
    }
}
