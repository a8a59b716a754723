//! Rules against what they are about: what Cedar's validator finds, in the words of Casemate, and what it lets pass.
//!
//! Cedar takes `has` of something that does not exist for false, which is right where a rule is about several tools
//! and silently wrong where the name is misspelt; that and entities that do not exist are looked for here.

mod literals;
mod validate;

use std::collections::BTreeSet;

use cedar_policy::Schema;

use super::lookup::Lookups;
use super::names::{Named, Path, Usage};
use super::problem::{PolicyFault, PolicyProblem};
use super::rules::LoadedRule;
use super::schema::Types;
use super::slice::Slices;
use super::subject::Subject;
use super::text::{File, TokenKind, tokens};

/// What checking looks at.
pub(super) struct Check<'a> {
    pub(super) files: &'a [File<'a>],
    pub(super) rules: &'a [LoadedRule],
    pub(super) slices: &'a Slices,
    pub(super) types: &'a Types,
    pub(super) any_tool: Subject,
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
            self.check_literals(rule, &mut findings);
            self.check_names(index, rule, &mut findings);
            if self.about(index).next().is_none() {
                self.check_common_names(rule, &mut findings);
            }
        }
        findings.impossible = self.validate(schema, &mut findings);
        findings.warnings.extend(self.unpermitted(&findings.impossible));
        findings
    }

    /// Attributes that Cedar would not complain of.
    fn check_names(&self, index: usize, rule: &LoadedRule, findings: &mut Findings) {
        let text = rule.text(self.files);
        for Named { path, usage } in &rule.named {
            let found = match usage {
                Usage::Presence => {
                    let lookups = self.look_up(index, rule, path);
                    let problem = lookups.unknown().or_else(|| lookups.hidden());
                    problem.map(|problem| (problem, has_offset(text, path)))
                }
                Usage::Value => {
                    // Nothing is known to be hidden where no tool is.
                    let problem = Lookups::new(path, self.about(index), None).hidden_within();
                    problem.map(|problem| (problem, path.find_in(text).unwrap_or_default()))
                }
            };
            if let Some((problem, at)) = found {
                findings.error(PolicyProblem { place: rule.place(self.files, at), ..problem });
            }
        }
    }

    /// What Cedar does not look at where a rule is about nothing in scope: what every tool has is known all the same.
    fn check_common_names(&self, rule: &LoadedRule, findings: &mut Findings) {
        for Named { path, .. } in &rule.named {
            if let Some(problem) = Lookups::new(path, [], Some(&self.any_tool)).unknown() {
                let place = rule.place(self.files, path.find_in(rule.text(self.files)).unwrap_or_default());
                findings.error(PolicyProblem { place, ..problem });
            }
        }
    }

    fn look_up<'b>(&'b self, index: usize, rule: &LoadedRule, path: &'b Path) -> Lookups<'b> {
        Lookups::new(path, self.about(index), Some(&self.any_tool).filter(|_| self.is_about_absent_tools(rule)))
    }

    /// Whether a rule is about tools, and none is in scope.
    fn is_about_absent_tools(&self, rule: &LoadedRule) -> bool {
        self.slices.tools().is_empty() && rule.is_about(&self.any_tool)
    }

    /// What a rule is about.
    fn about(&self, rule: usize) -> impl Iterator<Item = &Subject> {
        self.slices.all().filter(move |slice| slice.contains(rule)).map(|slice| &slice.subject)
    }

    /// Tools that no permit can be about.
    fn unpermitted(&self, impossible: &BTreeSet<usize>) -> Option<PolicyProblem> {
        let unpermitted: Vec<_> =
            self.slices.tools().iter().filter(|slice| !slice.has_permit(self.rules, impossible)).collect();
        let first = unpermitted.first()?;
        let (fault, help) = if self.rules.iter().any(LoadedRule::is_permit) {
            let tools = unpermitted.iter().filter_map(|slice| slice.subject.identity());
            let tools = tools.map(|tool| tool.name.clone()).collect();
            (PolicyFault::NotPermitted { tools }, first.subject.permit_line(None))
        } else {
            (PolicyFault::NothingPermitted, "permit(principal, action, resource);".to_owned())
        };
        Some(PolicyProblem { place: None, fault, help: Some(format!("write `{help}`")) })
    }
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
