//! Responses: waiting for them, and reading them.

use crate::bindings::exports::casemate::fetcher::calls::{Header, Response};
use crate::{lossy, text};
use wasip2::http::types::{FutureIncomingResponse, IncomingResponse, http_error_code};
use wasip2::io::error::Error;
use wasip2::io::streams::StreamError;

pub(crate) fn wait(pending: &FutureIncomingResponse) -> Result<IncomingResponse, String> {
    pending.subscribe().block();
    let answer = pending.get().ok_or("the host woke the guest without an answer")?;
    answer.map_err(|()| "the answer was taken already")?.map_err(text)
}

/// Waits for a response and reads all of it.
pub(crate) fn whole(pending: &FutureIncomingResponse) -> Result<Response, String> {
    let response = wait(pending)?;
    let mut body = Vec::new();
    let body_error = read(&response, |piece| body.extend_from_slice(piece)).err();
    let header = |(name, value): (String, Vec<u8>)| Header { name, value: lossy(&value) };
    let headers = response.headers().entries().into_iter().map(header).collect();
    Ok(Response { status: response.status(), headers, body: lossy(&body), body_error })
}

/// Reads the body and hands on its pieces, and fails where it breaks off.
pub(crate) fn read(response: &IncomingResponse, mut each: impl FnMut(&[u8])) -> Result<(), String> {
    const LARGEST_PIECE: u64 = 256 * 1024;
    let body = response.consume().map_err(|()| "the host gives no body to read")?;
    let stream = body.stream().map_err(|()| "the host gives no stream to read")?;
    loop {
        match stream.blocking_read(LARGEST_PIECE) {
            Ok(piece) => each(&piece),
            Err(StreamError::Closed) => return Ok(()),
            Err(StreamError::LastOperationFailed(error)) => return Err(reason(&error)),
        }
    }
}

fn reason(error: &Error) -> String {
    http_error_code(error).map_or_else(|| error.to_debug_string(), text)
}
