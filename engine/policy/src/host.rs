use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::address::is_translated;
use crate::request::{canonical_path, is_method, split_port};
use crate::{AddressClass, GrantError, HostName, Origin, RequestError, RequestLine, Scheme};

/// HTTP requests that may leave: to which server, by which methods, below which path.
///
/// Written `[METHOD[,METHOD] ][SCHEME://]HOST[:PORT][/PATH][=CLASS[,CLASS]]`, where HOST is a name, an address, `*.NAME`
/// for all names below one, or `*` for any. Without a scheme it is `https`, without a port that of the scheme, without a
/// path all paths, without methods all methods.
///
/// ```
/// use casemate_policy::HostGrant;
///
/// let grant: HostGrant = "GET,HEAD https://*.example.com/v1".parse()?;
/// assert_eq!(grant.to_string(), "GET,HEAD https://*.example.com/v1");
/// let inside: HostGrant = "http://db.internal:8080=private".parse()?;
/// # Ok::<(), casemate_policy::GrantError>(())
/// ```
///
/// Only public addresses may be reached, and those of the classes that are named; a grant that names an address, or
/// `localhost`, opens its class by that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostGrant {
    /// None means all.
    methods: Vec<String>,
    scheme: Scheme,
    host: HostPattern,
    port: u16,
    /// Canonical, and without a `/` at its end.
    path: String,
    /// Sorted, without public ones.
    addresses: Vec<AddressClass>,
    question: Option<String>,
}

/// Which hosts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This one.
    Exact(HostName),
    /// All names below this one, and not itself.
    Below(String),
    /// Any name or address.
    Any,
}

impl HostGrant {
    /// All requests to that server, and to whatever class of address its name leads.
    pub fn to_origin(origin: &Origin, class: AddressClass) -> Self {
        let host = HostPattern::Exact(origin.host().clone());
        let grant = Self {
            methods: Vec::new(),
            scheme: origin.scheme(),
            addresses: Vec::new(),
            port: origin.port(),
            path: String::new(),
            question: None,
            host,
        };
        grant.host.implied().into_iter().fold(grant, Self::opening).opening(class)
    }

    /// Only by these methods, in capitals. None given means all.
    pub fn methods<M: Into<String>>(mut self, methods: impl IntoIterator<Item = M>) -> Result<Self, GrantError> {
        self.methods = methods.into_iter().map(Into::into).collect();
        if let Some(method) = self.methods.iter().find(|method| !is_method(method)) {
            let why = RequestError::Method { method: method.clone() }.to_string();
            return Err(GrantError::HostForm { text: method.clone(), why });
        }
        self.methods.sort_unstable();
        self.methods.dedup();
        Ok(self)
    }

    /// Only below that path.
    pub fn below(mut self, path: &str) -> Result<Self, GrantError> {
        let canonical = canonical_path(path)
            .map_err(|error| GrantError::HostForm { text: path.to_owned(), why: error.to_string() })?;
        canonical.trim_end_matches('/').clone_into(&mut self.path);
        Ok(self)
    }

    /// Addresses of that class too.
    #[must_use]
    pub fn opening(mut self, class: AddressClass) -> Self {
        if class != AddressClass::Public && !self.addresses.contains(&class) {
            self.addresses.push(class);
            self.addresses.sort_unstable();
        }
        self
    }

    /// Each time that a person says yes to `question`.
    #[must_use]
    pub fn after_asking(mut self, question: impl Into<String>) -> Self {
        self.question = Some(question.into());
        self
    }

    /// The hosts it is about.
    pub fn host(&self) -> &HostPattern {
        &self.host
    }

    /// What a person is asked before each request; `None` where nobody is.
    pub fn question(&self) -> Option<&str> {
        self.question.as_deref()
    }

    /// Whether the request is covered, wherever its host's name leads.
    pub fn covers(&self, request: &RequestLine) -> bool {
        let origin = request.origin();
        (self.methods.is_empty() || self.methods.iter().any(|method| method == request.method()))
            && self.scheme == origin.scheme()
            && self.port == origin.port()
            && self.host.covers(origin.host())
            && is_below(&self.path, request.path())
    }

    /// Whether the address may be reached.
    pub fn opens(&self, address: IpAddr) -> bool {
        self.opens_class(AddressClass::of(address))
            && (!is_translated(address) || self.opens_class(AddressClass::Translated))
    }

    /// Whether addresses of that class may be reached.
    pub fn opens_class(&self, class: AddressClass) -> bool {
        class == AddressClass::Public || self.addresses.contains(&class)
    }

    /// The classes of addresses that may be reached, public ones first.
    pub fn classes(&self) -> impl Iterator<Item = AddressClass> {
        std::iter::once(AddressClass::Public).chain(self.addresses.iter().copied())
    }

    /// Whether all that `child` covers is covered here, and whoever is asked here is asked there.
    pub(crate) fn covers_grant(&self, child: &Self) -> bool {
        self.meet(child).is_some_and(|both| both == *child)
    }

    /// What both cover.
    pub(crate) fn meet(&self, other: &Self) -> Option<Self> {
        let methods: Vec<_> = match (self.methods.is_empty(), other.methods.is_empty()) {
            (true, _) => other.methods.clone(),
            (_, true) => self.methods.clone(),
            _ => {
                let both = self.methods.iter().filter(|method| other.methods.contains(method));
                let both: Vec<_> = both.cloned().collect();
                (!both.is_empty()).then_some(both)?
            }
        };
        let path = match (is_below(&self.path, &other.path), is_below(&other.path, &self.path)) {
            (true, _) => &other.path,
            (_, true) => &self.path,
            _ => return None,
        };
        let same = self.scheme == other.scheme && self.port == other.port;
        same.then(|| self.host.meet(&other.host)).flatten().map(|host| Self {
            methods,
            scheme: other.scheme,
            host: host.clone(),
            port: other.port,
            path: path.clone(),
            addresses: other.addresses.iter().filter(|class| self.addresses.contains(class)).copied().collect(),
            question: other.question.clone().or_else(|| self.question.clone()),
        })
    }
}

/// Whether `path` is `prefix` or has more parts behind it; an empty prefix is above all.
fn is_below(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl HostPattern {
    /// Whether the host is one of them.
    pub fn covers(&self, host: &HostName) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Exact(exact), host) => exact == host,
            (Self::Below(parent), HostName::Name(name)) => is_subdomain(name, parent),
            (Self::Below(_), HostName::Address(_)) => false,
        }
    }

    fn meet<'a>(&'a self, other: &'a Self) -> Option<&'a Self> {
        match (self, other) {
            (Self::Any, _) => Some(other),
            (_, Self::Any) => Some(self),
            (pattern, Self::Exact(host)) => pattern.covers(host).then_some(other),
            (Self::Exact(host), pattern) => pattern.covers(host).then_some(self),
            (Self::Below(one), Self::Below(two)) if one == two || is_subdomain(two, one) => Some(other),
            (Self::Below(one), Self::Below(two)) => is_subdomain(one, two).then_some(self),
        }
    }
}

fn is_subdomain(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).and_then(|labels| labels.strip_suffix('.')).is_some_and(|labels| !labels.is_empty())
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => write!(f, "{host}"),
            Self::Below(parent) => write!(f, "*.{parent}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let wrong = |why: &str| GrantError::HostForm { text: text.to_owned(), why: why.to_owned() };
        if text == "*" {
            return Ok(Self::Any);
        }
        let (below, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        if name.contains('*') {
            return Err(wrong("a `*` can only stand for all that is before the first dot"));
        }
        let host = name.parse::<HostName>().map_err(|error| wrong(&error.to_string()))?;
        match host {
            HostName::Name(parent) if below => Ok(Self::Below(parent)),
            HostName::Address(_) if below => Err(wrong("there is nothing below an address")),
            host => Ok(Self::Exact(host)),
        }
    }
}

/// As it is read.
impl fmt::Display for HostGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.methods.is_empty() {
            write!(f, "{} ", self.methods.join(","))?;
        }
        write!(f, "{}://{}", self.scheme, self.host)?;
        if self.port != self.scheme.port() {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)?;
        let implied = self.host.implied();
        let mut mark = '=';
        for class in self.addresses.iter().filter(|class| !implied.contains(class)) {
            write!(f, "{mark}{class}")?;
            mark = ',';
        }
        // A path that ends like classes is not to be read as such.
        if mark == '=' && split_classes(&self.path).0 != self.path { f.write_str("=public") } else { Ok(()) }
    }
}

impl HostPattern {
    /// The classes of addresses that naming the host opens.
    fn implied(&self) -> Vec<AddressClass> {
        match self {
            Self::Exact(HostName::Address(address)) => {
                let translated = is_translated(*address).then_some(AddressClass::Translated);
                std::iter::once(AddressClass::of(*address)).chain(translated).collect()
            }
            Self::Exact(HostName::Name(name)) if name == "localhost" || is_subdomain(name, "localhost") => {
                vec![AddressClass::Loopback]
            }
            _ => Vec::new(),
        }
    }
}

impl FromStr for HostGrant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let wrong = |why: String| GrantError::HostForm { text: text.to_owned(), why };
        let (methods, rest) = match text.split_once(' ') {
            Some((methods, rest)) => (methods.split(',').map(str::to_owned).collect(), rest),
            None => (Vec::new(), text),
        };
        let (rest, classes) = split_classes(rest);
        let (scheme, rest) = match rest.split_once("://") {
            Some((scheme, rest)) => (scheme.parse::<Scheme>().map_err(|error| wrong(error.to_string()))?, rest),
            None => (Scheme::Https, rest),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        if authority.contains('@') {
            return Err(wrong("a user name before the host is refused".to_owned()));
        }
        let (host, port) = split_port(authority);
        let host: HostPattern = host.parse()?;
        let port = match port.map(str::parse::<u16>) {
            None => scheme.port(),
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return Err(wrong("its port is not a number from 1 to 65535".to_owned())),
        };
        let implied = host.implied();
        let grant =
            Self { methods: Vec::new(), scheme, host, port, path: String::new(), addresses: implied, question: None };
        classes.into_iter().fold(grant, Self::opening).methods(methods)?.below(path)
    }
}

/// What stands behind the last `=`, where that is classes; a path may have a `=` too.
fn split_classes(text: &str) -> (&str, Vec<AddressClass>) {
    let classes = |(rest, words): (_, &str)| {
        let classes: Result<Vec<_>, _> = words.split(',').map(str::parse).collect();
        classes.ok().map(|classes| (rest, classes))
    };
    text.rsplit_once('=').and_then(classes).unwrap_or((text, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(text: &str) -> HostGrant {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    fn check(text: &str, request: &str, covered: bool) {
        let (method, url) = request.split_once(' ').expect("a method");
        let (scheme, rest) = url.split_once("://").expect("a scheme");
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let request = RequestLine::new(method, scheme.parse().expect("a scheme"), authority, path).expect("a request");
        assert_eq!(grant(text).covers(&request), covered, "{text} and {request}");
    }

    #[test]
    fn a_grant_covers_what_it_names() {
        check("api.example.com", "POST https://api.example.com/any", true);
        check("api.example.com", "GET http://api.example.com/", false);
        check("api.example.com", "GET https://api.example.com:8443/", false);
        check("api.example.com:8443", "GET https://api.example.com:8443/", true);
        check("http://localhost:80", "GET http://LOCALHOST/", true);
        check("api.example.com", "GET https://API.example.com./", true);
        check("api.example.com", "GET https://api.example.com.evil.net/", false);
        check("GET,HEAD api.example.com", "HEAD https://api.example.com/", true);
        check("GET,HEAD api.example.com", "POST https://api.example.com/", false);
        check("http://2130706433", "GET http://127.0.0.1/", true);
    }

    #[test]
    fn a_star_covers_names_below_only() {
        check("*.example.com", "GET https://api.example.com/", true);
        check("*.example.com", "GET https://a.b.example.com/", true);
        check("*.example.com", "GET https://example.com/", false);
        check("*.example.com", "GET https://evilexample.com/", false);
        check("*.example.com", "GET https://api.example.com.evil.net/", false);
        check("*", "GET https://anything.net/", true);
        check("*", "GET https://1.1.1.1/", true);
    }

    #[test]
    fn a_path_covers_whole_parts() {
        check("a.net/v1", "GET https://a.net/v1", true);
        check("a.net/v1", "GET https://a.net/v1/x", true);
        check("a.net/v1/", "GET https://a.net/v1", true);
        check("a.net/v1", "GET https://a.net/v10", false);
        check("a.net/v1", "GET https://a.net/", false);
        check("a.net/v1", "GET https://a.net/%76%31/x", true);
        check("a.net/v1", "GET https://a.net/V1", false);
    }

    #[track_caller]
    fn opens(text: &str, address: &str, open: bool) {
        assert_eq!(grant(text).opens(address.parse().expect("an address")), open, "{text} and {address}");
    }

    #[test]
    fn only_public_addresses_are_open_unless_others_are_named() {
        opens("a.net", "93.184.216.34", true);
        for closed in
            ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "224.0.0.1"]
        {
            opens("a.net", closed, false);
            opens("*", closed, false);
        }
        opens("a.net=private", "10.0.0.1", true);
        opens("a.net=private", "127.0.0.1", false);
        opens("a.net=private", "::ffff:10.0.0.1", false);
        opens("a.net=private,translated", "::ffff:10.0.0.1", true);
        opens("a.net=translated", "64:ff9b::1.1.1.1", true);
        opens("a.net=link-local", "169.254.169.254", false);
        opens("http://127.0.0.1", "127.0.0.1", true);
        opens("http://[::ffff:127.0.0.1]", "::ffff:127.0.0.1", true);
        opens("http://app.localhost", "::1", true);
        opens("http://localhost", "10.0.0.1", false);
    }

    #[test]
    fn a_grant_is_written_as_it_is_read() {
        for text in [
            "https://api.example.com",
            "GET,HEAD https://*.example.com:8443/v1/a%2Fb",
            "http://db.internal:8080=private",
            "https://*/q=1=loopback,private",
            "http://[::1]:3000",
            "http://127.0.0.1=private",
            "https://a.net/x=private=public",
        ] {
            assert_eq!(grant(text).to_string(), text);
        }
    }

    #[track_caller]
    fn refused(text: &str, why: &str) {
        let error = text.parse::<HostGrant>().expect_err(text);
        assert_eq!(error, GrantError::HostForm { text: text.to_owned(), why: why.to_owned() });
    }

    #[test]
    fn what_is_no_grant_is_refused_with_the_reason() {
        refused("ftp://a.net", "`ftp` is not a scheme for requests: there is `http` and `https`");
        refused("https://u@a.net", "a user name before the host is refused");
        refused("a.net:0", "its port is not a number from 1 to 65535");
        for text in ["", "https://", "get https://a.net", "a.*.net", "*.10.0.0.1", "a.net=none", "a.net/../b", "a b c"]
        {
            assert!(text.parse::<HostGrant>().is_err(), "{text}");
        }
    }
}
