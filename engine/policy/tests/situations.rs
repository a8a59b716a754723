//! Every rule in docs/policy.md is tried with the calls, requests, secrets and chats that stand below it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a page that cannot be read is a failed test")]

use std::time::{Duration, SystemTime};

use casemate_policy::{
    Action, AddressClass, Annotations, CedarPolicy, Policy, PolicySource, Principal, PrincipalParent, Query,
    RequestLine, ToolFacts, ToolIdentity, ToolSource, Verdict,
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

/// Who, when, how deep and where to, where a row does not say otherwise: a Wednesday, 10:00 UTC, the internet.
struct Circumstances {
    principal: Principal,
    time: SystemTime,
    depth: u32,
    calls: u64,
    address: AddressClass,
}

impl Circumstances {
    fn parse(text: &str) -> Self {
        let (principal, address) = (Principal::new("agent"), AddressClass::Public);
        let mut found = Self { principal, time: at_hour(10), depth: 1, calls: 0, address };
        for word in text.split(", ").filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once(' ').unwrap_or_else(|| panic!("`{word}` says nothing"));
            match name {
                "hour" => found.time = at_hour(value.parse().unwrap()),
                "depth" => found.depth = value.parse().unwrap(),
                "calls" => found.calls = value.parse().unwrap(),
                "address" => found.address = value.parse().unwrap(),
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
    assert!(sections.len() >= 18, "eighteen situations");
    for section in sections {
        let title = section.lines().next().unwrap();
        let (_, rest) = section.split_once("```cedar\n").unwrap_or_else(|| panic!("{title}: no rule"));
        let (text, rest) = rest.split_once("```").unwrap();
        let policy = CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text }], &tools)
            .unwrap_or_else(|errors| panic!("{title}: {errors}"));
        let rows: Vec<_> = rest.lines().filter(|line| line.starts_with("| `")).collect();
        assert!(rows.len() >= 2, "{title}: no rows");
        let verdicts: Vec<_> = rows.into_iter().map(|row| try_row(title, &policy, &tools, row)).collect();
        assert!(verdicts.iter().any(|verdict| verdict != "allow"), "{title}: nothing is refused");
    }
}

/// `| tool | input | circumstances | verdict |`, `| fetch | request | … |`, `| use SECRET | request | … |` or
/// `| chat MODEL | input | … |`; returns the verdict.
fn try_row(title: &str, policy: &CedarPolicy, tools: &[ToolFacts], row: &str) -> String {
    let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
    let [what, with, circumstances, expected] = cells[..] else { panic!("{title}: {row}") };
    let (what, with) = (what.trim_matches('`'), with.trim_matches('`'));
    let Circumstances { principal, time, depth, calls, address } = Circumstances::parse(circumstances);
    let input =
        |text: &str| -> Value { serde_json::from_str(text).unwrap_or_else(|error| panic!("{title}: {row}: {error}")) };
    let decide = |action| policy.decide(&Query { principal: &principal, action, time, depth, calls });
    let decision = if what == "fetch" {
        decide(Action::Fetch { request: &request(with), address })
    } else if let Some(secret) = what.strip_prefix("use ") {
        decide(Action::Use { secret, request: &request(with), address })
    } else if let Some(model) = what.strip_prefix("chat ") {
        decide(Action::Chat { model, input: &input(with) })
    } else {
        let tool = tools.iter().find(|facts| facts.identity.name == what).unwrap_or_else(|| panic!("{title}: {row}"));
        decide(Action::Call { tool: &tool.identity, input: &input(with) })
    };
    let found = match &decision.verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Ask { question } => format!("ask: {question}"),
        Verdict::Deny { reason, .. } => format!("deny: {reason}"),
    };
    assert_eq!(found, expected, "{title}: {row}");
    found
}

/// `GET https://api.example.com/v1`.
fn request(text: &str) -> RequestLine {
    let (method, url) = text.split_once(' ').unwrap();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_at(rest.find('/').unwrap());
    RequestLine::new(method, scheme.parse().unwrap(), authority, path).unwrap()
}
