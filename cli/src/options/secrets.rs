//! Secrets on the command line: `--secret NAME[=SOURCE][@HOST[#PLACE]]`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use casemate::{
    EnvironmentSecret, FileSecret, HostGrant, Secret, SecretFuture, SecretPlace, SecretSource, Secrets, is_secret_name,
};

use super::DataOptions;
use super::flags::absolute;

/// One flag, taken apart.
///
/// A `#` begins the place, and the last `@` before that begins the host: a host has no `@`, a file's name may.
pub(crate) struct SecretFlag {
    pub(crate) name: String,
    pub(crate) origin: SecretOrigin,
    /// The requests that it goes into, and where in them. A guest may use it by that.
    pub(crate) binding: Option<(HostGrant, SecretPlace)>,
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretOrigin {
    /// In the data folder.
    Kept,
    Environment(String),
    File(PathBuf),
}

/// The secrets of all flags; those of one name are one, bound to the requests of each.
pub(super) fn declared(flags: &[SecretFlag], data: &DataOptions) -> anyhow::Result<Secrets> {
    let mut all: BTreeMap<&str, (&SecretOrigin, Secret)> = BTreeMap::new();
    for SecretFlag { name, origin, binding } in flags {
        let (first, secret) = match all.remove(name.as_str()) {
            Some(known) => known,
            None => (origin, origin.secret(name, data)?),
        };
        if first != origin {
            bail!("`--secret {name}{first}` and `--secret {name}{origin}` are two sources for one secret: choose one");
        }
        let secret = match binding {
            Some((requests, place)) => secret.bound_to(requests.clone(), place.clone()),
            None => secret,
        };
        all.insert(name, (first, secret));
    }
    let secrets = Secrets::new();
    for (_, secret) in all.into_values() {
        secrets.set(secret);
    }
    Ok(secrets)
}

impl SecretOrigin {
    /// What is written behind a secret's name. Nothing of it is repeated where it is none: it may be the value itself.
    fn parse(name: &str, written: Option<&str>) -> anyhow::Result<Self> {
        match written.map(|written| written.split_once(':')) {
            None => Ok(Self::Kept),
            Some(Some(("env", variable))) if is_variable(variable) => Ok(Self::Environment(variable.to_owned())),
            Some(Some(("file", path))) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(_) => bail!(
                "`--secret {name}=…` does not say where the value is: write `{name}=env:VARIABLE`, `{name}=file:PATH`, or \
                 `{name}` alone for what `casemate secrets set {name}` keeps; the value itself is never an argument"
            ),
        }
    }

    /// A secret of that name that comes from here, bound to nothing.
    pub(crate) fn secret(&self, name: &str, data: &DataOptions) -> anyhow::Result<Secret> {
        Ok(match self {
            Self::Kept => Secret::new(name, Kept { file: data.secrets()?.secret(name)?, name: name.to_owned() })?,
            Self::Environment(variable) => Secret::new(name, EnvironmentSecret::new(variable))?,
            Self::File(path) => Secret::new(name, FileSecret::new(path))?,
        })
    }
}

/// A value in the data folder, which says how it comes there.
struct Kept {
    file: FileSecret,
    name: String,
}

impl SecretSource for Kept {
    fn read(&self) -> SecretFuture<'_> {
        self.file.read()
    }

    fn place(&self) -> String {
        format!("{} (written by `casemate secrets set {}`)", self.file.place(), self.name)
    }
}

/// As it is written behind a name.
impl fmt::Display for SecretOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => Ok(()),
            Self::Environment(variable) => write!(f, "=env:{variable}"),
            Self::File(path) => write!(f, "=file:{}", path.display()),
        }
    }
}

impl SecretFlag {
    /// What was written, with the path of a file absolute.
    pub(super) fn with_absolute_path(text: &str) -> anyhow::Result<String> {
        let Self { name, origin, .. } = text.parse()?;
        let SecretOrigin::File(path) = &origin else { return Ok(text.to_owned()) };
        let written = name.len() + origin.to_string().len();
        let rest = text.get(written..).unwrap_or_default();
        Ok(format!("{name}={}{rest}", format_args!("file:{}", absolute(path)?)))
    }
}

impl FromStr for SecretFlag {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (rest, place) = text.split_once('#').map_or((text, None), |(rest, place)| (rest, Some(place)));
        let (rest, host) = rest.rsplit_once('@').map_or((rest, None), |(rest, host)| (rest, Some(host)));
        let (name, source) = rest.split_once('=').map_or((rest, None), |(name, source)| (name, Some(source)));
        if !is_secret_name(name) {
            // It may be a value.
            bail!(
                "`--secret` begins with a name of up to 64 letters, digits and `_`, and no digit first: \
                 NAME[=SOURCE][@HOST[#PLACE]]"
            );
        }
        let origin = SecretOrigin::parse(name, source)?;
        let binding = match (host, place) {
            (None, None) => None,
            (None, Some(_)) => {
                bail!("`--secret {name}…#…` says where in a request, and of which: write `@HOST` before `#`")
            }
            (Some(host), place) => {
                let host = host.parse().with_context(|| format!("in `--secret {name}…@HOST`"))?;
                Some((host, place.map_or(Ok(SecretPlace::bearer()), |place| parse_place(name, place))?))
            }
        };
        Ok(Self { name: name.to_owned(), origin, binding })
    }
}

fn parse_place(name: &str, text: &str) -> anyhow::Result<SecretPlace> {
    let place = match text.split_once('=') {
        Some(("header", header)) => {
            let usual = if header.eq_ignore_ascii_case("authorization") { "Bearer {}" } else { "{}" };
            let (header, format) = header.split_once(':').unwrap_or((header, usual));
            SecretPlace::header(header, format.trim_start())
        }
        Some(("basic", user)) => SecretPlace::basic(user),
        Some(("query", parameter)) => SecretPlace::query(parameter),
        _ => bail!(
            "`#{text}` is no place in a request: there is `#header=NAME`, `#header=NAME:FORMAT` with `{{}}` for the \
             value, `#basic=USER` and `#query=PARAMETER`"
        ),
    };
    place.with_context(|| format!("in `--secret {name}…#{text}`"))
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, name: &str, origin: SecretOrigin, binding: Option<(&str, SecretPlace)>) {
        let flag: SecretFlag = text.parse().unwrap_or_else(|error| panic!("{error:#}"));
        let bound = flag.binding.map(|(requests, place)| (requests.to_string(), place));
        let expected = binding.map(|(requests, place)| (requests.to_owned(), place));
        assert_eq!((flag.name.as_str(), flag.origin, bound), (name, origin, expected), "{text}");
    }

    fn variable(name: &str) -> SecretOrigin {
        SecretOrigin::Environment(name.to_owned())
    }

    fn header(name: &str, format: &str) -> SecretPlace {
        SecretPlace::header(name, format).unwrap()
    }

    #[test]
    fn a_flag_has_a_name_a_source_a_host_and_a_place() {
        let (https, bearer) = ("https://api.example.com", SecretPlace::bearer);
        check("KEY", "KEY", SecretOrigin::Kept, None);
        check("KEY=env:A_1", "KEY", variable("A_1"), None);
        check("KEY=file:/a=b:c", "KEY", SecretOrigin::File("/a=b:c".into()), None);
        check("KEY@api.example.com", "KEY", SecretOrigin::Kept, Some((https, bearer())));
        check("KEY=env:A@api.example.com", "KEY", variable("A"), Some((https, bearer())));
        check("KEY=file:a@b/c@api.example.com", "KEY", SecretOrigin::File("a@b/c".into()), Some((https, bearer())));
        let narrow = "GET,POST http://*.example.com:8080/v1=private";
        check(&format!("KEY=env:A@{narrow}"), "KEY", variable("A"), Some((narrow, bearer())));
    }

    #[test]
    fn a_place_is_a_header_a_password_or_a_parameter() {
        let place = |text: &str, place| {
            let https = Some(("https://a.net", place));
            check(&format!("KEY@a.net#{text}"), "KEY", SecretOrigin::Kept, https);
        };
        place("header=X-Api-Key", header("x-api-key", "{}"));
        place("header=Authorization", SecretPlace::bearer());
        place("header=X-Api-Key:Token {}; a=#1", header("x-api-key", "Token {}; a=#1"));
        place("header=Authorization: Token {}", header("authorization", "Token {}"));
        place("basic=me@example.com", SecretPlace::basic("me@example.com").unwrap());
        place("query=api_key", SecretPlace::query("api_key").unwrap());
    }

    #[track_caller]
    fn refused(text: &str, says: &str) {
        let error = text.parse::<SecretFlag>().err().unwrap_or_else(|| panic!("{text} is taken"));
        let error = format!("{error:#}");
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn what_is_wrong_is_told() {
        refused("a-b=env:A", "begins with a name of");
        refused("KEY=env:", "`KEY=env:VARIABLE`");
        refused("KEY=keychain:a", "`KEY=env:VARIABLE`");
        refused("KEY=env:A#query=k", "write `@HOST` before `#`");
        refused("KEY@ftp://a.net", "in `--secret KEY…@HOST`: `ftp://a.net` cannot be granted as a host");
        refused("KEY@a.net#cookie=k", "`#cookie=k` is no place in a request");
        refused("KEY@a.net#header=Host", "in `--secret KEY…#header=Host`: a secret cannot go into");
        refused("KEY@a.net#basic=a:b", "a user name holds neither `:`");
    }

    #[test]
    fn a_value_in_an_argument_is_not_repeated() {
        for text in ["KEY=canary-1", "KEY=can:canary-1", "canary-1", "KEY=env:canary-1", "KEY=canary-1@a.net#canary-1"]
        {
            let error = text.parse::<SecretFlag>().err().unwrap_or_else(|| panic!("{text} is taken"));
            assert!(!format!("{error:#}").contains("canary"), "{error:#}");
        }
    }

    #[test]
    fn one_name_has_one_source() {
        let secrets = |texts: [&str; 2]| {
            let flags: Vec<SecretFlag> = texts.map(|text| text.parse().unwrap()).into();
            declared(&flags, &DataOptions::default()).map(|secrets| secrets.list())
        };
        let both = secrets(["KEY=env:A@a.net", "KEY=env:A@b.net#query=k"]).unwrap();
        assert_eq!((both.len(), both[0].bindings().len()), (1, 2));
        let error = secrets(["KEY=env:A@a.net", "KEY=env:B@b.net"]).unwrap_err().to_string();
        assert!(error.contains("`--secret KEY=env:A` and `--secret KEY=env:B` are two sources"), "{error}");
    }
}
