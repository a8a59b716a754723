//! The rules about one tool, ready to decide.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityUid, PolicyId, PolicySet, Request, Response, RestrictedExpression,
};

use super::context::{Unfit, Wanted};
use super::names::Root;
use super::rules::{LoadedRule, one_line};
use super::schema::{CALL, Tool, Types, action_id, uid};
use crate::{Action, Decision, Principal, PrincipalParent, Query, Rule, ToolFacts, ToolIdentity, Verdict};

#[derive(Debug)]
pub(super) struct Slice {
    tool: ToolIdentity,
    types: Arc<Types>,
    action: EntityUid,
    resource: EntityUid,
    /// The tool and its action.
    entities: Entities,
    /// Indices of the rules, in the order of the files.
    rules: Vec<usize>,
    wanted: Wanted,
    all: PolicySet,
    /// The permits alone, where one of the forbids asks: Cedar does not say what a forbid has overruled.
    permits: Option<PolicySet>,
}

impl Slice {
    pub(super) fn new(
        facts: &ToolFacts,
        tool: &Tool,
        rules: &[LoadedRule],
        types: &Arc<Types>,
    ) -> Result<Self, String> {
        let name = &facts.identity.name;
        let group = uid(&types.action, CALL);
        let (action, resource) = (uid(&types.action, &action_id(name)), uid(&types.tool, name));
        let about: Vec<_> =
            rules.iter().enumerate().filter(|(_, rule)| rule.is_about(&group, &action, &resource)).collect();
        let set = |rules: &mut dyn Iterator<Item = &LoadedRule>| {
            PolicySet::from_policies(rules.map(|rule| rule.policy.clone())).map_err(|error| error.to_string())
        };
        let asks = about.iter().any(|(_, rule)| rule.approval.is_some());
        let mut permits = about.iter().map(|(_, rule)| *rule).filter(|rule| rule.is_permit());
        Ok(Self {
            tool: facts.identity.clone(),
            types: Arc::clone(types),
            entities: entities(facts, &action, group, &resource).map_err(|error| error.to_string())?,
            rules: about.iter().map(|(index, _)| *index).collect(),
            wanted: Wanted::new(&tool.context, about.iter().flat_map(|(_, rule)| &rule.named)),
            all: set(&mut about.iter().map(|(_, rule)| *rule))?,
            permits: asks.then(|| set(&mut permits)).transpose()?,
            action,
            resource,
        })
    }

    pub(super) fn contains(&self, rule: usize) -> bool {
        self.rules.binary_search(&rule).is_ok()
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = usize> {
        self.rules.iter().copied()
    }

    pub(super) fn tool(&self) -> &ToolIdentity {
        &self.tool
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

    /// The rule that would permit every call of this tool.
    pub(super) fn permit_line(&self) -> String {
        format!("permit(principal, action == {}, resource);", self.action)
    }

    pub(super) fn decide(&self, rules: &[LoadedRule], query: &Query<'_>) -> Decision {
        let Action::Call { tool, input } = query.action else {
            return denied("the policy is not about this".to_owned(), None, Vec::new());
        };
        if tool.source != self.tool.source {
            let reason = format!("the policy is about {}, and this is {}", self.tool, tool);
            return denied(reason, None, Vec::new());
        }
        let context = match self.wanted.context(query, input) {
            Ok(context) => context,
            Err(unfit) => return self.unfit(rules, &unfit),
        };
        match self.authorize(rules, query.principal, context) {
            Ok(decision) => decision,
            Err(message) => denied(format!("the rules could not be evaluated: {message}"), None, Vec::new()),
        }
    }

    fn authorize(&self, rules: &[LoadedRule], principal: &Principal, context: Context) -> Result<Decision, String> {
        let (principal, entity) = self.principal(principal)?;
        let entities = self.entities.clone().add_entities([entity], None).map_err(|error| error.to_string())?;
        let request = Request::new(principal, self.action.clone(), self.resource.clone(), context, None)
            .map_err(|error| error.to_string())?;
        let ask = |set| Authorizer::new().is_authorized(&request, set, &entities);
        let response = ask(&self.all);
        let fired = determining(rules, &response);
        if let Some(decision) = self.errors(rules, &response) {
            return Ok(decision);
        }
        if response.decision() == cedar_policy::Decision::Allow {
            return Ok(Decision { verdict: Verdict::Allow, rules: names(&fired) });
        }
        if fired.is_empty() {
            return Ok(self.not_permitted());
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
            self.not_permitted()
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

    /// A rule that cannot be evaluated might have been a forbid that fires.
    fn errors(&self, rules: &[LoadedRule], response: &Response) -> Option<Decision> {
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
        let reason = format!("rule `{name}` could not be evaluated for `{}`: {message}", self.tool.name);
        Some(denied(reason, None, names(&found)))
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

    fn not_permitted(&self) -> Decision {
        let reason = format!("no rule permits `{}` with this input", self.tool.name);
        denied(reason, Some(self.permit_line()), Vec::new())
    }
}

pub(super) fn denied(reason: String, remedy: Option<String>, rules: Vec<Rule>) -> Decision {
    Decision { verdict: Verdict::Deny { reason, remedy }, rules }
}

fn entities(
    facts: &ToolFacts,
    action: &EntityUid,
    group: EntityUid,
    resource: &EntityUid,
) -> Result<Entities, Box<dyn std::error::Error>> {
    let text = |name: &str, value: String| (name.to_owned(), RestrictedExpression::new_string(value));
    let flag = |name: &str, value| (name.to_owned(), RestrictedExpression::new_bool(value));
    let hints = facts.annotations;
    let attributes = [
        text("name", facts.identity.name.clone()),
        text("source", facts.identity.source.to_string()),
        flag("read_only", hints.read_only),
        flag("idempotent", hints.idempotent),
        flag("destructive", hints.destructive),
        flag("open_world", hints.open_world),
    ];
    let tool = Entity::new_with_tags(resource.clone(), attributes, [], [])?;
    let action = Entity::new_with_tags(action.clone(), [], [group.clone()], [])?;
    Ok(Entities::from_entities([tool, action, Entity::with_uid(group)], None)?)
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
