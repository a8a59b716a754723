//! What Cedar's validator finds, in the words of Casemate.

use std::collections::BTreeSet;

use cedar_policy::{PolicyId, PolicySet, Schema, ValidationError, ValidationMode, ValidationWarning, Validator};
use miette::Diagnostic;

use super::{Check, Findings};
use crate::cedar::lookup::Found;
use crate::cedar::names::{Path, step_name};
use crate::cedar::problem::{PolicyFault, PolicyProblem};
use crate::cedar::rules::{LoadedRule, did_you_mean, help, offset, one_line};
use crate::cedar::schema::uid;
use crate::cedar::shape::Shape;
use crate::cedar::subject::{CALL, Subject};

impl Check<'_> {
    /// Runs Cedar's validator; returns the rules that can never match.
    pub(super) fn validate(&self, schema: Schema, findings: &mut Findings) -> BTreeSet<usize> {
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
                    if self.is_about_absent_tools(rule) {
                        continue;
                    }
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

    fn rule(&self, id: &PolicyId) -> Option<(usize, &LoadedRule)> {
        let index = AsRef::<str>::as_ref(id).parse::<usize>().ok()?;
        Some((index, self.rules.get(index)?))
    }

    /// An error of the validator, with the reason where it is about a part of an input.
    fn invalid(&self, index: usize, rule: &LoadedRule, error: &ValidationError) -> PolicyProblem {
        let place = rule.place(self.files, offset(error).unwrap_or_default());
        let known = self.explain(index, rule, error);
        let plain = || PolicyProblem {
            place: None,
            fault: PolicyFault::Invalid { message: message(error, index) },
            help: match error {
                ValidationError::UnrecognizedActionId(_) => self.meant_action(rule, error),
                _ => help(error).map(|help| unnamed(&help, index)),
            },
        };
        PolicyProblem { place, ..known.unwrap_or_else(plain) }
    }

    /// Of several actions as near, Cedar's own suggestion is any.
    fn meant_action(&self, rule: &LoadedRule, error: &ValidationError) -> Option<String> {
        let message = error.to_string();
        let written = rule.entities_of(&self.types.action);
        let written = written.iter().find(|id| message.contains(&format!("{id:?}")))?;
        let known = self.slices.all().map(|slice| slice.subject.action.id().unescaped());
        let meant = did_you_mean(written, known.chain([CALL]))?;
        Some(format!("did you mean `{}`?", uid(&self.types.action, meant)))
    }

    fn explain(&self, index: usize, rule: &LoadedRule, error: &ValidationError) -> Option<PolicyProblem> {
        let text = rule.text(self.files).get(offset(error)?..)?;
        let path = Path::parse(text.get(..length(error)?)?)?;
        match error {
            ValidationError::UnsafeAttributeAccess(_) => self.explain_unknown(index, rule, &Path::parse_start(text)?),
            ValidationError::UnsafeOptionalAttributeAccess(_) => {
                let (last, parent) = path.steps.split_last()?;
                let parent = path.cut(parent.len());
                let last = step_name(last);
                Some(PolicyProblem {
                    place: None,
                    fault: PolicyFault::MayBeMissing { path: path.to_string() },
                    help: Some(format!("ask first: `{parent} has {last} && …`")),
                })
            }
            ValidationError::UnexpectedType(_) => {
                let lookups = self.look_up(index, rule, &path);
                let decimal = lookups.any(|found| matches!(found, Found::Value(Some(Shape::Decimal), _)));
                decimal.then(|| PolicyProblem {
                    place: None,
                    fault: PolicyFault::Invalid { message: message(error, index) },
                    help: Some(format!("a decimal compares as in `{path}.lessThanOrEqual(decimal(\"100.0\"))`")),
                })
            }
            _ => None,
        }
    }

    /// An attribute that is not there for all that the rule is about.
    fn explain_unknown(&self, index: usize, rule: &LoadedRule, path: &Path) -> Option<PolicyProblem> {
        let lookups = self.look_up(index, rule, path);
        lookups.hidden().or_else(|| lookups.unknown()).or_else(|| lookups.partly_unknown(|only| self.head(rule, only)))
    }

    /// How the head of a rule that is about these and more is about these alone.
    fn head(&self, rule: &LoadedRule, only: &[&Subject]) -> String {
        let all_tools = rule.is_about(&self.any_tool).then(|| uid(&self.types.action, CALL));
        let group = |subject: &Subject| all_tools.clone().filter(|_| subject.identity().is_some());
        let mut actions: Vec<_> =
            only.iter().map(|subject| group(subject).unwrap_or_else(|| subject.action.clone())).collect();
        actions.dedup();
        match actions.as_slice() {
            [action] if Some(action) == all_tools.as_ref() => format!("action in {action}"),
            [action] => format!("action == {action}"),
            actions => {
                format!("action in [{}]", actions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn message(error: &dyn Diagnostic, index: usize) -> String {
    unnamed(&one_line(&error.to_string()), index)
}

/// What Cedar says, without the name that the rule has for Cedar.
fn unnamed(text: &str, index: usize) -> String {
    text.strip_prefix(&format!("for policy `{index}`, ")).unwrap_or(text).to_owned()
}

/// How much of a rule an error of Cedar's underlines.
fn length(error: &dyn Diagnostic) -> Option<usize> {
    Some(error.labels()?.next()?.len())
}
