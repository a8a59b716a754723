//! What an agent is asked, and how it ends.

use crate::message::Message;
use std::fmt::Display;

/// What the agent is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The message, of the role `user`.
    pub message: Message,
}

impl Request {
    /// A request that is nothing but text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { message: Message::user(text) }
    }

    /// All text of the message.
    pub fn text(&self) -> String {
        self.message.text()
    }
}

/// How an agent ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// What is said at the end; the output of the run, where nothing was said before.
    pub output: String,
}

impl<T: Into<String>> From<T> for Response {
    fn from(output: T) -> Self {
        Self { output: output.into() }
    }
}

/// What an agent's function may return.
#[diagnostic::on_unimplemented(
    message = "an agent cannot return `{Self}`",
    note = "it returns `()`, `String`, `&'static str`, `Response`, or a `Result` of these whose error is `Display`"
)]
pub trait IntoResponse {
    /// How the agent ended, or why it could not handle the request.
    fn into_response(self) -> Result<Response, String>;
}

impl IntoResponse for () {
    fn into_response(self) -> Result<Response, String> {
        Ok(Response::default())
    }
}

impl IntoResponse for String {
    fn into_response(self) -> Result<Response, String> {
        Ok(self.into())
    }
}

impl IntoResponse for &'static str {
    fn into_response(self) -> Result<Response, String> {
        Ok(self.into())
    }
}

impl IntoResponse for Response {
    fn into_response(self) -> Result<Response, String> {
        Ok(self)
    }
}

impl<T: IntoResponse, E: Display> IntoResponse for Result<T, E> {
    fn into_response(self) -> Result<Response, String> {
        self.map_err(|error| error.to_string())?.into_response()
    }
}

/// What a component exports as `casemate:agent/handler`; [`macro@crate::agent`] implements it.
pub trait Agent {
    /// Handles a request. The error says why it could not be, for people.
    fn handle(request: Request) -> Result<Response, String>;
}
