//! Where an HTTP request goes, in the one form in which it is decided and sent.
//!
//! One place can be written in many ways: hosts with a trailing dot, in mixed case, as Punycode or not, addresses as one
//! number, paths with dots and escapes. Each has one [`RequestLine`], and what has none is refused, so that rules and
//! grants see what the server will see.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The first line of an HTTP request: how, where to, and which path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "WrittenLine")]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    #[error("the path `{path}` {why}")]
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

/// A line as it is written, read back like any that comes from outside.
#[derive(Deserialize)]
struct WrittenLine {
    method: String,
    scheme: Scheme,
    host: HostName,
    port: u16,
    path: String,
}

impl TryFrom<WrittenLine> for RequestLine {
    type Error = RequestError;

    fn try_from(written: WrittenLine) -> Result<Self, RequestError> {
        let WrittenLine { method, scheme, host, port, path } = written;
        Self::at(&method, Origin { scheme, host, port }, &path)
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

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
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

/// What a part of a path holds plainly. `;` is not in it: some servers take what follows it for a parameter and cut it
/// off.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The one spelling of a path, so that a rule about it is a rule about what a server finds there: escapes only where they
/// are needed, and in upper case. What a server could read as a step up, or cut short, is refused.
pub fn canonical_path(path: &str) -> Result<String, RequestError> {
    if path.is_empty() {
        return Ok("/".to_owned());
    }
    if path.len() > LONGEST_PATH {
        return Err(RequestError::Path { path: path.chars().take(100).collect(), why: "is longer than 8 KiB" });
    }
    if let Some(why) = fault(path) {
        return Err(RequestError::Path { path: path.to_owned(), why });
    }
    let mut canonical = String::with_capacity(path.len());
    for segment in path.split('/').skip(1) {
        let decoded = percent_decode_str(segment).collect::<Vec<_>>();
        canonical.push('/');
        canonical.extend(percent_encode(&decoded, SEGMENT));
    }
    Ok(canonical)
}

fn fault(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("does not begin with `/`");
    }
    if path.contains('?') {
        return Some("holds `?`: the query is given apart from it");
    }
    if path.contains(['#', '\\']) {
        return Some("holds `#` or `\\`");
    }
    if path.contains("//") {
        return Some("has an empty segment");
    }
    let decoded = decoded(path);
    if std::str::from_utf8(&decoded).is_err() {
        return Some("is not UTF-8 when decoded");
    }
    if decoded.iter().any(u8::is_ascii_control) {
        return Some("holds control characters");
    }
    let mut segments = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
    let step = |segment: &[u8]| matches!(segment.split(|byte| *byte == b';').next(), Some(b"." | b".."));
    segments.any(step).then_some("has a segment `.` or `..`")
}

/// `text` percent-decoded until nothing is left to decode, in one pass: a decoded byte may complete the next triplet.
fn decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        decoded.push(byte);
        while let Some((rest, &[b'%', high, low])) = decoded.split_last_chunk() {
            let Some(byte) = hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low) else { break };
            decoded.truncate(rest.len());
            decoded.push(byte);
        }
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        path("/a%2fb%3a", "/a%2Fb:");
        path("/%41%2D%5f", "/A-_");
        path("/a/", "/a/");
        path("/...", "/...");
        path("/a;b=1", "/a%3Bb=1");
        path("/\u{e9} b/100%", "/%C3%A9%20b/100%25");
        path("/%u002e%zz", "/%25u002e%25zz");
    }

    #[track_caller]
    fn refused(text: &str, why: &str) {
        assert_eq!(canonical_path(text).map_err(|error| error.to_string()), Err(format!("the path `{text}` {why}")));
    }

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_refused() {
        for text in [
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
            "/a%5c..%5cb",
        ] {
            refused(text, "has a segment `.` or `..`");
        }
        for text in ["//a", "/a//b"] {
            refused(text, "has an empty segment");
        }
        for text in ["/a\r\nb", "/a%00", "/a%250A"] {
            refused(text, "holds control characters");
        }
        refused("a", "does not begin with `/`");
        refused("/a?b", "holds `?`: the query is given apart from it");
        refused("/a\\b", "holds `#` or `\\`");
        refused("/%C0%AE", "is not UTF-8 when decoded");
        assert!(canonical_path(&format!("/%{}", "25".repeat(5_000))).is_err());
    }

    #[test]
    fn a_method_is_a_word_in_capitals() {
        let line = |method| RequestLine::new(method, Scheme::Http, "a", "/");
        assert_eq!(line("GET").map(|line| line.to_string()).as_deref(), Ok("GET http://a/"));
        for method in ["", "get", "CONNECT", "TRACE", "GET ", "G\r\nX"] {
            assert!(line(method).is_err(), "{method}");
        }
    }

    proptest! {
        #[test]
        fn decoding_once_more_changes_nothing(text in "[%0-9a-f]{0,24}") {
            let mut expected = text.clone().into_bytes();
            loop {
                let next: Vec<u8> = percent_encoding::percent_decode(&expected).collect();
                if next == expected {
                    break;
                }
                expected = next;
            }
            prop_assert_eq!(decoded(&text), expected);
        }

        #[test]
        fn a_canonical_path_is_its_own_canonical_form(path in "(/|%2e|%2E|\\.|%25|;|a|%61|%2F|%C3%A9|é| ){0,12}") {
            if let Ok(path) = canonical_path(&format!("/{path}")) {
                prop_assert_eq!(canonical_path(&path), Ok(path.clone()));
            }
        }
    }
}
