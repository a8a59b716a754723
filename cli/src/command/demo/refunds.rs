//! An agent with tools: what it was granted, what a rule denies it, and what a person is asked about.

use std::path::Path;

use anyhow::Context as _;
use casemate::{
    Access, CallError, CedarPolicy, Component, Engine, EventKind, Folder, Gate, Grants, PolicySource, Rule, Tool,
    Toolset,
};
use serde_json::{Value, json};

use crate::approval::Person;
use crate::render::{self, BAD, DIM, GOOD, styled};

const RULES: PolicySource<'_> = PolicySource { name: "refunds.cedar", text: include_str!("refunds.cedar") };

/// More events than this part has.
const MAX_EVENTS: usize = 1_000;

/// Shows it; whether all became of it that should.
pub(super) async fn show(engine: &Engine, folder: &Path) -> anyhow::Result<bool> {
    let person = Person::at_terminal();
    if person.is_none() {
        anstream::println!("   {}", styled(DIM, "(there is no terminal to ask at, so the answer to questions is no)"));
    }
    let agent = Agent::new(engine, folder, person.unwrap_or(Person::SaysNo)).await?;
    let mut events = agent.gate.subscribe(MAX_EVENTS);
    let small = agent.refund("refund   5.00", "A-17", 500).await;
    let huge = agent.refund("refund 500.00", "A-17", 50_000).await;
    let large = agent.refund("refund  50.00", "B-3", 5_000).await;

    let ledger = std::fs::read_to_string(folder.join("refunds.log"))?;
    let lines: Vec<_> = ledger.lines().collect();
    anstream::println!("   on disk there is now: {}", lines.join(", "));
    anstream::println!("   what passed the Gate:");
    while let Some(event) = events.try_next() {
        let event = event?;
        anstream::println!("     {:>2} {}", event.sequence, render::plain(&line(&event.kind)));
    }
    let expected = 1 + usize::from(large.is_ok());
    Ok(small.is_ok() && matches!(huge, Err(CallError::Denied(_))) && lines.len() == expected)
}

/// A component that calls tools, and everything that it is given.
struct Agent {
    component: Component,
    tools: Toolset,
    /// What it and its tools reach together, and what it reaches itself.
    grants: (Grants, Grants),
    gate: Gate,
}

impl Agent {
    async fn new(engine: &Engine, folder: &Path, person: Person) -> anyhow::Result<Self> {
        let ledger = engine.load_bytes(casemate_guests::LEDGER).await?;
        let own = Grants::none().folder(Folder::new(folder, "/ledger", Access::ReadWrite)?)?;
        let lookup = Tool::from(ledger.tool("lookup")?);
        let refund = Tool::from(ledger.tool("refund")?.grants(own.clone()));
        let policy = CedarPolicy::compile(&[RULES], &[lookup.facts().clone(), refund.facts().clone()])
            .context("in the rules of the demo")?;
        Ok(Self {
            component: engine.load_bytes(casemate_guests::CALLER).await?,
            tools: Toolset::new().with(lookup)?.with(refund)?,
            grants: (own.tool("lookup")?.tool("refund")?, Grants::none().tool("lookup")?.tool("refund")?),
            gate: Gate::builder().policy(policy).approver(person).build(),
        })
    }

    /// Has it look an order up and refund it.
    async fn refund(&self, says: &str, order: &str, cents: u32) -> Result<Value, CallError> {
        let (together, itself) = self.grants.clone();
        let call = self.component.call("flow", json!({"order": order, "amount": cents}));
        let result = call.tools(self.tools.clone()).grants(together).narrowed_to(itself).gate(&self.gate).await;
        let (mark, how) = match &result {
            Ok(receipt) => (styled(GOOD, "done"), receipt.as_str().unwrap_or_default().to_owned()),
            Err(CallError::Denied(denied)) => {
                let reasons = denied.refused.iter().filter_map(|refused| refused.reason.clone());
                (styled(GOOD, "denied"), reasons.collect::<Vec<_>>().join("; "))
            }
            Err(error) => (styled(BAD, "FAILED"), error.to_string()),
        };
        anstream::println!("   {says:<28} {mark}  {}", render::plain(&how));
        result
    }
}

/// An event in a line.
fn line(kind: &EventKind) -> String {
    match kind {
        EventKind::ToolCall { tool, input, .. } => format!("call      {tool} {input}"),
        EventKind::Denied { subject, input, rules, .. } => format!("denied    {} {input}{}", subject.name(), by(rules)),
        EventKind::ApprovalRequired { subject, input, rules, .. } => {
            format!("asks      {} {input}{}", subject.name(), by(rules))
        }
        EventKind::Approved { subject, .. } => format!("approved  {}", subject.name()),
        EventKind::Rejected { subject, reason, .. } => format!("rejected  {}: {reason}", subject.name()),
        EventKind::ToolResult { tool, output, .. } => format!("result    {tool} {output}"),
        EventKind::Error { subject, message, .. } => format!("error     {}: {message}", subject.name()),
        other => format!("{other:?}"),
    }
}

fn by(rules: &[Rule]) -> String {
    let rules: Vec<_> = rules.iter().map(render::rule).collect();
    if rules.is_empty() { String::new() } else { format!(" by {}", rules.join(", ")) }
}
