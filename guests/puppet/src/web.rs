//! Lines about HTTP.

use std::future::Future;
use std::task::Poll;

use futures_lite::stream;
use wstd::http::{Body, Client, Request};
use wstd::runtime::block_on;

use crate::{number, obey};

pub(crate) fn answer(verb: &str, rest: &str) -> String {
    match verb {
        "http" => {
            let mut words = rest.splitn(3, ' ');
            let (method, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let body = words.next().unwrap_or_default().to_owned();
            block_on(request(method, url, Body::from(body)))
        }
        "http-around" => {
            let (url, line) = rest.split_once(' ').unwrap_or((rest, "nothing"));
            let line = line.to_owned();
            let pieces = (0..3).map(move |piece| match piece {
                0 => "before".to_owned(),
                1 => {
                    let mut answers = Vec::new();
                    obey(&line, &mut answers);
                    answers.join(" ")
                }
                _ => "after".to_owned(),
            });
            block_on(request("POST", url, Body::from_stream(stream::iter(pieces))))
        }
        "http-broken" => {
            let pieces = [Ok("before"), Err(std::io::Error::other("told to"))];
            block_on(request("POST", rest, Body::from_try_stream(stream::iter(pieces))))
        }
        "http-within" => {
            let mut words = rest.splitn(3, ' ');
            let (time, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let time = wstd::time::Duration::from_millis(number(time));
            let (method, body) = match words.next() {
                Some(body) => ("POST", Body::from(body.to_owned())),
                None => ("GET", Body::empty()),
            };
            block_on(first(request(method, url, body), async {
                wstd::task::sleep(time).await;
                "too late".to_owned()
            }))
        }
        "http-twice" => {
            let get = |path| async move { request("GET", &format!("{rest}/{path}"), Body::empty()).await };
            block_on(first(get("a"), get("b")))
        }
        other => panic!("no such line: {other}"),
    }
}

async fn request(method: &str, url: &str, body: Body) -> String {
    let request = Request::builder().method(method).uri(url).body(body);
    let Ok(request) = request else { return "no request".to_owned() };
    match Client::new().send(request).await {
        Ok(mut response) => {
            let status = response.status().as_u16();
            let body = response.body_mut().contents().await.map(<[u8]>::to_vec);
            format!("{status} {}", String::from_utf8_lossy(&body.unwrap_or_default()))
        }
        Err(error) => format!("no response: {error:?}"),
    }
}

/// Whichever is done first; the other is dropped.
async fn first(one: impl Future<Output = String>, other: impl Future<Output = String>) -> String {
    let (mut one, mut other) = (Box::pin(one), Box::pin(other));
    std::future::poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(answer),
        Poll::Pending => other.as_mut().poll(cx),
    })
    .await
}
