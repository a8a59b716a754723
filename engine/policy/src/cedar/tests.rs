mod chats;
mod requests;

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Action, Annotations, Principal, PrincipalParent, ToolIdentity, ToolSource, Verdict};

fn tool(name: &str, properties: &Value, required: &[&str]) -> ToolFacts {
    ToolFacts {
        identity: ToolIdentity { name: name.into(), source: ToolSource::Closure },
        annotations: Annotations::default(),
        input_schema: json!({"type": "object", "properties": properties, "required": required}),
    }
}

/// Two tools: `refund` with an input of every sort, and `read_file`.
fn tools() -> Vec<ToolFacts> {
    let refund = json!({
        "amount": {"type": "integer"},
        "price": {"type": "number"},
        "urgent": {"type": "boolean"},
        "note": {"type": ["string", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "user-id": {"type": "string"},
        "order": {"type": "object", "properties": {
            "total": {"type": "integer"},
            "line": {"type": "string"},
        }, "required": ["total"]},
        "extra": {},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "parcel": {"type": "object", "properties": {"weight": {"type": "integer"}, "any": true}},
    });
    let mut read_file = tool("read_file", &json!({"path": {"type": "string"}}), &["path"]);
    read_file.annotations = Annotations { read_only: true, idempotent: true, destructive: false, open_world: false };
    vec![tool("refund", &refund, &["amount"]), read_file]
}

#[track_caller]
fn compile(text: &str) -> CedarPolicy {
    let compiled = CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text }], &tools());
    compiled.unwrap_or_else(|errors| panic!("{errors}"))
}

#[track_caller]
fn errors(text: &str, expected: &[&str]) {
    let errors = CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text }], &tools())
        .expect_err("these rules have mistakes");
    assert_eq!(errors.to_string().lines().collect::<Vec<_>>(), expected);
}

#[track_caller]
fn warnings(text: &str, expected: &[&str]) {
    let policy = compile(text);
    let found: Vec<_> = policy.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

/// One call of `refund`.
fn decide(policy: &CedarPolicy, input: &Value) -> Decision {
    decide_as(policy, &Principal::default(), input)
}

fn decide_as(policy: &CedarPolicy, principal: &Principal, input: &Value) -> Decision {
    let tool = ToolIdentity { name: "refund".into(), source: ToolSource::Closure };
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_750_000_000_123);
    policy.decide(&Query { principal, action: Action::Call { tool: &tool, input }, time, depth: 2, calls: 7 })
}

/// `allow`, `ask: QUESTION` or `deny: REASON`, and the rules.
fn said(decision: &Decision) -> String {
    let verdict = match &decision.verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Ask { question } => format!("ask: {question}"),
        Verdict::Deny { reason, .. } => format!("deny: {reason}"),
    };
    let rules: Vec<_> = decision.rules.iter().map(|rule| rule.id.as_str()).collect();
    format!("{verdict} [{}]", rules.join(", "))
}

#[track_caller]
fn decides(text: &str, input: &Value, expected: &str) {
    assert_eq!(said(&decide(&compile(text), input)), expected);
}

/// A permit under a condition about one refund.
fn when(condition: &str) -> String {
    format!("@id(\"only\") permit(principal, action == Action::\"call:refund\", resource) when {{ {condition} }};")
}

const ALLOW: &str = "allow [only]";
const NOT: &str = "deny: no rule permits `refund` with this input []";

#[track_caller]
fn matches(condition: &str, input: &Value) {
    decides(&when(condition), input, ALLOW);
}

#[track_caller]
fn differs(condition: &str, input: &Value) {
    decides(&when(condition), input, NOT);
}

#[track_caller]
fn unfit(condition: &str, input: &Value, reason: &str) {
    decides(&when(condition), input, &format!("deny: rule `only` cannot judge {reason} [only]"));
}

#[test]
fn a_misspelt_attribute_where_no_tool_is_in_scope() {
    let text = "permit(principal, action, resource)\nwhen { context.inptu.amount > 3 && context.depth < 2 };";
    let errors = CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text }], &[]).unwrap_err();
    assert_eq!(errors.to_string(), "rules.cedar:2:8: unknown attribute `context.inptu`: did you mean `input`?");
    let text = "permit(principal, action in Action::\"call\", resource)\n\
                when { context.input.anything > 3 && context has input.more && resource.read_only };";
    let policy = CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text }], &[]).unwrap();
    assert_eq!(policy.warnings(), []);
}

#[test]
fn a_misspelt_attribute() {
    errors(
        "permit(principal, action, resource);\nforbid(principal, action == Action::\"call:refund\", resource)\n\
         when { context.inptu.amount > 3 };",
        &["rules.cedar:3:8: unknown attribute `context.inptu`: did you mean `input`?"],
    );
    errors(
        &when("context.input.ammount > 3"),
        &["rules.cedar:1:81: unknown attribute `context.input.ammount`: did you mean `amount`?"],
    );
    errors(
        &when("context.input has ammount"),
        &["rules.cedar:1:99: unknown attribute `context.input.ammount`: did you mean `amount`?"],
    );
    errors(
        &when("context.input has order.totl"),
        &["rules.cedar:1:105: unknown attribute `context.input.order.totl`: did you mean `total`?"],
    );
    errors(
        &when("context.input has order && context.input.order.totl > 1"),
        &["rules.cedar:1:108: unknown attribute `context.input.order.totl`: did you mean `total`?"],
    );
    errors(
        &when("resource has read_onyl"),
        &["rules.cedar:1:94: unknown attribute `resource.read_onyl`: did you mean `read_only`?"],
    );
    errors(
        &when("principal has team"),
        &["rules.cedar:1:95: unknown attribute `principal.team`: what is known of a principal is in its tags: \
           `principal.hasTag(\"team\")`"],
    );
}

#[test]
fn all_mistakes_of_all_files_come_at_once() {
    let sources = [
        PolicySource { name: "b.cedar", text: "permit(principal, action, resource) when { context.x };\npermit(;" },
        PolicySource { name: "a.cedar", text: "forbid(principal action, resource);\n@id permit(" },
    ];
    let errors = CedarPolicy::compile(&sources, &tools()).unwrap_err();
    let places: Vec<_> = errors.problems().iter().map(|problem| problem.place.as_ref().unwrap().to_string()).collect();
    assert_eq!(places, ["b.cedar:1:44", "b.cedar:2:8", "a.cedar:1:18", "a.cedar:2:12"], "{errors}");
}

#[test]
fn a_part_that_rules_cannot_see() {
    errors(
        &when("context.input.extra == 3"),
        &["rules.cedar:1:81: rules cannot see `context.input.extra` of the tool `refund`, because its schema says no \
           type"],
    );
    errors(
        &when("context.input has labels.colour"),
        &["rules.cedar:1:106: rules cannot see `context.input.labels` of the tool `refund`, because its keys are \
           known only when it is called"],
    );
    errors(
        &when("context.input has parcel && context.input.parcel == context.input.parcel"),
        &["rules.cedar:1:109: rules cannot see `context.input.parcel.any` of the tool `refund`, because its schema \
           says no type: `context.input.parcel` cannot be used as a whole"],
    );
}

#[test]
fn mistakes_in_the_words_of_cedar() {
    errors(
        &when("context.input.note == \"x\""),
        &["rules.cedar:1:81: `context.input.note` may be missing: ask first: `context.input has note && …`"],
    );
    errors(
        &when("context.input has price && context.input.price <= 3"),
        &["rules.cedar:1:108: unexpected type: expected Long but saw decimal: a decimal \
           compares as in `context.input.price.lessThanOrEqual(decimal(\"100.0\"))`"],
    );
    errors(
        "permit(principal, action == Action::\"call:refnud\", resource);",
        &["rules.cedar:1:29: unrecognized action `Action::\"call:refnud\"`: did you mean `Action::\"call:refund\"`?"],
    );
    errors(
        "permit(principal, action, resource == Tool::\"refnud\");",
        &["rules.cedar:1:45: there is no tool `refnud` here: did you mean `refund`?"],
    );
    errors(
        "permit(principal, action, resource) when { context.input.amount < 3 };",
        &["rules.cedar:1:44: unknown attribute `context.input.amount` of the tool `read_file`: ask first: \
           `context has input.amount && …`, or name in the head the tools that have it"],
    );
}

#[test]
fn annotations_out_of_place() {
    errors(
        "@approval(\"Really?\") permit(principal, action, resource);",
        &["rules.cedar:1:1: `@approval` belongs on a `forbid`: write a `forbid` with it beside the `permit`"],
    );
    errors(
        "permit(principal, action, resource);\n  @approval forbid(principal, action, resource);",
        &["rules.cedar:2:3: `@approval` has no question: write `@approval(\"…?\")`"],
    );
    errors(
        "@id(\"a\") permit(principal, action, resource);\n@id(\"a\") forbid(principal, action, resource);",
        &["rules.cedar:2:1: the rule at rules.cedar:1:1 has the id `a` too"],
    );
    warnings(
        "permit(principal, action, resource);\n@aproval(\"?\") forbid(principal, action, resource);",
        &["rules.cedar:2:1: the annotation `@aproval` means nothing here: did you mean `@approval`?"],
    );
}

#[test]
fn rules_that_permit_too_little() {
    let nothing = "no rule permits anything: write `permit(principal, action, resource);`";
    warnings("", &[nothing]);
    warnings("forbid(principal, action, resource) when { context.depth > 3 };", &[nothing]);
    warnings(
        &when("true"),
        &["no rule permits `read_file`: write `permit(principal, action == Action::\"call:read_file\", resource);`"],
    );
    warnings(
        "permit(principal, action, resource);\nforbid(principal == User::\"ann\", action, resource);",
        &["rules.cedar:2:1: this rule never matches"],
    );
}

#[test]
fn rules_too_deep_for_the_stack() {
    let repeated = |count: usize, before: &str, middle: &str, after: &str| {
        let condition = format!("{}{middle}{}", before.repeat(count), after.repeat(count));
        CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text: &when(&condition) }], &tools())
    };
    for (before, middle, after, most) in [
        ("", "true", " && true", 242),
        ("", "1", " + 1", 485),
        ("", "context", ".a", 485),
        ("context has a || ", "true", "", 242),
        ("if true then ", "true", " else true", 485),
        ("if true then true else ", "true", "", 485),
        ("!(", "true", ")", 30),
        ("[", "1", "]", 32),
        ("{a: ", "1", "}.a", 31),
    ] {
        // No matter what is wrong with it, it neither overflows the stack nor passes for more than it is.
        let too_deep = |count| {
            repeated(count, before, middle, after)
                .is_err_and(|errors| errors.problems().iter().any(|problem| problem.fault == PolicyFault::TooLong))
        };
        assert!(!too_deep(most), "{before}{middle}{after}");
        assert!(too_deep(most * 2 + 2), "{before}{middle}{after}");
        assert!(too_deep(100_000), "{before}{middle}{after}");
    }
    assert!(compile(&when(&format!("[{}].contains(1)", "1, ".repeat(4_000)))).warnings().len() == 1);
}

#[test]
fn a_boolean() {
    matches("context.input has urgent && context.input.urgent", &json!({"amount": 1, "urgent": true}));
    differs("context.input has urgent && context.input.urgent", &json!({"amount": 1, "urgent": false}));
    unfit(
        "context.input has urgent",
        &json!({"amount": 1, "urgent": "yes"}),
        "`context.input.urgent`: it is not a boolean",
    );
}

#[test]
fn an_integer() {
    matches("context.input.amount <= 100", &json!({"amount": 100}));
    matches("context.input.amount == 5", &json!({"amount": 5.0}));
    matches("context.input.amount == -7", &json!({"amount": "-7"}));
    differs("context.input.amount <= 100", &json!({"amount": 101}));
    let beyond = "`context.input.amount`: it is not an integer between -2^63 and 2^63-1";
    for amount in [json!(u64::MAX), json!(1.5), json!(1e300), json!("12a"), json!("+5"), json!(""), json!([1])] {
        unfit("context.input.amount <= 100", &json!({"amount": amount}), beyond);
    }
    unfit("context.input.amount <= 100", &json!({}), "`context.input.amount`: it is missing");
}

#[test]
fn a_number() {
    let below = "context.input has price && context.input.price.lessThan(decimal(\"10.5\"))";
    matches(below, &json!({"amount": 1, "price": 10.4999}));
    matches(below, &json!({"amount": 1, "price": -3}));
    differs(below, &json!({"amount": 1, "price": 10.5}));
    differs(below, &json!({"amount": 1}));
    let unfit = |price: Value, why| {
        unfit(below, &json!({"amount": 1, "price": price}), &format!("`context.input.price`: {why}"));
    };
    unfit(json!(0.00001), "it has more than four decimals");
    unfit(json!(1e15), "it is beyond what a decimal can hold, some 922 trillion");
    unfit(json!(-1e300), "it is beyond what a decimal can hold, some 922 trillion");
    unfit(json!(u64::MAX), "it is beyond what a decimal can hold, some 922 trillion");
    unfit(json!("3"), "it is not a number");
}

#[test]
fn a_list_is_a_set() {
    let both = "context.input has tags && context.input.tags == [\"a\", \"b\"]";
    matches(both, &json!({"amount": 1, "tags": ["b", "a", "b"]}));
    differs(both, &json!({"amount": 1, "tags": ["a"]}));
    unfit(both, &json!({"amount": 1, "tags": ["a", 1]}), "`context.input.tags[\"1\"]`: it is not a string");
    unfit(both, &json!({"amount": 1, "tags": "a"}), "`context.input.tags`: it is not a list");
}

#[test]
fn an_object_is_a_record() {
    let total = "context.input has order && context.input.order.total < 10";
    matches(total, &json!({"amount": 1, "order": {"total": 9}}));
    matches(total, &json!({"amount": 1, "order": {"total": 9, "line": 5, "unheard-of": {}}}));
    matches("context.input has order.line", &json!({"amount": 1, "order": {"total": 9, "line": ""}}));
    differs("context.input has order.line", &json!({"amount": 1, "order": {"total": 9}}));
    unfit(total, &json!({"amount": 1, "order": {}}), "`context.input.order.total`: it is missing");
    unfit(total, &json!({"amount": 1, "order": [9]}), "`context.input.order`: it is not a record");
    let whole = "context.input has order && context.input.order == context.input.order";
    matches(whole, &json!({"amount": 1, "order": {"total": 9}}));
    unfit(
        whole,
        &json!({"amount": 1, "order": {"total": 9, "line": 5}}),
        "`context.input.order.line`: it is not a string",
    );
}

#[test]
fn null_is_as_good_as_nothing() {
    differs("context.input has note", &json!({"amount": 1}));
    differs("context.input has note", &json!({"amount": 1, "note": null}));
    matches("context.input has note && context.input.note like \"a*\"", &json!({"amount": 1, "note": "abc"}));
    unfit("context.input.amount > 0", &json!({"amount": null}), "`context.input.amount`: it is missing");
}

#[test]
fn a_name_that_is_no_identifier() {
    let condition = "context.input has \"user-id\" && context.input[\"user-id\"] == \"ann\"";
    matches(condition, &json!({"amount": 1, "user-id": "ann"}));
    differs(condition, &json!({"amount": 1, "user-id": "bob"}));
    unfit(condition, &json!({"amount": 1, "user-id": 1}), "`context.input[\"user-id\"]`: it is not a string");
}

#[test]
fn what_no_rule_names_need_not_fit() {
    matches("context.input.amount == 1", &json!({"amount": 1, "price": 1e300, "tags": 5, "order": []}));
    matches("context.depth == 2", &json!("not even an object"));
}

#[test]
fn the_circumstances() {
    matches("context.depth == 2 && context.calls == 7", &json!({}));
    matches("context.time == datetime(\"2025-06-15T15:06:40.123Z\")", &json!({}));
    matches("context.time.toTime() < duration(\"16h\")", &json!({}));
}

#[test]
fn the_tool_itself() {
    matches("resource.name == \"refund\" && resource.source == \"closure\" && resource.destructive", &json!({}));
    differs("resource.read_only || resource.idempotent", &json!({}));
}

#[test]
fn the_principal() {
    let ann = Principal::new("agent")
        .attribute("team", "billing")
        .parent(PrincipalParent::User("ann".into()))
        .parent(PrincipalParent::Tenant("acme".into()))
        .parent(PrincipalParent::Group("support".into()));
    let nobody = Principal::default();
    for condition in [
        "principal == Sandbox::\"agent\"",
        "principal in User::\"ann\"",
        "principal in Tenant::\"acme\"",
        "principal in Group::\"support\"",
        "principal.hasTag(\"team\") && principal.getTag(\"team\") == \"billing\"",
    ] {
        let policy = compile(&when(condition));
        assert_eq!(said(&decide_as(&policy, &ann, &json!({}))), ALLOW, "{condition}");
        assert_eq!(said(&decide_as(&policy, &nobody, &json!({}))), NOT, "{condition}");
    }
}

#[test]
fn forbids_win_and_say_why() {
    let permit = "@id(\"all\") permit(principal, action, resource);";
    let much = "@id(\"much\") @reason(\"too much\") forbid(principal, action == Action::\"call:refund\", resource) \
                when { context.input.amount > 10 };";
    let ask = "@approval(\"Refund?\") forbid(principal, action == Action::\"call:refund\", resource) \
               when { context.input.amount > 5 };";
    let ask_again = "@id(\"twice\") @approval(\"Sure?\") forbid(principal, action == Action::\"call:refund\", resource) \
                     when { context.input.amount > 7 };";
    let text = [permit, much, ask, ask_again].join("\n");
    decides(&text, &json!({"amount": 1}), "allow [all]");
    decides(&text, &json!({"amount": 6}), "ask: Refund? [rules.cedar:3]");
    decides(&text, &json!({"amount": 8}), "ask: Refund? Sure? [rules.cedar:3, twice]");
    decides(&text, &json!({"amount": 11}), "deny: too much [much]");
    // Nothing to approve where nothing is permitted.
    decides(ask, &json!({"amount": 6}), NOT);
    decides(
        "forbid(principal, action, resource);",
        &json!({}),
        "deny: rule `rules.cedar:1` forbids it [rules.cedar:1]",
    );
}

#[test]
fn any_error_denies() {
    let overflow = "permit(principal, action, resource);\n@id(\"sum\") forbid(principal, \
                    action == Action::\"call:refund\", resource) when { context.input.amount * 2 > 10 };";
    decides(overflow, &json!({"amount": 1}), "allow [rules.cedar:1]");
    decides(
        overflow,
        &json!({"amount": i64::MAX}),
        "deny: rule `sum` could not be evaluated for `refund`: integer overflow while attempting to multiply the \
         values `9223372036854775807` and `2` [sum]",
    );
}

#[test]
fn a_denial_says_what_would_permit() {
    let decision = decide(&compile(&when("false")), &json!({}));
    let remedy = Some("permit(principal, action == Action::\"call:refund\", resource);".to_owned());
    let Verdict::Deny { remedy: found, .. } = decision.verdict else { panic!("{decision:?}") };
    assert_eq!(found, remedy);
}

#[test]
fn another_tool_of_the_same_name() {
    let policy = compile("permit(principal, action, resource);");
    let identities = [
        ("refund", ToolSource::Closure, "allow [rules.cedar:1]"),
        (
            "refund",
            ToolSource::Export { component: "0123456789abcdef".into(), export: "run".into() },
            "deny: the policy is about refund (closure), and this is refund (0123456789ab#run) []",
        ),
        ("transfer", ToolSource::Closure, "deny: the policy knows no tool `transfer` []"),
    ];
    for (name, source, expected) in identities {
        let tool = ToolIdentity { name: name.into(), source };
        let decision = policy.decide(&Query {
            principal: &Principal::default(),
            action: Action::Call { tool: &tool, input: &json!({}) },
            time: SystemTime::UNIX_EPOCH,
            depth: 1,
            calls: 0,
        });
        assert_eq!(said(&decision), expected);
        assert_eq!(policy.could_allow(&tool), expected.starts_with("allow"));
    }
}

#[track_caller]
fn could_allow(text: &str, expected: bool) {
    let tool = ToolIdentity { name: "refund".into(), source: ToolSource::Closure };
    assert_eq!(compile(text).could_allow(&tool), expected);
}

#[test]
fn tools_that_no_input_gets_past_the_rules() {
    could_allow("", false);
    could_allow("permit(principal, action == Action::\"call:read_file\", resource);", false);
    could_allow("permit(principal, action, resource);", true);
    could_allow("permit(principal, action, resource); forbid(principal, action, resource is Tool);", false);
    could_allow("permit(principal, action, resource); @approval(\"?\") forbid(principal, action, resource);", true);
    could_allow("permit(principal, action, resource); forbid(principal in User::\"a\", action, resource);", true);
    could_allow("permit(principal, action, resource) when { resource has name && false };", false);
    could_allow("permit(principal, action in [Action::\"fetch\", Action::\"use\"], resource);", false);
    could_allow("permit(principal, action, resource); forbid(principal, action, resource is Host);", true);
}

#[test]
fn two_tools_that_rules_cannot_tell_apart() {
    let mut tools = tools();
    tools.push(tools[0].clone());
    assert!(CedarPolicy::compile(&[], &tools).is_ok());
    tools[2].identity.source = ToolSource::Export { component: "0123456789abcdef".into(), export: "run".into() };
    let errors = CedarPolicy::compile(&[], &tools).unwrap_err();
    assert_eq!(errors.to_string(), "rules could not tell refund (closure) from refund (0123456789ab#run)");
}

#[test]
fn the_version_is_of_what_decides() {
    let version = |sources: &[(&str, &str)], tools: &[ToolFacts]| {
        let sources: Vec<_> = sources.iter().map(|(name, text)| PolicySource { name, text }).collect();
        CedarPolicy::compile(&sources, tools).unwrap().version().to_owned()
    };
    let (one, two) = ("permit(principal, action, resource);", "forbid(principal, action, resource);");
    let first = version(&[("a", one), ("b", two)], &tools());
    assert_eq!(first.len(), 16);
    assert_eq!(first, version(&[("x", two), ("y", one)], &tools()));
    assert_ne!(first, version(&[("a", one)], &tools()));
    assert_ne!(first, version(&[("a", one), ("b", two)], &tools()[..1]));
}

#[test]
fn what_rules_can_see() {
    let inputs = compile("").inputs();
    let visible: Vec<_> =
        inputs[0].visible.iter().map(|input| (input.path.as_str(), input.cedar_type.as_str())).collect();
    assert_eq!(
        visible,
        [
            ("context.input.amount", "Long"),
            ("context.input.note", "String"),
            ("context.input.order.line", "String"),
            ("context.input.order.total", "Long"),
            ("context.input.parcel.weight", "Long"),
            ("context.input.price", "decimal"),
            ("context.input.tags", "Set<String>"),
            ("context.input.urgent", "Bool"),
            ("context.input[\"user-id\"]", "String"),
        ]
    );
    let hidden: Vec<_> = inputs[0].hidden.iter().map(|input| (input.path.as_str(), &input.why)).collect();
    assert_eq!(
        hidden,
        [
            ("context.input.extra", &Hidden::Untyped),
            ("context.input.labels", &Hidden::Map),
            ("context.input.parcel.any", &Hidden::Untyped),
        ]
    );
}

#[test]
fn the_schema_is_cedar() {
    let policy = compile("");
    assert!(cedar_policy::Schema::from_cedarschema_str(policy.schema()).is_ok(), "{}", policy.schema());
    for action in ["\"call:refund\" in [Action::\"call\"]", "\"fetch\" appliesTo", "\"use\" appliesTo"] {
        assert!(policy.schema().contains(&format!("action {action}")), "{}", policy.schema());
    }
}

#[test]
fn a_tool_named_to_break_out() {
    let mut facts = tools();
    facts[0].identity.name = "a\"; permit(principal, action, resource); //\n".into();
    let policy = CedarPolicy::compile(&[], &facts).unwrap();
    assert!(!policy.could_allow(&facts[0].identity));
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-1_000_i32..1_000).prop_map(|tenths| Value::from(f64::from(tenths) / 10.0)),
        "[-0-9a-z]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("amount|price|tags|order|total|note", inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Whether an input fits what the rules below name, said independently of the conversion.
fn fits(input: &Value) -> bool {
    let Some(object) = input.as_object() else { return false };
    let null = Value::Null;
    let get = |name: &str| object.get(name).unwrap_or(&null);
    let integer = |value: &Value| match value {
        Value::String(text) => text.parse::<i64>().is_ok() && !text.starts_with('+'),
        Value::Number(number) => {
            number.is_i64()
                || number.as_f64().is_some_and(|float| !number.is_u64() && float.fract() == 0.0 && float.abs() <= 9e15)
        }
        _ => false,
    };
    let decimal = |value: &Value| {
        value.as_f64().is_some_and(|float| {
            float.abs() < 9.3e14 && format!("{float}").split_once('.').is_none_or(|(_, decimals)| decimals.len() <= 4)
        })
    };
    let strings = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    let order = |value: &Value| value.get("total").is_some_and(integer);
    integer(get("amount"))
        && (get("price").is_null() || decimal(get("price")))
        && (get("tags").is_null() || strings(get("tags")))
        && (get("order").is_null() || order(get("order")))
}

proptest! {
    #[test]
    fn never_allows_what_does_not_fit_what_is_named(input in json_value()) {
        let policy = compile(
            "permit(principal, action, resource);
             forbid(principal, action == Action::\"call:refund\", resource) when {
                 context.input.amount == 7
                 || (context.input has price && context.input.price == decimal(\"7.0\"))
                 || (context.input has tags && context.input.tags.contains(\"7\"))
                 || (context.input has order && context.input.order.total == 7)
             };",
        );
        let allowed = decide(&policy, &input).verdict == Verdict::Allow;
        prop_assert!(!allowed || fits(&input), "{input}");
    }

    #[test]
    fn any_schema_and_any_rule(schema in json_value(), text in "[a-z@(){};\"/., =]{0,60}") {
        let facts = ToolFacts { input_schema: schema, ..tool("refund", &json!({}), &[]) };
        drop(CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text: &text }], &[facts]));
    }
}
