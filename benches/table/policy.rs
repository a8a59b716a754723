//! What do a thousand rules about a hundred tools cost, beside ten about one?
//!
//! Here both columns are ours: the thousand rules are `casemate`, and the ten are `bare`.

use std::time::{Duration, Instant, SystemTime};

use casemate::{Action, CedarPolicy, Policy as _, Principal, Query, Verdict};
use serde_json::Value;

use crate::Result;
use crate::effect::BY_NAME;
use crate::gate::{CALLED, INPUT, Setting, ten_rules_each};
use crate::guests::Guests;
use crate::table::{Goal, Table};

const GOAL: Goal = Goal::Times(3.0);

/// Decisions a sample.
const DECISIONS: u32 = 100;

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    if table.wants("policy/decision") {
        decision(table).await?;
    }
    if table.wants("policy/effect") {
        let caller = &guests.caller().await?.ours;
        let (many, few) = (Setting::ruled(100)?, Setting::ruled(1)?);
        let of = async |setting: &Setting| BY_NAME.ours(setting.call(caller, 0)).await;
        table.compare("policy/effect", GOAL, async || of(&many).await, async || of(&few).await).await?;
    }
    Ok(())
}

async fn decision(table: &Table) -> Result<()> {
    let (tools, tool) = (Setting::granted(100)?.tools, Setting::granted(1)?.tools);
    let (many, few) = (ten_rules_each(&tools)?, ten_rules_each(&tool)?);
    let called = tool.get(CALLED).ok_or("there is no tool")?.identity();
    let input: Value = serde_json::from_str(INPUT)?;
    let principal = Principal::default();
    let query = Query {
        principal: &principal,
        action: Action::Call { tool: called, input: &input },
        time: SystemTime::now(),
        depth: 1,
        calls: 0,
    };
    table.compare("policy/decision", GOAL, async || decisions(&many, &query), async || decisions(&few, &query)).await
}

fn decisions(policy: &CedarPolicy, query: &Query<'_>) -> Result<Duration> {
    let started = Instant::now();
    for _ in 0..DECISIONS {
        if policy.decide(query).verdict != Verdict::Allow {
            return Err("it was not allowed".into());
        }
    }
    Ok(started.elapsed() / DECISIONS)
}
