//! Which attributes a rule names.

use std::fmt;
use std::sync::Arc;

use cedar_policy::pst::{Clause, Expr, Template, Var};

use super::text::{Token, TokenKind, tokens};

/// An attribute as a rule writes it: `context.input["user-id"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) root: Root,
    pub(super) steps: Vec<String>,
}

/// What the request consists of. The action has no attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Principal,
    Action,
    Resource,
    Context,
}

impl Path {
    pub(super) fn new<'a>(root: Root, steps: impl IntoIterator<Item = &'a str>) -> Self {
        Self { root, steps: steps.into_iter().map(str::to_owned).collect() }
    }

    pub(super) fn join(&self, step: &str) -> Self {
        let mut longer = self.clone();
        longer.steps.push(step.to_owned());
        longer
    }

    /// The first so many steps.
    pub(super) fn cut(&self, length: usize) -> Self {
        Self { root: self.root, steps: self.steps.iter().take(length).cloned().collect() }
    }

    /// Whether one of the two contains the other.
    pub(super) fn touches(&self, root: Root, steps: &[String]) -> bool {
        self.root == root && self.steps.iter().zip(steps).all(|(one, other)| one == other)
    }

    /// The path that a piece of policy text is, if it is nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let tokens = tokens(text);
        let (first, rest) = tokens.split_first()?;
        let (path, length) = Self::at(text, first, rest)?;
        (length == rest.len()).then_some(path)
    }

    /// The longest path that a piece of policy text begins with.
    pub(super) fn parse_start(text: &str) -> Option<Self> {
        let tokens = tokens(text);
        let (first, rest) = tokens.split_first()?;
        Self::at(text, first, rest).map(|(path, _)| path)
    }

    /// The longest path that begins with `first`, and how many of the tokens after it belong to it.
    fn at(text: &str, first: &Token, rest: &[Token]) -> Option<(Self, usize)> {
        let root = match text.get(first.range.clone())? {
            "principal" => Root::Principal,
            "action" => Root::Action,
            "resource" => Root::Resource,
            "context" => Root::Context,
            _ => return None,
        };
        let mut path = Self::new(root, []);
        let mut length = 0;
        while let Some((step, taken)) = rest.get(length..).and_then(|rest| step(text, rest)) {
            path.steps.push(step);
            length += taken;
        }
        Some((path, length))
    }

    /// Where a rule first writes this path, or one that begins with it.
    pub(super) fn find_in(&self, text: &str) -> Option<usize> {
        let tokens = tokens(text);
        (0..tokens.len()).find_map(|index| {
            let (first, rest) = tokens.get(index..)?.split_first()?;
            let (path, _) = Self::at(text, first, rest)?;
            (path.root == self.root && path.steps.starts_with(&self.steps)).then_some(first.range.start)
        })
    }
}

/// `.name` or `["name"]`.
fn step(text: &str, rest: &[Token]) -> Option<(String, usize)> {
    let word = |token: &Token| text.get(token.range.clone()).map(str::to_owned);
    match rest {
        [dot, name, call, ..]
            if dot.kind == TokenKind::Sign('.')
                && name.kind == TokenKind::Word
                && call.kind == TokenKind::Sign('(') =>
        {
            None
        }
        [dot, name, ..] if dot.kind == TokenKind::Sign('.') && name.kind == TokenKind::Word => Some((word(name)?, 2)),
        [open, name, close, ..]
            if open.kind == TokenKind::Sign('[')
                && name.kind == TokenKind::Quoted
                && close.kind == TokenKind::Sign(']') =>
        {
            Some((unquoted(&word(name)?), 3))
        }
        _ => None,
    }
}

fn unquoted(literal: &str) -> String {
    let body = literal.trim_matches('"');
    // Cedar's escapes for quotes are JSON's; a name with others is found all the same, only not its place.
    serde_json::from_str(literal).unwrap_or_else(|_| body.to_owned())
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.root {
            Root::Principal => "principal",
            Root::Action => "action",
            Root::Resource => "resource",
            Root::Context => "context",
        })?;
        for step in &self.steps {
            if is_identifier(step) {
                write!(f, ".{step}")?;
            } else {
                write!(f, "[{step:?}]")?;
            }
        }
        Ok(())
    }
}

/// As it stands after `has`.
pub(super) fn step_name(step: &str) -> String {
    if is_identifier(step) { step.to_owned() } else { format!("{step:?}") }
}

fn is_identifier(name: &str) -> bool {
    const RESERVED: [&str; 8] = ["true", "false", "if", "then", "else", "in", "like", "has"];
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c == '_' || c.is_ascii_alphabetic())
        && letters.all(|c| c == '_' || c.is_ascii_alphanumeric())
        && !RESERVED.contains(&name)
        && name != "is"
}

/// An attribute, and what a rule does with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) path: Path,
    pub(super) usage: Usage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// Its value counts, and all that is below it.
    Value,
    /// `has`.
    Presence,
}

/// Every attribute that the conditions of a rule name.
///
/// What is taken out of anything but the request, such as `(if … then context.input else …).amount`, counts as a use
/// of the whole.
pub(super) fn named(rule: &Template) -> Vec<Named> {
    let mut found = Vec::new();
    // Not recursive: long chains of `&&` are nested as deeply as they are long.
    let mut open: Vec<&Expr> = rule
        .clauses()
        .iter()
        .map(|clause| match clause {
            Clause::When(condition) | Clause::Unless(condition) => condition.as_ref(),
        })
        .collect();
    while let Some(expression) = open.pop() {
        if let Some(path) = path(expression) {
            found.push(Named { path, usage: Usage::Value });
            continue;
        }
        if let Expr::HasAttr { expr, attrs } = expression
            && let Some(mut path) = path(expr)
        {
            path.steps.extend(attrs.iter().map(ToString::to_string));
            found.push(Named { path, usage: Usage::Presence });
            continue;
        }
        match operands(expression) {
            Some(operands) => open.extend(operands),
            None => found.push(Named { path: Path::new(Root::Context, []), usage: Usage::Value }),
        }
    }
    found
}

fn path(expression: &Expr) -> Option<Path> {
    let mut steps = Vec::new();
    let mut inner = expression;
    while let Expr::GetAttr { expr, attr } = inner {
        steps.push(attr.to_string());
        inner = expr;
    }
    steps.reverse();
    let Expr::Var(variable) = inner else { return None };
    let root = match variable {
        Var::Principal => Root::Principal,
        Var::Action => Root::Action,
        Var::Resource => Root::Resource,
        Var::Context => Root::Context,
    };
    Some(Path { root, steps })
}

/// What an expression is made of; `None` if it is of a kind that Cedar has added since.
fn operands(expression: &Expr) -> Option<Vec<&Expr>> {
    Some(match expression {
        Expr::Literal(_) | Expr::Var(_) | Expr::Slot(_) => Vec::new(),
        Expr::UnaryOp { expr, .. }
        | Expr::GetAttr { expr, .. }
        | Expr::HasAttr { expr, .. }
        | Expr::Like { expr, .. } => vec![expr],
        Expr::BinaryOp { left, right, .. } => vec![left, right],
        Expr::Is { expr, in_expr, .. } => std::iter::once(expr).chain(in_expr).map(Arc::as_ref).collect(),
        Expr::IfThenElse { cond, then_expr, else_expr } => vec![cond, then_expr, else_expr],
        Expr::Set(elements) => elements.iter().map(Arc::as_ref).collect(),
        Expr::Record(fields) => fields.values().map(Arc::as_ref).collect(),
        _ => return None,
    })
}
