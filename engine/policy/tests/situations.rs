//! Every rule in docs/policy.md is tried with the calls that stand below it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a page that cannot be read is a failed test")]

use std::time::{Duration, SystemTime};

use casemate_policy::{
    Action, Annotations, CedarPolicy, Policy, PolicySource, Principal, PrincipalParent, Query, ToolFacts, ToolIdentity,
    ToolSource, Verdict,
};
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../../docs/policy.md");

/// The tools that the page is about.
fn tools() -> Vec<ToolFacts> {
    let text = json!({"type": "string"});
    let closure = |name: &str, annotations, properties: Value, required: Value| ToolFacts {
        identity: ToolIdentity { name: name.into(), source: ToolSource::Closure },
        annotations,
        input_schema: json!({"type": "object", "properties": properties, "required": required}),
    };
    let reads = Annotations { read_only: true, idempotent: true, destructive: false, open_world: false };
    let writes = Annotations { read_only: false, ..reads };
    let mut tools = vec![
        closure(
            "refund",
            writes,
            json!({"amount": {"type": "number"}, "currency": text, "ticket": {"type": ["string", "null"]}}),
            json!(["amount", "currency"]),
        ),
        closure("send_mail", writes, json!({"to": text, "subject": text}), json!(["to"])),
        closure("read_file", reads, json!({"path": text}), json!(["path"])),
        closure("delete_file", Annotations { destructive: true, ..writes }, json!({"path": text}), json!(["path"])),
    ];
    let mut convert = closure("convert", reads, json!({"from": text}), json!(["from"]));
    convert.identity.source = ToolSource::Export {
        component: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".into(),
        export: "convert".into(),
    };
    tools.push(convert);
    tools
}

/// Who, when and how deep, where a row does not say otherwise: a Wednesday, 10:00 UTC.
struct Circumstances {
    principal: Principal,
    time: SystemTime,
    depth: u32,
    calls: u64,
}

impl Circumstances {
    fn parse(text: &str) -> Self {
        let mut found = Self { principal: Principal::new("agent"), time: at_hour(10), depth: 1, calls: 0 };
        for word in text.split(", ").filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once(' ').unwrap_or_else(|| panic!("`{word}` says nothing"));
            match name {
                "hour" => found.time = at_hour(value.parse().unwrap()),
                "depth" => found.depth = value.parse().unwrap(),
                "calls" => found.calls = value.parse().unwrap(),
                "group" => found.principal = found.principal.parent(PrincipalParent::Group(value.into())),
                "user" => found.principal = found.principal.parent(PrincipalParent::User(value.into())),
                "team" => found.principal = found.principal.attribute("team", value),
                _ => panic!("`{name}` is no circumstance"),
            }
        }
        found
    }
}

fn at_hour(hour: u64) -> SystemTime {
    const MIDNIGHT: u64 = 20_256 * 86_400;
    SystemTime::UNIX_EPOCH + Duration::from_secs(MIDNIGHT + hour * 3_600)
}

#[test]
fn the_situations_on_the_page() {
    let tools = tools();
    let sections: Vec<_> = PAGE.split("\n### ").skip(1).collect();
    assert!(sections.len() >= 10, "ten situations");
    for section in sections {
        let title = section.lines().next().unwrap();
        let (_, rest) = section.split_once("```cedar\n").unwrap_or_else(|| panic!("{title}: no rule"));
        let (text, rest) = rest.split_once("```").unwrap();
        let policy = CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text }], &tools)
            .unwrap_or_else(|errors| panic!("{title}: {errors}"));
        let rows: Vec<_> = rest.lines().filter(|line| line.starts_with("| `")).collect();
        assert!(rows.len() >= 2, "{title}: no calls");
        let verdicts: Vec<_> = rows.into_iter().map(|row| try_row(title, &policy, &tools, row)).collect();
        assert!(verdicts.iter().any(|verdict| verdict != "allow"), "{title}: nothing is refused");
    }
}

/// `| tool | input | circumstances | verdict |`; returns the verdict.
fn try_row(title: &str, policy: &CedarPolicy, tools: &[ToolFacts], row: &str) -> String {
    let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
    let [tool, input, circumstances, expected] = cells[..] else { panic!("{title}: {row}") };
    let (tool, input) = (tool.trim_matches('`'), input.trim_matches('`'));
    let tool = tools.iter().find(|facts| facts.identity.name == tool).unwrap_or_else(|| panic!("{title}: {row}"));
    let Circumstances { principal, time, depth, calls } = Circumstances::parse(circumstances);
    let input: Value = serde_json::from_str(input).unwrap_or_else(|error| panic!("{title}: {row}: {error}"));
    let decision = policy.decide(&Query {
        principal: &principal,
        action: Action::Call { tool: &tool.identity, input: &input },
        time,
        depth,
        calls,
    });
    let found = match &decision.verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Ask { question } => format!("ask: {question}"),
        Verdict::Deny { reason, .. } => format!("deny: {reason}"),
    };
    assert_eq!(found, expected, "{title}: {row}");
    found
}
