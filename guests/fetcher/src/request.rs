//! Requests: what they are made of, and sending them.

use crate::bindings::exports::casemate::fetcher::calls::Header;
use crate::text;
use std::io::{self, Write};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    Fields, FutureIncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use wasip2::io::streams::OutputStream;

/// A request, of which nothing is checked or changed here: that is for the host to do.
pub(crate) fn new(name: &str, url: &str, headers: &[Header]) -> Result<OutgoingRequest, String> {
    let fields = Fields::new();
    for Header { name, value } in headers {
        fields.append(name, value.as_bytes()).map_err(text)?;
    }
    let (scheme, authority, path) = parts(url)?;

    let request = OutgoingRequest::new(fields);
    request.set_method(&method(name)).map_err(|()| "the method is invalid")?;
    request.set_scheme(scheme.as_ref()).map_err(|()| "the scheme is invalid")?;
    request.set_authority(Some(authority)).map_err(|()| "the authority is invalid")?;
    request.set_path_with_query(path).map_err(|()| "the path is invalid")?;
    Ok(request)
}

fn parts(url: &str) -> Result<(Option<Scheme>, &str, Option<&str>), String> {
    let (scheme, rest) = match url.strip_prefix("//") {
        Some(rest) => (None, rest),
        None => url.split_once("://").map(|(name, rest)| (Some(scheme(name)), rest)).ok_or("the URL has no scheme")?,
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    Ok((scheme, authority, (!path.is_empty()).then_some(path)))
}

fn scheme(name: &str) -> Scheme {
    match name {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    }
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

pub(crate) fn send(
    request: OutgoingRequest,
    options: Option<RequestOptions>,
) -> Result<FutureIncomingResponse, String> {
    handle(request, options).map_err(text)
}

/// Sends a request, and then its body as `write` writes it.
pub(crate) fn send_with_body(
    request: OutgoingRequest,
    write: impl FnOnce(&mut OutputStream) -> io::Result<()>,
) -> Result<FutureIncomingResponse, String> {
    let body = request.body().map_err(|()| "the host gives no body to write")?;
    let pending = send(request, None)?;
    let mut stream = body.write().map_err(|()| "the host gives no stream to write")?;
    let written = write(&mut stream).and_then(|()| Write::flush(&mut stream));
    drop(stream);
    // Whoever stops reading a body has an answer, or the reason why there is none.
    if written.is_ok() {
        OutgoingBody::finish(body, None).map_err(text)?;
    }
    Ok(pending)
}

/// Writes so many zero bytes.
pub(crate) fn write_zeros(stream: &mut OutputStream, bytes: u64) -> io::Result<()> {
    const ZEROS: &[u8] = &[0; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
        stream.write_all(ZEROS.split_at(size).0)?;
        left -= size as u64;
    }
    Ok(())
}

/// The timeouts of a request, in milliseconds.
pub(crate) struct Timeouts {
    pub(crate) connect: Option<u64>,
    pub(crate) first_byte: Option<u64>,
    pub(crate) between_bytes: Option<u64>,
}

impl Timeouts {
    pub(crate) fn options(&self) -> Result<RequestOptions, String> {
        let nanoseconds = |milliseconds: u64| milliseconds.saturating_mul(1_000_000);
        let options = RequestOptions::new();
        options
            .set_connect_timeout(self.connect.map(nanoseconds))
            .map_err(|()| "the connect timeout is not supported")?;
        options
            .set_first_byte_timeout(self.first_byte.map(nanoseconds))
            .map_err(|()| "the first byte timeout is not supported")?;
        options
            .set_between_bytes_timeout(self.between_bytes.map(nanoseconds))
            .map_err(|()| "the between bytes timeout is not supported")?;
        Ok(options)
    }
}
