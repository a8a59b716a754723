//! What a run was started with, what it takes, and what it may take.

use crate::chat::Usage;
use crate::message::Message;
use std::fmt;

/// What the run was started with. It does not change while the run lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// What tells this run from all others.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// Instructions for the model, if there are any.
    pub system_prompt: Option<String>,
    /// The model to use where nothing else is said; none where the run has no model.
    pub model: Option<String>,
    /// Files of the workspace that are to be read before anything else.
    pub files: Vec<ContextFile>,
    /// The conversation that this one goes on with, oldest first.
    pub history: Vec<Message>,
    /// What it may use.
    pub budget: Budget,
}

/// A file of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextFile {
    /// Where it is, as `/workspace/src/main.rs`.
    pub path: String,
    /// What was in it when the run was created.
    pub text: String,
}

/// What may be used; none where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// How often a model may answer.
    pub turns: Option<u32>,
    /// Tokens, of conversations and answers together.
    pub tokens: Option<u64>,
    /// Cost, in millionths of a US dollar.
    pub cost: Option<u64>,
}

impl Budget {
    /// What of it is used up, the first of turns, tokens and cost; none while something is left of each.
    pub fn used_up_by(&self, spent: &Spent) -> Option<Allowance> {
        let turns = self.turns.is_some_and(|most| spent.turns >= most).then_some(Allowance::Turns);
        let tokens = || self.tokens.is_some_and(|most| spent.tokens >= most).then_some(Allowance::Tokens);
        let cost = || self.cost.is_some_and(|most| spent.cost >= most).then_some(Allowance::Cost);
        turns.or_else(tokens).or_else(cost)
    }

    /// Whether so much may be used, to the last of it.
    pub fn covers(&self, spent: &Spent) -> bool {
        self.turns.is_none_or(|most| spent.turns <= most)
            && self.tokens.is_none_or(|most| spent.tokens <= most)
            && self.cost.is_none_or(|most| spent.cost <= most)
    }
}

/// What a budget is a budget of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// How often a model may answer.
    Turns,
    /// Tokens.
    Tokens,
    /// Cost.
    Cost,
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Turns => "turns",
            Self::Tokens => "tokens",
            Self::Cost => "cost",
        };
        write!(f, "the budget of {what} is used up")
    }
}

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// How often a model answered.
    pub turns: u32,
    /// Tokens, of conversations and answers together.
    pub tokens: u64,
    /// Cost, in millionths of a US dollar; what nobody knows counts as none.
    pub cost: u64,
}

impl Spent {
    /// What one answer took.
    pub fn turn(usage: &Usage) -> Self {
        Self {
            turns: 1,
            tokens: usage.input_tokens.saturating_add(usage.output_tokens),
            cost: usage.cost.unwrap_or_default(),
        }
    }

    /// This and more.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self {
            turns: self.turns.saturating_add(more.turns),
            tokens: self.tokens.saturating_add(more.tokens),
            cost: self.cost.saturating_add(more.cost),
        }
    }
}
