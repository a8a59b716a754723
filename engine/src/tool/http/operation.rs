//! One operation of an API: where each part of a tool's input goes in the request.

use std::collections::{HashMap, HashSet};
use std::fmt;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::path::PathTemplate;
use super::request::{Prepared, header_value, text};
use super::response;
use crate::tool::declared;

/// A method and a path, and the places for the input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Operation {
    method: Method,
    path: PathTemplate,
    /// INVARIANT: each gap of the path has one, and no two say the same.
    parameters: Vec<Parameter>,
    body: Option<Body>,
    input_schema: Value,
    output_schema: Value,
}

/// A property of the input that does not go in the body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameter {
    pub(crate) property: String,
    pub(crate) place: Place,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    /// The gap of this name in the path.
    Path(String),
    Query(String, Style),
    Header(HeaderName),
}

/// How lists and objects become names and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Style {
    /// `id=1&id=2`; an object goes as JSON.
    Repeated,
    /// `id=1,2`, with this character between.
    Joined(char),
    /// `id[from]=1&id[to]=2`
    Nested,
}

/// What of the input goes in the body, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Body {
    pub(crate) source: Source,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    Property(String),
    /// All properties that are not parameters.
    Rest,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// With its content type.
    Json(HeaderValue),
    /// Where nothing is said of a field, it is repeated.
    Form(HashMap<String, Style>),
}

/// `GET /v1/customers/{id}`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Operation {
    /// Its input is of `input_schema`, which it closes; a successful response has a body of `body_schema`.
    pub(crate) fn new(
        method: Method,
        path: PathTemplate,
        parameters: Vec<Parameter>,
        body: Option<Body>,
        input_schema: Value,
        body_schema: Value,
    ) -> Result<Self, String> {
        check_places(&path, &parameters)?;
        let input_schema = closed(input_schema, &parameters)?;
        let output_schema = response::schema(body_schema);
        Ok(Self { method, path, parameters, body, input_schema, output_schema })
    }

    /// JSON Schema (2020-12) of its input.
    pub(crate) fn input_schema(&self) -> &Value {
        &self.input_schema
    }

    /// JSON Schema (2020-12) of what [`response::to_json`] makes of a successful response.
    pub(crate) fn output_schema(&self) -> &Value {
        &self.output_schema
    }

    /// Whether its method promises to change nothing.
    pub(crate) fn is_read_only(&self) -> bool {
        self.method.is_safe()
    }

    /// Whether its method promises that doing it twice is as doing it once.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }

    /// The request that `input` asks for.
    pub(crate) fn prepare(&self, input: &Value) -> Result<Prepared, String> {
        let input = declared::members(&self.input_schema, input)?;
        let (mut gaps, mut query, mut headers) = (HashMap::new(), Vec::new(), HeaderMap::new());
        for Parameter { property, place } in &self.parameters {
            let Some(value) = input.get(property).filter(|value| !value.is_null()) else { continue };
            match place {
                Place::Path(name) => {
                    gaps.insert(name.as_str(), list(property, value, ',')?);
                }
                Place::Query(name, style) => query.extend(style.pairs(name, value)?),
                Place::Header(name) => {
                    headers.insert(name, header_value(name.as_str(), &list(property, value, ',')?)?);
                }
            }
        }
        let body = self.body.as_ref().map_or(Ok(None), |body| self.fill(body, input, &mut headers))?;
        Ok(Prepared { method: self.method.clone(), path: self.path.fill(&gaps)?, query, headers, body })
    }

    fn fill(&self, body: &Body, input: &Map<String, Value>, headers: &mut HeaderMap) -> Result<Option<Bytes>, String> {
        let rest;
        let value = match &body.source {
            Source::Property(property) => match input.get(property) {
                None | Some(Value::Null) => return Ok(None),
                Some(value) => value,
            },
            Source::Rest => {
                rest = self.rest(input);
                &rest
            }
        };
        let (content_type, bytes) = body.content.encode(value)?;
        headers.insert(header::CONTENT_TYPE, content_type);
        Ok(Some(bytes))
    }

    fn rest(&self, input: &Map<String, Value>) -> Value {
        let is_parameter = |key: &str| self.parameters.iter().any(|parameter| parameter.property == key);
        input.iter().filter(|(key, _)| !is_parameter(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

fn check_places(path: &PathTemplate, parameters: &[Parameter]) -> Result<(), String> {
    let gaps: HashSet<_> = path.variables().collect();
    let (mut properties, mut places) = (HashSet::new(), HashSet::new());
    for Parameter { property, place } in parameters {
        let (kind, name) = match place {
            Place::Path(name) if !gaps.contains(name.as_str()) => return Err(format!("the path has no `{{{name}}}`")),
            Place::Header(header::CONTENT_TYPE) => return Err("the body says the header `content-type`".to_owned()),
            Place::Path(name) => ("path", name.as_str()),
            Place::Query(name, _) => ("query", name.as_str()),
            Place::Header(name) => ("header", name.as_str()),
        };
        if !properties.insert(property) {
            return Err(format!("property `{property}` has two places"));
        }
        if !places.insert((kind, name)) {
            return Err(format!("`{name}` of the {kind} is given twice"));
        }
    }
    match gaps.into_iter().find(|gap| !places.contains(&("path", *gap))) {
        Some(gap) => Err(format!("no property is for `{{{gap}}}` of the path")),
        None => Ok(()),
    }
}

/// The schema with what holds in any case: no other properties, and none missing that the path needs.
fn closed(mut schema: Value, parameters: &[Parameter]) -> Result<Value, String> {
    let members = schema.as_object_mut().ok_or("the input schema is not a table")?;
    members.entry("type").or_insert_with(|| json!("object"));
    let properties = members.entry("properties").or_insert_with(|| json!({}));
    let properties = properties.as_object().ok_or("the `properties` of the input schema are not a table")?;
    if let Some(parameter) = parameters.iter().find(|parameter| !properties.contains_key(&parameter.property)) {
        return Err(format!("the input schema has no property `{}`", parameter.property));
    }
    if schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false)) {
        return Err("the input schema cannot have `additionalProperties`: undeclared ones are refused".to_owned());
    }
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let needed = parameters.iter().filter(|parameter| matches!(parameter.place, Place::Path(_)));
    let needed = needed.map(|parameter| json!(parameter.property)).filter(|name| !required.contains(name));
    let required = needed.chain(required.iter().cloned()).collect::<Vec<_>>();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("required".to_owned(), json!(required));
        schema.insert("additionalProperties".to_owned(), json!(false));
    }
    Ok(schema)
}

impl Content {
    fn encode(&self, value: &Value) -> Result<(HeaderValue, Bytes), String> {
        match self {
            Self::Json(content_type) => Ok((content_type.clone(), value.to_string().into())),
            Self::Form(styles) => {
                let fields = value.as_object().ok_or_else(|| format!("a form has to be an object, not `{value}`"))?;
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (name, value) in fields {
                    form.extend_pairs(styles.get(name).unwrap_or(&Style::Repeated).pairs(name, value)?);
                }
                let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                Ok((content_type, form.finish().into()))
            }
        }
    }
}

impl Style {
    fn pairs(self, name: &str, value: &Value) -> Result<Vec<(String, String)>, String> {
        let pair = |text: String| (name.to_owned(), text);
        match (self, value) {
            (_, Value::Null) => Ok(Vec::new()),
            (_, Value::Array(items)) if items.is_empty() => Ok(Vec::new()),
            (Self::Repeated, Value::Array(items)) => Ok(items.iter().map(|item| pair(text(item))).collect()),
            (Self::Repeated, value) => Ok(vec![pair(text(value))]),
            (Self::Joined(between), value) => Ok(vec![pair(list(name, value, between)?)]),
            (Self::Nested, value) => nested(name, value),
        }
    }
}

/// A list with `between` its items; a value that is no list stands alone.
fn list(name: &str, value: &Value, between: char) -> Result<String, String> {
    let Value::Array(items) = value else { return Ok(text(value)) };
    let items: Vec<_> = items.iter().map(text).collect();
    match items.iter().find(|item| item.contains(between)) {
        Some(item) => {
            Err(format!("`{item}` cannot be in the list `{name}`: it holds `{between}`, which parts the list"))
        }
        None => Ok(items.join(&between.to_string())),
    }
}

fn nested(name: &str, value: &Value) -> Result<Vec<(String, String)>, String> {
    let members: Vec<(String, &Value)> = match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect(),
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
        scalar => return Ok(vec![(name.to_owned(), text(scalar))]),
    };
    let mut pairs = Vec::new();
    for (key, value) in members {
        if key.contains(['[', ']']) {
            return Err(format!("`{key}` cannot be a key of `{name}`: it holds a bracket"));
        }
        pairs.extend(nested(&format!("{name}[{key}]"), value)?);
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::request::{header_name, shown};
    use super::*;

    fn parameter(property: &str, place: Place) -> Parameter {
        Parameter { property: property.to_owned(), place }
    }

    fn path(property: &str) -> Parameter {
        parameter(property, Place::Path(property.to_owned()))
    }

    fn query(property: &str, style: Style) -> Parameter {
        parameter(property, Place::Query(property.to_owned(), style))
    }

    fn header(property: &str, name: &str) -> Parameter {
        parameter(property, Place::Header(header_name(name).expect("a name")))
    }

    fn json_body() -> Content {
        Content::Json(HeaderValue::from_static("application/json"))
    }

    /// With the properties `a` to `e`, of any type.
    fn operation(template: &str, parameters: Vec<Parameter>, body: Option<Body>) -> Result<Operation, String> {
        let schema = json!({"properties": {"a": {}, "b": {}, "c": {}, "d": {}, "e": {}}});
        Operation::new(Method::POST, PathTemplate::parse(template)?, parameters, body, schema, json!({}))
    }

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn prepares(operation: Result<Operation, String>, input: Value, expected: &str) {
        let prepared = operation.expect("an operation").prepare(&input).expect("a request");
        assert_eq!(shown(&prepared), expected);
    }

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn refuses(operation: Result<Operation, String>, input: Value, expected: &str) {
        assert_eq!(operation.expect("an operation").prepare(&input), Err(expected.to_owned()));
    }

    #[test]
    fn each_part_of_the_input_has_its_place() {
        let places = vec![path("a"), query("b", Style::Repeated), header("c", "X-Request-Id")];
        let rest = operation("/v1/{a}/x", places.clone(), Some(Body { source: Source::Rest, content: json_body() }));
        prepares(
            rest.clone(),
            json!({"a": "p/q", "b": 3, "c": true, "d": {"k": [null]}, "e": "f"}),
            "POST /v1/p%2Fq/x?b=3\nx-request-id: true\ncontent-type: application/json\n\n\
            {\"d\":{\"k\":[null]},\"e\":\"f\"}",
        );
        prepares(rest, json!({"a": 1, "b": null}), "POST /v1/1/x\ncontent-type: application/json\n\n{}");
        let property = operation(
            "/{a}",
            vec![path("a")],
            Some(Body { source: Source::Property("e".to_owned()), content: json_body() }),
        );
        prepares(property.clone(), json!({"a": 1, "e": [1]}), "POST /1\ncontent-type: application/json\n\n[1]");
        prepares(property, json!({"a": 1}), "POST /1");
        prepares(operation("/{a}", vec![path("a")], None), json!({"a": [1, 2]}), "POST /1%2C2");
    }

    #[test]
    fn lists_and_objects_go_in_their_style() {
        let styles = vec![
            query("a", Style::Repeated),
            query("b", Style::Joined(',')),
            query("c", Style::Joined('|')),
            query("d", Style::Nested),
        ];
        prepares(
            operation("/", styles.clone(), None),
            json!({"a": ["x", 1], "b": ["x", 1], "c": [true, "y"], "d": {"k": {"l": 1}, "m": ["n"], "o": null}}),
            "POST /?a=x&a=1&b=x%2C1&c=true%7Cy&d%5Bk%5D%5Bl%5D=1&d%5Bm%5D%5B0%5D=n",
        );
        prepares(operation("/", styles.clone(), None), json!({"a": [], "b": [], "d": {}}), "POST /");
        refuses(
            operation("/", styles.clone(), None),
            json!({"b": ["x,y"]}),
            "`x,y` cannot be in the list `b`: it holds `,`, which parts the list",
        );
        refuses(
            operation("/", styles, None),
            json!({"d": {"k][l": 1}}),
            "`k][l` cannot be a key of `d`: it holds a bracket",
        );
    }

    #[test]
    fn a_form_has_fields() {
        let form = Content::Form(HashMap::from([("d".to_owned(), Style::Nested)]));
        prepares(
            operation(
                "/",
                vec![query("a", Style::Repeated)],
                Some(Body { source: Source::Rest, content: form.clone() }),
            ),
            json!({"a": 1, "b": "x y&z", "c": [1, 2], "d": {"k": "é"}, "e": {"k": 1}}),
            "POST /?a=1\ncontent-type: application/x-www-form-urlencoded\n\n\
            b=x+y%26z&c=1&c=2&d%5Bk%5D=%C3%A9&e=%7B%22k%22%3A1%7D",
        );
        let property = operation("/", vec![], Some(Body { source: Source::Property("a".to_owned()), content: form }));
        refuses(property, json!({"a": "b=c"}), "a form has to be an object, not `\"b=c\"`");
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let operation = operation("/{a}", vec![path("a"), header("b", "x-b")], None);
        refuses(operation.clone(), json!({"a": "1", "f": 1}), "unknown field `f`");
        refuses(operation.clone(), json!({}), "missing field `a`");
        refuses(operation.clone(), json!({"a": null}), "the path needs `a`, and not empty");
        refuses(operation.clone(), json!({"a": ".."}), "path `/..` has a segment `.` or `..`");
        refuses(operation.clone(), json!(["a"]), "the input has to be an object");
        refuses(
            operation,
            json!({"a": 1, "b": "x\r\nHost: y"}),
            "header `x-b` cannot be `x\\r\\nHost: y`: write visible ASCII, with spaces only between words",
        );
    }

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn cannot_be(operation: Result<Operation, String>, expected: &str) {
        assert_eq!(operation, Err(expected.to_owned()));
    }

    #[test]
    fn every_place_is_filled_once() {
        cannot_be(operation("/{a}/{b}", vec![path("a")], None), "no property is for `{b}` of the path");
        cannot_be(operation("/", vec![path("a")], None), "the path has no `{a}`");
        cannot_be(operation("/{z}", vec![path("z")], None), "the input schema has no property `z`");
        let twice = vec![query("a", Style::Repeated), header("a", "x-a")];
        cannot_be(operation("/", twice, None), "property `a` has two places");
        let twice = vec![header("a", "x-a"), header("b", "X-A")];
        cannot_be(operation("/", twice, None), "`x-a` of the header is given twice");
        let typed = vec![header("a", "content-type")];
        cannot_be(operation("/", typed, None), "the body says the header `content-type`");
    }

    #[test]
    fn the_schema_says_what_is_refused() {
        let operation = operation("/{a}", vec![path("a")], None).expect("an operation");
        assert_eq!(operation.input_schema()["required"], json!(["a"]));
        assert_eq!(operation.input_schema()["additionalProperties"], json!(false));
        let open = json!({"properties": {}, "additionalProperties": {}});
        let path = PathTemplate::parse("/").expect("a template");
        cannot_be(
            Operation::new(Method::GET, path, vec![], None, open, json!({})),
            "the input schema cannot have `additionalProperties`: undeclared ones are refused",
        );
    }

    proptest! {
        #[test]
        fn no_input_adds_lines_or_segments(
            a in "[./%a\r\n]{0,4}",
            b in prop_oneof![".*", "[a\r\n\t ]{0,4}"],
            c: String,
        ) {
            let places = vec![path("a"), header("b", "x-b"), query("c", Style::Repeated)];
            let operation = operation("/x/{a}/y", places, None).expect("an operation");
            if let Ok(prepared) = operation.prepare(&json!({"a": a, "b": b, "c": c})) {
                prop_assert_eq!(prepared.path.split('/').count(), 4);
                prop_assert_eq!(&prepared.query, &[("c".to_owned(), c)]);
                prop_assert!(!shown(&prepared).contains(|c: char| c != '\n' && c.is_control()));
                prop_assert_eq!(shown(&prepared).lines().count(), 2);
            }
        }
    }
}
