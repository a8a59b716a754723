//! Rules against the tools in scope: what Cedar's validator finds, in the words of Casemate, and what it lets pass.
//!
//! Cedar takes `has` of something that does not exist for false, which is right where a rule is about several tools
//! and silently wrong where the name is misspelt; that and tools that do not exist are looked for here.

use std::collections::BTreeSet;

use cedar_policy::{PolicySet, Schema, ValidationError, ValidationMode, ValidationWarning, Validator};
use miette::Diagnostic;

use super::names::{Named, Path, Root, Usage, step_name};
use super::problem::{PolicyFault, PolicyProblem};
use super::rules::{LoadedRule, did_you_mean, help, offset, one_line};
use super::schema::{Tool, Types, action_id, uid};
use super::shape::{Fields, Hidden, Shape};
use super::slice::Slice;
use super::text::{File, TokenKind, tokens};

/// What checking looks at.
pub(super) struct Check<'a> {
    pub(super) files: &'a [File<'a>],
    pub(super) rules: &'a [LoadedRule],
    pub(super) tools: &'a [Tool],
    /// In the order of the tools.
    pub(super) slices: &'a [Slice],
    pub(super) types: &'a Types,
    /// The attributes of a tool as a resource.
    pub(super) resource: &'a Fields,
}

/// What it finds.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<PolicyProblem>,
    pub(super) warnings: Vec<PolicyProblem>,
    /// Rules that never match.
    pub(super) impossible: BTreeSet<usize>,
}

impl Findings {
    fn error(&mut self, problem: PolicyProblem) {
        if !self.errors.contains(&problem) {
            self.errors.push(problem);
        }
    }
}

impl Check<'_> {
    pub(super) fn run(&self, schema: Schema) -> Findings {
        let mut findings = Findings::default();
        for (index, rule) in self.rules.iter().enumerate() {
            self.check_tools(rule, &mut findings);
            self.check_names(index, rule, &mut findings);
            if self.about(index).next().is_none() {
                self.check_first_steps(rule, &mut findings);
            }
        }
        findings.impossible = self.validate(schema, &mut findings);
        findings.warnings.extend(self.unpermitted(&findings.impossible));
        findings
    }

    /// Tools that a rule names as its resource.
    fn check_tools(&self, rule: &LoadedRule, findings: &mut Findings) {
        let known = || self.tools.iter().map(|tool| tool.identity.name.as_str());
        for name in rule.entities_of(&self.types.tool) {
            if known().any(|tool| tool == name) {
                continue;
            }
            let text = rule.text(self.files);
            let at = text.find(&format!("{name:?}")).unwrap_or_default();
            findings.error(PolicyProblem {
                help: did_you_mean(&name, known()).map(|known| format!("did you mean `{known}`?")),
                ..rule.problem(self.files, at, PolicyFault::UnknownTool { name })
            });
        }
    }

    /// Attributes that Cedar would not complain of.
    fn check_names(&self, index: usize, rule: &LoadedRule, findings: &mut Findings) {
        for Named { path, usage } in &rule.named {
            let lookups: Vec<_> = self.about(index).map(|tool| (tool, self.look_up(tool, path))).collect();
            let text = rule.text(self.files);
            match usage {
                Usage::Presence => {
                    let hidden = lookups.iter().find(|(_, found)| matches!(found, Found::Hidden { .. }));
                    let all_unknown =
                        !lookups.is_empty() && lookups.iter().all(|(_, found)| matches!(found, Found::Unknown { .. }));
                    let worst = if all_unknown { lookups.first() } else { hidden };
                    if let Some(problem) = worst.and_then(|(tool, found)| found.problem(tool, path, None)) {
                        let place = rule.place(self.files, has_offset(text, path));
                        findings.error(PolicyProblem { place, ..problem });
                    }
                }
                Usage::Value => {
                    let partly = lookups.iter().find_map(|(tool, found)| found.hidden_within(tool, path));
                    if let Some(problem) = partly {
                        let place = rule.place(self.files, path.find_in(text).unwrap_or_default());
                        findings.error(PolicyProblem { place, ..problem });
                    }
                }
            }
        }
    }

    /// What Cedar does not look at where a rule is about no tool in scope: what every request has is known all the same.
    fn check_first_steps(&self, rule: &LoadedRule, findings: &mut Findings) {
        let any = Tool::of_any_input();
        for Named { path, .. } in &rule.named {
            let first = Path { root: path.root, steps: path.steps.iter().take(1).cloned().collect() };
            let found = self.look_up(&any, &first);
            if let (Found::Unknown { .. }, Some(problem)) = (&found, found.problem(&any, &first, None)) {
                let place = rule.place(self.files, path.find_in(rule.text(self.files)).unwrap_or_default());
                findings.error(PolicyProblem { place, ..problem });
            }
        }
    }

    /// The tools that a rule is about.
    fn about(&self, rule: usize) -> impl Iterator<Item = &Tool> {
        self.tools.iter().zip(self.slices).filter(move |(_, slice)| slice.contains(rule)).map(|(tool, _)| tool)
    }

    fn look_up<'a>(&'a self, tool: &'a Tool, path: &Path) -> Found<'a> {
        match path.root {
            Root::Context => look_up(&tool.context, &path.steps),
            Root::Resource => look_up(self.resource, &path.steps),
            Root::Principal | Root::Action if path.steps.is_empty() => Found::Nothing,
            Root::Principal | Root::Action => Found::Unknown { siblings: None, length: 1 },
        }
    }

    /// Runs Cedar's validator; returns the rules that can never match.
    fn validate(&self, schema: Schema, findings: &mut Findings) -> BTreeSet<usize> {
        let mut impossible = BTreeSet::new();
        let policies = match PolicySet::from_policies(self.rules.iter().map(|rule| rule.policy.clone())) {
            Ok(policies) => policies,
            Err(error) => {
                let fault = PolicyFault::Invalid { message: one_line(&error.to_string()) };
                findings.error(PolicyProblem { place: None, fault, help: None });
                return impossible;
            }
        };
        let result = Validator::new(schema).validate(&policies, ValidationMode::Strict);
        for error in result.validation_errors() {
            if let Some((index, rule)) = self.rule(error.policy_id()) {
                findings.error(self.invalid(index, rule, error));
            }
        }
        for warning in result.validation_warnings() {
            let Some((index, rule)) = self.rule(warning.policy_id()) else { continue };
            let fault = match warning {
                ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_) => {
                    impossible.insert(index);
                    PolicyFault::NeverMatches
                }
                _ => PolicyFault::Invalid { message: message(warning, index) },
            };
            let problem = rule.problem(self.files, offset(warning).unwrap_or_default(), fault);
            if !findings.warnings.contains(&problem) {
                findings.warnings.push(problem);
            }
        }
        impossible
    }

    fn rule(&self, id: &cedar_policy::PolicyId) -> Option<(usize, &LoadedRule)> {
        let index = AsRef::<str>::as_ref(id).parse::<usize>().ok()?;
        Some((index, self.rules.get(index)?))
    }

    /// An error of the validator, with the reason where it is about a part of an input.
    fn invalid(&self, index: usize, rule: &LoadedRule, error: &ValidationError) -> PolicyProblem {
        let place = rule.place(self.files, offset(error).unwrap_or_default());
        let path = labelled(rule.text(self.files), error).and_then(Path::parse);
        let known = path.and_then(|path| self.explain(index, &path, error));
        let plain = || PolicyProblem {
            place: None,
            fault: PolicyFault::Invalid { message: message(error, index) },
            help: match error {
                ValidationError::UnrecognizedActionId(_) => self.meant_action(rule, error),
                _ => help(error),
            },
        };
        PolicyProblem { place, ..known.unwrap_or_else(plain) }
    }

    /// Of several actions as near, Cedar's own suggestion is any.
    fn meant_action(&self, rule: &LoadedRule, error: &ValidationError) -> Option<String> {
        let message = error.to_string();
        let written = rule.entities_of(&self.types.action);
        let written = written.iter().find(|id| message.contains(&format!("{id:?}")))?;
        let known: Vec<_> = self.tools.iter().map(|tool| action_id(&tool.identity.name)).collect();
        let meant = did_you_mean(written, known.iter().map(String::as_str))?;
        Some(format!("did you mean `{}`?", uid(&self.types.action, meant)))
    }

    fn explain(&self, index: usize, path: &Path, error: &ValidationError) -> Option<PolicyProblem> {
        match error {
            ValidationError::UnsafeAttributeAccess(_) => {
                let tools: Vec<_> = self.about(index).collect();
                let lookups: Vec<_> = tools.iter().map(|tool| (*tool, self.look_up(tool, path))).collect();
                let lacking =
                    lookups.iter().filter(|(_, found)| matches!(found, Found::Hidden { .. } | Found::Unknown { .. }));
                let some = (lacking.clone().count() < lookups.len()).then_some(());
                let (tool, found) = lacking.clone().next()?;
                found.problem(tool, path, some.map(|()| tool.identity.name.as_str()))
            }
            ValidationError::UnsafeOptionalAttributeAccess(_) => {
                let (last, parent) = path.steps.split_last()?;
                let parent = Path { root: path.root, steps: parent.to_vec() };
                let last = step_name(last);
                Some(PolicyProblem {
                    place: None,
                    fault: PolicyFault::MayBeMissing { path: path.to_string() },
                    help: Some(format!("ask first: `{parent} has {last} && …`")),
                })
            }
            ValidationError::UnexpectedType(_) => {
                let decimal = self
                    .about(index)
                    .any(|tool| matches!(self.look_up(tool, path), Found::Value(Some(Shape::Decimal), _)));
                decimal.then(|| PolicyProblem {
                    place: None,
                    fault: PolicyFault::Invalid { message: message(error, index) },
                    help: Some(format!("a decimal compares as in `{path}.lessThanOrEqual(decimal(\"100.0\"))`")),
                })
            }
            _ => None,
        }
    }

    /// Tools that no permit can be about.
    fn unpermitted(&self, impossible: &BTreeSet<usize>) -> Option<PolicyProblem> {
        let permits = |slice: &Slice| slice.has_permit(self.rules, impossible);
        let pairs = || self.tools.iter().zip(self.slices);
        let tools: Vec<_> =
            pairs().filter(|(_, slice)| !permits(slice)).map(|(tool, _)| tool.identity.name.clone()).collect();
        let first = self.slices.iter().find(|slice| !permits(slice))?;
        let (fault, help) = if self.rules.iter().any(LoadedRule::is_permit) {
            (PolicyFault::NotPermitted { tools }, first.permit_line())
        } else {
            (PolicyFault::NothingPermitted, "permit(principal, action, resource);".to_owned())
        };
        Some(PolicyProblem { place: None, fault, help: Some(format!("write `{help}`")) })
    }
}

/// Cedar's message without the name that the rule has for Cedar.
fn message(error: &dyn Diagnostic, index: usize) -> String {
    let message = one_line(&error.to_string());
    message.strip_prefix(&format!("for policy `{index}`, ")).map_or_else(|| message.clone(), str::to_owned)
}

/// What an error of Cedar's underlines.
fn labelled<'a>(text: &'a str, error: &dyn Diagnostic) -> Option<&'a str> {
    let label = error.labels()?.next()?;
    text.get(label.offset()..label.offset().checked_add(label.len())?)
}

/// Where a rule asks with `has` for the last step of a path.
fn has_offset(text: &str, path: &Path) -> usize {
    let is = |range: std::ops::Range<usize>, step: &String| {
        let written = text.get(range).unwrap_or_default();
        written == step || written.trim_matches('"') == step
    };
    let tokens = tokens(text);
    let mut after = false;
    for token in &tokens {
        match token.kind {
            TokenKind::Word if text.get(token.range.clone()) == Some("has") => after = true,
            TokenKind::Word | TokenKind::Quoted if after => {
                if path.steps.last().is_some_and(|step| is(token.range.clone(), step)) {
                    return token.range.start;
                }
            }
            TokenKind::Sign('.') => {}
            _ => after = false,
        }
    }
    0
}

/// What a path leads to.
enum Found<'a> {
    /// A value; of no one type for the request itself, which is then given by its attributes.
    Value(Option<&'a Shape>, &'a Fields),
    /// The principal or the action as a whole.
    Nothing,
    /// A part that rules cannot see, after so many steps.
    Hidden { why: &'a Hidden, length: usize },
    /// Nothing, from the step of that number on.
    Unknown { siblings: Option<&'a Fields>, length: usize },
}

static NO_FIELDS: Fields = Fields::new();

fn look_up<'a>(fields: &'a Fields, steps: &[String]) -> Found<'a> {
    let mut found = Found::Value(None, fields);
    for (index, step) in steps.iter().enumerate() {
        let Found::Value(_, fields) = found else { return found };
        let length = index + 1;
        found = match fields.get(step).map(|field| &field.shape) {
            None => return Found::Unknown { siblings: Some(fields), length },
            Some(Err(why)) => return Found::Hidden { why, length },
            Some(Ok(shape @ Shape::Record(fields))) => Found::Value(Some(shape), fields),
            Some(Ok(shape)) => Found::Value(Some(shape), &NO_FIELDS),
        };
    }
    found
}

impl Found<'_> {
    fn problem(&self, tool: &Tool, path: &Path, only: Option<&str>) -> Option<PolicyProblem> {
        let cut = |length: usize| Path { root: path.root, steps: path.steps.iter().take(length).cloned().collect() };
        let (fault, help) = match self {
            Self::Value(..) | Self::Nothing => return None,
            Self::Hidden { why, length } => (hidden(&cut(*length), tool, why), None),
            Self::Unknown { siblings, length } => {
                let fault =
                    PolicyFault::UnknownAttribute { path: cut(*length).to_string(), tool: only.map(str::to_owned) };
                (fault, unknown_help(path, siblings.unwrap_or(&NO_FIELDS), *length, only))
            }
        };
        Some(PolicyProblem { place: None, fault, help })
    }

    /// The first part that is hidden in what is used as a whole.
    fn hidden_within(&self, tool: &Tool, path: &Path) -> Option<PolicyProblem> {
        let Self::Value(_, fields) = self else { return None };
        let (name, field) = fields.iter().find(|(_, field)| match &field.shape {
            Ok(shape) => shape.hidden_part().is_some(),
            Err(_) => true,
        })?;
        let mut whole = path.join(name);
        let why = match &field.shape {
            Err(why) => why,
            Ok(shape) => {
                let (rest, why) = shape.hidden_part()?;
                whole.steps.extend(rest.into_iter().map(str::to_owned));
                why
            }
        };
        let help = Some(format!("`{path}` cannot be used as a whole"));
        Some(PolicyProblem { place: None, fault: hidden(&whole, tool, why), help })
    }
}

fn hidden(path: &Path, tool: &Tool, why: &Hidden) -> PolicyFault {
    PolicyFault::Hidden { path: path.to_string(), tool: tool.identity.name.clone(), why: why.clone() }
}

fn unknown_help(path: &Path, siblings: &Fields, length: usize, only: Option<&str>) -> Option<String> {
    let written = path.steps.get(length.checked_sub(1)?)?;
    if path.root == Root::Principal {
        return Some(format!("what is known of a principal is in its tags: `principal.hasTag({written:?})`"));
    }
    if only.is_some() {
        let (parent, name) =
            (Path { steps: path.steps.iter().take(length - 1).cloned().collect(), ..*path }, step_name(written));
        return Some(format!("ask first: `{parent} has {name} && …`, or name in the head the tools that have it"));
    }
    if let Some(near) = did_you_mean(written, siblings.keys().map(String::as_str)) {
        return Some(format!("did you mean `{near}`?"));
    }
    let known: Vec<_> = siblings.keys().take(12).map(|name| format!("`{name}`")).collect();
    if known.is_empty() { None } else { Some(format!("there is {}", known.join(", "))) }
}
