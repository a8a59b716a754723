//! A guest that knows only HTTP and its environment: what `wit/fetcher` says, and nothing else.

mod memory;
mod request;
mod response;

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]

    wit_bindgen::generate!({
        path: "../../wit/fetcher",
        world: "fetcher",
    });

    export!(Fetcher with_types_in self);

    use super::Fetcher;
}

use bindings::exports::casemate::fetcher::calls::{self, Guest as _, Header, Request, Response};
use request::Timeouts;
use std::env;
use std::fmt;
use std::hint::black_box;
use std::io::Write as _;
use wasip2::http::types::FutureIncomingResponse;

struct Fetcher;

impl calls::Guest for Fetcher {
    fn fetch(request: Request) -> Result<Response, String> {
        fetch(&request)
    }

    fn fetch_many(url: String, count: u32) -> Vec<Result<u16, String>> {
        let started: Vec<_> = (0..count).map(|_| start(&url)).collect();
        let answered: Vec<_> = started.into_iter().map(|pending| response::wait(&pending?)).collect();
        let read = |response| response::read(&response, |_| ()).map(|()| response.status());
        answered.into_iter().map(|response| response.and_then(read)).collect()
    }

    fn repeat(url: String, count: u32) -> Result<u32, String> {
        for _ in 0..count {
            response::read(&response::wait(&start(&url)?)?, |_| ())?;
        }
        Ok(count)
    }

    fn hold(url: String, count: u32) -> Vec<Result<u16, String>> {
        let held: Vec<_> = (0..count).map(|_| response::wait(&start(&url)?)).collect();
        held.into_iter().map(|response| response.map(|response| response.status())).collect()
    }

    fn drain(url: String) -> Result<u64, String> {
        let mut bytes = 0;
        response::read(&response::wait(&start(&url)?)?, |piece| bytes += piece.len() as u64)?;
        Ok(bytes)
    }

    fn upload(url: String, bytes: u64) -> Result<u16, String> {
        let request = request::new("POST", &url, &[])?;
        let pending = request::send_with_body(request, |stream| request::write_zeros(stream, bytes))?;
        Ok(response::wait(&pending)?.status())
    }

    fn with_timeouts(
        url: String,
        connect: Option<u64>,
        first_byte: Option<u64>,
        between_bytes: Option<u64>,
    ) -> Result<Response, String> {
        let options = Timeouts { connect, first_byte, between_bytes }.options()?;
        response::whole(&request::send(request::new("GET", &url, &[])?, Some(options))?)
    }

    fn variables() -> Vec<(String, String)> {
        env::vars_os().map(|(name, value)| (lossy(name.as_encoded_bytes()), lossy(value.as_encoded_bytes()))).collect()
    }

    fn post_to_tool(variable: String, path: String, body: String) -> Result<Response, String> {
        let base = env::var(&variable).map_err(|_| format!("there is no variable `{variable}`"))?;
        let content_type = Header { name: "content-type".to_owned(), value: "application/json".to_owned() };
        fetch(&Request { method: "POST".to_owned(), url: base + &path, headers: vec![content_type], body: Some(body) })
    }

    fn search_memory(reversed: String) -> u32 {
        search(&reversed, ())
    }

    fn search_memory_after(request: Request, reversed: String) -> Result<u32, String> {
        Ok(search(&reversed, fetch(&request)?))
    }
}

fn fetch(Request { method, url, headers, body }: &Request) -> Result<Response, String> {
    let request = request::new(method, url, headers)?;
    let pending = match body {
        None => request::send(request, None),
        Some(body) => request::send_with_body(request, |stream| stream.write_all(body.as_bytes())),
    };
    response::whole(&pending?)
}

fn start(url: &str) -> Result<FutureIncomingResponse, String> {
    request::send(request::new("GET", url, &[])?, None)
}

/// Searches while the environment is in memory, and with it whatever else is handed over.
fn search(reversed: &str, held: impl Sized) -> u32 {
    let held = (Fetcher::variables(), held);
    let count = memory::count(reversed.as_bytes());
    black_box(&held);
    count
}

/// An error of the host as its callers read it.
fn text(error: impl fmt::Debug) -> String {
    format!("{error:?}")
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
