//! Secrets of HTTP tools, approached through their inputs and their servers.

use std::sync::atomic::{AtomicUsize, Ordering};

use casemate::{
    Action, Decision, Declaration, Gate, HttpTool, Policy, Query, Secret, SecretPlace, Secrets, Tool, Verdict,
};
use serde_json::{Value, json};

use super::{CANARY, is_clean, is_clean_json};
use crate::outside::{answer, request};
use crate::server::{Reply, Request, Server};
use crate::support::{Fixed, granted, seen, toolset, try_tool};

fn gate() -> Gate {
    let secrets = Secrets::new();
    secrets.set(Secret::new("KEY", Fixed(CANARY)).unwrap());
    secrets.set(Secret::new("OTHER", Fixed("cAnarY-other-0123")).unwrap());
    Gate::builder().secrets(secrets).build()
}

fn declared(text: &str) -> Tool {
    Declaration::from_toml(text).unwrap().tool(Some("t")).unwrap().into()
}

/// What a guest is told that calls the tool by name; nothing of it, nor of the events, is a secret.
#[track_caller]
fn called(tool: Tool, input: &Value, gate: &Gate) -> String {
    let mut events = gate.subscribe(100);
    let told = answer(try_tool("t", input).tools(toolset([tool])).grants(granted(&["t"])), gate);
    is_clean_json(&told);
    is_clean(&serde_json::to_string(&seen(&mut events)).unwrap());
    told.as_str().unwrap().to_owned()
}

fn echo(request: &Request) -> Reply {
    let Request { target, headers, .. } = request;
    Reply::new(200, &[("content-type", "application/json")], json!({"target": target, "headers": headers}).to_string())
}

const TAKEN: &str = "invalid-input: the tool has credentials of its own: leave them out of the input";

#[test]
fn the_key_of_a_tool_is_not_its_callers_to_say() {
    let server = Server::start(echo);
    let by = |place: SecretPlace| -> Tool {
        HttpTool::new("t", &server.url("")).unwrap().secret("KEY", place).unwrap().into()
    };
    let header = SecretPlace::header("x-api-key", "{}").unwrap();
    for (place, input) in [
        (SecretPlace::bearer(), json!({"path": "/", "headers": {"authorization": "Bearer mine"}})),
        (SecretPlace::bearer(), json!({"path": "/", "headers": {"authorization": "Bearer casemate-secret-KEY"}})),
        (SecretPlace::basic("me").unwrap(), json!({"path": "/", "headers": {"authorization": "x"}})),
        (header, json!({"path": "/", "headers": {"x-api-key": "x"}})),
        (SecretPlace::query("key").unwrap(), json!({"path": "/", "query": {"key": "mine"}})),
        (
            SecretPlace::query("key").unwrap(),
            json!({"path": "/", "query": {"key": []}, "headers": {"x-a": ""}, "payload": {"key": 1}}),
        ),
    ] {
        let told = called(by(place), &input, &gate());
        if input["query"]["key"] == json!([]) {
            assert!(told.starts_with("ok: "), "a list of none says nothing: {told}");
        } else {
            assert_eq!(told, TAKEN, "{input}");
        }
    }
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_placeholder_in_the_input_of_a_tool_is_refused() {
    let server = Server::start(echo);
    let tool = || -> Tool {
        HttpTool::new("t", &server.url("")).unwrap().secret("KEY", SecretPlace::bearer()).unwrap().into()
    };
    for name in ["KEY", "OTHER", "ABSENT"] {
        let mark = format!("casemate-secret-{name}");
        for input in [
            json!({"path": format!("/{mark}")}),
            json!({"path": "/", "query": {"a": mark}}),
            json!({"path": "/", "query": {mark.clone(): "a"}}),
            json!({"path": "/", "headers": {"x-a": mark}}),
        ] {
            let told = called(tool(), &input, &gate());
            let expected = if name == "KEY" { "goes into the header `authorization` only" } else { "is not granted" };
            assert!(told.starts_with("denied: ") && told.ends_with(expected), "{input}: {told}");
        }
    }
    assert!(server.seen().is_empty());
}

#[test]
fn an_echo_of_the_key_of_a_tool_is_masked() {
    for place in [SecretPlace::bearer(), SecretPlace::basic("me").unwrap(), SecretPlace::query("key").unwrap()] {
        let server = Server::start(|request| {
            let sent = format!("{} {}", request.target, request.header("authorization").unwrap_or_default());
            let status = if request.target.starts_with("/fail") { 500 } else { 200 };
            Reply::new(status, &[("content-type", &sent), ("location", &sent), ("x-a", &sent)], sent.clone())
        });
        for path in ["/", "/fail"] {
            let tool = HttpTool::new("t", &server.url("")).unwrap().secret("KEY", place.clone()).unwrap();
            let tool = tool.response_header("x-a".parse().unwrap());
            called(tool.into(), &json!({"path": path, "method": "GET"}), &gate());
        }
        assert!(server.seen().iter().all(|request| {
            request.target.contains("cAnarY")
                || request.header("authorization").is_some_and(|value| value.len() > CANARY.len())
        }));
    }
}

#[test]
fn a_tool_asks_for_no_piece_of_a_response() {
    let server = Server::start(|request| match request.target.as_str() {
        "/token" => Reply::new(200, &[], json!({"access_token": CANARY}).to_string()),
        _ => Reply::text(request.header("range").unwrap_or("none").to_owned()),
    });
    let input = json!({"path": "/", "method": "GET", "headers": {"range": "bytes=0-3", "if-range": "\"1\""}});
    let keyed = HttpTool::new("t", &server.url("")).unwrap().secret("KEY", SecretPlace::query("key").unwrap()).unwrap();
    let tokened = declared(&oauth(&server));
    for tool in [keyed.into(), tokened] {
        assert!(called(tool, &input, &gate()).contains(r#""body":"none""#));
    }
}

fn oauth(server: &Server) -> String {
    let auth = format!(
        "[auth]\ntype = 'oauth2'\ntoken_url = '{}'\nclient_id = 'me'\nsecret = 'OTHER'\n",
        server.url("/token")
    );
    format!("url = '{}'\n{auth}", server.url("/"))
}

#[test]
fn an_echo_of_a_token_is_masked_and_its_header_is_not_its_callers_to_say() {
    let server = Server::start(|request| match request.target.as_str() {
        "/token" => Reply::new(200, &[], json!({"access_token": CANARY}).to_string()),
        _ => echo(request),
    });
    let tool = declared(&oauth(&server));
    let gate = gate();
    for _ in 0..2 {
        assert!(called(tool.clone(), &json!({"path": "/a", "method": "GET"}), &gate).starts_with("ok: "));
    }
    let bearer = format!("Bearer {CANARY}");
    assert_eq!(server.seen().last().unwrap().header("authorization"), Some(bearer.as_str()));
    assert_eq!(called(tool, &json!({"path": "/a", "headers": {"authorization": "x"}}), &gate), TAKEN);
}

/// A tool is one for many Gates, each with secrets of its own under the same names.
#[test]
fn a_token_is_used_with_the_secret_that_bought_it_and_no_other() {
    let bought = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.target.as_str() {
        "/token" => {
            let token = format!("cAnarY-token-number-{}", bought.fetch_add(1, Ordering::SeqCst));
            Reply::new(200, &[], json!({"access_token": token}).to_string())
        }
        _ => echo(request),
    });
    let tool = declared(&oauth(&server));
    let secret = |value: &'static str| Secret::new("OTHER", Fixed(value)).unwrap();
    let (one, two) = (Secrets::new(), Secrets::new());
    one.set(secret("cAnarY-of-the-first"));
    two.set(secret("cAnarY-of-the-second"));
    let gates = [&one, &two].map(|secrets| Gate::builder().secrets(secrets.clone()).build());
    let input = json!({"path": "/a", "method": "GET"});
    let used = || server.seen().last().unwrap().header("authorization").unwrap().to_owned();
    let tokens: Vec<_> = gates.iter().map(|gate| (called(tool.clone(), &input, gate), used())).collect();
    assert_ne!(tokens[0].1, tokens[1].1);
    // What was bought with a secret goes with it.
    two.set(secret("cAnarY-of-the-third"));
    let told = called(tool.clone(), &input, &gates[1]);
    assert!(told.starts_with("ok: "), "{told}");
    assert!(![&tokens[0].1, &tokens[1].1].contains(&&used()));
    two.revoke("OTHER");
    let before = server.seen().len();
    let told = called(tool, &input, &gates[1]);
    assert!(told.starts_with("failed: there is no secret `OTHER`"), "{told}");
    assert_eq!(server.seen().len(), before);
}

/// Rules are asked about each use of a secret, and what was bought with it is a use of it.
#[test]
fn a_token_is_not_used_where_rules_forbid_its_secret() {
    struct NoUse;
    impl Policy for NoUse {
        fn version(&self) -> &'static str {
            "1"
        }

        fn decide(&self, query: &Query<'_>) -> Decision {
            let reason = "no secrets".to_owned();
            let verdict = match query.action {
                Action::Use { .. } => Verdict::Deny { reason, remedy: None },
                _ => Verdict::Allow,
            };
            Decision { verdict, rules: Vec::new() }
        }
    }
    let server = Server::start(|request| match request.target.as_str() {
        "/token" => Reply::new(200, &[], json!({"access_token": CANARY}).to_string()),
        _ => echo(request),
    });
    let (tool, gate) = (declared(&oauth(&server)), gate());
    let input = json!({"path": "/a", "method": "GET"});
    gate.set_policy(NoUse);
    assert_eq!(called(tool.clone(), &input, &gate), "denied: no secrets");
    let open = self::gate();
    assert!(called(tool.clone(), &input, &open).starts_with("ok: "));
    open.set_policy(NoUse);
    assert_eq!(called(tool, &input, &open), "denied: no secrets");
}

#[test]
fn a_token_that_could_not_be_masked_or_sent_is_not_used() {
    for token in ["short", "", "with\nbreak-cAnarY", "with blank cAnarY "] {
        let body = json!({"access_token": token}).to_string();
        let server = Server::start(move |request| match request.target.as_str() {
            "/token" => Reply::new(200, &[], body.clone()),
            _ => echo(request),
        });
        let told = called(declared(&oauth(&server)), &json!({"path": "/a", "method": "GET"}), &gate());
        assert!(told.starts_with("failed: the token cannot be used: "), "{told}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[test]
fn what_a_server_of_tokens_says_wrong_is_not_told() {
    for (status, body) in [
        (200, format!("{{\"access_token\": {CANARY}")),
        (200, CANARY.to_owned()),
        (403, format!("no: {CANARY}")),
        (302, String::new()),
    ] {
        let server = Server::start(move |_| Reply::new(status, &[("location", "http://127.0.0.1:1/")], body.clone()));
        let told = called(declared(&oauth(&server)), &json!({"path": "/a", "method": "GET"}), &gate());
        assert!(told.starts_with("failed: there is no token: "), "{told}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[test]
fn a_tool_does_not_take_a_secret_where_that_is_not_bound_to() {
    let server = Server::start(echo);
    let secrets = Secrets::new();
    let bound = Secret::new("KEY", Fixed(CANARY)).unwrap();
    secrets.set(bound.bound_to("https://api.example".parse().unwrap(), SecretPlace::bearer()));
    let gate = Gate::builder().secrets(secrets).build();
    let tool = HttpTool::new("t", &server.url("")).unwrap().secret("KEY", SecretPlace::bearer()).unwrap();
    let told = called(tool.into(), &json!({"path": "/"}), &gate);
    assert!(told.starts_with("denied: the secret `KEY` is not bound to requests such as"), "{told}");
    let tool = HttpTool::new("t", &server.url("")).unwrap().secret("ABSENT", SecretPlace::bearer()).unwrap();
    let told = called(tool.into(), &json!({"path": "/"}), &gate);
    assert!(told.starts_with("failed: there is no secret `ABSENT`"), "{told}");
    assert!(server.seen().is_empty());
}

#[test]
fn a_redirect_within_a_tools_server_carries_the_key_and_one_away_from_it_none() {
    let other = Server::start(echo);
    let away = other.url("/");
    let server = Server::start(move |request| match request.target.as_str() {
        "/a" => Reply::new(302, &[("location", "/b")], ""),
        "/b" => Reply::new(302, &[("location", &away)], ""),
        _ => echo(request),
    });
    let operation = "[operation]\nmethod = 'GET'\npath = '/a'\n";
    let tool = declared(&format!("url = '{}'\n[auth]\ntype = 'api-key'\nsecret = 'KEY'\n{operation}", server.url("")));
    let told = called(tool, &json!({}), &gate());
    assert!(told.starts_with("failed: the server redirected to"), "{told}");
    let bearer = format!("Bearer {CANARY}");
    let sent: Vec<_> =
        server.seen().into_iter().map(|request| request.header("authorization") == Some(&bearer)).collect();
    assert_eq!((sent, other.seen().len()), (vec![true, true], 0));
}

#[test]
fn a_guest_that_knows_only_http_has_no_way_to_the_key_either() {
    let server = Server::start(echo);
    let tool = || -> Tool {
        HttpTool::new("t", &server.url("")).unwrap().secret("KEY", SecretPlace::bearer()).unwrap().into()
    };
    for (path, headers, status) in [
        ("/t/a", &[("authorization", "Bearer casemate-secret-KEY")][..], 200),
        ("/t/a", &[("authorization", "Bearer mine")], 200),
        ("/t/casemate-secret-KEY", &[], 403),
        ("/t/a?a=casemate-secret-KEY", &[], 403),
        ("/t/a", &[("x-a", "casemate-secret-OTHER")], 403),
        ("/t/a", &[("x-original-url", "/admin")], 400),
    ] {
        let call = request("POST", &format!("http://tools.internal{path}"), headers, None);
        let response = answer(call.tools(toolset([tool()])).grants(granted(&["t"])), &gate());
        assert_eq!(response["status"], status, "{path} {headers:?}: {response}");
        is_clean_json(&response);
    }
    let bearer = format!("Bearer {CANARY}");
    assert!(server.seen().iter().all(|request| request.header("authorization") == Some(&bearer)));
}
