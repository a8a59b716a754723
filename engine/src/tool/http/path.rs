//! Paths: one spelling for each, so that a rule about a path is a rule about what a server finds there.

use std::collections::HashMap;
use std::fmt;

use casemate_policy::{RequestError, canonical_path};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but the unreserved characters of RFC 3986: a value, as one piece of a segment.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What the author of a template wrote between the gaps stays, also where it is encoded already.
const LITERAL: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'^').add(b'`').add(b'|').add(b'[').add(b']').add(b'\\');

/// A path with gaps for values: `/customers/{id}/cards`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PathTemplate {
    /// INVARIANT: the literals are percent-encoded and hold no `/` but those between segments.
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Literal(String),
    Variable(String),
}

/// As it is written, with what has to be encoded.
impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Literal(literal) => f.write_str(literal),
            Piece::Variable(name) => write!(f, "{{{name}}}"),
        })
    }
}

impl PathTemplate {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (variable, behind) =
                after.split_once('}').ok_or_else(|| format!("path `{text}` has a `{{` without its `}}`"))?;
            if variable.is_empty() || variable.contains(['{', '/']) {
                return Err(format!("path `{text}` has `{{{variable}}}`, which is not a name"));
            }
            pieces.extend([Piece::Literal(literal.to_owned()), Piece::Variable(variable.to_owned())]);
            rest = behind;
        }
        pieces.push(Piece::Literal(rest.to_owned()));
        let literals = pieces.iter().map(|piece| match piece {
            Piece::Literal(literal) => literal,
            Piece::Variable(_) => "x",
        });
        checked(&literals.collect::<String>()).map_err(|why| format!("path `{text}` {why}"))?;
        if rest.contains('}') {
            return Err(format!("path `{text}` has a `}}` without its `{{`"));
        }
        Ok(Self { pieces: pieces.into_iter().map(Piece::encoded).collect() })
    }

    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Variable(name) => Some(name.as_str()),
        })
    }

    /// The path with `values` in its gaps. A value never becomes more or less than a piece of its segment.
    pub(crate) fn fill(&self, values: &HashMap<&str, String>) -> Result<String, String> {
        let mut path = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => path.push_str(literal),
                Piece::Variable(name) => {
                    let value = values.get(name.as_str()).filter(|value| !value.is_empty());
                    let value = value.ok_or_else(|| format!("the path needs `{name}`, and not empty"))?;
                    path.extend(utf8_percent_encode(value, VALUE));
                }
            }
        }
        // Two values in one segment can make a step together, and many servers decode `%2F` before they take steps.
        checked(&path).map_err(|why| format!("path `{path}` {why}"))?;
        Ok(path)
    }
}

impl Piece {
    fn encoded(self) -> Self {
        match self {
            Self::Literal(literal) => Self::Literal(utf8_percent_encode(&literal, LITERAL).to_string()),
            Self::Variable(_) => self,
        }
    }
}

/// `path` if it is written in the one way that a path can be written, else what to write.
pub(crate) fn canonical(path: &str) -> Result<&str, String> {
    let canonical = checked(path).map_err(|why| format!("path `{path}` {why}"))?;
    if path == canonical { Ok(path) } else { Err(format!("path `{path}` has to be written `{canonical}`")) }
}

/// The path in its one form.
fn checked(path: &str) -> Result<String, String> {
    // No path at all is as good as `/` in a URL; here it was forgotten.
    if path.is_empty() {
        return Err("does not begin with `/`".to_owned());
    }
    canonical_path(path).map_err(|error| match error {
        RequestError::Path { why, .. } => why.to_owned(),
        error => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn stands(path: &str) {
        assert_eq!(canonical(path), Ok(path));
    }

    #[track_caller]
    fn refused(path: &str, why: &str) {
        assert_eq!(canonical(path), Err(format!("path `{path}` {why}")));
    }

    #[test]
    fn a_path_has_one_spelling() {
        stands("/");
        stands("/v1/customers/");
        stands("/v1/projects/x:cancel,(a)@b+c=*");
        stands("/group%2Fname/100%25/%C3%A9/a%20b/%3B");
        stands("/.well-known/..a/a..");
        refused("/%61dmin", "has to be written `/admin`");
        refused("/a%3ab", "has to be written `/a:b`");
        refused("/a%2fb", "has to be written `/a%2Fb`");
        refused("/é b", "has to be written `/%C3%A9%20b`");
        refused("/admin;x=1", "has to be written `/admin%3Bx=1`");
        refused("/100%", "has to be written `/100%25`");
        refused("/%u002e%zz", "has to be written `/%25u002e%25zz`");
    }

    #[test]
    fn a_path_stays_on_the_server_and_below_the_base() {
        for path in ["", "admin", "http://evil.example"] {
            refused(path, "does not begin with `/`");
        }
        refused("/a?b=c", "holds `?`: the query is given apart from it");
        refused("/a#b", "holds `#` or `\\`");
        refused("/a\\b", "holds `#` or `\\`");
        for path in ["//evil.example/", "/a//b", "/a//"] {
            refused(path, "has an empty segment");
        }
        for path in ["/a\nb", "/a%00", "/a%250A", "/\u{7f}"] {
            refused(path, "holds control characters");
        }
        refused("/%C0%AE%C0%AE/", "is not UTF-8 when decoded");
    }

    #[test]
    fn no_spelling_of_a_step_gets_through() {
        for path in [
            "/.",
            "/a/../b",
            "/a/..",
            "/%2e%2e/a",
            "/.%2E",
            "/%252e%252e/",
            "/%25252e%25252e/",
            "/%25%32%65%25%32%65",
            "/%%32e.",
            "/a/..;/b",
            "/a/..%3bx/b",
            "/.;x",
            "/..%2fadmin",
            "/x%2F..%2Fadmin",
            "/..%5cadmin",
            "/a%255C..",
        ] {
            refused(path, "has a segment `.` or `..`");
        }
    }

    #[track_caller]
    fn fills(template: &str, value: &str, expected: Result<&str, &str>) {
        let filled = PathTemplate::parse(template).expect("a template").fill(&HashMap::from([("x", value.to_owned())]));
        assert_eq!(filled.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn a_value_fills_its_gap_and_no_more() {
        fills("/a/{x}", "cus_1", Ok("/a/cus_1"));
        fills("/a/{x}.json", "b", Ok("/a/b.json"));
        fills("/{x}:cancel/{x}", "a b", Ok("/a%20b:cancel/a%20b"));
        fills("/a/{x}/c", "x/y?z#é;%2e", Ok("/a/x%2Fy%3Fz%23%C3%A9%3B%252e/c"));
        fills("/é%20b/{x}/", "...", Ok("/%C3%A9%20b/.../"));
        fills("/a/{y}", "b", Err("the path needs `y`, and not empty"));
        fills("/a/{x}", "", Err("the path needs `x`, and not empty"));
        fills("/a/{x}", "a\r\n", Err("path `/a/a%0D%0A` holds control characters"));
        for (value, path) in [
            (".", "/a/."),
            ("..", "/a/.."),
            ("../admin", "/a/..%2Fadmin"),
            ("a/..", "/a/a%2F.."),
            ("%2e%2e", "/a/%252e%252e"),
            ("..;a", "/a/..%3Ba"),
            ("..\\a", "/a/..%5Ca"),
        ] {
            fills("/a/{x}", value, Err(&format!("path `{path}` has a segment `.` or `..`")));
        }
        fills("/{x}.{x}", "/", Err("path `/%2F.%2F` has a segment `.` or `..`"));
    }

    #[track_caller]
    fn no_template(template: &str, why: &str) {
        assert_eq!(PathTemplate::parse(template), Err(format!("path `{template}` {why}")));
    }

    #[test]
    fn a_template_is_a_path() {
        no_template("a/{x}", "does not begin with `/`");
        no_template("/a?b={x}", "holds `?`: the query is given apart from it");
        no_template("/a/../{x}", "has a segment `.` or `..`");
        no_template("/a/{x", "has a `{` without its `}`");
        no_template("/a/x}", "has a `}` without its `{`");
        no_template("/a/{}", "has `{}`, which is not a name");
        no_template("/a/{{x}}", "has `{{x}`, which is not a name");
    }

    proptest! {
        #[test]
        fn values_make_no_segments(
            segments in prop::collection::vec("(\\{[ab]\\}|[a-z.]{0,2}x|\\{a\\}\\.\\{b\\})", 1..5),
            a: String,
            b in "[./;%25eE\\\\a]{0,6}",
        ) {
            let template = PathTemplate::parse(&format!("/{}", segments.join("/"))).expect("a template");
            if let Ok(path) = template.fill(&HashMap::from([("a", a), ("b", b)])) {
                prop_assert_eq!(path.split('/').count(), segments.len() + 1);
                prop_assert!(canonical_path(&path).is_ok());
                prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }

        #[test]
        fn what_stands_is_its_own_only_spelling(one: String, steps in "(/|%2e|%2E|\\.|%25|;|a|%61|%2F|\\\\){0,8}") {
            for path in [format!("/{one}"), format!("/{steps}")] {
                if canonical(&path).is_ok() {
                    prop_assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")));
                    prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic()));
                }
            }
        }
    }
}
