//! The rules about one subject, ready to decide.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityUid, PolicyId, PolicySet, Request, Response, RestrictedExpression,
};

use super::context::{Unfit, Wanted};
use super::names::Root;
use super::rules::{LoadedRule, one_line};
use super::schema::{Types, uid};
use super::subject::Subject;
use crate::{Action, Decision, Principal, PrincipalParent, Query, Rule, ToolFacts, Verdict};

/// All there are.
#[derive(Debug)]
pub(super) struct Slices {
    tools: Vec<Slice>,
    /// Where each tool stands, by its own name.
    places: HashMap<String, usize>,
    requests: Slice,
    secrets: Slice,
    chats: Slice,
}

impl Slices {
    pub(super) fn new(tools: &[&ToolFacts], rules: &[LoadedRule], types: &Types) -> Result<Self, String> {
        let types = Arc::new(types.clone());
        let slice = |subject| Slice::new(subject, rules, &types);
        let names = tools.iter().map(|facts| facts.identity.name.clone());
        Ok(Self {
            places: names.enumerate().map(|(place, name)| (name, place)).collect(),
            tools: tools.iter().map(|facts| slice(Subject::tool(facts, &types))).collect::<Result<_, _>>()?,
            requests: slice(Subject::requests(&types))?,
            secrets: slice(Subject::secrets(&types))?,
            chats: slice(Subject::chats(&types))?,
        })
    }

    /// In the order in which tools were given.
    pub(super) fn tools(&self) -> &[Slice] {
        &self.tools
    }

    /// Those of tools first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Slice> {
        self.tools.iter().chain([&self.requests, &self.secrets, &self.chats])
    }

    /// The one that decides on the action, or why there is none.
    pub(super) fn of(&self, action: Action<'_>) -> Result<&Slice, String> {
        let tool = match action {
            Action::Call { tool, .. } => tool,
            Action::Fetch { .. } => return Ok(&self.requests),
            Action::Use { .. } => return Ok(&self.secrets),
            Action::Chat { .. } => return Ok(&self.chats),
        };
        let slice = self.places.get(&tool.name).and_then(|place| self.tools.get(*place));
        match slice.and_then(|slice| slice.subject.identity().map(|known| (slice, known))) {
            None => Err(format!("the policy knows no tool `{}`", tool.name)),
            Some((_, known)) if known.source != tool.source => {
                Err(format!("the policy is about {known}, and this is {tool}"))
            }
            Some((slice, _)) => Ok(slice),
        }
    }
}

#[derive(Debug)]
pub(super) struct Slice {
    pub(super) subject: Subject,
    types: Arc<Types>,
    /// What is known of the subject beforehand.
    entities: Entities,
    /// Indices of the rules, in the order of the files.
    rules: Vec<usize>,
    wanted: Wanted,
    all: PolicySet,
    /// The permits alone, where one of the forbids asks: Cedar does not say what a forbid has overruled.
    permits: Option<PolicySet>,
}

impl Slice {
    pub(super) fn new(subject: Subject, rules: &[LoadedRule], types: &Arc<Types>) -> Result<Self, String> {
        let about: Vec<_> = rules.iter().enumerate().filter(|(_, rule)| rule.is_about(&subject)).collect();
        let set = |rules: &mut dyn Iterator<Item = &LoadedRule>| {
            PolicySet::from_policies(rules.map(|rule| rule.policy.clone())).map_err(|error| error.to_string())
        };
        let asks = about.iter().any(|(_, rule)| rule.approval.is_some());
        let mut permits = about.iter().map(|(_, rule)| *rule).filter(|rule| rule.is_permit());
        Ok(Self {
            types: Arc::clone(types),
            entities: subject.entities().map_err(|error| error.to_string())?,
            rules: about.iter().map(|(index, _)| *index).collect(),
            wanted: Wanted::new(&subject.context, about.iter().flat_map(|(_, rule)| &rule.named)),
            all: set(&mut about.iter().map(|(_, rule)| *rule))?,
            permits: asks.then(|| set(&mut permits)).transpose()?,
            subject,
        })
    }

    pub(super) fn contains(&self, rule: usize) -> bool {
        self.rules.binary_search(&rule).is_ok()
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = usize> {
        self.rules.iter().copied()
    }

    /// Whether some input may be allowed or asked about, given the rules that never match.
    pub(super) fn may_permit(&self, rules: &[LoadedRule], impossible: &BTreeSet<usize>) -> bool {
        self.has_permit(rules, impossible)
            && !self.rules().filter_map(|index| rules.get(index)).any(LoadedRule::is_final)
    }

    /// Whether a permit can be about it.
    pub(super) fn has_permit(&self, rules: &[LoadedRule], impossible: &BTreeSet<usize>) -> bool {
        self.rules()
            .filter(|index| !impossible.contains(index))
            .any(|index| rules.get(index).is_some_and(LoadedRule::is_permit))
    }

    pub(super) fn decide(&self, rules: &[LoadedRule], query: &Query<'_>) -> Decision {
        let context = match self.wanted.context(query) {
            Ok(context) => context,
            Err(unfit) => return self.unfit(rules, &unfit),
        };
        match self.authorize(rules, query, context) {
            Ok(decision) => decision,
            Err(message) => denied(format!("the rules could not be evaluated: {message}"), None, Vec::new()),
        }
    }

    fn authorize(&self, rules: &[LoadedRule], query: &Query<'_>, context: Context) -> Result<Decision, String> {
        let (principal, entity) = self.principal(query.principal)?;
        let resource = self.subject.resource(query.action);
        let not_permitted = || self.not_permitted(query.action, &resource);
        let named = self.subject.named_resource(query.action).map_err(|error| error.to_string())?;
        let entities = self.entities.clone().add_entities([entity].into_iter().chain(named), None);
        let entities = entities.map_err(|error| error.to_string())?;
        let request = Request::new(principal, self.subject.action.clone(), resource.clone(), context, None)
            .map_err(|error| error.to_string())?;
        let ask = |set| Authorizer::new().is_authorized(&request, set, &entities);
        let response = ask(&self.all);
        let fired = determining(rules, &response);
        if let Some(decision) = errors(rules, query.action, &response) {
            return Ok(decision);
        }
        if response.decision() == cedar_policy::Decision::Allow {
            return Ok(Decision { verdict: Verdict::Allow, rules: names(&fired) });
        }
        if fired.is_empty() {
            return Ok(not_permitted());
        }
        let final_forbids: Vec<_> = fired.iter().copied().filter(|rule| rule.approval.is_none()).collect();
        if !final_forbids.is_empty() {
            let reasons: Vec<_> = final_forbids.iter().map(|rule| reason(rule)).collect();
            return Ok(denied(reasons.join("; "), None, names(&final_forbids)));
        }
        let permitted = self.permits.as_ref().is_some_and(|set| ask(set).decision() == cedar_policy::Decision::Allow);
        Ok(if permitted {
            Decision { verdict: Verdict::Ask { question: question(&fired) }, rules: names(&fired) }
        } else {
            not_permitted()
        })
    }

    fn principal(&self, principal: &Principal) -> Result<(EntityUid, Entity), String> {
        let id = uid(&self.types.sandbox, principal.id());
        let tags = principal.attributes().iter();
        let tags = tags.map(|(name, value)| (name.clone(), RestrictedExpression::new_string(value.clone())));
        let parents = principal.parents().iter().map(|parent| match parent {
            PrincipalParent::User(id) => uid(&self.types.user, id),
            PrincipalParent::Tenant(id) => uid(&self.types.tenant, id),
            PrincipalParent::Group(id) => uid(&self.types.group, id),
        });
        let entity = Entity::new_with_tags(id.clone(), [], parents, tags).map_err(|error| error.to_string())?;
        Ok((id, entity))
    }

    fn unfit(&self, rules: &[LoadedRule], unfit: &Unfit) -> Decision {
        let about = self.rules.iter().filter_map(|index| rules.get(*index));
        let naming: Vec<_> = about
            .filter(|rule| rule.named.iter().any(|named| named.path.touches(Root::Context, &unfit.steps)))
            .collect();
        let first = naming.first().map_or("", |rule| &rule.rule.id);
        let reason = format!("rule `{first}` cannot judge `{}`: {}", unfit.path(), unfit.why);
        denied(reason, None, names(&naming))
    }

    fn not_permitted(&self, action: Action<'_>, resource: &EntityUid) -> Decision {
        let input = if matches!(action, Action::Call { .. }) { " with this input" } else { "" };
        let reason = format!("no rule permits {}{input}", Attempt(action));
        denied(reason, Some(self.subject.permit_line(Some(resource))), Vec::new())
    }
}

/// A rule that cannot be evaluated might have been a forbid that fires.
fn errors(rules: &[LoadedRule], action: Action<'_>, response: &Response) -> Option<Decision> {
    let mut failed: Vec<_> = response
        .diagnostics()
        .errors()
        .map(|error| match error {
            cedar_policy::AuthorizationError::PolicyEvaluationError(error) => {
                (index(error.policy_id()), one_line(&error.inner().to_string()))
            }
        })
        .collect();
    failed.sort();
    let (first, message) = failed.first()?;
    let found: Vec<_> = failed.iter().filter_map(|(index, _)| rules.get((*index)?)).collect();
    let name = first.and_then(|index| rules.get(index)).map_or("", |rule| &rule.rule.id);
    let reason = format!("rule `{name}` could not be evaluated for {}: {message}", Attempt(action));
    Some(denied(reason, None, names(&found)))
}

/// An action as denials name it.
struct Attempt<'a>(Action<'a>);

impl fmt::Display for Attempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Action::Call { tool, .. } => write!(f, "`{}`", tool.name),
            Action::Fetch { request, .. } => write!(f, "`{request}`"),
            Action::Use { secret, request, .. } => write!(f, "`{secret}` in `{request}`"),
            Action::Chat { model, .. } => write!(f, "a chat with `{model}`"),
        }
    }
}

pub(super) fn denied(reason: String, remedy: Option<String>, rules: Vec<Rule>) -> Decision {
    Decision { verdict: Verdict::Deny { reason, remedy }, rules }
}

/// The rules that Cedar names for its decision, in the order of the files.
fn determining<'a>(rules: &'a [LoadedRule], response: &Response) -> Vec<&'a LoadedRule> {
    let mut indices: Vec<_> = response.diagnostics().reason().filter_map(index).collect();
    indices.sort_unstable();
    indices.into_iter().filter_map(|index| rules.get(index)).collect()
}

/// Rules go by their number with Cedar.
fn index(id: &PolicyId) -> Option<usize> {
    AsRef::<str>::as_ref(id).parse().ok()
}

fn names(rules: &[&LoadedRule]) -> Vec<Rule> {
    rules.iter().map(|rule| rule.rule.clone()).collect()
}

fn reason(rule: &LoadedRule) -> String {
    rule.reason.clone().unwrap_or_else(|| format!("rule `{}` forbids it", rule.rule.id))
}

fn question(fired: &[&LoadedRule]) -> String {
    let mut questions: Vec<&str> = Vec::new();
    for question in fired.iter().filter_map(|rule| rule.approval.as_deref()) {
        if !questions.contains(&question) {
            questions.push(question);
        }
    }
    questions.join(" ")
}
