//! Rules as they are written: Cedar's policies with their annotations, names and places.

use std::collections::HashMap;
use std::ops::Range;

use cedar_policy::{
    ActionConstraint, Effect, EntityTypeName, ParseErrors, Policy, PolicyId, PrincipalConstraint, ResourceConstraint,
};
use miette::Diagnostic;

use super::names::{Named, named};
use super::problem::{Place, PolicyFault, PolicyProblem};
use super::subject::Subject;
use super::text::{File, Token, TokenKind, tokens};
use crate::Rule;

/// How many words and signs a rule may have.
const MAX_TOKENS: usize = 10_000;
/// How deep the tree of a rule may be, by the measure below. Cedar walks it by recursion in places; a thread with
/// 2 MiB of stack overflowed at little more than 600 in a build without optimisation.
const MAX_DEPTH: usize = 500;
/// An expression in brackets passes through every level of the grammar.
const BRACKET_DEPTH: usize = 15;

/// One rule.
#[derive(Debug)]
pub(super) struct LoadedRule {
    pub(super) rule: Rule,
    pub(super) policy: Policy,
    /// The question to ask where this forbid fires; none on others.
    pub(super) approval: Option<String>,
    /// What `@reason` says.
    pub(super) reason: Option<String>,
    pub(super) named: Vec<Named>,
    /// Index of its file.
    file: usize,
    /// Where it stands there.
    range: Range<usize>,
}

impl LoadedRule {
    pub(super) fn is_permit(&self) -> bool {
        self.policy.effect() == Effect::Permit
    }

    /// Whether its head leaves room for that subject.
    pub(super) fn is_about(&self, subject: &Subject) -> bool {
        let action = match self.policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(only) => only == subject.action,
            ActionConstraint::In(any) => {
                any.iter().any(|one| *one == subject.action || Some(one) == subject.group.as_ref())
            }
        };
        action
            && match self.policy.resource_constraint() {
                ResourceConstraint::Any => true,
                ResourceConstraint::Is(only) => only == subject.resource_type,
                ResourceConstraint::Eq(only) | ResourceConstraint::In(only) => subject.may_be_on(&only),
                ResourceConstraint::IsIn(resource_type, only) => {
                    resource_type == subject.resource_type && subject.may_be_on(&only)
                }
            }
    }

    /// Whether it forbids whatever its head is about, whoever asks.
    pub(super) fn is_final(&self) -> bool {
        let anyone = matches!(self.policy.principal_constraint(), PrincipalConstraint::Any);
        !self.is_permit() && self.approval.is_none() && anyone && !self.policy.has_non_scope_constraint()
    }

    pub(super) fn entities_of(&self, entity_type: &EntityTypeName) -> Vec<String> {
        let literals = self.policy.entity_literals().into_iter();
        literals.filter(|uid| uid.type_name() == entity_type).map(|uid| uid.id().unescaped().to_owned()).collect()
    }

    pub(super) fn text<'a>(&self, files: &'a [File<'_>]) -> &'a str {
        files.get(self.file).and_then(|file| file.text.get(self.range.clone())).unwrap_or_default()
    }

    /// The place of what stands `offset` bytes after the beginning of the rule.
    pub(super) fn place(&self, files: &[File<'_>], offset: usize) -> Option<Place> {
        files.get(self.file).map(|file| file.place(self.range.start.saturating_add(offset)))
    }

    pub(super) fn problem(&self, files: &[File<'_>], offset: usize, fault: PolicyFault) -> PolicyProblem {
        PolicyProblem { place: self.place(files, offset), fault, help: None }
    }
}

/// Rules, and what is wrong or suspicious with each by itself.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) rules: Vec<LoadedRule>,
    pub(super) errors: Vec<PolicyProblem>,
    pub(super) warnings: Vec<PolicyProblem>,
}

pub(super) fn load(files: &[File<'_>]) -> Loaded {
    let mut loaded = Loaded::default();
    let mut ids = HashMap::new();
    for (index, file) in files.iter().enumerate() {
        for range in file.rules() {
            match parse(file, index, range, loaded.rules.len()) {
                Ok(rule) => loaded.add(files, rule, &mut ids),
                Err(problems) => loaded.errors.extend(problems),
            }
        }
    }
    loaded
}

fn parse(file: &File<'_>, index: usize, range: Range<usize>, number: usize) -> Result<LoadedRule, Vec<PolicyProblem>> {
    let text = file.text.get(range.clone()).unwrap_or_default();
    let place = file.place(range.start);
    if !is_bounded(text) {
        let help = Some("write several".to_owned());
        return Err(vec![PolicyProblem { place: Some(place), fault: PolicyFault::TooLong, help }]);
    }
    let policy =
        Policy::parse(Some(PolicyId::new(number.to_string())), text).map_err(|errors| syntax(file, &range, &errors))?;
    let tree = policy.to_pst().map_err(|error| {
        let fault = PolicyFault::Syntax { message: error.to_string() };
        vec![PolicyProblem { place: Some(place.clone()), fault, help: None }]
    })?;
    let annotation = |name: &str| policy.annotation(name).map(str::to_owned);
    let id = annotation("id").filter(|id| !id.is_empty());
    let rule =
        Rule { id: id.unwrap_or_else(|| format!("{}:{}", place.file, place.line)), file: place.file, line: place.line };
    Ok(LoadedRule {
        rule,
        approval: annotation("approval"),
        reason: annotation("reason").filter(|reason| !reason.is_empty()),
        named: named(tree.body()),
        policy,
        file: index,
        range,
    })
}

fn is_bounded(text: &str) -> bool {
    let tokens = tokens(text);
    tokens.len() <= MAX_TOKENS && depth_at_most(text, &tokens) <= MAX_DEPTH
}

/// No less than the depth of the tree: operators one after the other nest, and so do steps of one path, and brackets.
fn depth_at_most(text: &str, tokens: &[Token]) -> usize {
    let mut open = vec![Level::default()];
    let mut deepest = 0;
    for token in tokens {
        match token.kind {
            TokenKind::Sign('(' | '[' | '{') => open.push(Level { operators: BRACKET_DEPTH, steps: 0 }),
            TokenKind::Sign(')' | ']' | '}') if open.len() > 1 => drop(open.pop()),
            kind => open.last_mut().into_iter().for_each(|level| level.take(kind, text.get(token.range.clone()))),
        }
        // Few levels can be open before this is reached.
        deepest = deepest.max(open.iter().map(|level| level.operators + level.steps).sum());
        if deepest > MAX_DEPTH {
            break;
        }
    }
    deepest
}

/// What stands between a bracket and where we are.
#[derive(Default)]
struct Level {
    operators: usize,
    /// Of the path that we are in.
    steps: usize,
}

impl Level {
    fn take(&mut self, kind: TokenKind, text: Option<&str>) {
        match kind {
            TokenKind::Sign('.') => self.steps += 1,
            TokenKind::Sign('&' | '|' | '+' | '-' | '*' | '!') => {
                *self = Self { operators: self.operators + 1, steps: 0 }
            }
            TokenKind::Word if text == Some("if") => *self = Self { operators: self.operators + 1, steps: 0 },
            TokenKind::Sign(',') => *self = Self { operators: BRACKET_DEPTH, steps: 0 },
            TokenKind::Sign(_) => self.steps = 0,
            TokenKind::Word | TokenKind::Quoted => {}
        }
    }
}

fn syntax(file: &File<'_>, range: &Range<usize>, errors: &ParseErrors) -> Vec<PolicyProblem> {
    let problem = |error: &cedar_policy::ParseError| PolicyProblem {
        place: Some(file.place(range.start + offset(error).unwrap_or_default())),
        fault: PolicyFault::Syntax { message: one_line(&error.to_string()) },
        help: help(error),
    };
    errors.iter().map(problem).collect()
}

/// Where in its text an error of Cedar's is.
pub(super) fn offset(error: &dyn Diagnostic) -> Option<usize> {
    Some(error.labels()?.next()?.offset())
}

pub(super) fn help(error: &dyn Diagnostic) -> Option<String> {
    error.help().map(|help| one_line(&help.to_string()))
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Loaded {
    fn add(&mut self, files: &[File<'_>], mut rule: LoadedRule, ids: &mut HashMap<String, Place>) {
        let at = |name: &str| annotation_offset(rule.text(files), name);
        if let Some(question) = &rule.approval {
            if rule.is_permit() {
                self.errors.push(PolicyProblem {
                    help: Some("write a `forbid` with it beside the `permit`".to_owned()),
                    ..rule.problem(files, at("approval"), PolicyFault::ApprovalOnPermit)
                });
                rule.approval = None;
            } else if question.trim().is_empty() {
                self.errors.push(PolicyProblem {
                    help: Some("write `@approval(\"…?\")`".to_owned()),
                    ..rule.problem(files, at("approval"), PolicyFault::NoQuestion)
                });
            }
        }
        if let Some(id) = rule.policy.annotation("id")
            && let Some(place) = rule.place(files, annotation_offset(rule.text(files), "id"))
        {
            if let Some(first) = ids.get(id) {
                let fault = PolicyFault::DuplicateId { id: id.to_owned(), first: first.clone() };
                self.errors.push(PolicyProblem { place: Some(place), fault, help: None });
            } else {
                ids.insert(id.to_owned(), place);
            }
        }
        self.warnings.extend(unknown_annotations(files, &rule));
        self.rules.push(rule);
    }
}

fn unknown_annotations(files: &[File<'_>], rule: &LoadedRule) -> Vec<PolicyProblem> {
    const KNOWN: [&str; 3] = ["approval", "id", "reason"];
    let unknown = rule.policy.annotations().map(|(name, _)| name).filter(|name| !KNOWN.contains(name));
    unknown
        .map(|name| PolicyProblem {
            help: did_you_mean(name, KNOWN).map(|known| format!("did you mean `@{known}`?")),
            ..rule.problem(
                files,
                annotation_offset(rule.text(files), name),
                PolicyFault::UnknownAnnotation { name: name.to_owned() },
            )
        })
        .collect()
}

fn annotation_offset(text: &str, name: &str) -> usize {
    let tokens = tokens(text);
    let found = tokens.windows(2).find(|pair| match pair {
        [at, word] => at.kind == TokenKind::Sign('@') && text.get(word.range.clone()) == Some(name),
        _ => false,
    });
    found.and_then(|pair| pair.first()).map_or(0, |at| at.range.start)
}

/// The name that was probably meant.
pub(super) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Long names from a schema are not worth a quadratic comparison.
    let near = known.into_iter().filter(|known| known.len() <= 64 && written.len() <= 64);
    near.map(|known| (strsim::damerau_levenshtein(written, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.chars().count() / 4)
        .min()
        .map(|(_, known)| known)
}
