//! Responses that never end, are not what they say, or are much more than they seem.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use casemate::{Gate, HttpLimits};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::outside::{answer, failure, get, hosts, http};
use crate::server::{Reply, Server};
use crate::support::{fetcher, run, seen};
use serde_json::json;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What the guest is told of a response of these bytes, after which the connection ends.
#[track_caller]
fn said(bytes: impl Into<Vec<u8>>) -> Result<String, String> {
    let bytes = bytes.into();
    let server = Server::start(move |_| Reply::raw(bytes.clone()).and_close());
    let gate = Gate::default();
    let mut events = gate.subscribe(10);
    let limits = http(HttpLimits::default().response_bytes(1 << 20));
    let result = run(get(&server.url("/")).grants(hosts(&[&server.url("")])).limits(limits).gate(&gate)).result;
    let events = seen(&mut events);
    assert_eq!((events.len(), events[0].0.as_str()), (2, "fetch"), "{events:?}");
    let error = match result {
        Ok(response) => match response["body-error"].as_str() {
            None => {
                assert_eq!(events[1].0, "fetched");
                return Ok(response["body"].as_str().unwrap().to_owned());
            }
            Some(error) => error.to_owned(),
        },
        Err(error) => error.to_string(),
    };
    assert_eq!(events[1].0, "error", "{error}");
    Err(error)
}

#[test]
fn a_response_that_never_ends_its_head_is_given_up() {
    for (beginning, piece) in [
        ("", "x"),
        ("HTTP/1.1 200 ", "OK"),
        ("HTTP/1.1 200 OK\r\n", "x-a: 1\r\n"),
        ("HTTP/1.1 200 OK\r\nx-a: ", "xxxxxxxxxxxxxxxxxxxx"),
        ("HTTP/1.1 200 OK\r\n", "xxxxxxxxxxxxxxxxxxxx"),
        ("HTTP/1.1 200 OK\r\n", "\r"),
    ] {
        let written = Arc::new(AtomicU64::new(0));
        let count = written.clone();
        let server = Server::start(move |_| {
            let count = count.clone();
            Reply::by(move |stream| {
                stream.write_all(beginning.as_bytes())?;
                let piece = piece.repeat(1000);
                while count.fetch_add(piece.len() as u64, Ordering::SeqCst) < 1 << 30 {
                    stream.write_all(piece.as_bytes())?;
                }
                Ok(())
            })
            .and_close()
        });
        let error = failure(get(&server.url("/")).grants(hosts(&[&server.url("")])), &Gate::default());
        let known = ["ErrorCode::HttpResponseHeaderSectionSize(None)", "ErrorCode::HttpProtocolError"];
        assert!(known.contains(&error.as_str()), "{beginning:?}: {error}");
        assert!(written.load(Ordering::SeqCst) < 64 << 20);
    }
    let many = "x-a: 1\r\n".repeat(101);
    assert_eq!(
        said(format!("HTTP/1.1 200 OK\r\n{many}\r\n")).unwrap_err(),
        "ErrorCode::HttpResponseHeaderSectionSize(None)"
    );
    let long = "x".repeat(256 << 10);
    let error = said(format!("HTTP/1.1 200 OK\r\nx-a: {long}\r\n\r\n")).unwrap_err();
    assert_eq!(error, "ErrorCode::HttpResponseHeaderSectionSize(None)");
}

#[test]
fn what_is_not_http_is_an_error() {
    for bytes in [
        "",
        "\r\n\r\n",
        "hello",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx-a: 1\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx-a: \0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
    ] {
        let error = said(bytes).unwrap_err();
        let known = ["ErrorCode::HttpProtocolError", "ErrorCode::HttpResponseIncomplete", "incomplete HTTP response"];
        assert!(known.contains(&error.as_str()), "{bytes:?}: {error}");
    }
}

#[test]
fn a_server_that_closes_half_way_is_an_error() {
    let half = gzip(b"hello hello hello");
    let half = &half[..half.len() / 2];
    let head = |more: &str| format!("HTTP/1.1 200 OK\r\n{more}\r\n").into_bytes();
    for bytes in [
        b"HTTP/1.1 200 O".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-le".to_vec(),
        b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(),
        [head("content-length: 10\r\n"), b"12345".to_vec()].concat(),
        head("content-length: 10\r\n"),
        [head("transfer-encoding: chunked\r\n"), b"5\r\nhello\r\n".to_vec()].concat(),
        [head("transfer-encoding: chunked\r\n"), b"5\r\nhel".to_vec()].concat(),
        head("transfer-encoding: chunked\r\n"),
    ] {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let error = said(bytes).unwrap_err();
        assert!(
            ["ErrorCode::HttpResponseIncomplete", "incomplete HTTP response"].contains(&&*error),
            "{text:?}: {error}"
        );
    }
    for body in [half, b"plain"] {
        let error = said([head("content-encoding: gzip\r\n"), body.to_vec()].concat()).unwrap_err();
        assert_eq!(error, "HTTP protocol error", "{body:?}");
    }
    // Without a length, the end of the connection is the end.
    assert_eq!(said([head(""), b"hello".to_vec()].concat()).unwrap(), "hello");
}

#[test]
fn a_decompression_bomb_ends_at_the_limit() {
    let bomb = gzip(&vec![0; 256 << 20]);
    assert!(bomb.len() < 300 << 10, "{}", bomb.len());
    let server = Server::start(move |_| Reply::new(200, &[("content-encoding", "gzip")], bomb.clone()));
    let gate = Gate::default();
    let mut events = gate.subscribe(10);
    let call = fetcher().call("drain", json!({"url": server.url("/")})).grants(hosts(&[&server.url("")]));
    let error = failure(call.limits(http(HttpLimits::default().response_bytes(1 << 20))), &gate);
    let used =
        error.strip_prefix("HTTP response body size exceeds limit: ").and_then(|text| text.strip_suffix(" bytes"));
    let used: u64 = used.unwrap().parse().unwrap();
    assert!(used > 1 << 20 && used < 4 << 20, "no more is decoded than is handed on: {used}");
    assert_eq!(seen(&mut events)[1].1["kind"], "limit-exceeded");
}

#[test]
fn a_body_that_is_gzip_arrives_decoded() {
    let server = Server::start(|_| Reply::new(200, &[("content-encoding", "GZip"), ("x-a", "1")], gzip(b"hello")));
    let response = answer(get(&server.url("/")).grants(hosts(&[&server.url("")])), &Gate::default());
    assert_eq!(response["body"], "hello");
    let names: Vec<_> =
        response["headers"].as_array().unwrap().iter().map(|header| header["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["x-a"]);
}

#[test]
fn a_coding_that_cannot_be_undone_is_an_error() {
    let twice = gzip(&gzip(b"hello"));
    let with = |headers: &str, body: &[u8]| {
        let length = body.len();
        [format!("HTTP/1.1 200 OK\r\n{headers}content-length: {length}\r\n\r\n").into_bytes(), body.to_vec()].concat()
    };
    for headers in [
        "content-encoding: br\r\n",
        "content-encoding: zstd\r\n",
        "content-encoding: deflate\r\n",
        "content-encoding: gzip, gzip\r\n",
        "content-encoding: gzip, br\r\n",
        "content-encoding: gzip;q=1\r\n",
        "content-encoding: \u{ff}\r\n",
        "content-encoding: gzip\r\ncontent-encoding: gzip\r\n",
        "content-encoding: gzip\r\ncontent-encoding: br\r\n",
        "content-encoding: identity\r\ncontent-encoding: gzip\r\n",
        "content-encoding: identity\r\nContent-Encoding: br\r\n",
    ] {
        let error = said(with(headers, &twice)).unwrap_err();
        assert!(error.starts_with("ErrorCode::HttpResponseContentCoding"), "{headers:?}: {error}");
    }
    assert_eq!(said(with("content-encoding: identity\r\n", b"hello")).unwrap(), "hello");
    for coding in ["gzip", "gzip, chunked", "deflate, chunked"] {
        let body = gzip(b"hello");
        let chunk = [format!("{:x}\r\n", body.len()).into_bytes(), body, b"\r\n0\r\n\r\n".to_vec()].concat();
        let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}\r\n\r\n").into_bytes();
        assert!(said([head, chunk].concat()).is_err(), "{coding}");
    }
}

#[test]
fn a_body_that_decodes_to_nothing_ends_at_the_limit_too() {
    let written = Arc::new(AtomicU64::new(0));
    let count = written.clone();
    let nothing = gzip(b"").repeat(1000);
    let server = Server::start(move |_| {
        let (count, nothing) = (count.clone(), nothing.clone());
        Reply::by(move |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n")?;
            while count.fetch_add(nothing.len() as u64, Ordering::SeqCst) < 1 << 28 {
                stream.write_all(&nothing)?;
            }
            Ok(())
        })
        .and_close()
    });
    let call = fetcher().call("drain", json!({"url": server.url("/")})).grants(hosts(&[&server.url("")]));
    let error = failure(call.limits(http(HttpLimits::default().response_bytes(1 << 20))), &Gate::default());
    assert!(error.starts_with("HTTP response body size exceeds limit: "), "{error}");
    assert!(written.load(Ordering::SeqCst) < 64 << 20);
}

#[test]
fn a_response_without_a_body_is_whole() {
    for (head, method) in [("204 No Content", "GET"), ("304 Not Modified", "GET"), ("200 OK", "HEAD")] {
        let text = format!("HTTP/1.1 {head}\r\ncontent-encoding: br\r\n\r\n");
        let server = Server::start(move |_| Reply::raw(text.clone()));
        let call = crate::outside::request(method, &server.url("/"), &[], None).grants(hosts(&[&server.url("")]));
        assert_eq!(answer(call, &Gate::default())["body"], "", "{head}");
    }
}
