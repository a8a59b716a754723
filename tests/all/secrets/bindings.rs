//! Where a secret goes, and where it does not.

use casemate::{Grants, Secret, SecretFuture, SecretPlace, SecretReadError, SecretSource, Secrets};
use serde_json::json;

use super::{CANARY, bound, gate, is_clean, key, with_key};
use crate::outside::{answer, failure, get, get_with, hosts, request};
use crate::server::{Reply, Server};
use crate::support::{Fixed, fetcher, run, seen};

#[test]
fn a_secret_does_not_go_to_a_host_that_it_is_not_bound_to() {
    let (own, other) = (Server::start(|_| Reply::text("own")), Server::start(|_| Reply::text("other")));
    let gate = gate(&bound(&[&own.url("")]));
    let grants = || with_key(&[&own.url(""), &other.url("")]);
    assert_eq!(answer(get(&other.url("/")).grants(grants()), &gate)["body"], "other");
    assert_eq!(other.only().header("authorization"), None);
    for header in ["authorization", "x-api-key", "cookie"] {
        let call = get_with(&other.url("/"), &[(header, "Bearer casemate-secret-KEY")]).grants(grants());
        let reason = stopped_use(call, &gate);
        assert_eq!(reason, format!("the secret `KEY` is not bound to requests such as `GET {}`", other.url("/")));
    }
    assert_eq!((other.seen().len(), own.seen().len()), (1, 0));
}

/// A request that was admitted, and then denied for a secret: the guest is told so, and an event has the reason.
#[track_caller]
fn stopped_use(call: casemate::Call, gate: &casemate::Gate) -> String {
    let mut events = gate.subscribe(100);
    let error = run(call.gate(gate)).result.unwrap_err();
    let casemate::CallError::Denied(denied) = error else { panic!("not denied: {error:?}") };
    assert_eq!(denied.cause.to_string(), "ErrorCode::HttpRequestDenied");
    let reason = denied.refused[0].reason.clone().unwrap();
    let events = seen(&mut events);
    assert!(
        events.iter().any(|(_, data)| data["message"] == json!(reason) || data["reason"] == json!(reason)),
        "{events:?}"
    );
    is_clean(&format!("{events:?}"));
    reason
}

#[test]
fn a_secret_is_not_sent_on_by_a_redirect() {
    let other = Server::start(|_| Reply::text("other"));
    let away = other.url("/away");
    let own = Server::start(move |_| Reply::new(307, &[("location", &away)], ""));
    let gate = gate(&bound(&[&own.url("")]));
    let grants = || with_key(&[&own.url(""), &other.url("")]);
    assert_eq!(answer(get(&own.url("/")).grants(grants()), &gate)["status"], 307);
    assert!(other.seen().is_empty());
    // The guest follows, and has nothing to bring along but its placeholder.
    answer(get(&other.url("/away")).grants(grants()), &gate);
    assert_eq!(other.only().header("authorization"), None);
    stopped_use(
        get_with(&other.url("/away"), &[("authorization", "Bearer casemate-secret-KEY")]).grants(grants()),
        &gate,
    );
    assert_eq!((own.seen().len(), other.seen().len()), (1, 1));
}

#[test]
fn a_secret_goes_only_by_the_scheme_port_method_and_path_that_it_is_bound_to() {
    let server = Server::start(|_| Reply::text("hello"));
    let port = server.address().port();
    for binding in [
        format!("https://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{}", if port == 1 { 2 } else { 1 }),
        "http://127.0.0.1".to_owned(),
        format!("POST http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}/other"),
        format!("http://127.0.0.1:{port}/pat"),
        format!("http://localhost:{port}"),
        format!("http://*.example:{port}"),
    ] {
        let gate = gate(&bound(&[&binding]));
        answer(get(&server.url("/path")).grants(with_key(&[&server.url("")])), &gate);
        assert_eq!(server.seen().last().unwrap().header("authorization"), None, "{binding}");
        let call = get_with(&server.url("/path"), &[("authorization", "casemate-secret-KEY")])
            .grants(with_key(&[&server.url("")]));
        assert!(stopped_use(call, &gate).contains("is not bound to requests such as"), "{binding}");
    }
    assert!(server.seen().iter().all(|request| !format!("{request:?}").contains(CANARY)));
}

#[test]
fn a_secret_that_is_not_granted_is_not_used() {
    let server = Server::start(|_| Reply::text("hello"));
    let gate = gate(&bound(&[&server.url("")]));
    answer(get(&server.url("/")).grants(hosts(&[&server.url("")])), &gate);
    assert_eq!(server.only().header("authorization"), None);
    let variables = answer(fetcher().call("variables", json!({})).grants(hosts(&[&server.url("")])), &gate);
    assert_eq!(variables, json!([]));
    let variables = answer(fetcher().call("variables", json!({})).grants(with_key(&[])), &gate);
    assert_eq!(variables, json!([["KEY", "casemate-secret-KEY"]]));
}

#[test]
fn a_placeholder_where_its_secret_does_not_go_is_refused() {
    let server = Server::start(|_| Reply::text("never"));
    let gate = gate(&bound(&[&server.url("")]));
    let grants = || with_key(&[&server.url("")]);
    let mark = "casemate-secret-KEY";
    let calls = [
        get(&server.url(&format!("/{mark}"))),
        get(&server.url("/a/casemate%2Dsecret%2dKEY/b")),
        get(&server.url(&format!("/?key={mark}"))),
        get(&server.url(&format!("/?{mark}=1"))),
        get(&server.url(&format!("/?authorization={mark}"))),
        get(&server.url(&format!("/?a=1&b=x{mark}x"))),
        get_with(&server.url("/"), &[("x-api-key", mark)]),
        get_with(&server.url("/"), &[("cookie", &format!("key={mark}"))]),
        get_with(&server.url("/"), &[("proxy-x", mark)]),
        get_with(&server.url("/"), &[("x-a", "\u{e9}casemate-secret-KEY")]),
        get_with(&server.url("/"), &[("authorization", mark), ("user-agent", mark)]),
    ];
    for call in calls {
        let reason = stopped_use(call.grants(grants()), &gate);
        assert!(
            reason == "the secret `KEY` goes into the header `authorization` only" || reason.contains("KEYx"),
            "{reason}"
        );
    }
    assert!(server.seen().is_empty());
}

/// A body is not looked at: a placeholder in it is a text like any other, and no value takes its place.
#[test]
fn a_placeholder_in_a_body_stays_one() {
    let server = Server::start(|request| Reply::text(request.text()));
    let gate = gate(&bound(&[&server.url("")]));
    let call = request("POST", &server.url("/"), &[], Some("casemate-secret-KEY")).grants(with_key(&[&server.url("")]));
    assert_eq!(answer(call, &gate)["body"], "casemate-secret-KEY");
    let request = server.only();
    assert_eq!(
        (request.text().as_str(), request.header("authorization").map(str::len)),
        ("casemate-secret-KEY", Some(7 + CANARY.len()))
    );
}

#[test]
fn a_guess_is_answered_alike_whether_there_is_such_a_secret_or_not() {
    let server = Server::start(|_| Reply::text("never"));
    let secrets = bound(&[&server.url("")]);
    secrets.set(Secret::new("THERE", Fixed("canary-other-0123")).unwrap());
    let elsewhere = Secret::new("BOUND", Fixed("canary-other-4567")).unwrap();
    secrets.set(elsewhere.bound_to(server.url("").parse().unwrap(), SecretPlace::bearer()));
    let gate = gate(&secrets);
    let guess = |name: &str, at: usize| {
        let mark = format!("casemate-secret-{name}");
        let call = match at {
            0 => get(&server.url(&format!("/{mark}"))),
            1 => get(&server.url(&format!("/?a={mark}"))),
            2 => get_with(&server.url("/"), &[("authorization", &mark)]),
            _ => get_with(&server.url("/"), &[("x-a", &mark)]),
        };
        let mut events = gate.subscribe(10);
        let error = run(call.grants(with_key(&[&server.url("")])).gate(&gate)).result.unwrap_err().to_string();
        let events: Vec<_> =
            seen(&mut events).into_iter().map(|(kind, data)| format!("{kind} {}", data["message"])).collect();
        (format!("{error} {events:?}")).replace(name, "NAME")
    };
    for at in 0..4 {
        let absent = guess("ABSENT", at);
        assert!(absent.contains("the secret `NAME` is not granted"), "{absent}");
        for name in ["THERE", "BOUND"] {
            assert_eq!(guess(name, at), absent);
        }
    }
    assert!(server.seen().is_empty());
    // One that is granted and not there is like one that is granted and bound elsewhere.
    let told = |name: &str| {
        let call = get_with(&server.url("/"), &[("x-a", &format!("casemate-secret-{name}"))]);
        let grants = hosts(&[&server.url("")]).secret(name).unwrap();
        failure(call.grants(grants), &gate)
    };
    assert_eq!((told("THERE"), told("ABSENT")), (told("ABSENT"), "ErrorCode::HttpRequestDenied".to_owned()));
}

#[test]
fn what_a_guest_writes_where_a_secret_goes_is_replaced() {
    let server = Server::start(|_| Reply::text("hello"));
    let own = gate(&bound(&[&server.url("")]));
    let bearer = format!("Bearer {CANARY}");
    for headers in [
        &[("authorization", "Bearer mine")][..],
        &[("Authorization", "one"), ("AUTHORIZATION", "two")],
        &[("authorization", "Bearer casemate-secret-KEY")],
        &[("authorization", "")],
    ] {
        answer(get_with(&server.url("/"), headers).grants(with_key(&[&server.url("")])), &own);
        assert_eq!(server.seen().last().unwrap().header("authorization"), Some(bearer.as_str()));
    }
    let secrets = Secrets::new();
    secrets.set(key(&[&server.url("")], &SecretPlace::query("api_key").unwrap()));
    let own = gate(&secrets);
    for query in [
        "",
        "?api_key=mine",
        "?api_key=1&api_key=2",
        "?api%5Fkey=mine",
        "?%61pi_key=casemate-secret-KEY",
        "?&api_key",
        "?#api_key=x",
    ] {
        answer(get(&server.url(&format!("/{query}"))).grants(with_key(&[&server.url("")])), &own);
        let target = server.seen().last().unwrap().target.clone();
        assert_eq!((target.matches("api").count(), target.matches("sk_live_cAnarY").count()), (1, 1), "{target}");
    }
}

/// Without a value, or with one that cannot be used.
struct Broken(Option<&'static str>);

impl SecretSource for Broken {
    fn read(&self) -> SecretFuture<'_> {
        let read = match self.0 {
            Some("fails") => Err(SecretReadError::new("the vault at /home/somebody/vault is sealed")),
            value => Ok(value.map(Into::into)),
        };
        Box::pin(std::future::ready(read))
    }

    fn place(&self) -> String {
        "the file `/home/somebody/key`".to_owned()
    }
}

#[test]
fn a_secret_that_cannot_be_used_tells_a_guest_neither_its_value_nor_its_place() {
    let server = Server::start(|_| Reply::text("never"));
    for (source, told) in [
        (None, "is not there"),
        (Some("fails"), "is sealed"),
        (Some("cAnarY"), "shorter than 8 bytes"),
        (Some("cAnarY\r\nx-injected: 1"), "control character"),
        (Some(" cAnarY-with-blank"), "begins or ends with a blank"),
    ] {
        let secrets = Secrets::new();
        let secret = Secret::new("KEY", Broken(source)).unwrap();
        secrets.set(secret.bound_to(server.url("").parse().unwrap(), SecretPlace::bearer()));
        let gate = gate(&secrets);
        let mut events = gate.subscribe(10);
        let error = failure(get(&server.url("/")).grants(with_key(&[&server.url("")])), &gate);
        assert!(error.starts_with("ErrorCode::InternalError") && error.contains("`KEY`"), "{error}");
        assert!(!error.contains("/home") && !error.contains("sealed"), "{error}");
        is_clean(&error);
        let events = format!("{:?}", seen(&mut events));
        assert!(events.contains(told), "who watches is told: {events}");
        is_clean(&events);
    }
    assert!(server.seen().is_empty());
}

#[test]
fn a_value_that_cannot_stand_in_its_place_is_told_without_it() {
    let server = Server::start(|_| Reply::text("hello"));
    let secrets = Secrets::new();
    let secret = Secret::new("KEY", Fixed("cAnarY-\u{e9}\u{1f600}-0123")).unwrap();
    secrets.set(secret.bound_to(server.url("").parse().unwrap(), SecretPlace::bearer()));
    let gate = gate(&secrets);
    let result = run(get(&server.url("/")).grants(with_key(&[&server.url("")])).gate(&gate)).result;
    is_clean(&format!("{result:?}"));
}

#[test]
fn a_variable_of_the_same_name_is_not_the_secret() {
    let server = Server::start(|_| Reply::text("hello"));
    let gate = gate(&bound(&[&server.url("")]));
    let grants = || -> Grants { with_key(&[]).env("KEY", "own").unwrap() };
    assert_eq!(answer(fetcher().call("variables", json!({})).grants(grants()), &gate), json!([["KEY", "own"]]));
}
