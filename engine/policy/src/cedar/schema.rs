//! The Cedar schema that rules are validated against: one action for each subject.

use std::fmt;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, SchemaFragment};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::names::{Path, Root};
use super::shape::{Field, Fields, Hidden, Presence, Shape};
use super::subject::{CALL, INPUT, MODEL_ATTRIBUTES, Subject, TOOL_ATTRIBUTES};
use crate::ToolIdentity;

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

impl ToolInputs {
    pub(super) fn of(tool: &ToolIdentity, context: &Fields) -> Self {
        let mut inputs = Self { tool: tool.clone(), visible: Vec::new(), hidden: Vec::new() };
        if let Some(input) = context.get(INPUT) {
            list(&mut inputs, &Path::new(Root::Context, [INPUT]), input);
        }
        inputs
    }
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

/// The schema of the rules about these.
pub(super) fn fragment<'a>(subjects: impl IntoIterator<Item = &'a Subject>) -> Result<SchemaFragment, String> {
    SchemaFragment::from_json_value(document(subjects)).map_err(|error| error.to_string())
}

fn document<'a>(subjects: impl IntoIterator<Item = &'a Subject>) -> Value {
    let mut actions = Map::new();
    actions.insert(CALL.to_owned(), json!({}));
    for subject in subjects {
        let groups: Vec<_> = subject.group.iter().map(|group| json!({"id": group.id().unescaped()})).collect();
        let action = json!({
            "memberOf": groups,
            "appliesTo": {
                "principalTypes": ["Sandbox"],
                "resourceTypes": [subject.resource_type.to_string()],
                "context": record(&subject.context),
            },
        });
        actions.insert(subject.action.id().unescaped().to_owned(), action);
    }
    json!({"": {
        "entityTypes": {
            "User": {},
            "Tenant": {},
            "Group": {},
            "Sandbox": {"memberOfTypes": ["User", "Tenant", "Group"], "tags": {"type": "String"}},
            "Tool": {"shape": record(&TOOL_ATTRIBUTES)},
            "Host": {},
            "Secret": {},
            "Model": {"shape": record(&MODEL_ATTRIBUTES)},
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

/// The types of entities.
#[derive(Clone, Debug)]
pub(super) struct Types {
    pub(super) action: EntityTypeName,
    pub(super) sandbox: EntityTypeName,
    pub(super) tool: EntityTypeName,
    pub(super) host: EntityTypeName,
    pub(super) secret: EntityTypeName,
    pub(super) model: EntityTypeName,
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
            host: name("Host")?,
            secret: name("Secret")?,
            model: name("Model")?,
            user: name("User")?,
            tenant: name("Tenant")?,
            group: name("Group")?,
        })
    }
}

pub(super) fn uid(entity_type: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(entity_type.clone(), EntityId::new(id))
}
