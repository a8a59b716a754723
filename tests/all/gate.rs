//! The Gate: each step where it alone says no, people who answer, and code that would break it.

mod approvals;
mod hostile;
mod steps;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use casemate::{Action, Answer, ApprovalRequest, Decision, Gate, Policy, Query, Rule, Tool, Verdict};
use serde_json::json;

use crate::support::{granted, toolset, try_tool};

/// Rules written in Rust: `amount` up to 100 is allowed, up to 1,000 asked about, more denied.
struct Amounts {
    version: String,
    asks_from: i64,
}

impl Amounts {
    fn new(version: &str) -> Self {
        Self { version: version.to_owned(), asks_from: 101 }
    }
}

impl Policy for Amounts {
    fn version(&self) -> &str {
        &self.version
    }

    fn decide(&self, query: &Query<'_>) -> Decision {
        let rule = |id: &str| vec![Rule { id: id.to_owned(), file: "amounts".to_owned(), line: 1 }];
        let Action::Call { tool, input } = query.action else { panic!("only tools are called here") };
        match input["amount"].as_i64() {
            Some(amount) if amount < self.asks_from => Decision { verdict: Verdict::Allow, rules: rule("small") },
            Some(amount) if amount <= 1_000 => {
                let verdict = Verdict::Ask { question: format!("{} {amount}?", tool.name) };
                Decision { verdict, rules: rule("middle") }
            }
            _ => {
                let verdict = Verdict::Deny { reason: "that is too much".to_owned(), remedy: None };
                Decision { verdict, rules: rule("large") }
            }
        }
    }
}

/// Calls `refund` with that amount, granted, through `gate`.
fn refund(gate: &Gate, tool: &Tool, amount: i64) -> casemate::Call {
    try_tool("refund", &json!({"amount": amount}))
        .tools(toolset([tool.clone()]))
        .grants(granted(&["refund"]))
        .gate(gate)
}

fn calls(count: &AtomicUsize) -> usize {
    count.load(Ordering::SeqCst)
}

/// An approver that always gives this answer, and keeps what it was asked.
fn always(
    answer: Answer,
) -> (impl Fn(ApprovalRequest) -> std::future::Ready<Answer>, Arc<Mutex<Vec<ApprovalRequest>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    let approver = move |request| {
        kept.lock().unwrap().push(request);
        std::future::ready(answer.clone())
    };
    (approver, asked)
}
