//! What a whole tree of calls may use: counted once for all sandboxes in it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use casemate_host_bindings::TokenUsage;

use crate::event::{EventKind, Subject};
use crate::json::text_len;
use crate::limits::{LimitExceeded, LimitKind};

/// How much a call and everything that it calls may do through tools and models, together.
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
    chats: u64,
    tokens: u64,
    cost: u64,
    depth: u32,
    fan_out: u32,
}

/// 10,000 calls, 256 MiB in and 256 MiB out, 100 questions, 10,000 HTTP requests, 1,000 chats of 10 million tokens and
/// 10 US dollars in all, 8 levels, 256 calls at once.
impl Default for Budget {
    fn default() -> Self {
        Self {
            calls: 10_000,
            calls_of: BTreeMap::new(),
            bytes_in: 256 << 20,
            bytes_out: 256 << 20,
            questions: 100,
            requests: 10_000,
            chats: 1_000,
            tokens: 10_000_000,
            cost: 10_000_000,
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

    /// How often models may be asked; default 1,000.
    pub fn chats(mut self, count: u64) -> Self {
        self.chats = count;
        self
    }

    /// Tokens of models, of conversations and answers together, as the models count them; default 10 million.
    ///
    /// What a chat takes is known when it has ended. So the last one may go beyond, with all that were under way at
    /// its time; the next is refused.
    pub fn tokens(mut self, count: u64) -> Self {
        self.tokens = count;
        self
    }

    /// What models may cost, in millionths of a US dollar, as far as they say; default 10 dollars. The last chat may go
    /// beyond, as with [`tokens`](Self::tokens).
    pub fn cost(mut self, micro_dollars: u64) -> Self {
        self.cost = micro_dollars;
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

    /// What an agent is told of it: chats, tokens, and cost in millionths of a US dollar.
    pub(crate) fn told(&self) -> (u32, u64, u64) {
        (u32::try_from(self.chats).unwrap_or(u32::MAX), self.tokens, self.cost)
    }

    pub(crate) fn max_fan_out(&self) -> u32 {
        self.fan_out
    }
}

/// What a run spent of its budget before, by what is recorded of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spent {
    calls: u64,
    calls_of: BTreeMap<String, u64>,
    bytes_in: u64,
    bytes_out: u64,
    questions: u64,
    #[cfg(feature = "http")]
    requests: u64,
    chats: u64,
    tokens: TokenUsage,
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
    chats: AtomicU64,
    tokens: AtomicU64,
    cost: AtomicU64,
}

impl Account {
    pub(crate) fn new(budget: Budget) -> Self {
        let calls_of = budget.calls_of.keys().map(|tool| (tool.clone(), AtomicU64::new(0))).collect();
        Self { budget, calls_of, ..Self::default() }
    }

    /// One of which that much was spent before.
    pub(crate) fn having_spent(budget: Budget, spent: &Spent) -> Self {
        let account = Self::new(budget);
        add(&account.calls, spent.calls);
        for (tool, counter) in &account.calls_of {
            add(counter, spent.calls_of.get(tool).copied().unwrap_or_default());
        }
        add(&account.bytes_in, spent.bytes_in);
        add(&account.bytes_out, spent.bytes_out);
        add(&account.questions, spent.questions);
        #[cfg(feature = "http")]
        add(&account.requests, spent.requests);
        add(&account.chats, spent.chats);
        account.spend_tokens(&spent.tokens);
        account
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

    /// Whether another chat would be within the budget now: of what it takes only that there is something left.
    pub(crate) fn check_chat(&self) -> Result<(), LimitExceeded> {
        within(LimitKind::Chats, &self.chats, 1, self.budget.chats)?;
        left(LimitKind::Tokens, &self.tokens, self.budget.tokens)?;
        left(LimitKind::Cost, &self.cost, self.budget.cost)
    }

    /// Spends a chat; others may have spent since [`check_chat`](Self::check_chat).
    pub(crate) fn spend_chat(&self) -> Result<(), LimitExceeded> {
        left(LimitKind::Tokens, &self.tokens, self.budget.tokens)?;
        left(LimitKind::Cost, &self.cost, self.budget.cost)?;
        take(LimitKind::Chats, &self.chats, 1, self.budget.chats)
    }

    /// Spends what a chat took, even where that is more than was left.
    pub(crate) fn spend_tokens(&self, usage: &TokenUsage) {
        add(&self.tokens, usage.input_tokens.saturating_add(usage.output_tokens));
        add(&self.cost, usage.cost.unwrap_or_default());
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

    /// Whether a call from that depth, the outermost being 0, is not too deep.
    pub(crate) fn check_depth(&self, depth: u32) -> Result<(), LimitExceeded> {
        let (used, max) = (u64::from(depth) + 1, u64::from(self.budget.depth));
        if used > max { Err(LimitExceeded::new(LimitKind::Depth, used, max)) } else { Ok(()) }
    }
}

impl Spent {
    /// Counts what an entry says. Arguments count as they are shown.
    pub(crate) fn count(&mut self, kind: &EventKind) {
        match kind {
            EventKind::ToolCall { tool, input, .. } => {
                self.calls += 1;
                *self.calls_of.entry(tool.clone()).or_default() += 1;
                self.bytes_in = self.bytes_in.saturating_add(text_len(input));
            }
            EventKind::ToolResult { output, .. } => {
                self.bytes_out = self.bytes_out.saturating_add(text_len(output));
            }
            EventKind::Denied { subject: Subject::Tool(_), input, .. } => {
                self.bytes_in = self.bytes_in.saturating_add(text_len(input));
            }
            EventKind::ApprovalRequired { .. } => self.questions += 1,
            #[cfg(feature = "http")]
            EventKind::Fetch { .. } | EventKind::Denied { subject: Subject::Host(_), .. } => self.requests += 1,
            EventKind::Chat { .. } => self.chats += 1,
            EventKind::ChatResult { usage, .. } => {
                let tokens = &mut self.tokens;
                tokens.input_tokens = tokens.input_tokens.saturating_add(usage.input_tokens);
                tokens.output_tokens = tokens.output_tokens.saturating_add(usage.output_tokens);
                tokens.cost = Some(tokens.cost.unwrap_or_default().saturating_add(usage.cost.unwrap_or_default()));
            }
            _ => {}
        }
    }
}

fn within(kind: LimitKind, spent: &AtomicU64, more: u64, max: u64) -> Result<(), LimitExceeded> {
    let used = spent.load(Ordering::Relaxed).saturating_add(more);
    if used > max { Err(LimitExceeded::new(kind, used, max)) } else { Ok(()) }
}

fn left(kind: LimitKind, spent: &AtomicU64, max: u64) -> Result<(), LimitExceeded> {
    let used = spent.load(Ordering::Relaxed);
    if used >= max { Err(LimitExceeded::new(kind, used, max)) } else { Ok(()) }
}

fn add(spent: &AtomicU64, more: u64) {
    spent.update(Ordering::Relaxed, Ordering::Relaxed, |spent| spent.saturating_add(more));
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
    fn the_last_chat_may_go_beyond() {
        let account = Account::new(Budget::default().chats(3).tokens(10).cost(5));
        let took = |input_tokens, cost| TokenUsage { input_tokens, output_tokens: 1, cost, ..TokenUsage::default() };
        assert_eq!((account.check_chat(), account.spend_chat()), (Ok(()), Ok(())));
        account.spend_tokens(&took(8, None));
        assert_eq!(account.spend_chat(), Ok(()));
        account.spend_tokens(&took(50, Some(4)));
        assert_eq!(account.check_chat(), Err(LimitExceeded::new(LimitKind::Tokens, 60, 10)));
        assert_eq!(account.spend_chat(), account.check_chat());
        let account = Account::new(Budget::default().chats(2).cost(5));
        assert_eq!(account.spend_chat(), Ok(()));
        account.spend_tokens(&took(u64::MAX, Some(5)));
        assert_eq!(account.check_chat(), Err(LimitExceeded::new(LimitKind::Tokens, u64::MAX, 10_000_000)));
        let account = Account::new(Budget::default().chats(1).tokens(u64::MAX));
        assert_eq!(account.spend_chat(), Ok(()));
        assert_eq!(account.check_chat(), Err(LimitExceeded::new(LimitKind::Chats, 2, 1)));
        account.spend_tokens(&took(1, Some(10_000_000)));
        assert_eq!(account.spend_chat(), Err(LimitExceeded::new(LimitKind::Cost, 10_000_000, 10_000_000)));
    }

    #[test]
    fn what_is_recorded_is_spent() {
        let event = |value| serde_json::from_value::<EventKind>(value).unwrap();
        let call = serde_json::json!({"type": "tool_call", "data": {
            "id": 1, "tool": "refund", "source": "closure", "input": {"a": 1}, "principal": "", "depth": 2,
            "policy": null, "rules": [],
        }});
        let result = serde_json::json!({"type": "tool_result", "data": {
            "id": 1, "tool": "refund", "output": "done", "duration_us": 1,
        }});
        let mut spent = Spent::default();
        for value in [call, result] {
            spent.count(&event(value));
        }
        let budget = Budget::default().calls_of("refund", 1).bytes_in(7).bytes_out(6);
        let account = Account::having_spent(budget, &spent);
        assert_eq!(account.calls(), 1);
        assert_eq!(account.check_call("refund"), Err(LimitExceeded::new(LimitKind::Calls, 2, 1)));
        assert_eq!(account.spend_input(1), Err(LimitExceeded::new(LimitKind::BytesIn, 8, 7)));
        assert_eq!(account.spend_result(1), Err(LimitExceeded::new(LimitKind::BytesOut, 7, 6)));
    }

    #[test]
    fn a_tree_ends_at_its_depth() {
        let account = Account::new(Budget::default().depth(2));
        assert_eq!(account.check_depth(1), Ok(()));
        assert_eq!(account.check_depth(2), Err(LimitExceeded::new(LimitKind::Depth, 3, 2)));
    }
}
