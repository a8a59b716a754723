//! Rules in Cedar, validated against what they are about: calls of tools, requests, secrets in requests, and chats.
//!
//! Cedar has no type for arbitrary JSON, so the schema is made of the tools in scope: each has an action of its own,
//! and what can be seen of its input is the record type of that action's `context.input`. Requests, secrets and
//! chats have an action each, whatever the tools are.
//!
//! The published generator of such schemas, `cedar-policy-mcp-schema-generator`, is not used: it maps a number to an
//! opaque entity or loses digits without a word, has no reason for what it leaves out, and knows no integers as strings.
//! It also pins one patch release of Cedar's internals and brings an MCP library, where the mapping itself is a page.

mod chat;
mod check;
mod context;
mod lookup;
mod names;
mod problem;
mod request;
mod rules;
mod schema;
mod shape;
mod slice;
mod subject;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{HashMap, HashSet};

pub use problem::{Place, PolicyErrors, PolicyFault, PolicyProblem};
pub use schema::{HiddenInput, ToolInputs, VisibleInput};
pub use shape::{Hidden, Presence};

use self::check::Check;
use self::rules::LoadedRule;
use self::schema::Types;
use self::slice::{Slices, denied};
use self::subject::Subject;
use self::text::File;
use crate::{Decision, Policy, Query, ToolFacts, ToolIdentity};

/// One file of rules.
#[derive(Clone, Copy, Debug)]
pub struct PolicySource<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// What it says.
    pub text: &'a str,
}

/// Rules that decide by arguments, made for the tools in scope. They decide on requests, secrets and chats
/// too.
///
/// ```
/// use std::time::SystemTime;
///
/// use casemate_policy::{
///     Action, Annotations, CedarPolicy, Policy, PolicySource, Principal, Query, ToolFacts, ToolIdentity, ToolSource, Verdict,
/// };
/// use serde_json::json;
///
/// let refund = ToolFacts {
///     identity: ToolIdentity { name: "refund".into(), source: ToolSource::Closure },
///     annotations: Annotations::default(),
///     input_schema: json!({
///         "type": "object",
///         "properties": {"amount": {"type": "integer"}},
///         "required": ["amount"],
///     }),
/// };
/// let text = r#"permit(principal, action == Action::"call:refund", resource) when { context.input.amount <= 100 };"#;
/// let policy = CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text }], std::slice::from_ref(&refund))?;
///
/// let decision = policy.decide(&Query {
///     principal: &Principal::default(),
///     action: Action::Call { tool: &refund.identity, input: &json!({"amount": 50}) },
///     time: SystemTime::now(),
///     depth: 1,
///     calls: 0,
/// });
/// assert_eq!(decision.verdict, Verdict::Allow);
/// # Ok::<(), casemate_policy::PolicyErrors>(())
/// ```
#[derive(Debug)]
pub struct CedarPolicy {
    version: String,
    rules: Vec<LoadedRule>,
    slices: Slices,
    /// The tools that some input may get past the rules.
    callable: HashSet<ToolIdentity>,
    schema: String,
    warnings: Vec<PolicyProblem>,
}

impl CedarPolicy {
    /// Parses rules and validates them strictly against the tools in scope.
    ///
    /// All that is wrong in all files comes at once.
    pub fn compile(sources: &[PolicySource<'_>], tools: &[ToolFacts]) -> Result<Self, PolicyErrors> {
        let files: Vec<_> = sources.iter().map(|source| File::new(source.name, source.text)).collect();
        let loaded = rules::load(&files);
        let (mut errors, mut warnings, rules) = (loaded.errors, loaded.warnings, loaded.rules);
        let facts = distinct(tools, &mut errors);
        match prepare(&files, &rules, &facts) {
            Err(message) => {
                let fault = PolicyFault::Schema { message: rules::one_line(&message) };
                errors.push(PolicyProblem { place: None, fault, help: None });
            }
            Ok(prepared) => {
                errors.extend(prepared.findings.errors);
                warnings.extend(prepared.findings.warnings);
                if errors.is_empty() {
                    sort(&mut warnings, sources);
                    return Ok(Self {
                        version: version(sources, &facts),
                        slices: prepared.slices,
                        callable: prepared.callable,
                        schema: prepared.schema,
                        rules,
                        warnings,
                    });
                }
            }
        }
        sort(&mut errors, sources);
        Err(PolicyErrors::new(errors))
    }

    /// What is suspicious, though it can be decided.
    pub fn warnings(&self) -> &[PolicyProblem] {
        &self.warnings
    }

    /// The Cedar schema that the rules were validated against, for people and their editors.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// What rules can see of each tool's input, and what they cannot.
    pub fn inputs(&self) -> Vec<ToolInputs> {
        let tools = self.slices.tools().iter().map(|slice| &slice.subject);
        tools.filter_map(|tool| Some(ToolInputs::of(tool.identity()?, &tool.context))).collect()
    }
}

impl Policy for CedarPolicy {
    fn version(&self) -> &str {
        &self.version
    }

    fn decide(&self, query: &Query<'_>) -> Decision {
        match self.slices.of(query.action) {
            Ok(slice) => slice.decide(&self.rules, query),
            Err(reason) => denied(reason, None, Vec::new()),
        }
    }

    fn could_allow(&self, tool: &ToolIdentity) -> bool {
        self.callable.contains(tool)
    }
}

struct Prepared {
    slices: Slices,
    schema: String,
    callable: HashSet<ToolIdentity>,
    findings: check::Findings,
}

fn prepare(files: &[File<'_>], rules: &[LoadedRule], facts: &[&ToolFacts]) -> Result<Prepared, String> {
    let types = Types::new()?;
    let slices = Slices::new(facts, rules, &types)?;
    let fragment = schema::fragment(slices.all().map(|slice| &slice.subject))?;
    let text = fragment.to_cedarschema().map_err(|error| error.to_string())?;
    let schema = fragment.try_into().map_err(|error: cedar_policy::SchemaError| error.to_string())?;
    let check = Check { files, rules, slices: &slices, any_tool: Subject::any_tool(&types), types: &types };
    let findings = check.run(schema);
    let callable = slices.tools().iter().filter(|slice| slice.may_permit(rules, &findings.impossible));
    let callable = callable.filter_map(|slice| slice.subject.identity().cloned()).collect();
    Ok(Prepared { slices, schema: text, callable, findings })
}

/// One of each tool; a toolset may show one tool under several names.
fn distinct<'a>(tools: &'a [ToolFacts], errors: &mut Vec<PolicyProblem>) -> Vec<&'a ToolFacts> {
    let mut distinct: Vec<&ToolFacts> = Vec::with_capacity(tools.len());
    let mut by_name: HashMap<&str, &ToolFacts> = HashMap::with_capacity(tools.len());
    for tool in tools {
        match by_name.get(tool.identity.name.as_str()) {
            None => {
                by_name.insert(&tool.identity.name, tool);
                distinct.push(tool);
            }
            Some(twin) if *twin == tool => {}
            Some(twin) => {
                let (first, second) = (twin.identity.clone(), tool.identity.clone());
                let fault = PolicyFault::AmbiguousTool { first, second };
                errors.push(PolicyProblem { place: None, fault, help: None });
            }
        }
    }
    distinct
}

/// By file as given, line and column; what has no place comes last. At one place, Cedar's order differs from run to run.
fn sort(problems: &mut [PolicyProblem], sources: &[PolicySource<'_>]) {
    problems.sort_by_cached_key(|problem| {
        let place = problem.place.as_ref();
        let file = place.and_then(|place| sources.iter().position(|source| source.name == place.file));
        (file.unwrap_or(usize::MAX), place.map(|place| (place.line, place.column)), problem.to_string())
    });
}

/// Sixteen digits of a hash over all that decides; neither names nor the order of files and tools count.
fn version(sources: &[PolicySource<'_>], tools: &[&ToolFacts]) -> String {
    let texts = sources.iter().map(|source| blake3::hash(source.text.as_bytes()));
    let facts = tools.iter().map(|tool| {
        let facts = (&tool.identity, tool.annotations, &tool.input_schema);
        // Plain data always becomes JSON; if not, the debug form tells tools apart as well.
        let text = serde_json::to_string(&facts).unwrap_or_else(|_| format!("{tool:?}"));
        blake3::hash(text.as_bytes())
    });
    let sorted = |hashes: &mut dyn Iterator<Item = blake3::Hash>| {
        let mut hashes: Vec<_> = hashes.map(|hash| *hash.as_bytes()).collect();
        hashes.sort_unstable();
        hashes.concat()
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(blake3::hash(&sorted(&mut { texts })).as_bytes());
    hasher.update(blake3::hash(&sorted(&mut { facts })).as_bytes());
    hasher.finalize().to_hex().chars().take(16).collect()
}
