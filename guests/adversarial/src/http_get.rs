//! Sends a request through `wasi:http/outgoing-handler`.
//! A closed network should refuse it before anything leaves the host.

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, FutureIncomingResponse, OutgoingRequest, Scheme};

pub(crate) fn get(url: &str) -> Result<u16, String> {
    let pending = handle(request(url)?, None).map_err(|code| format!("{code:?}"))?;
    status(&pending)
}

fn request(url: &str) -> Result<OutgoingRequest, String> {
    let (scheme, rest) = url.split_once("://").ok_or("the URL has no scheme")?;
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };

    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&scheme)).map_err(|()| "the scheme is invalid")?;
    request.set_authority(Some(authority)).map_err(|()| "the authority is invalid")?;
    request.set_path_with_query(Some(path)).map_err(|()| "the path is invalid")?;
    Ok(request)
}

fn status(pending: &FutureIncomingResponse) -> Result<u16, String> {
    pending.subscribe().block();
    let answer = pending.get().ok_or("the host woke the guest without an answer")?;
    let response = answer.map_err(|()| "the answer was taken already")?;
    response.map(|response| response.status()).map_err(|code| format!("{code:?}"))
}
