//! What a tool's input becomes: a request that knows neither its server nor its credentials.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use serde_json::Value;
use url::Url;

use crate::egress::is_ours;

/// A request below a base URL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Prepared {
    pub(crate) method: Method,
    /// Begins with `/`, is percent-encoded, and has no segment `.` or `..`.
    pub(crate) path: String,
    /// Not encoded yet.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

impl Prepared {
    /// Where it goes, below `base`.
    pub(crate) fn url(&self, base: &Url) -> Url {
        let mut url = base.clone();
        url.set_path(&format!("{}{}", base.path().trim_end_matches('/'), self.path));
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        url
    }
}

/// The methods that a tool can use.
pub(crate) const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

pub(crate) fn method(name: &str) -> Result<Method, String> {
    METHODS.into_iter().find(|method| method.as_str() == name).ok_or_else(|| {
        let known = METHODS.map(|method| format!("`{method}`")).join(", ");
        format!("unknown method `{name}`, expected one of {known}")
    })
}

/// The header called `name`, if a caller may set it.
pub(crate) fn header_name(name: &str) -> Result<HeaderName, String> {
    let header: HeaderName = name.parse().map_err(|_| format!("`{name}` is not the name of a header"))?;
    if is_ours(&header) {
        return Err(format!("header `{header}` is not the caller's to set"));
    }
    Ok(header)
}

/// A header's value: visible ASCII, and spaces within. Servers cut off those at the ends, and a rule would see another
/// value than they do.
pub(crate) fn header_value(name: &str, value: &str) -> Result<HeaderValue, String> {
    let plain = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) && value.trim_matches(' ') == value;
    HeaderValue::from_str(value).ok().filter(|_| plain).ok_or_else(|| {
        let value = value.escape_debug();
        format!("header `{name}` cannot be `{value}`: write visible ASCII, with spaces only between words")
    })
}

/// Whether `media_type` says JSON: `application/json`, or any `+json`.
pub(crate) fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// A value where only text goes; what is not a scalar goes as JSON.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// As a request is written: the first line, headers, an empty line if there is a body, the body.
#[cfg(test)]
pub(crate) fn shown(prepared: &Prepared) -> String {
    let url = prepared.url(&"https://a.example".parse().expect("a URL"));
    let first = format!("{} {}", prepared.method, url.as_str().replace("https://a.example", ""));
    let header = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().expect("text"));
    let body = prepared.body.as_deref().map(|body| format!("\n{}", std::str::from_utf8(body).expect("text")));
    let lines = [first].into_iter().chain(prepared.headers.iter().map(header)).chain(body);
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::path::canonical;
    use super::*;

    #[track_caller]
    fn goes_to(base: &str, path: &str, query: &[(&str, &str)], expected: &str) {
        let prepared = Prepared {
            method: Method::GET,
            path: path.to_owned(),
            query: query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            headers: HeaderMap::new(),
            body: None,
        };
        assert_eq!(prepared.url(&base.parse().expect("a URL")).as_str(), expected);
    }

    #[test]
    fn a_request_goes_below_its_base() {
        goes_to("https://a.example", "/v1/x%2Fy", &[], "https://a.example/v1/x%2Fy");
        goes_to("https://a.example:8443/api/", "/", &[], "https://a.example:8443/api/");
        goes_to("https://a.example/api", "/v1/", &[], "https://a.example/api/v1/");
        goes_to(
            "http://[::1]/",
            "/a",
            &[("q", "b&c=d#e +"), ("q", "é")],
            "http://[::1]/a?q=b%26c%3Dd%23e+%2B&q=%C3%A9",
        );
    }

    #[test]
    fn methods_are_written_as_they_are_sent() {
        assert_eq!(method("PATCH"), Ok(Method::PATCH));
        let known = "expected one of `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE`, `OPTIONS`";
        assert_eq!(method("get"), Err(format!("unknown method `get`, {known}")));
        assert_eq!(method("CONNECT"), Err(format!("unknown method `CONNECT`, {known}")));
    }

    #[test]
    fn some_headers_are_not_the_callers() {
        for name in ["accept-encoding", "te", "x-original-url", "proxy-authorization", "Host", "Proxy-X"] {
            let error = format!("header `{}` is not the caller's to set", name.to_lowercase());
            assert_eq!(header_name(name), Err(error));
        }
        assert_eq!(header_name("Cookie"), Ok(http::header::COOKIE));
        assert_eq!(header_name("a b"), Err("`a b` is not the name of a header".to_owned()));
    }

    #[track_caller]
    fn cannot_be(value: &str, shown: &str) {
        let error = format!("header `x` cannot be `{shown}`: write visible ASCII, with spaces only between words");
        assert_eq!(header_value("x", value), Err(error));
    }

    #[test]
    fn a_header_is_one_plain_line() {
        assert_eq!(header_value("x", "a, b;c=\"d\""), Ok(HeaderValue::from_static("a, b;c=\"d\"")));
        assert_eq!(header_value("x", ""), Ok(HeaderValue::from_static("")));
        cannot_be("a\r\nHost: b", "a\\r\\nHost: b");
        cannot_be("a\0", "a\\0");
        cannot_be("a\tb", "a\\tb");
        cannot_be(" a", " a");
        cannot_be("é", "é");
    }

    #[test]
    fn json_has_many_names() {
        for name in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"] {
            assert!(is_json(name), "{name}");
        }
        for name in ["", "text/json5", "application/jsonl", "text/plain; a=+json"] {
            assert!(!is_json(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn headers_carry_no_controls(value in prop_oneof![".*", "[ -~\r\n\t\u{0}\u{7f}]{0,8}"]) {
            if let Ok(value) = header_value("x", &value) {
                prop_assert!(value.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)));
            }
        }

        #[test]
        fn a_url_keeps_the_path(path in "(/[a-zA-Z0-9._~!$&'()*+,=:@-]{0,3}(%2F|%20|%25|%C3%A9|%3B)?){1,4}") {
            if let Ok(path) = canonical(&path) {
                let prepared = Prepared {
                    method: Method::GET,
                    path: path.to_owned(),
                    query: Vec::new(),
                    headers: HeaderMap::new(),
                    body: None,
                };
                let url = prepared.url(&"https://a.example/base".parse().expect("a URL"));
                prop_assert_eq!(url.path(), format!("/base{path}"));
            }
        }
    }
}
