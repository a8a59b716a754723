//! What is to be explained, as it is written.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use casemate::{RequestLine, Scheme};

/// Something that is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Calling the tool of that name.
    Call(String),
    /// Sending a request.
    Fetch,
    /// Putting the secret of that name into a request.
    Use(String),
    /// Asking the model of that name.
    Chat(String),
}

impl Attempt {
    /// A flag by which grants speak of it.
    pub(super) fn flag(&self) -> &'static str {
        match self {
            Self::Call(_) => "--allow-tool NAME",
            Self::Fetch => "--allow-host HOST",
            Self::Use(_) => "--secret NAME@HOST",
            Self::Chat(_) => "--allow-model NAME",
        }
    }
}

impl FromStr for Attempt {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.split_once(':') {
            Some(("call", name)) if !name.is_empty() => Ok(Self::Call(name.to_owned())),
            Some(("use", name)) if !name.is_empty() => Ok(Self::Use(name.to_owned())),
            Some(("chat", name)) if !name.is_empty() => Ok(Self::Chat(name.to_owned())),
            None if text == "fetch" => Ok(Self::Fetch),
            _ => bail!("`{text}` is none of call:NAME, fetch, use:NAME and chat:NAME"),
        }
    }
}

/// As it is read.
impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(name) => write!(f, "call:{name}"),
            Self::Fetch => f.write_str("fetch"),
            Self::Use(name) => write!(f, "use:{name}"),
            Self::Chat(name) => write!(f, "chat:{name}"),
        }
    }
}

/// Reads `METHOD URL`; rules and grants do not look at a query.
pub(super) fn request_line(text: &str) -> anyhow::Result<RequestLine> {
    let (method, url) =
        text.split_once(' ').context("a request is a method and a URL: 'GET https://api.example.com/v1'")?;
    let (scheme, rest) = url.split_once("://").with_context(|| format!("`{url}` is no URL: begin with `https://`"))?;
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    Ok(RequestLine::new(method, scheme.parse::<Scheme>()?, authority, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["call:a:b#c", "fetch", "use:KEY", "chat:a/b:1"] {
            assert_eq!(text.parse::<Attempt>().unwrap().to_string(), text);
        }
        for text in ["", "call", "call:", "fetch:x", "use", "chat:", "refund"] {
            assert!(text.parse::<Attempt>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_request_has_one_form() {
        let line = request_line("GET https://API.example.com:443/%76%31?a=b#c").unwrap();
        assert_eq!(line.to_string(), "GET https://api.example.com/v1");
        for text in ["https://a.net", "GET a.net", "get https://a.net", "GET ftp://a.net", "GET https://a.net/../b"] {
            assert!(request_line(text).is_err(), "{text}");
        }
    }
}
