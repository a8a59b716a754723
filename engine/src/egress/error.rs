use std::error::Error as _;
use std::net::SocketAddr;

use crate::limits::LimitExceeded;

/// Why a request that may leave has no response, or not a whole one.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum EgressError {
    #[error("`{host}` cannot be looked up: {why}")]
    LookUp { host: String, why: String },
    #[error("no connection to {address}: {why}")]
    Connect { address: SocketAddr, why: String },
    #[error("the server's certificate is refused: {why}")]
    Certificate { why: String },
    #[error("no connection over TLS: {why}")]
    Tls { why: String },
    #[error("{waiting_for} took too long")]
    TimedOut { waiting_for: Phase },
    #[error("the connection was closed before the end of the response")]
    Closed,
    #[error("the head of the response has more than 100 headers, or more than 64 KiB")]
    HeadTooLarge,
    #[error("what the server sent is not HTTP: {why}")]
    Protocol { why: String },
    #[error("the response has the content coding `{coding}`, which cannot be undone")]
    Coding { coding: String },
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    #[error("the request has more than 100 headers")]
    RequestHead,
    #[error("the body of the request broke off")]
    RequestBody,
}

/// What an exchange waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Connection,
    Response,
    NextBytes,
    End,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connection => "connecting",
            Self::Response => "the beginning of the response",
            Self::NextBytes => "the next bytes of the response",
            Self::End => "the whole exchange",
        })
    }
}

impl EgressError {
    /// What hyper's error means.
    pub(super) fn of(error: &hyper::Error) -> Self {
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(own) = inner.downcast_ref::<Self>() {
                return own.clone();
            }
            cause = inner.source();
        }
        if error.is_parse_too_large() {
            return Self::HeadTooLarge;
        }
        if error.is_parse() {
            return Self::Protocol { why: error.to_string() };
        }
        if error.is_user() {
            return Self::RequestBody;
        }
        Self::Closed
    }
}
