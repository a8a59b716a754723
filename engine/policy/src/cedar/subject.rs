//! What rules can be about: calls of one tool, requests, secrets that are put into requests, and chats.
//!
//! Each has an action, a type of resource and a context of its own.

use std::error::Error;
use std::sync::LazyLock;

use cedar_policy::{Entities, Entity, EntityTypeName, EntityUid, RestrictedExpression};
use serde_json::Value;

use super::schema::{Types, uid};
use super::shape::{self, Field, Fields, Shape};
use super::{chat, request};
use crate::{Action, Annotations, ToolFacts, ToolIdentity, ToolSource};

/// The action that every tool's own is in.
pub(super) const CALL: &str = "call";
/// The action of all requests.
pub(super) const FETCH: &str = "fetch";
/// The action of all secrets.
pub(super) const USE: &str = "use";
/// The action of all models.
pub(super) const CHAT: &str = "chat";
/// The attribute of the context that holds the input of a call or a chat.
pub(super) const INPUT: &str = "input";

#[derive(Debug)]
pub(super) struct Subject {
    pub(super) about: About,
    pub(super) action: EntityUid,
    /// The action that it is in.
    pub(super) group: Option<EntityUid>,
    pub(super) resource_type: EntityTypeName,
    /// The resource, where there is only one.
    resource: Option<EntityUid>,
    pub(super) context: Fields,
}

#[derive(Debug)]
pub(super) enum About {
    Tool(ToolIdentity, Annotations),
    Requests,
    Secrets,
    Chats,
}

impl Subject {
    pub(super) fn tool(facts: &ToolFacts, types: &Types) -> Self {
        let name = &facts.identity.name;
        Self {
            about: About::Tool(facts.identity.clone(), facts.annotations),
            action: uid(&types.action, &format!("{CALL}:{name}")),
            group: Some(uid(&types.action, CALL)),
            resource_type: types.tool.clone(),
            resource: Some(uid(&types.tool, name)),
            context: context([(INPUT.to_owned(), shape::read(&facts.input_schema))]),
        }
    }

    /// What every tool has in common.
    pub(super) fn any_tool(types: &Types) -> Self {
        let identity = ToolIdentity { name: String::new(), source: ToolSource::Closure };
        let facts = ToolFacts { identity, annotations: Annotations::default(), input_schema: Value::Bool(true) };
        Self { resource: None, ..Self::tool(&facts, types) }
    }

    pub(super) fn requests(types: &Types) -> Self {
        Self::of_requests(About::Requests, uid(&types.action, FETCH), &types.host)
    }

    pub(super) fn secrets(types: &Types) -> Self {
        Self::of_requests(About::Secrets, uid(&types.action, USE), &types.secret)
    }

    pub(super) fn chats(types: &Types) -> Self {
        Self {
            about: About::Chats,
            action: uid(&types.action, CHAT),
            group: None,
            resource_type: types.model.clone(),
            resource: None,
            context: context([(INPUT.to_owned(), chat::input())]),
        }
    }

    fn of_requests(about: About, action: EntityUid, resource_type: &EntityTypeName) -> Self {
        let (resource_type, context) = (resource_type.clone(), context(request::fields()));
        Self { about, action, group: None, resource_type, resource: None, context }
    }

    /// The tool, if it is one.
    pub(super) fn identity(&self) -> Option<&ToolIdentity> {
        match &self.about {
            About::Tool(identity, _) => Some(identity),
            About::Requests | About::Secrets | About::Chats => None,
        }
    }

    /// What it is one of, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self.about {
            About::Tool(..) => "tools",
            About::Requests | About::Secrets => "requests",
            About::Chats => "chats",
        }
    }

    /// The attributes of the resource.
    pub(super) fn attributes(&self) -> &'static Fields {
        match self.about {
            About::Tool(..) => &TOOL_ATTRIBUTES,
            About::Chats => &MODEL_ATTRIBUTES,
            About::Requests | About::Secrets => &NOTHING,
        }
    }

    /// Whether that can be the resource.
    pub(super) fn may_be_on(&self, resource: &EntityUid) -> bool {
        self.resource.as_ref().map_or(*resource.type_name() == self.resource_type, |only| only == resource)
    }

    /// What the action is on.
    pub(super) fn resource(&self, action: Action<'_>) -> EntityUid {
        match action {
            Action::Call { tool, .. } => uid(&self.resource_type, &tool.name),
            Action::Fetch { request, .. } => uid(&self.resource_type, &request.origin().host().to_string()),
            Action::Use { secret, .. } => uid(&self.resource_type, secret),
            Action::Chat { model, .. } => uid(&self.resource_type, model),
        }
    }

    /// The resource, where it has attributes and is not known beforehand.
    pub(super) fn named_resource(&self, action: Action<'_>) -> Result<Option<Entity>, Box<dyn Error>> {
        let Action::Chat { model, .. } = action else { return Ok(None) };
        let name = RestrictedExpression::new_string(model.to_owned());
        Ok(Some(Entity::new_with_tags(self.resource(action), [(NAME.to_owned(), name)], [], [])?))
    }

    /// What is known beforehand: the action, and the tool.
    pub(super) fn entities(&self) -> Result<Entities, Box<dyn Error>> {
        let action = Entity::new_with_tags(self.action.clone(), [], self.group.clone(), [])?;
        let tool = match (&self.about, &self.resource) {
            (About::Tool(identity, annotations), Some(resource)) => {
                Some(Entity::new_with_tags(resource.clone(), tool_attributes(identity, *annotations), [], [])?)
            }
            _ => None,
        };
        let group = self.group.clone().map(Entity::with_uid);
        Ok(Entities::from_entities([action].into_iter().chain(group).chain(tool), None)?)
    }

    /// The rule that permits it, on one resource where there are several.
    pub(super) fn permit_line(&self, resource: Option<&EntityUid>) -> String {
        match resource.filter(|_| self.resource.is_none()) {
            Some(resource) => format!("permit(principal, action == {}, resource == {resource});", self.action),
            None => format!("permit(principal, action == {}, resource);", self.action),
        }
    }
}

/// The attribute of tools and models that holds their name.
const NAME: &str = "name";

/// The attributes of a tool as a resource; hosts and secrets have none.
pub(super) static TOOL_ATTRIBUTES: LazyLock<Fields> = LazyLock::new(|| {
    let texts = [NAME, "source"].map(|name| (name.to_owned(), Field::required(Shape::String)));
    let hints = ["read_only", "idempotent", "destructive", "open_world"];
    let hints = hints.map(|name| (name.to_owned(), Field::required(Shape::Bool)));
    texts.into_iter().chain(hints).collect()
});

/// The attributes of a model as a resource.
pub(super) static MODEL_ATTRIBUTES: LazyLock<Fields> =
    LazyLock::new(|| [(NAME.to_owned(), Field::required(Shape::String))].into());

static NOTHING: Fields = Fields::new();

fn tool_attributes(tool: &ToolIdentity, hints: Annotations) -> [(String, RestrictedExpression); 6] {
    let text = |name: &str, value: String| (name.to_owned(), RestrictedExpression::new_string(value));
    let flag = |name: &str, value| (name.to_owned(), RestrictedExpression::new_bool(value));
    [
        text(NAME, tool.name.clone()),
        text("source", tool.source.to_string()),
        flag("read_only", hints.read_only),
        flag("idempotent", hints.idempotent),
        flag("destructive", hints.destructive),
        flag("open_world", hints.open_world),
    ]
}

/// What there is of every effect, and those attributes.
fn context(own: impl IntoIterator<Item = (String, Field)>) -> Fields {
    let circumstances = [("time", Shape::Datetime), ("depth", Shape::Long), ("calls", Shape::Long)];
    let circumstances = circumstances.map(|(name, shape)| (name.to_owned(), Field::required(shape)));
    circumstances.into_iter().chain(own).collect()
}
