use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::egress::is_ours;

/// Where in a request a secret goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretPlace(Place);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// The value stands in the text for `{}`.
    Header {
        name: HeaderName,
        format: String,
    },
    Basic {
        user: String,
    },
    Query {
        parameter: String,
    },
}

/// Not a place for a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret cannot go into {what}: {why}")]
#[non_exhaustive]
pub struct InvalidPlace {
    /// What was asked for.
    pub what: String,
    /// Why not.
    pub why: &'static str,
}

impl SecretPlace {
    /// `Authorization: Bearer VALUE`.
    pub fn bearer() -> Self {
        Self(Place::Header { name: header::AUTHORIZATION, format: "Bearer {}".to_owned() })
    }

    /// `Authorization: Basic …`, of a user name and the value as password.
    pub fn basic(user: impl Into<String>) -> Result<Self, InvalidPlace> {
        let user = user.into();
        if user.contains(|letter: char| letter == ':' || letter.is_control()) {
            let what = format!("the password of `{user}`");
            return Err(InvalidPlace { what, why: "a user name holds neither `:` nor control characters" });
        }
        Ok(Self(Place::Basic { user }))
    }

    /// A header; the value stands in `format` for `{}`.
    pub fn header(name: &str, format: &str) -> Result<Self, InvalidPlace> {
        let wrong = |why| InvalidPlace { what: format!("the header `{name}` as `{format}`"), why };
        let name_of = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("that is no name of a header"))?;
        if is_ours(&name_of) {
            return Err(wrong("that header is the client's own"));
        }
        if format.matches("{}").count() != 1 || format.chars().any(|letter| !(' '..='~').contains(&letter)) {
            return Err(wrong("the format has one `{}`, and only printable letters of ASCII around it"));
        }
        Ok(Self(Place::Header { name: name_of, format: format.to_owned() }))
    }

    /// A parameter of the query.
    pub fn query(parameter: &str) -> Result<Self, InvalidPlace> {
        if parameter.is_empty() {
            return Err(InvalidPlace { what: "a parameter without a name".to_owned(), why: "it needs one" });
        }
        Ok(Self(Place::Query { parameter: parameter.to_owned() }))
    }

    /// Whether it is that header.
    pub(crate) fn is_header(&self, name: &HeaderName) -> bool {
        match &self.0 {
            Place::Header { name: own, .. } => own == name,
            Place::Basic { .. } => *name == header::AUTHORIZATION,
            Place::Query { .. } => false,
        }
    }

    /// Whether it is that parameter of the query.
    pub(crate) fn is_parameter(&self, name: &str) -> bool {
        matches!(&self.0, Place::Query { parameter } if parameter == name)
    }

    /// Puts a value there, in the place of whatever stands there. `false` where it cannot stand there.
    pub(crate) fn put(&self, value: &SecretString, headers: &mut HeaderMap, query: &mut Option<String>) -> bool {
        let value = value.expose_secret();
        match &self.0 {
            Place::Header { name, format } => insert(headers, name, &Zeroizing::new(format.replace("{}", value))),
            Place::Basic { user } => {
                let pair = Zeroizing::new(format!("{user}:{value}"));
                let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
                insert(headers, &header::AUTHORIZATION, &Zeroizing::new(format!("Basic {}", *encoded)))
            }
            Place::Query { parameter } => {
                let own = format!("{}={}", escaped(parameter), *Zeroizing::new(escaped(value)));
                let others = query.iter().flat_map(|query| query.split('&'));
                let others = others.filter(|pair| !pair.is_empty() && name_of(pair) != *parameter);
                *query = Some(others.map(str::to_owned).chain([own]).collect::<Vec<_>>().join("&"));
                true
            }
        }
    }
}

fn insert(headers: &mut HeaderMap, name: &HeaderName, text: &str) -> bool {
    let Ok(mut value) = HeaderValue::from_bytes(text.as_bytes()) else { return false };
    value.set_sensitive(true);
    headers.insert(name, value);
    true
}

/// All but what RFC 3986 leaves alone: a server may echo a value as it was sent, and this form is one that is masked.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The name of a parameter, as a server reads it.
pub(crate) fn name_of(pair: &str) -> String {
    let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
    percent_encoding::percent_decode_str(&name).decode_utf8_lossy().into_owned()
}

/// ``header `authorization` `` or ``query parameter `key` ``.
impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Header { name, .. } => write!(f, "header `{name}`"),
            Place::Basic { .. } => f.write_str("header `authorization`"),
            Place::Query { parameter } => write!(f, "query parameter `{parameter}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(place: &SecretPlace, query: Option<&str>, expected: (&[(&str, &str)], Option<&str>)) {
        let mut headers = HeaderMap::new();
        headers.append("authorization", HeaderValue::from_static("guess"));
        headers.append("authorization", HeaderValue::from_static("again"));
        let mut query = query.map(str::to_owned);
        assert!(place.put(&SecretString::from("s3cr&t value"), &mut headers, &mut query));
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!((headers.as_slice(), query.as_deref()), expected);
    }

    #[test]
    fn a_value_stands_in_the_place_of_what_was_there() {
        let kept = [("authorization", "guess"), ("authorization", "again")];
        check(&SecretPlace::bearer(), None, (&[("authorization", "Bearer s3cr&t value")], None));
        check(&SecretPlace::basic("u").unwrap(), None, (&[("authorization", "Basic dTpzM2NyJnQgdmFsdWU=")], None));
        let key = SecretPlace::header("X-Api-Key", "{}").unwrap();
        check(&key, Some("a=1"), (&[kept[0], kept[1], ("x-api-key", "s3cr&t value")], Some("a=1")));
        let query = SecretPlace::query("api key").unwrap();
        let expected = Some("a=1&api%20key=s3cr%26t%20value");
        check(&query, Some("api+key=x&a=1&%61pi%20key=y&api%20key"), (&kept, expected));
        check(&query, None, (&kept, Some("api%20key=s3cr%26t%20value")));
    }

    #[test]
    fn a_place_where_nothing_can_stand_is_refused() {
        assert!(SecretPlace::query("").is_err());
        assert!(SecretPlace::basic("a:b").is_err());
        for (name, format) in
            [("host", "{}"), ("Content-Length", "{}"), ("a b", "{}"), ("x", "Bearer"), ("x", "{}{}"), ("x", "{}\n")]
        {
            assert!(SecretPlace::header(name, format).is_err(), "{name}: {format}");
        }
    }
}
