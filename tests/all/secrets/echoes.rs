//! Servers that say what they were sent.

use std::io::Write as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate::{SecretPlace, Secrets};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{CANARY, bound, forms, gate, is_clean, is_clean_json, key, with_key};
use crate::outside::{answer, get, get_with, hosts, parts};
use crate::server::{Reply, Request, Server};
use crate::support::{fetcher, run, seen};

/// A request with the secret, and what the guest gets, of which nothing is the secret; nor is its memory.
#[track_caller]
fn echo(reply: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Value {
    let server = Server::start(move |request| {
        let sent = request.header("authorization").unwrap_or_default().to_owned();
        Reply::raw(reply(sent.strip_prefix("Bearer ").unwrap_or_default())).and_close()
    });
    let url = server.url("/");
    let secrets = bound(&[&server.url("")]);
    let gate = gate(&secrets);
    let mut events = gate.subscribe(100);
    let result = run(get(&url).gate(&gate).grants(with_key(&[&server.url("")]))).result;
    let bearer = format!("Bearer {CANARY}");
    assert_eq!(server.only().header("authorization"), Some(bearer.as_str()), "it was there to be echoed");
    is_clean(&format!("{result:?}"));
    is_clean(&format!("{:?}", seen(&mut events)));
    let reversed: String = CANARY.chars().rev().collect();
    let input = json!({"request": parts("GET", &url, &[], None), "reversed": reversed});
    if let Ok(found) =
        run(fetcher().call("search-memory-after", input).gate(&gate).grants(with_key(&[&server.url("")]))).result
    {
        assert_eq!(found, 0);
    }
    result.unwrap_or_else(|error| error.to_string().into())
}

fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    [format!("HTTP/1.1 200 OK\r\n{headers}content-length: {length}\r\n\r\n").into_bytes(), body.to_vec()].concat()
}

#[test]
fn an_echo_in_a_body_is_masked_in_every_form() {
    for (index, form) in forms().into_iter().enumerate() {
        let echoed = form.clone();
        let response = echo(move |_| ok("", format!("before {echoed} after").as_bytes()));
        let body = response["body"].as_str().unwrap();
        assert!(body.starts_with("before ") && body.ends_with(" after"), "{index}: {body}");
        assert_eq!(body.len(), "before  after".len() + form.len());
    }
    echo(|sent| ok("", json!({"authorization": format!("Bearer {sent}")}).to_string().as_bytes()));
    echo(|sent| ok("", STANDARD.encode(format!("user:{sent}")).as_bytes()));
    echo(|sent| ok("", format!("{sent}{sent}{sent}").as_bytes()));
}

#[test]
fn an_echo_in_two_chunks_is_masked_wherever_it_is_cut() {
    for cut in 1..CANARY.len() {
        let response = echo(move |sent| {
            let (first, second) = sent.split_at(cut);
            let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            format!("{head}{}{}0\r\n\r\n", chunk(&format!("before {first}")), chunk(&format!("{second} after")))
                .into_bytes()
        });
        assert_eq!(response["body"], format!("before {} after", "*".repeat(CANARY.len())), "cut at {cut}");
    }
    let response = echo(|sent| {
        let chunks = sent.chars().map(|letter| format!("1\r\n{letter}\r\n")).collect::<Vec<_>>().concat();
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").into_bytes()
    });
    assert_eq!(response["body"], "*".repeat(CANARY.len()));
}

#[test]
fn an_echo_that_breaks_off_is_not_handed_on() {
    for cut in 1..CANARY.len() {
        let response = echo(move |sent| {
            let first = sent.get(..cut).unwrap_or_default();
            format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbefore {first}").into_bytes()
        });
        assert_eq!(
            (&response["body"], &response["body-error"]),
            (&json!("before "), &json!("incomplete HTTP response"))
        );
    }
}

#[test]
fn an_echo_in_a_head_is_masked() {
    let text = |text: String| text.into_bytes();
    echo(move |sent| text(format!("HTTP/1.1 200 OK\r\nx-a: {sent}\r\ncontent-length: 0\r\n\r\n")));
    echo(move |sent| {
        text(format!("HTTP/1.1 200 OK\r\nx-a: 1, Bearer {sent}, 2\r\nx-a: {sent}\r\ncontent-length: 0\r\n\r\n"))
    });
    echo(move |sent| text(format!("HTTP/1.1 200 {sent}\r\ncontent-length: 0\r\n\r\n")));
    echo(move |sent| text(format!("HTTP/1.1 500 failed: {sent}\r\ncontent-length: 0\r\n\r\n")));
    for end in ["/", "/?key={}", "#{}", "http://{}.example/", "http://other.example/{}", "http://user:{}@a.example/"] {
        echo(move |sent| {
            text(format!("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", end.replace("{}", sent)))
        });
    }
    for form in forms() {
        let value = form.clone();
        echo(move |_| text(format!("HTTP/1.1 200 OK\r\nset-cookie: key={value}; path=/\r\ncontent-length: 0\r\n\r\n")));
    }
    echo(move |sent| {
        text(format!("HTTP/1.1 200 OK\r\ncontent-type: {sent}\r\nwww-authenticate: Basic realm=\"{sent}\"\r\n\r\n"))
    });
}

/// Names of headers come in lower case whatever a server says, so that the value is not there as it was sent.
#[test]
fn an_echo_in_the_name_of_a_header_is_dropped() {
    let named = "cAnarY-Key_0123456789";
    for name in [named.to_owned(), format!("x-{named}"), named.to_uppercase(), format!("{named}-x")] {
        let server = Server::start(move |_| Reply::new(200, &[(name.as_str(), "1"), ("x-other", "2")], "hello"));
        let secret = casemate::Secret::new("KEY", crate::support::Fixed("cAnarY-Key_0123456789")).unwrap();
        let secrets = Secrets::new();
        secrets.set(secret.bound_to(server.url("").parse().unwrap(), SecretPlace::bearer()));
        let response = answer(get(&server.url("/")).grants(with_key(&[&server.url("")])), &gate(&secrets));
        let text = response.to_string().to_lowercase();
        assert!(!text.contains("canary") && text.contains("x-other"), "{text}");
    }
}

#[test]
fn an_echo_in_trailers_or_in_chunk_extensions_does_not_arrive() {
    let response = echo(|sent| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-a\r\n\r\n";
        format!("{head}5;key={sent}\r\nhello\r\n0;key={sent}\r\nx-a: {sent}\r\nx-b: {sent}\r\n\r\n").into_bytes()
    });
    assert_eq!(response["body"], "hello");
}

#[test]
fn an_echo_in_gzip_is_masked() {
    let gzip = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let response = echo(move |sent| ok("content-encoding: gzip\r\n", &gzip(&format!("before {sent} after"))));
    assert_eq!(response["body"], format!("before {} after", "*".repeat(CANARY.len())));
    // Two members, one value.
    let response = echo(move |sent| ok("content-encoding: x-gzip\r\n", &[gzip(&sent[..9]), gzip(&sent[9..])].concat()));
    assert_eq!(response["body"], "*".repeat(CANARY.len()));
    // What the guest would decode itself is not given to it.
    for codings in ["content-encoding: identity\r\ncontent-encoding: gzip\r\n", "content-encoding: gzip, identity\r\n"]
    {
        let told = echo(move |sent| ok(codings, &gzip(sent)));
        assert!(told.as_str().unwrap().starts_with("ErrorCode::HttpResponseContentCoding"), "{told}");
    }
    let told = echo(|sent| ok(&format!("content-encoding: {sent}\r\n"), b"hello"));
    assert_eq!(told, format!("ErrorCode::HttpResponseContentCoding(Some(\"{}\"))", "*".repeat(CANARY.len())));
}

/// What is asked for in pieces would come back in pieces, none of which is the secret.
#[test]
fn no_piece_can_be_asked_for_of_a_response_to_a_request_with_a_secret() {
    let server = Server::start(|request| {
        let body = format!("you sent {}", request.header("authorization").unwrap_or_default());
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        match range {
            Some((first, last)) => {
                let piece = &body[first.parse().unwrap()..=last.parse().unwrap()];
                Reply::new(206, &[("content-range", "bytes 0-1/2")], piece)
            }
            None => Reply::text(body),
        }
    });
    let mut place = SecretPlace::bearer();
    for _ in 0..2 {
        let secrets = Secrets::new();
        secrets.set(key(&[&server.url("/private")], &place));
        let gate = gate(&secrets);
        for headers in [
            &[("range", "bytes=16-19")][..],
            &[("Range", "bytes=20-23"), ("if-range", "\"1\"")],
            &[("RANGE", "bytes=20-23"), ("range", "bytes=0-1")],
        ] {
            let response =
                answer(get_with(&server.url("/private"), headers).grants(with_key(&[&server.url("")])), &gate);
            assert_eq!(response["status"], 200);
            is_clean_json(&response);
            let request = server.seen().pop().unwrap();
            assert_eq!((request.header("range"), request.header("if-range")), (None, None));
        }
        place = SecretPlace::query("key").unwrap();
    }
    // Where no secret is, pieces may be asked for.
    let response = answer(
        get_with(&server.url("/"), &[("range", "bytes=0-2")]).grants(hosts(&[&server.url("")])),
        &gate(&Secrets::new()),
    );
    assert_eq!((&response["status"], &response["body"]), (&json!(206), &json!("you")));
}

/// A server that tells one client what another one sent, while a response is on its way already.
#[test]
fn a_response_that_began_before_the_secret_was_used_is_masked_too() {
    for says_head_first in [true, false] {
        let (said, listen): (Sender<String>, Receiver<String>) = channel();
        let (began, first) = channel();
        let (said, listen, began) = (Mutex::new(said), Arc::new(Mutex::new(listen)), Mutex::new(began));
        let server = Server::start(move |request: &Request| {
            if request.target == "/use" {
                let key = request.header("authorization").unwrap_or_default().to_owned();
                said.lock().unwrap().send(key).unwrap();
                return Reply::text("used");
            }
            let (listen, began) = (listen.clone(), began.lock().unwrap().clone());
            Reply::by(move |stream| {
                if says_head_first {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nlog: ")?;
                }
                began.send(()).unwrap();
                let heard = listen.lock().unwrap().recv().unwrap();
                if !says_head_first {
                    stream.write_all(format!("HTTP/1.1 200 OK\r\nx-heard: {heard}\r\n\r\nlog: ").as_bytes())?;
                }
                stream.write_all(heard.as_bytes())
            })
            .and_close()
        });
        let gate = gate(&bound(&[&server.url("/use")]));
        let (log, grants) = (get(&server.url("/log")), hosts(&[&server.url("")]));
        let watching = {
            let gate = gate.clone();
            thread::spawn(move || run(log.grants(grants).gate(&gate)).result.unwrap())
        };
        first.recv().unwrap();
        answer(get(&server.url("/use")).grants(with_key(&[&server.url("")])), &gate);
        let response = watching.join().unwrap();
        assert_eq!(response["body"], format!("log: Bearer {}", "*".repeat(CANARY.len())));
        is_clean_json(&response);
    }
}

#[test]
fn what_one_sandbox_has_sent_no_other_sandbox_of_the_gate_reads() {
    let kept = Arc::new(Mutex::new(String::new()));
    let server = Server::start(move |request| {
        if let Some(key) = request.header("authorization") {
            key.clone_into(&mut kept.lock().unwrap());
        }
        Reply::text(kept.lock().unwrap().clone())
    });
    let gate = gate(&bound(&[&server.url("/use")]));
    is_clean_json(&answer(get(&server.url("/use")).grants(with_key(&[&server.url("")])), &gate));
    let response = answer(get(&server.url("/log")).grants(hosts(&[&server.url("")])), &gate);
    assert_eq!(response["body"], format!("Bearer {}", "*".repeat(CANARY.len())));
}
