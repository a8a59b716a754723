//! One host, written in many ways.

use std::sync::atomic::{AtomicUsize, Ordering};

use casemate::{Action, Budget, Decision, Gate, Policy, Query, Verdict};
use serde_json::json;

use crate::outside::{addresses_of, answer, client, get, hosts, outside, request, stopped};
use crate::server::{Reply, Server};
use crate::support::{counting, fetcher, granted, run, toolset};

/// However it is written, the server is asked for, and told, the one form.
#[track_caller]
fn is_the_same(authority: &str, host: &str) {
    let server = Server::start(|_| Reply::text("hello"));
    let (gate, asked) = outside(&server, &["93.184.216.34"]);
    let response = answer(get(&format!("http://{authority}/")).grants(hosts(&[&format!("http://{host}")])), &gate);
    assert_eq!(response["status"], 200, "{authority}");
    assert_eq!((asked.looked_up(), server.only().header("host")), (vec![host.to_owned()], Some(host)), "{authority}");
}

/// It is another host, or none.
#[track_caller]
fn is_another(authority: &str, granted: &str) {
    let server = Server::start(|_| Reply::text("never"));
    let (gate, asked) = outside(&server, &["93.184.216.34"]);
    let error = run(get(&format!("http://{authority}/")).grants(hosts(&[granted])).gate(&gate)).result.unwrap_err();
    let error = error.to_string();
    let known = ["is not granted", "is not a host", "the authority is invalid", "the path is invalid", "is refused"];
    assert!(known.iter().any(|known| error.contains(known)), "{authority}: {error}");
    assert_eq!((server.seen().len(), asked.looked_up()), (0, vec![]), "{authority}");
}

#[test]
fn a_host_name_is_one_however_it_is_written() {
    for authority in
        ["API.Example.COM", "api.example.com.", "Api.Example.Com.", "api.example.com:80", "api.example.com.:080"]
    {
        is_the_same(authority, "api.example.com");
    }
    is_the_same("XN--BCHER-KVA.example", "xn--bcher-kva.example");
    is_the_same("xn--bcher-kva.example.", "xn--bcher-kva.example");
}

#[test]
fn a_host_name_that_looks_like_another_is_another() {
    for authority in [
        "evil.com.",
        "api.example.com.evil.com",
        "api.example.com.evil.com.",
        "evilapi.example.com",
        "example.com",
        "api.example.com..",
        "api..example.com",
        ".api.example.com",
        "api.example.com%2eevil.com",
        "api.example.com%00.evil.com",
        "api.example.com%2F.evil.com",
        "evil.com%23.api.example.com",
        "evil.com\\.api.example.com",
        "evil.com#.api.example.com",
        "evil.com?.api.example.com",
        "evil.com;api.example.com",
        "evil.com,api.example.com",
        "evil.com api.example.com",
        "evil.com\t.api.example.com",
        "xn--api-.example.com",
        "api\u{3002}example\u{3002}com",
        "api\u{ff0e}example.com",
        "\u{430}pi.example.com",
        "api.example.com:80:80",
        "api.example.com:",
        "api.example.com:0",
        "api.example.com:65616",
        "api.example.com:+80",
        "api.example.com:80@evil.com",
        "[api.example.com]",
        "",
        ":80",
        ".",
    ] {
        is_another(authority, "http://api.example.com");
    }
    for authority in
        ["example.com", "evil.com", "evilexample.com", "a.example.com.evil.com", "a.b", "xn--a.example.com.evil.com"]
    {
        is_another(authority, "http://*.example.com");
    }
}

#[test]
fn a_path_that_a_server_could_read_otherwise_does_not_leave() {
    let server = Server::start(|_| Reply::text("hello"));
    let (gate, _) = outside(&server, &["93.184.216.34"]);
    for path in
        ["/v1/../admin", "/v1/%2e%2e/admin", "/v1/..%2fadmin", "/v1/%252e%252e/admin", "/v1/..;/admin", "//admin"]
    {
        let call = get(&format!("http://a.example{path}")).grants(hosts(&["http://a.example/v1"]));
        let error = run(call.gate(&gate)).result.unwrap_err().to_string();
        assert!(error.contains("has a") || error.contains("is not granted"), "{path}: {error}");
    }
    assert!(server.seen().is_empty());
    for (written, sent) in
        [("/v1/%61", "/v1/a"), ("/%76%31/a%2fb", "/v1/a%2Fb"), ("/v1/a?b=%2e%2e/", "/v1/a?b=%2e%2e/")]
    {
        answer(get(&format!("http://a.example{written}")).grants(hosts(&["http://a.example/v1"])), &gate);
        assert_eq!(server.seen().last().unwrap().target, sent);
    }
}

#[test]
fn the_host_of_the_tools_leads_to_tools_only_however_it_is_written() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let server = Server::start(|_| Reply::text("never"));
    let (gate, asked) = outside(&server, &["93.184.216.34"]);
    for url in [
        "http://tools.internal/count-it",
        "http://TOOLS.Internal/count-it",
        "http://tools.internal./count-it",
        "http://tools.internal:8080/count-it",
        "https://tools.internal/count-it",
        "https://tools.internal:80/%63ount-it",
        "http://tools.internal/count-it/further?a=b",
    ] {
        let (tool, count) = counting("count-it");
        let call = request("POST", url, &[], Some(r#"{"n": 1}"#)).tools(toolset([tool]));
        // A grant of all hosts is none of a tool.
        let grants = || hosts(&["http://*", "https://*", "http://*:8080", "https://*:80"]);
        let refused = answer(call.grants(grants()), &gate);
        assert_eq!((&refused["status"], count.load(Ordering::SeqCst)), (&json!(403), 0), "{url}");
        let (tool, count) = counting("count-it");
        let call = request("POST", url, &[], Some(r#"{"n": 1}"#)).tools(toolset([tool]));
        let called = answer(call.grants(grants().tool("count-it").unwrap()), &gate);
        assert_eq!((&called["status"], count.load(Ordering::SeqCst)), (&json!(200), 1), "{url}");
        CALLS.fetch_add(1, Ordering::SeqCst);
    }
    assert_eq!((asked.looked_up().len(), asked.dialled().len(), CALLS.load(Ordering::SeqCst)), (0, 0, 7));
}

#[test]
fn the_name_of_a_tool_has_no_way_around_its_grant() {
    let server = Server::start(|_| Reply::text("never"));
    let (gate, asked) = outside(&server, &["93.184.216.34"]);
    for path in [
        "/allowed/../forbidden",
        "/allowed/%2e%2e/forbidden",
        "/allowed/..%2fforbidden",
        "/allowed%2f..%2fforbidden",
        "/forbidden",
        "/%66orbidden",
        "/forbidden/",
        "/forbidden%2f",
        "/forbidden%00",
        "/%2fforbidden",
        "//forbidden",
        "/%2566orbidden",
        "/FORBIDDEN",
        "/allowed%23/forbidden",
        "",
        "/",
    ] {
        let ((allowed, _), (forbidden, count)) = (counting("allowed"), counting("forbidden"));
        let call = request("POST", &format!("http://tools.internal{path}"), &[], Some(r#"{"number": 1}"#));
        let report = run(call.tools(toolset([allowed, forbidden])).grants(granted(&["allowed"])).gate(&gate));
        if let Ok(response) = report.result {
            assert!([403, 404].map(|status| json!(status)).contains(&response["status"]), "{path}: {response}");
        }
        assert_eq!(count.load(Ordering::SeqCst), 0, "{path}");
    }
    assert_eq!((asked.looked_up().len(), asked.dialled().len(), server.seen().len()), (0, 0, 0));
}

#[test]
fn the_host_of_the_model_is_a_host_like_any_other() {
    let server = Server::start(|_| Reply::text("never"));
    let (gate, asked) = outside(&server, &["10.0.0.1"]);
    let reason = stopped(get("http://model.internal/v1/chat").grants(hosts(&["http://a.example"])), &gate);
    assert_eq!(reason, "denied: the request `GET http://model.internal/v1/chat` is not granted");
    assert!(asked.looked_up().is_empty());
    let reason = stopped(get("http://model.internal/v1/chat").grants(hosts(&["http://*"])), &gate);
    assert_eq!(reason, "denied: `model.internal` leads to a private address, which is not granted");
    assert!(server.seen().is_empty());
}

/// No rule is about where the name leads: whoever looks it up tells its server something that was to stay here.
#[test]
fn a_request_that_rules_deny_wherever_its_name_leads_looks_nothing_up() {
    struct NotToEvil;
    impl Policy for NotToEvil {
        fn version(&self) -> &'static str {
            "1"
        }

        fn decide(&self, query: &Query<'_>) -> Decision {
            let reason = "not to that host".to_owned();
            let verdict = match query.action {
                Action::Fetch { request, .. } if request.path() == "/" => Verdict::Deny { reason, remedy: None },
                _ => Verdict::Allow,
            };
            Decision { verdict, rules: Vec::new() }
        }
    }
    let server = Server::start(|_| Reply::text("never"));
    let (client, asked) = client(|_, _| addresses_of(&["93.184.216.34"]), |_| None);
    let gate = Gate::builder().http(client.build()).policy(NotToEvil).build();
    let reason = stopped(get("http://what-is-told.evil.example/").grants(hosts(&["http://*"])), &gate);
    assert_eq!((reason.as_str(), server.seen().len(), asked.dialled().len()), ("denied: not to that host", 0, 0));
    assert_eq!(asked.looked_up(), Vec::<String>::new());
}

#[test]
fn a_request_beyond_the_budget_looks_nothing_up() {
    let server = Server::start(|_| Reply::text("hello"));
    let (gate, asked) = outside(&server, &["93.184.216.34"]);
    let call = fetcher().call("fetch-many", json!({"url": "http://a.example/", "count": 3}));
    let call = call.grants(hosts(&["http://a.example"])).budget(Budget::default().requests(1));
    let told = run(call.gate(&gate)).result.unwrap();
    let ok = told.as_array().unwrap().iter().filter(|told| told.get("ok").is_some()).count();
    assert_eq!((ok, server.seen().len(), asked.dialled().len()), (1, 1, 1), "{told}");
    let call = get("http://a.example/").grants(hosts(&["http://a.example"])).budget(Budget::default().requests(0));
    let before = asked.looked_up().len();
    assert!(run(call.gate(&gate)).result.is_err());
    assert_eq!(asked.looked_up().len(), before);
}
