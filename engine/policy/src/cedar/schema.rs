//! The Cedar schema that rules are validated against: one action for each tool.

use std::fmt;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, SchemaFragment};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::names::{Path, Root};
use super::shape::{self, Field, Fields, Hidden, Presence, Shape};
use crate::{Annotations, ToolFacts, ToolIdentity, ToolSource};

/// The action that every tool's own is in.
pub(super) const CALL: &str = "call";
/// The attribute of the context that holds the tool's input.
pub(super) const INPUT: &str = "input";

/// What a tool's rules can see.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) identity: ToolIdentity,
    pub(super) context: Fields,
}

impl Tool {
    pub(super) fn new(facts: &ToolFacts) -> Self {
        let input = shape::read(&facts.input_schema);
        let context = [
            (INPUT, input),
            ("time", Field::required(Shape::Datetime)),
            ("depth", Field::required(Shape::Long)),
            ("calls", Field::required(Shape::Long)),
        ];
        let context = context.into_iter().map(|(name, field)| (name.to_owned(), field)).collect();
        Self { identity: facts.identity.clone(), context }
    }

    /// What every tool has in common.
    pub(super) fn of_any_input() -> Self {
        let identity = ToolIdentity { name: String::new(), source: ToolSource::Closure };
        Self::new(&ToolFacts { identity, annotations: Annotations::default(), input_schema: Value::Bool(true) })
    }

    /// What rules can see of its input, and what they cannot.
    pub(super) fn inputs(&self) -> ToolInputs {
        let mut inputs = ToolInputs { tool: self.identity.clone(), visible: Vec::new(), hidden: Vec::new() };
        if let Some(input) = self.context.get(INPUT) {
            list(&mut inputs, &Path::new(Root::Context, [INPUT]), input);
        }
        inputs
    }
}

/// The input of one tool, as rules see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToolInputs {
    /// The tool.
    pub tool: ToolIdentity,
    /// What rules can name, outermost first.
    pub visible: Vec<VisibleInput>,
    /// What they cannot.
    pub hidden: Vec<HiddenInput>,
}

/// A part of an input that rules can name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VisibleInput {
    /// As it is written in a rule: `context.input.amount`.
    pub path: String,
    /// Its Cedar type, such as `Long` or `Set<String>`.
    pub cedar_type: String,
    /// Whether it is always there.
    pub presence: Presence,
}

/// A part of an input that rules cannot name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HiddenInput {
    /// As it would be written.
    pub path: String,
    /// Why not.
    pub why: Hidden,
}

fn list(inputs: &mut ToolInputs, path: &Path, field: &Field) {
    match &field.shape {
        Err(why) => inputs.hidden.push(HiddenInput { path: path.to_string(), why: why.clone() }),
        Ok(Shape::Record(fields)) => {
            for (name, field) in fields {
                list(inputs, &path.join(name), field);
            }
        }
        Ok(shape) => inputs.visible.push(VisibleInput {
            path: path.to_string(),
            cedar_type: shape.to_string(),
            presence: field.presence,
        }),
    }
}

/// As Cedar writes it.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("Bool"),
            Self::Long => f.write_str("Long"),
            Self::Decimal => f.write_str("decimal"),
            Self::Datetime => f.write_str("datetime"),
            Self::String => f.write_str("String"),
            Self::Set(element) => write!(f, "Set<{element}>"),
            Self::Record(fields) => {
                f.write_str("{")?;
                let visible = fields.iter().filter_map(|(name, field)| Some((name, field, field.shape.as_ref().ok()?)));
                for (index, (name, field, shape)) in visible.enumerate() {
                    let mark = if field.presence == Presence::Optional { "?" } else { "" };
                    write!(f, "{}{name:?}{mark}: {shape}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}

/// The attributes of a tool as a resource.
pub(super) fn resource() -> Fields {
    let texts = ["name", "source"].map(|name| (name.to_owned(), Field::required(Shape::String)));
    let hints = ["read_only", "idempotent", "destructive", "open_world"];
    let hints = hints.map(|name| (name.to_owned(), Field::required(Shape::Bool)));
    texts.into_iter().chain(hints).collect()
}

/// The schema of the rules for these tools.
pub(super) fn fragment(tools: &[Tool]) -> Result<SchemaFragment, String> {
    SchemaFragment::from_json_value(document(tools)).map_err(|error| error.to_string())
}

fn document(tools: &[Tool]) -> Value {
    let mut actions = Map::new();
    actions.insert(CALL.to_owned(), json!({}));
    for tool in tools {
        let action = json!({
            "memberOf": [{"id": CALL}],
            "appliesTo": {"principalTypes": ["Sandbox"], "resourceTypes": ["Tool"], "context": record(&tool.context)},
        });
        actions.insert(action_id(&tool.identity.name), action);
    }
    json!({"": {
        "entityTypes": {
            "User": {},
            "Tenant": {},
            "Group": {},
            "Sandbox": {"memberOfTypes": ["User", "Tenant", "Group"], "tags": {"type": "String"}},
            "Tool": {"shape": record(&resource())},
        },
        "actions": actions,
    }})
}

fn record(fields: &Fields) -> Value {
    let attributes: Map<_, _> =
        fields.iter().filter_map(|(name, field)| Some((name.clone(), attribute(field)?))).collect();
    json!({"type": "Record", "attributes": attributes})
}

fn attribute(field: &Field) -> Option<Value> {
    let mut cedar_type = cedar_type(field.shape.as_ref().ok()?);
    if let Value::Object(cedar_type) = &mut cedar_type {
        cedar_type.insert("required".to_owned(), Value::Bool(field.presence == Presence::Required));
    }
    Some(cedar_type)
}

fn cedar_type(shape: &Shape) -> Value {
    match shape {
        Shape::Bool => json!({"type": "Boolean"}),
        Shape::Long => json!({"type": "Long"}),
        Shape::String => json!({"type": "String"}),
        Shape::Decimal => json!({"type": "Extension", "name": "decimal"}),
        Shape::Datetime => json!({"type": "Extension", "name": "datetime"}),
        Shape::Set(element) => json!({"type": "Set", "element": cedar_type(element)}),
        Shape::Record(fields) => record(fields),
    }
}

/// The id of a tool's own action.
pub(super) fn action_id(tool: &str) -> String {
    format!("{CALL}:{tool}")
}

/// The types of entities.
#[derive(Clone, Debug)]
pub(super) struct Types {
    pub(super) action: EntityTypeName,
    pub(super) sandbox: EntityTypeName,
    pub(super) tool: EntityTypeName,
    pub(super) user: EntityTypeName,
    pub(super) tenant: EntityTypeName,
    pub(super) group: EntityTypeName,
}

impl Types {
    pub(super) fn new() -> Result<Self, String> {
        let name = |text: &str| text.parse::<EntityTypeName>().map_err(|error| error.to_string());
        Ok(Self {
            action: name("Action")?,
            sandbox: name("Sandbox")?,
            tool: name("Tool")?,
            user: name("User")?,
            tenant: name("Tenant")?,
            group: name("Group")?,
        })
    }
}

pub(super) fn uid(entity_type: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(entity_type.clone(), EntityId::new(id))
}
