//! What the paths in rules lead to, and what to say where they lead nowhere.

use super::names::{Path, Root, step_name};
use super::problem::{PolicyFault, PolicyProblem};
use super::rules::did_you_mean;
use super::shape::{Fields, Hidden, Shape};
use super::subject::Subject;

/// What a path leads to.
pub(super) enum Found<'a> {
    /// A value; of no one type for the request itself, which is then given by its attributes.
    Value(Option<&'a Shape>, &'a Fields),
    /// The principal or the action as a whole, or what is known of no tool beforehand.
    Nothing,
    /// A part that rules cannot see, after so many steps.
    Hidden { why: &'a Hidden, length: usize },
    /// Nothing, from the step of that number on.
    Unknown { siblings: &'a Fields, length: usize },
}

static NO_FIELDS: Fields = Fields::new();

impl Subject {
    pub(super) fn look_up(&self, path: &Path) -> Found<'_> {
        match path.root {
            Root::Context => look_up(&self.context, &path.steps),
            Root::Resource => look_up(self.attributes(), &path.steps),
            Root::Principal | Root::Action if path.steps.is_empty() => Found::Nothing,
            Root::Principal | Root::Action => Found::Unknown { siblings: &NO_FIELDS, length: 1 },
        }
    }
}

fn look_up<'a>(fields: &'a Fields, steps: &[String]) -> Found<'a> {
    let mut found = Found::Value(None, fields);
    for (index, step) in steps.iter().enumerate() {
        let Found::Value(_, fields) = found else { return found };
        let length = index + 1;
        found = match fields.get(step).map(|field| &field.shape) {
            None => return Found::Unknown { siblings: fields, length },
            Some(Err(why)) => return Found::Hidden { why, length },
            Some(Ok(shape @ Shape::Record(fields))) => Found::Value(Some(shape), fields),
            Some(Ok(shape)) => Found::Value(Some(shape), &NO_FIELDS),
        };
    }
    found
}

/// One path, looked up in several subjects.
pub(super) struct Lookups<'a> {
    path: &'a Path,
    found: Vec<(&'a Subject, Found<'a>)>,
}

impl<'a> Lookups<'a> {
    /// Of any tool nothing is known but what all have in common.
    pub(super) fn new(
        path: &'a Path,
        subjects: impl IntoIterator<Item = &'a Subject>,
        any_tool: Option<&'a Subject>,
    ) -> Self {
        let any_tool = any_tool.map(|tool| match tool.look_up(path) {
            Found::Hidden { .. } => (tool, Found::Nothing),
            found => (tool, found),
        });
        let found = subjects.into_iter().map(|subject| (subject, subject.look_up(path)));
        Self { path, found: any_tool.into_iter().chain(found).collect() }
    }

    pub(super) fn any(&self, is: impl Fn(&Found<'a>) -> bool) -> bool {
        self.found.iter().any(|(_, found)| is(found))
    }

    /// Those that have it.
    fn having(&self) -> impl Iterator<Item = &'a Subject> {
        let having = |found: &Found<'_>| matches!(found, Found::Value(..) | Found::Nothing);
        self.found.iter().filter(move |(_, found)| having(found)).map(|(subject, _)| *subject)
    }

    /// The first that hides it.
    pub(super) fn hidden(&self) -> Option<PolicyProblem> {
        self.found.iter().find_map(|(subject, found)| match found {
            Found::Hidden { why, length } => Some(problem(hidden(&self.path.cut(*length), subject, why), None)),
            _ => None,
        })
    }

    /// The first part that is hidden in what is used as a whole.
    pub(super) fn hidden_within(&self) -> Option<PolicyProblem> {
        self.found.iter().find_map(|(subject, found)| {
            let Found::Value(_, fields) = found else { return None };
            let (rest, why) = fields.iter().find_map(|(name, field)| {
                let (mut rest, why) = match &field.shape {
                    Err(why) => (Vec::new(), why),
                    Ok(shape) => shape.hidden_part()?,
                };
                rest.insert(0, name);
                Some((rest, why))
            })?;
            let whole = rest.into_iter().fold(self.path.clone(), |path, step| path.join(step));
            let help = format!("`{}` cannot be used as a whole", self.path);
            Some(problem(hidden(&whole, subject, why), Some(help)))
        })
    }

    /// That it is unknown, where that is so for all of them.
    pub(super) fn unknown(&self) -> Option<PolicyProblem> {
        if self.found.is_empty() || self.any(|found| !matches!(found, Found::Unknown { .. })) {
            return None;
        }
        let length = self.unknown_parts().map(|(_, length)| length).max()?;
        let siblings = self.found.iter().filter_map(|(_, found)| match found {
            Found::Unknown { siblings, length: own } if *own == length => Some(siblings.keys().map(String::as_str)),
            _ => None,
        });
        let mut siblings: Vec<_> = siblings.flatten().collect();
        siblings.sort_unstable();
        siblings.dedup();
        let fault = PolicyFault::UnknownAttribute { path: self.path.cut(length).to_string(), tool: None };
        Some(problem(fault, self.meant(length, &siblings)))
    }

    fn meant(&self, length: usize, siblings: &[&str]) -> Option<String> {
        let written = self.path.steps.get(length.checked_sub(1)?)?;
        if self.path.root == Root::Principal {
            return Some(format!("what is known of a principal is in its tags: `principal.hasTag({written:?})`"));
        }
        if self.path.root == Root::Resource && siblings.is_empty() {
            return Some("what is known of a request is in `context`".to_owned());
        }
        if let Some(near) = did_you_mean(written, siblings.iter().copied()) {
            return Some(format!("did you mean `{near}`?"));
        }
        let known: Vec<_> = siblings.iter().take(12).map(|name| format!("`{name}`")).collect();
        if known.is_empty() { None } else { Some(format!("there is {}", known.join(", "))) }
    }

    /// That some lack it; `head` says how the head of a rule is about these alone.
    pub(super) fn partly_unknown(&self, head: impl Fn(&[&Subject]) -> String) -> Option<PolicyProblem> {
        let (lacking, length) = self.unknown_parts().next()?;
        let having: Vec<_> = self.having().collect();
        let is_tool = |subject: &&Subject| subject.identity().is_some();
        if let Some(tool) = lacking.identity().filter(|_| having.iter().any(is_tool)) {
            let path = self.path.cut(length).to_string();
            let least = self.unknown_parts().map(|(_, length)| length).min()?;
            let fault = PolicyFault::UnknownAttribute { path, tool: Some(tool.name.clone()) };
            return Some(problem(fault, self.ask_first(least)));
        }
        // What the others lack may be below what some of them have.
        let length = self.unknown_parts().map(|(_, length)| length).max()?;
        let mut kinds: Vec<_> = having.iter().map(|subject| subject.kind()).collect();
        kinds.dedup();
        let fault = PolicyFault::Only { path: self.path.cut(length).to_string(), having: kinds };
        Some(problem(fault, Some(format!("say in the head what it is about: `{}`", head(&having)))))
    }

    fn ask_first(&self, length: usize) -> Option<String> {
        let parent = self.path.cut(length.checked_sub(1)?);
        let rest: Vec<_> = self.path.steps.get(parent.steps.len()..)?.iter().map(|step| step_name(step)).collect();
        let head = "name in the head the tools that have it";
        // Only one step after `has` may be in quotes.
        Some(if rest.len() > 1 && rest.iter().any(|step| step.starts_with('"')) {
            head.to_owned()
        } else {
            format!("ask first: `{parent} has {} && …`, or {head}", rest.join("."))
        })
    }

    fn unknown_parts(&self) -> impl Iterator<Item = (&'a Subject, usize)> {
        self.found.iter().filter_map(|(subject, found)| match found {
            Found::Unknown { length, .. } => Some((*subject, *length)),
            _ => None,
        })
    }
}

fn problem(fault: PolicyFault, help: Option<String>) -> PolicyProblem {
    PolicyProblem { place: None, fault, help }
}

/// Only inputs of tools have parts that are hidden.
fn hidden(path: &Path, subject: &Subject, why: &Hidden) -> PolicyFault {
    let tool = subject.identity().map(|tool| tool.name.clone()).unwrap_or_default();
    PolicyFault::Hidden { path: path.to_string(), tool, why: why.clone() }
}
