//! Requests of guests: which leave, where to, and what comes back.

use casemate::{Call, CallError, Gate, Grants, HostGrant, Secret, SecretPlace, Secrets};
use serde_json::{Value, json};

use crate::server::{Reply, Server};
use crate::support::{Fixed, fetcher, run, seen};

/// A GET of the guest's.
fn get(url: &str) -> Call {
    fetcher().call("fetch", json!({"request": {"method": "GET", "url": url, "headers": [], "body": null}}))
}

#[track_caller]
fn hosts(grants: &[&str]) -> Grants {
    grants.iter().fold(Grants::none(), |all, text| all.host(text.parse::<HostGrant>().unwrap()))
}

#[test]
fn a_granted_request_leaves_and_its_response_comes_back() {
    let server = Server::start(|_| Reply::new(201, &[("x-own", "1")], "hello"));
    let gate = Gate::default();
    let mut events = gate.subscribe(100);
    let response = run(get(&server.url("/a?b=c")).gate(&gate).grants(hosts(&[&server.url("")]))).result.unwrap();
    assert_eq!((&response["status"], &response["body"]), (&json!(201), &json!("hello")));
    let request = server.only();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/a?b=c"));
    assert_eq!(request.header("host"), Some(server.address().to_string().as_str()));
    let events = seen(&mut events);
    assert_eq!(events.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), ["fetch", "fetched"]);
    let (fetch, fetched) = (&events[0].1, &events[1].1);
    assert_eq!((&fetch["path"], &fetch["address"]), (&json!("/a"), &json!("loopback")));
    assert_eq!((&fetched["status"], &fetched["received"], &fetched["id"]), (&json!(201), &json!(5), &fetch["id"]));
}

#[test]
fn a_request_that_is_not_granted_is_denied_with_the_flag_that_would_allow_it() {
    let server = Server::start(|_| Reply::text("never"));
    let gate = Gate::default();
    let mut events = gate.subscribe(100);
    let error = run(get(&server.url("/")).gate(&gate)).result.unwrap_err();
    let CallError::Denied(denied) = error else { panic!("{error}") };
    let flag = format!("--allow-host {}", server.url(""));
    assert_eq!(denied.refused[0].allow.as_deref(), Some(flag.as_str()));
    assert!(server.seen().is_empty());
    assert_eq!(seen(&mut events)[0].0, "denied");
}

#[test]
fn a_secret_is_put_in_on_the_way_out_and_masked_on_the_way_back() {
    let server = Server::start(|request| {
        let key = request.header("authorization").unwrap_or_default().to_owned();
        Reply::new(200, &[("x-echo", &key)], format!("you sent {key}"))
    });
    let secrets = Secrets::new();
    let source = Fixed("canary-0123456789");
    secrets.set(Secret::new("KEY", source).unwrap().bound_to(server.url("").parse().unwrap(), SecretPlace::bearer()));
    let gate = Gate::builder().secrets(secrets).build();
    let mut events = gate.subscribe(100);
    let grants = hosts(&[&server.url("")]).secret("KEY").unwrap();
    let response = run(get(&server.url("/")).gate(&gate).grants(grants)).result.unwrap();
    assert_eq!(server.only().header("authorization"), Some("Bearer canary-0123456789"));
    assert_eq!(response["body"], "you sent Bearer *****************");
    assert!(!response.to_string().contains("canary"), "{response}");
    let events = seen(&mut events);
    let used: Vec<&Value> = events.iter().filter(|(kind, _)| kind == "secret_used").map(|(_, data)| data).collect();
    assert_eq!((&used[0]["secret"], &used[0]["place"]), (&json!("KEY"), &json!("header `authorization`")));
    assert!(!format!("{events:?}").contains("canary"));
}

#[test]
fn a_server_that_was_not_sent_a_secret_tells_nothing_of_it() {
    let known = Server::start(|_| Reply::text("thanks"));
    let guesses = "canary-0123456789 canary- c ca can cana canar";
    let other = Server::start(move |_| Reply::text(guesses));
    let secrets = Secrets::new();
    let key = Secret::new("KEY", Fixed("canary-0123456789")).unwrap();
    secrets.set(key.bound_to(known.url("").parse().unwrap(), SecretPlace::bearer()));
    let gate = Gate::builder().secrets(secrets).build();
    let grants = hosts(&[&known.url(""), &other.url("")]).secret("KEY").unwrap();
    run(get(&known.url("/")).gate(&gate).grants(grants.clone())).result.unwrap();
    assert!(known.only().header("authorization").is_some());
    let response = run(get(&other.url("/")).gate(&gate).grants(grants)).result.unwrap();
    assert_eq!(response["body"], guesses, "what is masked would tell a guest which guess is right");
}

#[test]
fn a_connection_on_which_somebody_was_asked_who_he_is_is_not_used_again() {
    let server = Server::start(|request| match request.target.as_str() {
        "/asks" => Reply::new(401, &[("www-authenticate", "NTLM")], "who are you?".repeat(10_000)),
        _ => Reply::text("hello"),
    });
    let gate = Gate::default();
    let response =
        |path: &str| run(get(&server.url(path)).gate(&gate).grants(hosts(&[&server.url("")]))).result.unwrap();
    for path in ["/", "/", "/asks", "/"] {
        assert_eq!(response(path)["body-error"], Value::Null);
    }
    let connections: Vec<_> = server.seen().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [1, 1, 1, 2]);
}
