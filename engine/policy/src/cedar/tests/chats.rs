//! Rules about chats.

use super::*;

fn chats_with(policy: &CedarPolicy, model: &str, input: &Value) -> Decision {
    let (principal, time) = (&Principal::default(), SystemTime::UNIX_EPOCH);
    policy.decide(&Query { principal, action: Action::Chat { model, input }, time, depth: 2, calls: 7 })
}

fn input() -> Value {
    json!({
        "messages": 3, "text": "Refund A-1.", "tools": ["lookup", "refund"], "max_output_tokens": 100,
        "temperature": 0.7,
    })
}

#[track_caller]
fn chats(text: &str, input: &Value, expected: &str) {
    assert_eq!(said(&chats_with(&compile(text), "fast", input)), expected);
}

/// A permit of chats under a condition.
fn when(condition: &str) -> String {
    format!("@id(\"only\") permit(principal, action == Action::\"chat\", resource) when {{ {condition} }};")
}

#[test]
fn what_is_seen_of_a_chat() {
    for condition in [
        "resource == Model::\"fast\" && resource is Model",
        "resource.name == \"fast\" && resource.name like \"f*\"",
        "context.input.messages == 3",
        "context.input has text && context.input.text like \"*A-1*\"",
        "context.input.tools.contains(\"refund\")",
        "context.input has max_output_tokens && context.input.max_output_tokens == 100",
        "context.input has temperature && context.input.temperature == decimal(\"0.7\")",
        "context.depth == 2 && context.calls == 7",
        "context == context",
    ] {
        chats(&when(condition), &input(), "allow [only]");
        let opposite = when(&format!("!({condition})"));
        chats(&opposite, &input(), "deny: no rule permits a chat with `fast` []");
    }
    let least = json!({"messages": 0, "tools": []});
    for absent in ["text", "max_output_tokens", "temperature"] {
        chats(&when(&format!("!(context.input has {absent})")), &least, "allow [only]");
    }
}

#[test]
fn a_rule_with_an_open_head_is_about_chats_too() {
    chats("@id(\"all\") permit(principal, action, resource);", &input(), "allow [all]");
    for other in ["action in Action::\"call\"", "action == Action::\"fetch\"", "action == Action::\"use\""] {
        let text = format!("permit(principal, {other}, resource);");
        chats(&text, &input(), "deny: no rule permits a chat with `fast` []");
    }
    decides(&when("true"), &json!({}), "deny: no rule permits `refund` with this input []");
}

#[test]
fn forbids_win_and_ask_here_too() {
    let text = "@id(\"all\") permit(principal, action, resource);\n\
        @id(\"slow\") @reason(\"too slow\") forbid(principal, action, resource == Model::\"slow\");\n\
        @id(\"long\") @approval(\"Go on?\") forbid(principal, action == Action::\"chat\", resource)\n\
        when { context.input.messages > 2 };";
    chats(text, &input(), "ask: Go on? [long]");
    assert_eq!(said(&chats_with(&compile(text), "slow", &input())), "deny: too slow [slow]");
    chats(text, &json!({"messages": 1, "tools": []}), "allow [all]");
}

#[test]
fn what_does_not_fit_denies_where_a_rule_names_it() {
    let mut fine = input();
    fine["temperature"] = json!(0.123_456);
    let text = when("context.input has temperature");
    let reason = "rule `only` cannot judge `context.input.temperature`: it has more than four decimals";
    chats(&text, &fine, &format!("deny: {reason} [only]"));
    chats(&when("context.input.messages > 1"), &fine, "allow [only]");
}

#[test]
fn a_denial_says_what_would_permit() {
    let Verdict::Deny { remedy, .. } = chats_with(&compile(""), "fast", &input()).verdict else { panic!("allowed") };
    let remedy = remedy.unwrap();
    assert_eq!(remedy, "permit(principal, action == Action::\"chat\", resource == Model::\"fast\");");
    chats(&remedy, &input(), "allow [rules.cedar:1]");
}

#[test]
fn mistakes_in_rules_about_chats() {
    errors(
        &when("context.input.mesages > 1"),
        &["rules.cedar:1:74: unknown attribute `context.input.mesages`: did you mean `messages`?"],
    );
    errors(
        &when("context.input.text == \"a\""),
        &["rules.cedar:1:74: `context.input.text` may be missing: ask first: `context.input has text && …`"],
    );
    errors(
        "permit(principal, action == Action::\"chatt\", resource);",
        &["rules.cedar:1:29: unrecognized action `Action::\"chatt\"`: did you mean `Action::\"chat\"`?"],
    );
}
