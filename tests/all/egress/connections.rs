//! Time, sizes and counts of exchanges.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use casemate::{Budget, Gate, HttpClient, HttpLimits};
use serde_json::{Value, json};

use crate::outside::{addresses_of, answer, client, failure, get, hosts, http};
use crate::server::{Reply, Server};
use crate::support::{engine, fetcher, limits, run, seen};

/// Blocks whoever waits until it is dropped.
struct Gone {
    _end: Sender<()>,
    wait: Arc<Mutex<Receiver<()>>>,
}

impl Gone {
    fn new() -> Self {
        let (end, wait) = channel();
        Self { _end: end, wait: Arc::new(Mutex::new(wait)) }
    }

    /// Says this, and no more until the end.
    fn after(&self, bytes: impl Into<Vec<u8>>) -> Reply {
        let (bytes, wait) = (bytes.into(), self.wait.clone());
        Reply::by(move |stream| {
            stream.write_all(&bytes)?;
            let _ = wait.lock().unwrap().recv();
            Ok(())
        })
    }
}

/// Says the beginning, and then the same piece until nobody listens; counts the bytes that it got rid of.
fn endless(beginning: &'static str, piece: Vec<u8>, most: u64) -> (Server, Arc<AtomicU64>) {
    let written = Arc::new(AtomicU64::new(0));
    let count = written.clone();
    let server = Server::start(move |_| {
        let (count, piece) = (count.clone(), piece.clone());
        Reply::by(move |stream| {
            stream.write_all(beginning.as_bytes())?;
            while count.load(Ordering::SeqCst) < most {
                stream.write_all(&piece)?;
                count.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
            Ok(())
        })
        .and_close()
    });
    (server, written)
}

const MIB: u64 = 1 << 20;
/// More than the buffers of two sockets hold, and far less than a GB.
const A_LITTLE: u64 = 64 * MIB;

#[test]
fn a_response_of_a_gigabyte_ends_at_the_limit() {
    for (head, drains) in [
        ("HTTP/1.1 200 OK\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\n\r\n", false),
    ] {
        let mut piece = vec![b'x'; 1 << 16];
        if head.contains("chunked") {
            piece = [b"10000\r\n".to_vec(), piece, b"\r\n".to_vec()].concat();
        }
        let (server, written) = endless(head, piece, 1 << 30);
        let gate = Gate::default();
        let mut events = gate.subscribe(100);
        let limits = http(HttpLimits::default().response_bytes(MIB));
        let grants = hosts(&[&server.url("")]);
        if drains {
            let error =
                failure(fetcher().call("drain", json!({"url": server.url("/")})).grants(grants).limits(limits), &gate);
            assert!(error.starts_with("HTTP response body size exceeds limit: "), "{error}");
            let (kind, event) = seen(&mut events).pop().unwrap();
            assert_eq!((kind.as_str(), &event["kind"]), ("error", &json!("limit-exceeded")));
        } else {
            // Who does not read gets no more than what waits for it.
            let held = answer(
                fetcher().call("hold", json!({"url": server.url("/"), "count": 1})).grants(grants).limits(limits),
                &gate,
            );
            assert_eq!(held, json!([{"ok": 200}]));
        }
        assert!(written.load(Ordering::SeqCst) < A_LITTLE, "{} bytes", written.load(Ordering::SeqCst));
    }
}

#[test]
fn a_response_that_announces_too_much_is_not_read() {
    let (server, written) =
        endless("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n", vec![b'x'; 1 << 16], 1 << 30);
    let limits = http(HttpLimits::default().response_bytes(MIB));
    let error = failure(get(&server.url("/")).grants(hosts(&[&server.url("")])).limits(limits), &Gate::default());
    assert_eq!(error, "ErrorCode::HttpResponseBodySize(Some(1073741824))");
    assert!(written.load(Ordering::SeqCst) < A_LITTLE);
    let limits = http(HttpLimits::default().response_bytes(5));
    let server = Server::start(|_| Reply::text("hello"));
    assert_eq!(
        answer(get(&server.url("/")).grants(hosts(&[&server.url("")])).limits(limits), &Gate::default())["body"],
        "hello"
    );
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    for (said, error) in [
        ("", "ErrorCode::HttpResponseTimeout"),
        ("HTTP/1.1 20", "ErrorCode::HttpResponseTimeout"),
        ("HTTP/1.1 200 OK\r\nx-a: 1\r\n", "ErrorCode::HttpResponseTimeout"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "ErrorCode::HttpResponseTimeout"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", "connection read timeout"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345", "connection read timeout"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n", "connection read timeout"),
    ] {
        let gone = Gone::new();
        let server = Server::start(move |_| gone.after(said));
        let limits = http(HttpLimits::default().idle(Duration::from_millis(60)));
        assert_eq!(broken(&server, limits), error, "{said:?}");
    }
}

/// Why a response does not come, or breaks off.
#[track_caller]
fn broken(server: &Server, limits: casemate::Limits) -> String {
    let report = run(get(&server.url("/")).grants(hosts(&[&server.url("")])).limits(limits));
    match report.result {
        Ok(response) => response["body-error"].as_str().unwrap_or_else(|| panic!("{response}")).to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Says the beginning, and then a piece now and then until nobody listens.
fn trickling(beginning: &'static str, piece: &'static str) -> (Server, Arc<AtomicBool>) {
    let ended = Arc::new(AtomicBool::new(false));
    let own = ended.clone();
    let server = Server::start(move |_| {
        let own = own.clone();
        Reply::by(move |stream| {
            stream.write_all(beginning.as_bytes())?;
            let (_end, wait) = channel::<()>();
            while stream.write_all(piece.as_bytes()).is_ok() {
                let _ = wait.recv_timeout(Duration::from_millis(5));
            }
            own.store(true, Ordering::SeqCst);
            Err(std::io::ErrorKind::ConnectionAborted.into())
        })
    });
    (server, ended)
}

#[test]
fn a_server_that_trickles_is_given_up_when_its_time_is_over() {
    let limits = || http(HttpLimits::default().idle(Duration::from_hours(1)).total(Duration::from_millis(150)));
    for (beginning, piece) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "x"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
        ("HTTP/1.1 200 OK\r\nx-a: ", "x"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
    ] {
        let (server, _) = trickling(beginning, piece);
        let error = broken(&server, limits());
        let known = ["HTTP response timeout", "ErrorCode::HttpResponseTimeout"];
        assert!(known.contains(&error.as_str()), "{beginning:?}: {error}");
    }
}

#[test]
fn a_guest_can_only_be_less_patient() {
    let gone = Gone::new();
    let server = Server::start(move |_| gone.after(""));
    let asked = |own: u64, theirs: Duration| {
        let input = json!({"url": server.url("/"), "connect-ms": own, "first-byte-ms": own, "between-bytes-ms": own});
        let limits = http(HttpLimits::default().idle(theirs));
        failure(
            fetcher().call("with-timeouts", input).grants(hosts(&[&server.url("")])).limits(limits),
            &Gate::default(),
        )
    };
    assert_eq!(asked(3_600_000, Duration::from_millis(50)), "ErrorCode::HttpResponseTimeout");
    assert_eq!(asked(u64::MAX / 1_000_000, Duration::from_millis(50)), "ErrorCode::HttpResponseTimeout");
    assert_eq!(asked(50, Duration::from_hours(1)), "ErrorCode::HttpResponseTimeout");
    let error = asked(0, Duration::from_hours(1));
    assert!(["ErrorCode::HttpResponseTimeout", "ErrorCode::ConnectionTimeout"].contains(&error.as_str()), "{error}");
}

/// Connects to nothing, ever.
struct Nowhere;

impl casemate::Dial for Nowhere {
    fn dial(&self, _: std::net::SocketAddr) -> casemate::DialFuture {
        Box::pin(std::future::pending())
    }
}

#[test]
fn many_addresses_that_do_not_answer_do_not_stretch_the_time_of_an_exchange() {
    struct Many;
    impl casemate::Resolve for Many {
        fn resolve<'a>(&'a self, _: &'a str) -> casemate::ResolveFuture<'a> {
            Box::pin(std::future::ready(Ok((0..100).map(|last| [1, 1, 1, last].into()).collect())))
        }
    }
    let gate = Gate::builder().http(HttpClient::builder().resolver(Many).dialer(Nowhere).build()).build();
    let call = || get("http://many.example/").grants(hosts(&["http://many.example"]));
    let once = HttpLimits::default().connect(Duration::from_millis(2));
    assert_eq!(failure(call().limits(http(once)), &gate), "ErrorCode::ConnectionTimeout");
    let total = HttpLimits::default().connect(Duration::from_hours(1)).total(Duration::from_millis(50));
    let error = failure(call().limits(http(total)), &gate);
    assert!(["ErrorCode::ConnectionTimeout", "ErrorCode::HttpResponseTimeout"].contains(&error.as_str()), "{error}");
}

#[test]
fn a_resolver_that_never_answers_is_given_up() {
    struct Silent;
    impl casemate::Resolve for Silent {
        fn resolve<'a>(&'a self, _: &'a str) -> casemate::ResolveFuture<'a> {
            Box::pin(std::future::pending())
        }
    }
    let gate = Gate::builder().http(HttpClient::builder().resolver(Silent).build()).build();
    let limits = http(HttpLimits::default().connect(Duration::from_millis(50)));
    let error = failure(get("http://a.example/").grants(hosts(&["http://a.example"])).limits(limits), &gate);
    assert!(error.starts_with("ErrorCode::DnsError"), "{error}");
}

fn count(told: &Value) -> (usize, Vec<&str>) {
    let told = told.as_array().unwrap();
    (
        told.iter().filter(|told| told.get("ok").is_some()).count(),
        told.iter().filter_map(|told| told["err"].as_str()).collect(),
    )
}

#[test]
fn a_guest_has_no_more_exchanges_at_once_than_it_may() {
    let server = Server::start(|_| Reply::text("hello"));
    let limits = || http(HttpLimits::default().connections(3));
    let input = json!({"url": server.url("/"), "count": 5});
    for name in ["hold", "fetch-many"] {
        let told = answer(
            fetcher().call(name, input.clone()).grants(hosts(&[&server.url("")])).limits(limits()),
            &Gate::default(),
        );
        assert_eq!(count(&told), (3, vec!["ErrorCode::ConnectionLimitReached"; 2]), "{name}");
    }
    assert_eq!(server.seen().len(), 6);
    // One that is over makes room, whatever became of it.
    for _ in 0..2 {
        let told = answer(fetcher().call("hold", input.clone()).limits(limits()), &Gate::default());
        assert_eq!(count(&told).1, vec!["ErrorCode::HttpRequestDenied"; 5]);
    }
}

#[test]
fn calls_of_tools_over_http_are_exchanges_too() {
    use std::sync::atomic::AtomicUsize;
    let at_once = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (own, own_most) = (at_once.clone(), most.clone());
    let tool = casemate::Tool::new("wait", move |_: crate::support::Anything| {
        let (at_once, most) = (own.clone(), own_most.clone());
        async move {
            most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            at_once.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, String>(json!(1))
        }
    });
    let input = json!({"url": "http://tools.internal/wait", "count": 10});
    let call = fetcher()
        .call("fetch-many", input)
        .tools(crate::support::toolset([tool]))
        .grants(crate::support::granted(&["wait"]));
    let told = answer(call.limits(http(HttpLimits::default().connections(3))), &Gate::default());
    assert_eq!(count(&told), (3, vec!["ErrorCode::ConnectionLimitReached"; 7]));
    assert!(most.load(Ordering::SeqCst) <= 3);
}

#[test]
fn requests_end_with_their_budget() {
    let server = Server::start(|_| Reply::text("hello"));
    let gate = Gate::default();
    let mut events = gate.subscribe(100);
    let call =
        fetcher().call("fetch-many", json!({"url": server.url("/"), "count": 5})).grants(hosts(&[&server.url("")]));
    let told = answer(call.budget(Budget::default().requests(2)), &gate);
    assert_eq!((count(&told), server.seen().len()), ((2, vec!["ErrorCode::ConnectionLimitReached"; 3]), 2));
    let limits = seen(&mut events).into_iter().filter(|(_, event)| event["kind"] == "limit-exceeded").count();
    assert_eq!(limits, 3);
}

#[test]
fn a_request_that_is_too_large_breaks_off() {
    let server = Server::start(|_| Reply::text("never"));
    for bytes in [MIB + 1, 64 * MIB] {
        let call =
            fetcher().call("upload", json!({"url": server.url("/"), "bytes": bytes})).grants(hosts(&[&server.url("")]));
        let error = failure(call.limits(http(HttpLimits::default().request_bytes(MIB))), &Gate::default());
        assert!(error.starts_with("ErrorCode::HttpRequestBodySize"), "{error}");
    }
    assert!(server.seen().is_empty(), "no request came whole");
    let server = Server::start(|_| Reply::text("thanks"));
    let call =
        fetcher().call("upload", json!({"url": server.url("/"), "bytes": MIB})).grants(hosts(&[&server.url("")]));
    assert_eq!(answer(call.limits(http(HttpLimits::default().request_bytes(MIB))), &Gate::default()), 200);
    assert_eq!(server.only().body.len() as u64, MIB);
}

#[test]
fn the_input_of_a_tool_over_http_has_the_same_limit() {
    let (tool, calls) = crate::support::counting("count-it");
    let call = fetcher().call("upload", json!({"url": "http://tools.internal/count-it", "bytes": 8 * MIB}));
    let call = call.tools(crate::support::toolset([tool])).grants(crate::support::granted(&["count-it"]));
    let error = failure(call.limits(http(HttpLimits::default().request_bytes(MIB))), &Gate::default());
    assert!(error.starts_with("ErrorCode::HttpRequestBodySize"), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

/// A connection whose request is still on its way when its response is over is not there for others.
#[test]
fn a_guest_that_never_ends_its_request_does_not_hold_up_others() {
    // Answers as soon as it has the head, never reads a body, and keeps the connection open.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (began, first) = channel();
    let stopped = Arc::new(AtomicBool::new(false));
    let own = stopped.clone();
    let serving = thread::spawn(move || {
        let mut answering = Vec::new();
        for stream in listener.incoming().take_while(|_| !own.load(Ordering::SeqCst)) {
            let (stream, began) = (stream.unwrap(), began.clone());
            answering.push(stream.try_clone().unwrap());
            thread::spawn(move || answer_heads(stream, &began));
        }
        for stream in answering {
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    let gate = Gate::default();
    let url = format!("http://{address}/");
    let grants = || hosts(&[&format!("http://{address}")]);
    let (stop, stop_now) = tokio::sync::oneshot::channel::<()>();
    let upload = fetcher().call("upload", json!({"url": url, "bytes": 15 * MIB})).grants(grants()).gate(&gate);
    let upload = upload.limits(limits().wall_time(Duration::from_hours(1)).unwrap().build());
    let upload = thread::spawn(move || engine().block_on(upload.until(async move { drop(stop_now.await) }).report()));
    first.recv().unwrap();
    let limits = || limits().wall_time(Duration::from_secs(5)).unwrap().build();
    // Several at once, so that whatever connection is free is taken.
    let many = || fetcher().call("fetch-many", json!({"url": url, "count": 4})).grants(grants()).gate(&gate);
    let others: Vec<_> = (0..10).map(|_| run(many().limits(limits())).result.is_ok()).collect();
    drop(stop);
    drop(upload.join().unwrap());
    stopped.store(true, Ordering::SeqCst);
    drop(TcpStream::connect(address));
    serving.join().unwrap();
    assert_eq!(others, [true; 10]);
}

fn answer_heads(mut stream: TcpStream, began: &Sender<()>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    let mut uploads = false;
    while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
        uploads |= line.starts_with("POST");
        if line == "\r\n" {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            let _ = began.send(());
            if uploads {
                return;
            }
        }
        line.clear();
    }
}

#[test]
fn a_name_with_many_addresses_is_tried_in_order_and_no_further_than_needed() {
    let server = Server::start(|_| Reply::text("hello"));
    let own = server.address();
    let third: std::net::IpAddr = "1.1.1.3".parse().unwrap();
    let (client, asked) = client(
        |_, _| addresses_of(&["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"]),
        move |to| (to.ip() == third).then_some(own),
    );
    let gate = Gate::builder().http(client.build()).build();
    assert_eq!(answer(get("http://a.example/").grants(hosts(&["http://a.example"])), &gate)["status"], 200);
    assert_eq!(asked.dialled(), ["1.1.1.1:80", "1.1.1.2:80", "1.1.1.3:80"]);
}
