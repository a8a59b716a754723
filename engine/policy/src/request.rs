//! Where an HTTP request goes, in the one form in which it is decided and sent.
//!
//! One place can be written in many ways: hosts with a trailing dot, in mixed case, as Punycode or not, addresses as one
//! number, paths with dots and escapes. Each has one [`RequestLine`], and what has none is refused, so that rules and
//! grants see what the server will see.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The first line of an HTTP request: how, where to, and which path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RequestLine {
    method: String,
    #[serde(flatten)]
    origin: Origin,
    path: String,
}

/// Which server: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Origin {
    scheme: Scheme,
    host: HostName,
    port: u16,
}

/// Plain or over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

/// A host as it is compared: an address, or a name in lower case, in Punycode and without a final dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostName {
    /// A name to look up.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Why something cannot be the line of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Neither `http` nor `https`.
    #[error("`{scheme}` is not a scheme for requests: there is `http` and `https`")]
    Scheme {
        /// What was given.
        scheme: String,
    },
    /// Not a method that may be used.
    #[error("`{method}` is not a method that may be used")]
    Method {
        /// What was given.
        method: String,
    },
    /// A user name before the host.
    #[error("a URL with a user name or a password before its host is refused")]
    UserInfo,
    /// Not a host, or not a port behind it.
    #[error("`{authority}` is not a host, with or without a port")]
    Authority {
        /// What was given.
        authority: String,
    },
    /// A path that several servers would read in several ways.
    #[error("the path `{path}` is refused: {why}")]
    Path {
        /// What was given.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl RequestLine {
    /// Brings a request into its one form. `authority` is a host with or without a port, `path` comes without a query.
    ///
    /// Escapes of letters that need none are undone, and others are written in upper case.
    pub fn new(method: &str, scheme: Scheme, authority: &str, path: &str) -> Result<Self, RequestError> {
        Self::at(method, Origin::parse(scheme, authority)?, path)
    }

    /// A request to a server that is known already.
    pub fn at(method: &str, origin: Origin, path: &str) -> Result<Self, RequestError> {
        if !is_method(method) {
            return Err(RequestError::Method { method: method.to_owned() });
        }
        Ok(Self { method: method.to_owned(), origin, path: canonical_path(path)? })
    }

    /// The method, in capitals.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Which server.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The path, without a query; it begins with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// `GET https://api.example.com/v1`.
impl fmt::Display for RequestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.origin, self.path)
    }
}

impl Origin {
    /// Reads a host with or without a port.
    pub fn parse(scheme: Scheme, authority: &str) -> Result<Self, RequestError> {
        if authority.contains('@') {
            return Err(RequestError::UserInfo);
        }
        let wrong = || RequestError::Authority { authority: authority.to_owned() };
        let (host, port) = split_port(authority);
        let port = match port {
            None => scheme.port(),
            Some(port) => {
                let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                let port = digits.then(|| port.parse().ok()).flatten();
                port.filter(|port| *port > 0).ok_or_else(wrong)?
            }
        };
        Ok(Self { scheme, host: host.parse().map_err(|_| wrong())?, port })
    }

    /// Plain or over TLS.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// The port; never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as the header `Host` has them: without the port that goes without saying.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.port() { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }
}

/// `https://api.example.com`, with the port where it does not go without saying.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

impl Scheme {
    /// The port that goes without saying.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl FromStr for Scheme {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        match text.to_ascii_lowercase().as_str() {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            _ => Err(RequestError::Scheme { scheme: text.to_owned() }),
        }
    }
}

impl FromStr for HostName {
    type Err = RequestError;

    /// Reads a host as browsers do: a name in any case and script, an address in any notation.
    fn from_str(text: &str) -> Result<Self, RequestError> {
        let wrong = || RequestError::Authority { authority: text.to_owned() };
        match url::Host::parse(text).map_err(|_| wrong())? {
            url::Host::Ipv4(address) => Ok(Self::Address(address.into())),
            url::Host::Ipv6(address) => Ok(Self::Address(address.into())),
            url::Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(&name);
                let letter = |byte: u8| byte == b'-' || byte == b'_' || byte.is_ascii_alphanumeric();
                let label =
                    |label: &str| !label.is_empty() && label.len() <= LONGEST_LABEL && label.bytes().all(letter);
                if name.len() > LONGEST_NAME || !name.split('.').all(label) {
                    return Err(wrong());
                }
                // What is an address once the final dot is gone is one.
                match url::Host::parse(name) {
                    Ok(url::Host::Ipv4(address)) => Ok(Self::Address(address.into())),
                    _ => Ok(Self::Name(name.to_owned())),
                }
            }
        }
    }
}

const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// As in a URL: an IPv6 address in brackets.
impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl Serialize for HostName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whether requests may have that method: a word in capitals, and none by which a server opens a tunnel or tells what
/// it was sent.
pub(crate) fn is_method(method: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_';
    !method.is_empty() && method.bytes().all(letter) && !["CONNECT", "TRACE"].contains(&method)
}

/// Host and port of an authority; the colons of an IPv6 address stand in brackets.
pub(crate) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

const LONGEST_PATH: usize = 8 << 10;

/// The one form of a path.
pub(crate) fn canonical_path(path: &str) -> Result<String, RequestError> {
    let refused = |why| Err(RequestError::Path { path: path.to_owned(), why });
    if path.is_empty() {
        return Ok("/".to_owned());
    }
    if path.len() > LONGEST_PATH {
        let path = path.chars().take(100).collect();
        return Err(RequestError::Path { path, why: "it is longer than 8 KiB" });
    }
    if !path.starts_with('/') {
        return refused("it does not begin with `/`");
    }
    if path.starts_with("//") {
        return refused("it begins with `//`");
    }
    if path.bytes().any(|byte| !byte.is_ascii_graphic() || b"\\?#\"<>^`{|}".contains(&byte)) {
        return refused("it holds a sign that has to be written as an escape");
    }
    let Some(canonical) = unescaped(path, is_unreserved) else {
        return refused("it holds a `%` that begins no escape");
    };
    if has_dot_segment(&canonical) {
        return refused("it holds a part `.` or `..`, written so or with escapes");
    }
    Ok(canonical)
}

/// Whether a server could take a part of the path for `.` or `..`, however often it undoes escapes.
fn has_dot_segment(path: &str) -> bool {
    let is_dots = |part: &str| matches!(part.split(';').next(), Some("." | ".."));
    let mut path = path.to_owned();
    loop {
        if path.split(['/', '\\']).any(is_dots) {
            return true;
        }
        match unescaped(&path, |byte| byte.is_ascii_graphic()) {
            Some(less) if less != path => path = less,
            _ => return false,
        }
    }
}

/// The path with the escapes of such bytes undone, and all others in upper case; `None` where a `%` begins no escape.
fn unescaped(path: &str, undo: impl Fn(u8) -> bool) -> Option<String> {
    let mut written = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        written.push_str(before);
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if undo(byte) {
            written.push(char::from(byte));
        } else {
            written.push('%');
            written.push_str(&digits.to_ascii_uppercase());
        }
        rest = after.get(2..)?;
    }
    written.push_str(rest);
    Some(written)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn host(text: &str, expected: &str) {
        assert_eq!(text.parse::<HostName>().map(|host| host.to_string()).as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn a_host_has_one_form_however_it_is_written() {
        host("API.Example.COM", "api.example.com");
        host("api.example.com.", "api.example.com");
        host("b%C3%BCcher.example", "xn--bcher-kva.example");
        host("bücher.example", "xn--bcher-kva.example");
        host("XN--BCHER-KVA.example", "xn--bcher-kva.example");
        host("ⓔxample.com", "example.com");
        for text in ["127.0.0.1", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "0x7f000001", "127.0.0.1."] {
            host(text, "127.0.0.1");
        }
        host("[::1]", "[::1]");
        host("[0:0:0:0:0:0:0:1]", "[::1]");
        host("[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "example.com..",
            "exa mple.com",
            "a=b.net",
            "[::1",
            "::1",
            "256.1.1.1",
            "[fe80::1%eth0]",
            "a/b",
        ] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }

    #[track_caller]
    fn origin(authority: &str, expected: Option<&str>) {
        let origin = Origin::parse(Scheme::Https, authority).ok().map(|origin| origin.to_string());
        assert_eq!(origin.as_deref(), expected, "{authority}");
    }

    #[test]
    fn an_authority_is_a_host_and_a_port() {
        origin("api.example.com", Some("https://api.example.com"));
        origin("api.example.com:443", Some("https://api.example.com"));
        origin("api.example.com:00443", Some("https://api.example.com"));
        origin("[::1]:8443", Some("https://[::1]:8443"));
        for wrong in ["a:", "a:0", "a:65536", "a:+80", "a:8a", "user@a", "a@b:80", "a:b:c", ":80", "[::1]x"] {
            origin(wrong, None);
        }
    }

    #[track_caller]
    fn path(text: &str, expected: &str) {
        assert_eq!(canonical_path(text).as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn a_path_has_one_form() {
        path("", "/");
        path("/v1/charges", "/v1/charges");
        path("/%76%31/ch%61rges", "/v1/charges");
        path("/a%2fb%3a", "/a%2Fb%3A");
        path("/%41%2D%5f", "/A-_");
        path("/a/", "/a/");
        path("/web/http://a", "/web/http://a");
        path("/...", "/...");
        path("/a;b=1", "/a;b=1");
    }

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_refused() {
        for text in [
            "a",
            "//a",
            "/..",
            "/a/../b",
            "/./a",
            "/a/%2e%2e/b",
            "/a/%2E./b",
            "/a/..%2fb",
            "/a%2f..%2fb",
            "/a/%252e%252e/b",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/%2e%2e%3b/b",
            "/a\\..\\b",
            "/a%5c..%5cb",
            "/a b",
            "/a%",
            "/a%2",
            "/a%zz",
            "/\u{e9}",
            "/a\r\nb",
            "/a?b",
            "/a#b",
        ] {
            assert!(canonical_path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_method_is_a_word_in_capitals() {
        let line = |method| RequestLine::new(method, Scheme::Http, "a", "/");
        assert_eq!(line("GET").map(|line| line.to_string()).as_deref(), Ok("GET http://a/"));
        for method in ["", "get", "CONNECT", "TRACE", "GET ", "G\r\nX"] {
            assert!(line(method).is_err(), "{method}");
        }
    }
}
