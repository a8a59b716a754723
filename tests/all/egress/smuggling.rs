//! Requests that would be more than one request, or another one than was decided.

use casemate::{Gate, HttpTool, Tool};
use serde_json::{Value, json};

use crate::outside::{answer, get, get_with, hosts, outside, request};
use crate::server::{Reply, Server};
use crate::support::{granted, run, toolset, try_tool};

const INJECTED: &str = "x\r\nx-injected: 1\r\n\r\nGET /injected HTTP/1.1\r\nhost: a\r\n\r\n";

/// Whatever the guest is told, the server saw nothing that was injected, and at most one request.
#[track_caller]
fn injects_nothing(method: &str, authority: &str, path: &str, headers: &[(&str, &str)]) {
    let server = Server::start(|_| Reply::text("hello"));
    let (gate, _) = outside(&server, &["93.184.216.34"]);
    let call = request(method, &format!("http://{authority}{path}"), headers, None);
    let result = run(call.grants(hosts(&["http://a.example", "http://*"])).gate(&gate)).result;
    let seen = server.seen();
    assert!(seen.len() <= usize::from(result.is_ok()), "{method} {authority} {path} {headers:?}: {seen:?}");
    for request in seen {
        let named = request.headers.iter().any(|(name, _)| name.contains("injected"));
        assert!(!named && !request.method.contains("injected") && !request.target.contains("/injected"), "{request:?}");
    }
}

#[test]
fn no_line_break_gets_into_a_request() {
    for end in ["\r\n", "\n", "\r", "\0", "\u{b}", "\u{85}", "\u{2028}", "%0d%0a", "\u{10a}\u{10d}"] {
        let text = format!("x{end}x-injected: 1{end}{end}GET /injected HTTP/1.1{end}host: a{end}{end}");
        if !end.starts_with('%') {
            injects_nothing("GET", "a.example", "/", &[("x-a", &text)]);
            injects_nothing("GET", "a.example", "/", &[(&text, "x")]);
            injects_nothing(&format!("GET{end}x-injected"), "a.example", "/", &[]);
            injects_nothing(&format!("GET /injected HTTP/1.1{end}"), "a.example", "/", &[]);
        }
        if !end.starts_with('%') {
            injects_nothing("GET", "a.example", &format!("/ HTTP/1.1{end}x-injected: 1{end}"), &[]);
            injects_nothing("GET", "a.example", &format!("/?{text}"), &[]);
            injects_nothing("GET", "a.example", &format!("/#{text}"), &[]);
        }
        injects_nothing("GET", &format!("a.example{end}x-injected: 1"), "/", &[]);
        injects_nothing("GET", &format!("{end}a.example"), "/", &[]);
    }
    injects_nothing("GET", "a.example", " /injected", &[]);
    injects_nothing("GET", "a.example", "/ /injected", &[]);
    injects_nothing("GET", "a.example", "?x= HTTP/1.1 /injected", &[]);
}

#[test]
fn a_guest_cannot_say_another_host() {
    let server = Server::start(|_| Reply::text("hello"));
    let (gate, _) = outside(&server, &["93.184.216.34"]);
    for name in ["host", "Host", "HOST", "transfer-encoding", "Transfer-Encoding", "connection", "http2-settings"] {
        let error =
            run(get_with("http://a.example/", &[(name, "b.example")]).grants(hosts(&["http://a.example"])).gate(&gate));
        assert_eq!(error.result.unwrap_err().to_string(), "HeaderError::Forbidden", "{name}");
    }
    for name in ["host ", " host", "host:", "ho\tst", "", ":authority", "host\0"] {
        assert!(
            run(get_with("http://a.example/", &[(name, "b")]).grants(hosts(&["http://a.example"])).gate(&gate))
                .result
                .is_err()
        );
    }
    assert!(server.seen().is_empty());
    answer(get_with("http://a.example/", &[("x-a", "1"), ("x-a", "2")]).grants(hosts(&["http://a.example"])), &gate);
    assert_eq!(server.only().header("host"), Some("a.example"));
}

#[test]
fn a_header_that_makes_another_request_of_it_is_not_sent() {
    let server = Server::start(|_| Reply::text("hello"));
    let (gate, _) = outside(&server, &["93.184.216.34"]);
    let names = [
        "te",
        "trailer",
        "expect",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
    ];
    for name in names {
        let call = request("POST", "http://a.example/v1/x", &[(name, "/admin")], None);
        answer(call.grants(hosts(&["POST http://a.example/v1"])), &gate);
        assert_eq!(server.seen().last().unwrap().header(name), None, "{name}");
    }
    let call = get_with("http://a.example/", &[("accept-encoding", "br")]);
    answer(call.grants(hosts(&["http://a.example"])), &gate);
    assert_eq!(server.seen().last().unwrap().header("accept-encoding"), Some("gzip"));
}

/// A length that is not that of the body would make a part of the body, or of the next request on the connection, a
/// request of its own.
#[test]
fn a_length_that_is_not_that_of_the_body_makes_no_second_request() {
    let next = "GET /injected HTTP/1.1\r\nhost: a\r\n\r\n";
    for (lengths, body) in [
        (&["5"][..], Some(format!("12345{next}"))),
        (&["0"], Some(next.to_owned())),
        (&["500"], Some("short".to_owned())),
        (&["100"], None),
        (&["5", "5"], Some(format!("12345{next}"))),
        (&["5", "100"], Some(format!("12345{next}"))),
        (&["5, 5"], Some(format!("12345{next}"))),
        (&["+5"], Some(format!("12345{next}"))),
        (&["5 "], Some(format!("12345{next}"))),
        (&[" 5"], None),
        (&["-1"], Some(next.to_owned())),
        (&["18446744073709551616"], Some(next.to_owned())),
        (&["0x5"], Some(format!("12345{next}"))),
    ] {
        // Answers before it has read the body, as servers do that do not want one, and lets the connection open.
        let server = Server::start(|_| Reply::text("hello"));
        let (gate, _) = outside(&server, &["93.184.216.34"]);
        let headers: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
        let call = request("POST", "http://a.example/first", &headers, body.as_deref());
        let _ = run(call.grants(hosts(&["http://a.example"])).gate(&gate));
        let response = answer(get("http://a.example/second").grants(hosts(&["http://a.example"])), &gate);
        assert_eq!(response["body"], "hello");
        let targets: Vec<_> = server.seen().into_iter().map(|request| request.target).collect();
        assert!(targets == ["/second"] || targets == ["/first", "/second"], "{lengths:?}: {targets:?}");
    }
}

#[test]
fn an_http_tool_takes_nothing_that_makes_another_request_of_it() {
    let server = Server::start(|_| Reply::text("hello"));
    let (gate, _) = outside(&server, &["93.184.216.34"]);
    let header = |name: &str, value: &str| json!({"path": "/", "headers": {name: value}});
    let mut inputs: Vec<Value> = [
        ("x-a", INJECTED),
        (INJECTED, "x"),
        ("host", "b"),
        ("connection", "x"),
        ("transfer-encoding", "chunked"),
        ("content-length", "5"),
        ("te", "trailers"),
        ("expect", "100-continue"),
        ("upgrade", "h2c"),
        ("proxy-authorization", "x"),
        ("accept-encoding", "br"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/admin"),
        ("X-A", "1"),
        ("x-a", "a\tb"),
        ("x-a", "\u{e9}"),
    ]
    .map(|(name, value)| header(name, value))
    .into();
    for path in [
        INJECTED,
        "",
        "x",
        "//b.example/",
        "http://b.example/",
        "/a?b",
        "/a#b",
        "/a b",
        "/..",
        "/%2e%2e/a",
        "/a/..%2fb",
        "/a\\b",
        "/%",
        "/\u{e9}",
        "/a%0d%0ab/../c",
    ] {
        inputs.push(json!({"path": path}));
    }
    for method in ["get", "CONNECT", "TRACE", "GET /injected HTTP/1.1\r\n", "PRI", ""] {
        inputs.push(json!({"path": "/", "method": method}));
    }
    inputs.push(json!({"path": "/", "url": "http://b.example"}));
    inputs.push(json!({"path": "/", "query": "a=b"}));
    for input in inputs {
        let tool: Tool = HttpTool::new("t", "http://a.example/v1").unwrap().into();
        let call = try_tool("t", &input).tools(toolset([tool])).grants(granted(&["t"]));
        let told = answer(call, &gate);
        assert!(told.as_str().unwrap().starts_with("invalid-input: "), "{input}: {told}");
    }
    assert!(server.seen().is_empty(), "{:?}", server.seen());
    // What can be said at all is said in one way.
    let input = json!({"path": "/a%20b", "query": {INJECTED: INJECTED}, "payload": INJECTED});
    let tool: Tool = HttpTool::new("t", "http://a.example/v1").unwrap().into();
    answer(try_tool("t", &input).tools(toolset([tool])).grants(granted(&["t"])), &gate);
    let request = server.only();
    assert!(request.target.starts_with("/v1/a%20b?x%0D%0Ax-injected"), "{}", request.target);
    assert_eq!(request.text(), INJECTED);
}

#[test]
fn what_a_server_says_beyond_its_response_is_not_the_response_to_the_next_request() {
    let server = Server::start(|request| match request.target.as_str() {
        "/first" => Reply::raw(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\ninjected",
        ),
        _ => Reply::text("hello"),
    });
    let gate = Gate::default();
    let grants = || hosts(&[&server.url("")]);
    assert_eq!(answer(get(&server.url("/first")).grants(grants()), &gate)["body"], "ok");
    assert_eq!(answer(get(&server.url("/second")).grants(grants()), &gate)["body"], "hello");
}
