//! Addresses that are closed, approached in every way.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use casemate::{Gate, HttpTool, Tool};
use serde_json::json;

use crate::outside::{addresses_of, answer, client, failure, get, get_with, hosts, outside, request, stopped};
use crate::server::{Reply, Server};
use crate::support::{granted, run, seen, toolset, try_tool, types_seen};

/// A request is refused, since its address is of that class, and nobody is asked for anything.
#[track_caller]
fn closed(authority: &str, class: &str) {
    let server = Server::start(|_| Reply::text("inside"));
    let (gate, asked) = outside(&server, &["127.0.0.1"]);
    let port = server.address().port();
    let grants = hosts(&[&format!("http://*:{port}"), &format!("http://public.example:{port}")]);
    let reason = stopped(get(&format!("http://{authority}:{port}/")).grants(grants), &gate);
    assert!(reason.ends_with(&format!("leads to a {class} address, which is not granted")), "{authority}: {reason}");
    assert!(reason.starts_with("denied: "), "{authority}: {reason}");
    assert_eq!((server.seen().len(), asked.dialled(), asked.looked_up()), (0, vec![], vec![]), "{authority}");
}

#[test]
fn a_guest_cannot_reach_loopback_by_any_notation() {
    for authority in [
        "127.0.0.1",
        "127.255.255.254",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0X7F000001",
        "0x7f.1",
        "0x7f.0x0.0x0.0x1",
        "0177.0.0.1",
        "0177.0x0.0.01",
        "00000000177.1",
        "0",
        "0.0.0.0",
        "0x0",
        "00.00.00.00",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[0000:0000:0000:0000:0000:0000:0000:0001]",
        "[::]",
        "[::0.0.0.1]",
    ] {
        closed(authority, "loopback");
    }
}

#[test]
fn a_guest_cannot_reach_other_closed_addresses_by_any_notation() {
    for (authority, class) in [
        ("10.1", "private"),
        ("0xa000001", "private"),
        ("192.168.257", "private"),
        ("3232235777", "private"),
        ("172.16.0.1", "private"),
        ("100.64.0.1", "private"),
        ("[fd00::1]", "private"),
        ("[fec0::1]", "private"),
        ("169.254.169.254", "metadata"),
        ("2852039166", "metadata"),
        ("0xa9fea9fe", "metadata"),
        ("0251.0376.0251.0376", "metadata"),
        ("169.254.43518", "metadata"),
        ("[fd00:ec2::254]", "metadata"),
        ("169.254.0.1", "link-local"),
        ("[fe80::1]", "link-local"),
        ("224.0.0.1", "multicast"),
        ("[ff02::1]", "multicast"),
        ("255.255.255.255", "reserved"),
        ("192.0.2.1", "reserved"),
        ("[2001:db8::1]", "reserved"),
    ] {
        closed(authority, class);
    }
}

#[test]
fn an_ipv6_address_that_stands_for_a_closed_one_is_closed() {
    for (address, class) in TRANSLATED {
        closed(&format!("[{address}]"), class);
    }
}

const TRANSLATED: [(&str, &str); 10] = [
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:7f00:1", "loopback"),
    ("::127.0.0.1", "loopback"),
    ("::ffff:0:127.0.0.1", "loopback"),
    ("64:ff9b::7f00:1", "loopback"),
    ("64:ff9b:1::127.0.0.1", "loopback"),
    ("2002:7f00:1::1", "loopback"),
    ("64:ff9b::10.0.0.1", "private"),
    ("::ffff:169.254.169.254", "metadata"),
    ("64:ff9b::1.1.1.1", "translated"),
];

#[test]
fn a_name_that_leads_to_a_closed_address_is_denied_and_nothing_is_dialled() {
    let server = Server::start(|_| Reply::text("inside"));
    let plain =
        [("127.0.0.1", "loopback"), ("169.254.169.254", "metadata"), ("10.0.0.1", "private"), ("::1", "loopback")];
    for (address, class) in TRANSLATED.into_iter().chain(plain) {
        let (gate, asked) = outside(&server, &[address]);
        let reason = stopped(get("http://evil.example/").grants(hosts(&["http://*", "http://evil.example"])), &gate);
        assert_eq!(reason, format!("denied: `evil.example` leads to a {class} address, which is not granted"));
        assert_eq!((asked.looked_up(), asked.dialled()), (vec!["evil.example".to_owned()], vec![]));
    }
    assert!(server.seen().is_empty());
}

#[test]
fn a_name_that_changes_its_address_is_looked_up_once_and_dialled_as_it_was_checked() {
    let server = Server::start(|_| Reply::text("hello").and_close());
    let own = server.address();
    let second = |before: usize| if before == 0 { "93.184.216.34" } else { "127.0.0.1" };
    let (client, asked) = client(move |_, before| addresses_of(&[second(before)]), move |_| Some(own));
    let gate = Gate::builder().http(client.build()).build();
    let call = || get("http://rebinding.example/").grants(hosts(&["http://rebinding.example"]));
    assert_eq!(answer(call(), &gate)["body"], "hello");
    assert_eq!((asked.looked_up().len(), asked.dialled()), (1, vec!["93.184.216.34:80".to_owned()]));
    let reason = stopped(call(), &gate);
    assert_eq!(reason, "denied: `rebinding.example` leads to a loopback address, which is not granted");
    assert_eq!((asked.looked_up().len(), asked.dialled().len(), server.seen().len()), (2, 1, 1));
}

#[test]
fn of_many_addresses_only_the_open_ones_are_dialled() {
    let server = Server::start(|_| Reply::text("hello"));
    for (found, dialled) in [
        (&["127.0.0.1", "93.184.216.34"][..], &["93.184.216.34:80"][..]),
        (&["93.184.216.34", "127.0.0.1"], &["93.184.216.34:80"]),
        (&["10.0.0.1", "::ffff:1.1.1.1", "1.1.1.1", "169.254.169.254"], &["1.1.1.1:80"]),
    ] {
        let (gate, asked) = outside(&server, found);
        assert_eq!(answer(get("http://mixed.example/").grants(hosts(&["http://*"])), &gate)["status"], 200);
        assert_eq!(asked.dialled(), dialled);
    }
    // Those that are open are tried one after the other, and no other takes their place.
    let (client, asked) = client(|_, _| addresses_of(&["1.1.1.1", "127.0.0.1", "1.0.0.1", "10.0.0.1"]), |_| None);
    let gate = Gate::builder().http(client.build()).build();
    let error = failure(get("http://mixed.example/").grants(hosts(&["http://*"])), &gate);
    assert_eq!(
        (error.as_str(), asked.dialled()),
        ("ErrorCode::ConnectionRefused", vec!["1.1.1.1:80".into(), "1.0.0.1:80".into()])
    );
}

#[test]
fn a_name_without_an_address_goes_nowhere() {
    let (client, asked) = client(|_, _| Vec::new(), |_| None);
    let gate = Gate::builder().http(client.build()).build();
    let error = failure(get("http://nowhere.example/").grants(hosts(&["http://*"])), &gate);
    assert!(error.starts_with("ErrorCode::DnsError"), "{error}");
    assert_eq!(asked.dialled(), Vec::<String>::new());
}

#[test]
fn a_name_that_is_not_granted_is_not_looked_up() {
    let server = Server::start(|_| Reply::text("never"));
    let (gate, asked) = outside(&server, &["93.184.216.34"]);
    for url in
        ["http://other.example/", "https://granted.example/", "http://granted.example:81/", "http://model.internal/v1"]
    {
        let reason = stopped(get(url).grants(hosts(&["http://granted.example"])), &gate);
        assert!(reason.ends_with("is not granted"), "{reason}");
    }
    assert_eq!((asked.looked_up().len(), asked.dialled().len(), server.seen().len()), (0, 0, 0));
}

#[test]
fn a_guest_that_follows_a_redirect_itself_is_denied_where_it_leads() {
    let server = Server::start(|request| match request.target.as_str() {
        "/away" => Reply::new(302, &[("location", "http://127.0.0.1:80/latest")], ""),
        _ => Reply::text("inside"),
    });
    let (gate, asked) = outside(&server, &["93.184.216.34"]);
    let grants = || hosts(&["http://*"]);
    let response = answer(get("http://public.example/away").grants(grants()), &gate);
    let location = response["headers"].as_array().unwrap().iter().find(|header| header["name"] == "location").unwrap();
    assert_eq!((&response["status"], server.seen().len()), (&json!(302), 1), "nobody follows for it");
    let reason = stopped(get(location["value"].as_str().unwrap()).grants(grants()), &gate);
    assert_eq!(reason, "denied: `127.0.0.1` leads to a loopback address, which is not granted");
    assert_eq!((asked.dialled(), server.seen().len()), (vec!["93.184.216.34:80".to_owned()], 1));
}

#[test]
fn an_http_tool_is_denied_where_a_redirect_leads() {
    for location in [
        "http://127.0.0.1/latest",
        "http://169.254.169.254/latest/meta-data",
        "http://other.example/",
        "//other.example/",
        "https://public.example/",
        "http://public.example:8080/",
        "http://user:password@public.example/",
        "http://public.example@127.0.0.1/",
        "/elsewhere",
        "/v1/../admin",
        "/v1/%2e%2e/admin",
        "\\\\other.example\\x",
        "http:\\\\other.example",
    ] {
        let server = Server::start(move |_| Reply::new(302, &[("location", location)], ""));
        let (gate, asked) = outside(&server, &["93.184.216.34"]);
        let declared = "url = 'http://public.example/v1'\n[operation]\nmethod = 'GET'\npath = '/a'\n";
        let tool: Tool = casemate::Declaration::from_toml(declared).unwrap().tool(Some("t")).unwrap().into();
        let mut events = gate.subscribe(100);
        let call = try_tool("t", &json!({})).tools(toolset([tool])).grants(granted(&["t"])).gate(&gate);
        let told = run(call).result.unwrap();
        assert!(!told.as_str().unwrap().starts_with("ok: "), "{location}: {told}");
        assert_eq!(
            (server.seen().len(), asked.dialled(), asked.looked_up().len()),
            (1, vec!["93.184.216.34:80".into()], 1),
            "{location}"
        );
        let fetches = types_seen(&mut events).into_iter().filter(|kind| kind == "fetch").count();
        assert_eq!(fetches, 1, "{location}");
    }
}

#[test]
fn a_tool_of_a_whole_base_follows_no_redirect_and_tells_where_it_led() {
    let server = Server::start(|_| Reply::new(302, &[("location", "http://127.0.0.1/latest")], ""));
    let (gate, asked) = outside(&server, &["93.184.216.34"]);
    let tool: Tool = HttpTool::new("t", "http://public.example").unwrap().into();
    let input = json!({"path": "/", "method": "GET"});
    let call = try_tool("t", &input).tools(toolset([tool])).grants(granted(&["t"])).gate(&gate);
    let told = run(call).result.unwrap();
    assert!(told.as_str().unwrap().contains("http://127.0.0.1/latest"), "{told}");
    assert_eq!((server.seen().len(), asked.dialled()), (1, vec!["93.184.216.34:80".into()]));
}

#[test]
fn a_user_name_in_a_url_is_refused() {
    let server = Server::start(|_| Reply::text("never"));
    let (gate, asked) = outside(&server, &["93.184.216.34"]);
    let granted = "public.example";
    for authority in [
        "public.example@127.0.0.1",
        "public.example:80@127.0.0.1",
        "user@public.example",
        "user:password@public.example",
        ":@public.example",
        "@public.example",
        "public.example%40127.0.0.1@other.example",
    ] {
        let error = run(get(&format!("http://{authority}/"))
            .grants(hosts(&[&format!("http://{granted}"), "http://*"]))
            .gate(&gate));
        let error = error.result.unwrap_err().to_string();
        assert!(error.contains("is refused") || error == "the authority is invalid", "{authority}: {error}");
    }
    assert_eq!((asked.looked_up().len(), asked.dialled().len(), server.seen().len()), (0, 0, 0));
}

#[test]
fn no_proxy_of_the_environment_is_used() {
    if std::env::var_os("CASEMATE_TEST_PROXY").is_some() {
        return requests_beside_a_proxy();
    }
    let proxy = Server::start(|_| Reply::text("the proxy"));
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "egress::addresses::no_proxy_of_the_environment_is_used", "--nocapture"]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(name, proxy.url(""));
    }
    let output = child.env("CASEMATE_TEST_PROXY", "1").env_remove("NO_PROXY").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(proxy.seen().is_empty());
}

/// In a process whose environment names a proxy: a request goes to its server all the same.
fn requests_beside_a_proxy() {
    let server = Server::start(|_| Reply::text("the server"));
    assert_eq!(answer(get(&server.url("/")).grants(hosts(&[&server.url("")])), &Gate::default())["body"], "the server");
    assert_eq!(server.only().target, "/");
}

#[test]
fn a_guest_cannot_speak_to_a_proxy() {
    let server = Server::start(|_| Reply::text("hello"));
    let (gate, asked) = outside(&server, &["93.184.216.34"]);
    let grants = || hosts(&["http://public.example"]);
    for name in ["Proxy-Authorization", "proxy-connection", "Proxy-Authenticate", "Connection", "Keep-Alive", "Upgrade"]
    {
        let error = run(get_with("http://public.example/", &[(name, "x")]).grants(grants()).gate(&gate)).result;
        assert_eq!(error.unwrap_err().to_string(), "HeaderError::Forbidden", "{name}");
    }
    for path in ["http://127.0.0.1/", "//127.0.0.1/", "/http://127.0.0.1/"] {
        // An absolute form cannot be a path, and a server gets the origin form only.
        let url = format!("http://public.example{path}");
        let _ = run(get(&url).grants(grants()).gate(&gate));
    }
    for request in server.seen() {
        assert_eq!((request.target.as_str(), request.header("host")), ("/http://127.0.0.1/", Some("public.example")));
    }
    assert!(asked.dialled().iter().all(|address| address == "93.184.216.34:80"));
}

#[test]
fn a_tunnel_and_an_echo_of_a_request_cannot_be_asked_for() {
    let server = Server::start(|_| Reply::text("never"));
    let gate = Gate::default();
    for method in ["CONNECT", "TRACE", "connect", "Trace", "get"] {
        let call = request(method, &server.url("/"), &[], None).grants(hosts(&[&server.url("")]));
        let reason = stopped(call, &gate);
        assert_eq!(reason, format!("error: `{method}` is not a method that may be used"));
    }
    assert!(server.seen().is_empty());
}

#[test]
fn a_pooled_connection_is_used_only_by_those_who_may_reach_its_address() {
    let server = Server::start(|_| Reply::text("hello"));
    let own: SocketAddr = server.address();
    let public: IpAddr = "93.184.216.34".parse().unwrap();
    let (client, asked) = client(
        move |_, before| if before == 1 { vec![public] } else { addresses_of(&["10.0.0.1"]) },
        move |_| Some(own),
    );
    let gate = Gate::builder().http(client.build()).build();
    let inside = || hosts(&["http://name.example=private"]);
    assert_eq!(answer(get("http://name.example/").grants(inside()), &gate)["status"], 200);
    // The same name, which now leads elsewhere, and a sandbox that may not go where the open connection goes.
    assert_eq!(answer(get("http://name.example/").grants(hosts(&["http://name.example"])), &gate)["status"], 200);
    let reason = stopped(get("http://name.example/").grants(hosts(&["http://name.example"])), &gate);
    assert_eq!(reason, "denied: `name.example` leads to a private address, which is not granted");
    assert_eq!(answer(get("http://name.example/").grants(inside()), &gate)["status"], 200);
    assert_eq!(asked.dialled(), ["10.0.0.1:80", "93.184.216.34:80"]);
    assert_eq!(server.seen().iter().map(|request| request.connection).collect::<Vec<_>>(), [1, 2, 1]);
}

#[test]
fn a_denied_request_shows_what_would_allow_it_and_nothing_opens_for_others() {
    let server = Server::start(|_| Reply::text("hello"));
    let (gate, _) = outside(&server, &["10.0.0.1"]);
    let mut events = gate.subscribe(100);
    failure(get("http://name.example/").grants(hosts(&["http://name.example"])), &gate);
    assert_eq!(seen(&mut events)[0].1["allow"], "--allow-host http://name.example=private");
    let call = get("http://name.example/").grants(hosts(&["http://name.example=private"]));
    assert_eq!(answer(call, &gate)["status"], 200);
}
