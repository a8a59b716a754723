//! What a whole tree of calls may use: counted once for all sandboxes in it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::effect::Outcome;
use crate::json::text_len;
use crate::limits::{LimitExceeded, LimitKind};

/// How much a call and everything that it calls may do through tools, together.
///
/// ```
/// use casemate::Budget;
///
/// let budget = Budget::default().calls(100).calls_of("refund", 1).bytes_out(1 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Budget {
    calls: u64,
    calls_of: BTreeMap<String, u64>,
    bytes_in: u64,
    bytes_out: u64,
    questions: u64,
    requests: u64,
    depth: u32,
    fan_out: u32,
}

/// 10,000 calls, 256 MiB in and 256 MiB out, 100 questions, 10,000 HTTP requests, 8 levels, 256 calls at once.
impl Default for Budget {
    fn default() -> Self {
        Self {
            calls: 10_000,
            calls_of: BTreeMap::new(),
            bytes_in: 256 << 20,
            bytes_out: 256 << 20,
            questions: 100,
            requests: 10_000,
            depth: 8,
            fan_out: 256,
        }
    }
}

impl Budget {
    /// The deepest that a tree of calls can be: sandboxes of each level have places of their own.
    pub const DEEPEST: u32 = 32;

    /// Calls of tools in all; default 10,000.
    pub fn calls(mut self, count: u64) -> Self {
        self.calls = count;
        self
    }

    /// Calls of the tool with that own name; by default only all calls together are limited.
    pub fn calls_of(mut self, tool: impl Into<String>, count: u64) -> Self {
        self.calls_of.insert(tool.into(), count);
        self
    }

    /// Bytes of all inputs, as JSON text, of calls that are denied too; default 256 MiB.
    pub fn bytes_in(mut self, bytes: u64) -> Self {
        self.bytes_in = bytes;
        self
    }

    /// Bytes of all results, as JSON text; default 256 MiB. The result that goes beyond is withheld.
    pub fn bytes_out(mut self, bytes: u64) -> Self {
        self.bytes_out = bytes;
        self
    }

    /// How often people are asked; default 100.
    pub fn questions(mut self, count: u64) -> Self {
        self.questions = count;
        self
    }

    /// HTTP requests, of all sandboxes and tools, those that are denied too; default 10,000.
    pub fn requests(mut self, count: u64) -> Self {
        self.requests = count;
        self
    }

    /// How deep tools may call tools, at most [`DEEPEST`](Self::DEEPEST); default 8. With 0 nothing can be called.
    pub fn depth(mut self, levels: u32) -> Self {
        self.depth = levels.min(Self::DEEPEST);
        self
    }

    /// How many calls a guest may ask for at once; default 256.
    pub fn fan_out(mut self, calls: u32) -> Self {
        self.fan_out = calls;
        self
    }

    pub(crate) fn max_fan_out(&self) -> u32 {
        self.fan_out
    }
}

/// A budget, and what was spent of it.
#[derive(Debug, Default)]
pub(crate) struct Account {
    budget: Budget,
    calls: AtomicU64,
    /// For each tool of `budget.calls_of`.
    calls_of: BTreeMap<String, AtomicU64>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    questions: AtomicU64,
    #[cfg(feature = "http")]
    requests: AtomicU64,
}

impl Account {
    pub(crate) fn new(budget: Budget) -> Self {
        let calls_of = budget.calls_of.keys().map(|tool| (tool.clone(), AtomicU64::new(0))).collect();
        Self { budget, calls_of, ..Self::default() }
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Calls admitted so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Whether another call of that tool would be within the budget now.
    pub(crate) fn check_call(&self, tool: &str) -> Result<(), LimitExceeded> {
        within(LimitKind::Calls, &self.calls, 1, self.budget.calls)?;
        if let Some((spent, max)) = self.calls_of.get(tool).zip(self.budget.calls_of.get(tool)) {
            within(LimitKind::Calls, spent, 1, *max)?;
        }
        Ok(())
    }

    /// Spends a call of that tool; others may have spent since [`check_call`](Self::check_call).
    pub(crate) fn spend_call(&self, tool: &str) -> Result<(), LimitExceeded> {
        take(LimitKind::Calls, &self.calls, 1, self.budget.calls)?;
        if let Some((spent, max)) = self.calls_of.get(tool).zip(self.budget.calls_of.get(tool)) {
            take(LimitKind::Calls, spent, 1, *max)?;
        }
        Ok(())
    }

    /// Spends an HTTP request, whatever becomes of it.
    #[cfg(feature = "http")]
    pub(crate) fn spend_request(&self) -> Result<(), LimitExceeded> {
        take(LimitKind::Requests, &self.requests, 1, self.budget.requests)
    }

    /// Spends the bytes of an input, whatever becomes of it.
    pub(crate) fn spend_input(&self, bytes: u64) -> Result<(), LimitExceeded> {
        take(LimitKind::BytesIn, &self.bytes_in, bytes, self.budget.bytes_in)
    }

    /// Spends a question to a person.
    pub(crate) fn spend_question(&self) -> Result<(), LimitExceeded> {
        take(LimitKind::Questions, &self.questions, 1, self.budget.questions)
    }

    /// Spends the bytes of a result.
    pub(crate) fn spend_result(&self, bytes: u64) -> Result<(), LimitExceeded> {
        take(LimitKind::BytesOut, &self.bytes_out, bytes, self.budget.bytes_out)
    }

    /// Counts a call that was made before and is not made again, as far as it was spent then.
    pub(crate) fn repeat_call(&self, tool: &str, input: &Value, outcome: &Outcome) {
        let spent = |counter: &AtomicU64, amount: u64| counter.fetch_add(amount, Ordering::Relaxed);
        spent(&self.bytes_in, text_len(input));
        if let Outcome::Denied(_) | Outcome::NotFound(_) = outcome {
            return;
        }
        spent(&self.calls, 1);
        if let Some(counter) = self.calls_of.get(tool) {
            spent(counter, 1);
        }
        if let Outcome::Result(value) = outcome {
            spent(&self.bytes_out, text_len(value));
        }
    }

    /// Whether a call from that depth, the outermost being 0, is not too deep.
    pub(crate) fn check_depth(&self, depth: u32) -> Result<(), LimitExceeded> {
        let (used, max) = (u64::from(depth) + 1, u64::from(self.budget.depth));
        if used > max { Err(LimitExceeded::new(LimitKind::Depth, used, max)) } else { Ok(()) }
    }
}

fn within(kind: LimitKind, spent: &AtomicU64, more: u64, max: u64) -> Result<(), LimitExceeded> {
    let used = spent.load(Ordering::Relaxed).saturating_add(more);
    if used > max { Err(LimitExceeded::new(kind, used, max)) } else { Ok(()) }
}

fn take(kind: LimitKind, spent: &AtomicU64, more: u64, max: u64) -> Result<(), LimitExceeded> {
    let fits = |spent: u64| spent.checked_add(more).filter(|used| *used <= max);
    match spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
        Ok(_) => Ok(()),
        Err(spent) => Err(LimitExceeded::new(kind, spent.saturating_add(more), max)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_budget_runs_out_by_itself() {
        let budget = Budget::default().calls(3).calls_of("refund", 1).bytes_in(100).bytes_out(10).questions(1);
        let account = Account::new(budget);
        assert_eq!(account.spend_call("refund"), Ok(()));
        assert_eq!(account.check_call("refund"), Err(LimitExceeded::new(LimitKind::Calls, 2, 1)));
        assert_eq!(account.spend_call("lookup"), Ok(()));
        assert_eq!(account.spend_call("lookup"), Ok(()));
        assert_eq!(account.spend_call("lookup"), Err(LimitExceeded::new(LimitKind::Calls, 4, 3)));
        assert_eq!(account.spend_input(100), Ok(()));
        assert_eq!(account.spend_input(1), Err(LimitExceeded::new(LimitKind::BytesIn, 101, 100)));
        assert_eq!(account.spend_question(), Ok(()));
        assert_eq!(account.spend_question(), Err(LimitExceeded::new(LimitKind::Questions, 2, 1)));
        assert_eq!(account.spend_result(10), Ok(()));
        assert_eq!(account.spend_result(1), Err(LimitExceeded::new(LimitKind::BytesOut, 11, 10)));
        assert_eq!(account.calls(), 3);
    }

    #[test]
    fn a_tree_ends_at_its_depth() {
        let account = Account::new(Budget::default().depth(2));
        assert_eq!(account.check_depth(1), Ok(()));
        assert_eq!(account.check_depth(2), Err(LimitExceeded::new(LimitKind::Depth, 3, 2)));
    }
}
