//! Rules about requests, and about secrets in them.

use super::*;
use crate::{AddressClass, RequestLine};

fn request(text: &str) -> RequestLine {
    let (method, url) = text.split_once(' ').unwrap();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    RequestLine::new(method, scheme.parse().unwrap(), authority, path).unwrap()
}

fn fetches_at(policy: &CedarPolicy, line: &str, address: AddressClass) -> Decision {
    let (principal, time) = (&Principal::default(), SystemTime::UNIX_EPOCH);
    let action = Action::Fetch { request: &request(line), address };
    policy.decide(&Query { principal, action, time, depth: 2, calls: 7 })
}

#[track_caller]
fn fetches(text: &str, line: &str, expected: &str) {
    assert_eq!(said(&fetches_at(&compile(text), line, AddressClass::Public)), expected);
}

fn uses_in(policy: &CedarPolicy, secret: &str, line: &str) -> Decision {
    let (principal, time) = (&Principal::default(), SystemTime::UNIX_EPOCH);
    let action = Action::Use { secret, request: &request(line), address: AddressClass::Public };
    policy.decide(&Query { principal, action, time, depth: 2, calls: 7 })
}

#[track_caller]
fn uses(text: &str, secret: &str, line: &str, expected: &str) {
    assert_eq!(said(&uses_in(&compile(text), secret, line)), expected);
}

/// A permit of requests under a condition.
fn when(condition: &str) -> String {
    format!("@id(\"only\") permit(principal, action == Action::\"fetch\", resource) when {{ {condition} }};")
}

const LINE: &str = "POST http://B%C3%BCcher.de:8080/%7ea";

#[test]
fn what_is_seen_of_a_request() {
    for condition in [
        "context.method == \"POST\"",
        "context.scheme == \"http\"",
        "context.host == \"xn--bcher-kva.de\"",
        "context.port == 8080",
        "context.path == \"/~a\"",
        "context.address == \"public\"",
        "context.time == datetime(\"1970-01-01\") && context.depth == 2 && context.calls == 7",
        "resource == Host::\"xn--bcher-kva.de\" && resource is Host",
        "resource in [Host::\"a.net\", Host::\"xn--bcher-kva.de\"]",
        "context == context",
    ] {
        fetches(&when(condition), LINE, "allow [only]");
        let text = when(&format!("!({condition})"));
        fetches(&text, LINE, "deny: no rule permits `POST http://xn--bcher-kva.de:8080/~a` []");
        if condition.starts_with("context") {
            uses(&when(condition).replace("fetch", "use"), "KEY", LINE, "allow [only]");
        }
    }
    let secret = "resource == Secret::\"KEY\" && resource is Secret";
    uses(&when(secret).replace("fetch", "use"), "KEY", LINE, "allow [only]");
    for address in ["public", "loopback", "link-local", "metadata"] {
        let text = when(&format!("context.address == {address:?}"));
        let decision = fetches_at(&compile(&text), LINE, address.parse().unwrap());
        assert_eq!(decision.verdict, Verdict::Allow, "{address}");
    }
}

#[test]
fn an_address_is_a_host_too() {
    let text = |host: &str| format!("@id(\"only\") permit(principal, action, resource == Host::\"{host}\");");
    fetches(&text("127.0.0.1"), "GET http://0x7f.1/", "allow [only]");
    fetches(&text("[::1]"), "GET http://[0:0::1]:8080/", "allow [only]");
    fetches(&text("[::1]"), "GET http://[::2]/", "deny: no rule permits `GET http://[::2]/` []");
}

#[test]
fn each_rule_decides_on_what_its_head_is_about() {
    let fetch = "@id(\"a\") permit(principal, action == Action::\"fetch\", resource);";
    let secret = "@id(\"b\") permit(principal, action == Action::\"use\", resource);";
    let call = "@id(\"c\") permit(principal, action in Action::\"call\", resource);";
    let all = [fetch, secret, call].join("\n");
    let line = "GET https://a.net/";
    fetches(&all, line, "allow [a]");
    uses(&all, "KEY", line, "allow [b]");
    decides(&all, &json!({}), "allow [c]");
    for (text, expected) in [(fetch, "allow"), (secret, "deny"), (call, "deny")] {
        assert!(said(&fetches_at(&compile(text), line, AddressClass::Public)).starts_with(expected), "{text}");
    }
    uses(fetch, "KEY", line, "deny: no rule permits `KEY` in `GET https://a.net/` []");
    for head in ["action, resource", "action, resource is Host", "action, resource in Host::\"a.net\""] {
        let text = format!("@id(\"all\") permit(principal, {head});");
        fetches(&text, line, "allow [all]");
        let used = said(&uses_in(&compile(&text), "KEY", line));
        assert_eq!(used.starts_with("allow"), head == "action, resource", "{head}");
    }
}

#[test]
fn forbids_win_and_ask_here_too() {
    let text = "@id(\"all\") permit(principal, action, resource is Host);\n\
        @id(\"plain\") @reason(\"no plain http\") forbid(principal, action == Action::\"fetch\", resource)\n\
        when { context.scheme == \"http\" };\n\
        @id(\"post\") @approval(\"Send it?\") forbid(principal, action == Action::\"fetch\", resource)\n\
        when { context.method == \"POST\" };\n\
        @id(\"key\") @approval(\"Use the key?\") forbid(principal, action == Action::\"use\", resource);";
    fetches(text, "GET https://a.net/", "allow [all]");
    fetches(text, "POST https://a.net/", "ask: Send it? [post]");
    fetches(text, "POST http://a.net/", "deny: no plain http [plain]");
    // Nothing to approve where nothing is permitted.
    uses(text, "KEY", "GET https://a.net/", "deny: no rule permits `KEY` in `GET https://a.net/` []");
    let text = format!("{text}\npermit(principal, action, resource == Secret::\"KEY\");");
    uses(&text, "KEY", "GET https://a.net/", "ask: Use the key? [key]");
}

#[test]
fn an_error_denies_here_too() {
    let text = "permit(principal, action, resource);\n@id(\"sum\") forbid(principal, action == Action::\"fetch\", \
                resource) when { context.port * 9223372036854775807 > 0 };";
    fetches(
        text,
        "GET https://a.net/",
        "deny: rule `sum` could not be evaluated for `GET https://a.net/`: integer overflow while attempting to \
         multiply the values `443` and `9223372036854775807` [sum]",
    );
    uses(text, "KEY", "GET https://a.net/", "allow [rules.cedar:1]");
    let late = SystemTime::UNIX_EPOCH + Duration::from_secs(400_000_000_000);
    let decision = compile(&when("context.time > datetime(\"2020-01-01\")")).decide(&Query {
        principal: &Principal::default(),
        action: Action::Fetch { request: &request(LINE), address: AddressClass::Public },
        time: late,
        depth: 1,
        calls: 0,
    });
    let reason = "rule `only` cannot judge `context.time`: the time is beyond the year 9999 or before the year 1";
    assert_eq!(said(&decision), format!("deny: {reason} [only]"));
}

#[test]
fn a_denial_says_what_would_permit() {
    let policy = compile("");
    let fetch = "permit(principal, action == Action::\"fetch\", resource == Host::\"a.net\");";
    let key = "permit(principal, action == Action::\"use\", resource == Secret::\"KEY\");";
    let line = "GET https://a.net/";
    for (decision, expected) in
        [(fetches_at(&policy, line, AddressClass::Public), fetch), (uses_in(&policy, "KEY", line), key)]
    {
        let Verdict::Deny { remedy, .. } = decision.verdict else { panic!("{decision:?}") };
        assert_eq!(remedy.as_deref(), Some(expected));
    }
    let text = [fetch, key].join("\n");
    fetches(&text, line, "allow [rules.cedar:1]");
    uses(&text, "KEY", line, "allow [rules.cedar:2]");
    uses(&text, "OTHER", line, "deny: no rule permits `OTHER` in `GET https://a.net/` []");
}

#[test]
fn a_misspelt_attribute_of_a_request() {
    errors(
        &when("context.hots == \"a.net\""),
        &["rules.cedar:1:75: unknown attribute `context.hots`: did you mean `host`?"],
    );
    errors(
        &when("context has prot && context.prot == 1"),
        &["rules.cedar:1:87: unknown attribute `context.prot`: did you mean `port`?"],
    );
    for condition in ["resource.name == \"a.net\"", "resource has name"] {
        let at = if condition.contains("has") { 88 } else { 75 };
        let expected = format!(
            "rules.cedar:1:{at}: unknown attribute `resource.name`: what is known of a request is in `context`"
        );
        errors(&when(condition), &[&expected]);
    }
    errors(
        &when("context.port == \"443\""),
        &["rules.cedar:1:75: the types Long and String are not compatible: both operands to a `==` expression must \
           have compatible types. Types must be exactly equal to be compatible"],
    );
    errors(
        "permit(principal, action == Action::\"fetsh\", resource);",
        &["rules.cedar:1:29: unrecognized action `Action::\"fetsh\"`: did you mean `Action::\"fetch\"`?"],
    );
    // Of what is nearly right for both, the right one.
    errors(
        "permit(principal, action, resource) when { context.hots == context.inputt };",
        &[
            "rules.cedar:1:44: unknown attribute `context.hots`: did you mean `host`?",
            "rules.cedar:1:60: unknown attribute `context.inputt`: did you mean `input`?",
        ],
    );
}

/// A rule about too much is an error, and what its help says to write is none.
#[track_caller]
fn narrowed(head: &str, condition: &str, problem: &str, narrow: &str) {
    let rule = |head: &str| format!("permit(principal, {head}, resource) when {{ {condition} }};");
    let expected = format!(
        "rules.cedar:1:{}: {problem}: say in the head what it is about: `{narrow}`",
        rule(head).find(condition).unwrap() + 1
    );
    errors(&rule(head), &[&expected]);
    compile(&rule(narrow));
}

#[test]
fn what_not_all_have() {
    let (tools, requests) = ("action in Action::\"call\"", "action in [Action::\"fetch\", Action::\"use\"]");
    narrowed("action", "resource.read_only", "only tools have `resource.read_only`", tools);
    let inputs = "action in [Action::\"call\", Action::\"chat\"]";
    narrowed("action", "context.input has amount", "only tools and chats have `context.input`", inputs);
    narrowed(
        "action",
        "context.input.messages > 3",
        "only chats have `context.input.messages`",
        "action == Action::\"chat\"",
    );
    narrowed("action", "context.host == \"a.net\"", "only requests have `context.host`", requests);
    narrowed(
        "action in [Action::\"call:refund\", Action::\"fetch\"]",
        "context.input.amount > 3",
        "only tools have `context.input`",
        "action == Action::\"call:refund\"",
    );
    narrowed(
        "action in [Action::\"call\", Action::\"use\"]",
        "context.port == 443",
        "only requests have `context.port`",
        "action == Action::\"use\"",
    );
    compile("permit(principal, action, resource is Tool) when { resource.read_only };");
    compile("permit(principal, action, resource) when { context has input.amount && context.input.amount < 3 };");
    compile("permit(principal, action, resource) when { context has host && context.host == \"a.net\" };");
    errors(
        "permit(principal, action, resource) when { context.input[\"user-id\"] == \"3\" };",
        &[
            "rules.cedar:1:44: `context.input[\"user-id\"]` may be missing: ask first: `context.input has \"user-id\" \
             && …`",
            "rules.cedar:1:44: unknown attribute `context.input[\"user-id\"]` of the tool `read_file`: name in the \
             head the tools that have it",
        ],
    );
}

#[test]
fn what_not_all_have_where_no_tool_is_in_scope() {
    let text = "permit(principal, action, resource) when { context.input.amount > 3 && context has input.x };";
    let errors = CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text }], &[]).unwrap_err();
    let expected = "rules.cedar:1:44: only tools have `context.input.amount`: say in the head what it is about: \
                    `action in Action::\"call\"`";
    assert_eq!(errors.to_string(), expected);
    let text = "permit(principal, action, resource) when { context == context };";
    assert!(CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text }], &[]).is_ok());
}

#[track_caller]
fn never_a_host(written: &str, help: &str) {
    let text = format!("permit(principal, action, resource)\nwhen {{ resource == Host::\"{written}\" }};");
    errors(&text, &[&format!("rules.cedar:2:26: no request has the host `{written}`{help}")]);
    let text = format!("permit(principal, action == Action::\"fetch\", resource == Host::\"{written}\");");
    errors(&text, &[&format!("rules.cedar:1:64: no request has the host `{written}`{help}")]);
}

#[test]
fn hosts_in_no_form_of_theirs() {
    never_a_host("API.example.com", ": write `Host::\"api.example.com\"`");
    never_a_host("a.net.", ": write `Host::\"a.net\"`");
    never_a_host("bücher.de", ": write `Host::\"xn--bcher-kva.de\"`");
    never_a_host("::1", ": write `Host::\"[::1]\"`");
    never_a_host("[0:0::1]", ": write `Host::\"[::1]\"`");
    never_a_host("127.1", ": write `Host::\"127.0.0.1\"`");
    never_a_host("a.net/", ": write `Host::\"a.net\"`");
    never_a_host("a.net:8080", ": write `Host::\"a.net\"`, and compare `context.port`");
    never_a_host(
        "http://A.net:80/v1",
        ": write `Host::\"a.net\"`, and compare `context.scheme`, `context.port`, `context.path`",
    );
    never_a_host("*.a.net", ": write `context.host like \"*.a.net\"`");
    never_a_host("https://*.a.net", ": write `context.host like \"*.a.net\"`, and compare `context.scheme`");
    never_a_host("*", ": write `resource is Host`");
    never_a_host("a b", "");
    never_a_host("", "");
}

#[test]
fn secrets_that_cannot_be() {
    errors(
        "permit(principal, action == Action::\"use\", resource == Secret::\"api-key\");",
        &[
            "rules.cedar:1:64: `api-key` cannot be the name of a secret: it takes up to 64 letters, digits and `_`, and \
           no digit first",
        ],
    );
}

#[test]
fn what_is_suspicious_is_about_tools() {
    let all_tools = "permit(principal, action in Action::\"call\", resource);\n";
    warnings(all_tools, &[]);
    warnings(
        &format!("{all_tools}forbid(principal, action == Action::\"fetch\", resource == Secret::\"KEY\");"),
        &["rules.cedar:2:1: this rule never matches"],
    );
    warnings(
        "permit(principal, action in [Action::\"fetch\", Action::\"use\"], resource);",
        &["no rule permits `refund`, `read_file`: write `permit(principal, action == Action::\"call:refund\", \
           resource);`"],
    );
}
