//! A Gate before tools that do nothing.

use casemate::{Call, CedarPolicy, Component, Gate, Grants, PolicySource, Subscription, Tool, Toolset};
use serde_json::json;

use crate::Result;

/// The tool that is called, of however many there are.
pub(crate) const CALLED: &str = "refund-0";
pub(crate) const INPUT: &str = r#"{"order":"A-1","amount":5}"#;

/// Events that a watcher may leave untaken; a sample has fewer.
pub(crate) const QUEUE: usize = 1_000;

/// Tools, all of which are granted, and what decides about them.
pub(crate) struct Setting {
    pub(crate) gate: Gate,
    pub(crate) tools: Toolset,
    grants: Grants,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[expect(dead_code, reason = "read for what reading costs")]
pub(crate) struct Refund {
    order: String,
    amount: u32,
}

impl Setting {
    /// So many tools, and no rules.
    pub(crate) fn granted(tools: u32) -> Result<Self> {
        let (mut all, mut grants) = (Toolset::new(), Grants::none());
        for name in (0..tools).map(|number| format!("refund-{number}")) {
            all = all.with(Tool::new(&name, async |_: Refund| Ok::<(), String>(())))?;
            grants = grants.tool(&name)?;
        }
        Ok(Self { gate: Gate::default(), tools: all, grants })
    }

    /// So many tools, and ten rules about each.
    pub(crate) fn ruled(tools: u32) -> Result<Self> {
        let granted = Self::granted(tools)?;
        let gate = Gate::builder().policy(ten_rules_each(&granted.tools)?).build();
        Ok(Self { gate, ..granted })
    }

    /// A call of the caller, which calls the tool so many times, one by one.
    pub(crate) fn call(&self, caller: &Component, count: u32) -> Call {
        let call = caller.call("call-many-in-a-row", json!({"name": CALLED, "input": INPUT, "count": count}));
        call.tools(self.tools.clone()).grants(self.grants.clone()).gate(&self.gate)
    }
}

/// A rule that permits, and nine that might have forbidden.
pub(crate) fn ten_rules_each(tools: &Toolset) -> Result<CedarPolicy> {
    let rule = |effect: &str, tool: &str, condition: &str| {
        format!("{effect}(principal, action == Action::\"call:{tool}\", resource) when {{ {condition} }};\n")
    };
    let ten = |tool: &str| {
        let forbid = |number: u32| {
            let condition = format!("context.input.amount > {number}00 || context.input.order like \"B-{number}*\"");
            rule("forbid", tool, &condition)
        };
        rule("permit", tool, "context.input.amount <= 1000") + &(1..10).map(forbid).collect::<String>()
    };
    let text: String = tools.names().map(ten).collect();
    Ok(CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text: &text }], &tools.facts())?)
}

/// Takes what a watcher was told meanwhile.
pub(crate) fn take_all(watcher: &mut Subscription) -> Result<()> {
    while let Some(event) = watcher.try_next() {
        event?;
    }
    Ok(())
}
