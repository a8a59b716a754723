//! What rules can see of a tool's input: JSON Schema as a finite tree of Cedar types.
//!
//! The tree holds for values that fit the schema; what does not fit the tree is found out when a value is converted.
//! A tree may therefore leave constraints out, and never needs to understand a schema in full.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use serde_json::{Map, Value};

/// How deep a tree may be; a component's own types are no deeper.
const MAX_DEPTH: usize = 16;
/// How many parts of one input are looked at. References can double with every step.
const MAX_PARTS: usize = 1_000;
/// How many bytes the name of a visible part may have.
const MAX_NAME: usize = 256;

/// The Cedar type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Bool,
    Long,
    Decimal,
    Datetime,
    String,
    Set(Box<Shape>),
    Record(Fields),
}

pub(super) type Fields = BTreeMap<String, Field>;

/// An attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) presence: Presence,
    pub(super) shape: Result<Shape, Hidden>,
}

impl Field {
    pub(super) fn required(shape: Shape) -> Self {
        Self { presence: Presence::Required, shape: Ok(shape) }
    }
}

/// Whether an attribute is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// A value that lacks it does not fit.
    Required,
    /// Rules ask with `has` first.
    Optional,
}

/// Why rules cannot see a part of an input.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Hidden {
    /// Anything may stand there.
    #[error("its schema says no type")]
    Untyped,
    /// Values of several types may stand there.
    #[error("it may be of more than one type")]
    Mixed,
    /// Several schemas apply at once.
    #[error("its schema joins several with `allOf`")]
    Joined,
    /// A type that contains itself.
    #[error("its type contains itself")]
    Recursive,
    /// An object whose keys are not known beforehand.
    #[error("its keys are known only when it is called")]
    Map,
    /// An array whose elements have a type each.
    #[error("its elements have a type each")]
    Tuple,
    /// An array whose elements cannot be seen, or not in full.
    #[error("its elements cannot be compared: {0}")]
    Elements(Box<Hidden>),
    /// Elements that may be null.
    #[error("they may be null")]
    NullElements,
    /// A reference to something that is not in the schema.
    #[error("its schema refers to something that is not there")]
    Unresolved,
    /// Always null.
    #[error("it is always null")]
    Null,
    /// Nothing fits.
    #[error("no value fits its schema")]
    Impossible,
    /// Nested too deeply.
    #[error("it is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// One part too many.
    #[error("the input has more than {MAX_PARTS} parts")]
    TooLarge,
    /// A name too long to be written in a rule.
    #[error("its name has more than {MAX_NAME} bytes")]
    LongName,
}

/// What rules can see of values that fit `schema`.
pub(super) fn read(schema: &Value) -> Field {
    Reader { root: schema, open: Vec::new(), parts: 0 }.read(schema, 0).field(Presence::Required)
}

impl Shape {
    /// The first part that cannot be seen, if there is one.
    pub(super) fn hidden_part(&self) -> Option<(Vec<&str>, &Hidden)> {
        let Self::Record(fields) = self else { return None };
        fields.iter().find_map(|(name, field)| match &field.shape {
            Err(why) => Some((vec![name.as_str()], why)),
            Ok(shape) => shape.hidden_part().map(|(mut path, why)| {
                path.insert(0, name);
                (path, why)
            }),
        })
    }
}

/// One part as it was read.
struct Part {
    shape: Result<Shape, Hidden>,
    null: Null,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Null {
    Possible,
    Impossible,
}

impl Part {
    fn of(shape: Shape) -> Self {
        Self { shape: Ok(shape), null: Null::Impossible }
    }

    fn hidden(why: Hidden) -> Self {
        Self { shape: Err(why), null: Null::Impossible }
    }

    fn null() -> Self {
        Self { shape: Err(Hidden::Null), null: Null::Possible }
    }

    fn or_null(self, null: Null) -> Self {
        Self { null: if null == Null::Possible { null } else { self.null }, ..self }
    }

    fn field(self, presence: Presence) -> Field {
        let presence = if self.null == Null::Possible { Presence::Optional } else { presence };
        Field { presence, shape: self.shape }
    }
}

struct Reader<'a> {
    root: &'a Value,
    /// The references that are being followed.
    open: Vec<&'a str>,
    parts: usize,
}

impl<'a> Reader<'a> {
    fn read(&mut self, schema: &'a Value, depth: usize) -> Part {
        self.parts += 1;
        let schema = match schema {
            _ if depth > MAX_DEPTH => return Part::hidden(Hidden::TooDeep),
            _ if self.parts > MAX_PARTS => return Part::hidden(Hidden::TooLarge),
            Value::Object(schema) => schema,
            Value::Bool(false) => return Part::hidden(Hidden::Impossible),
            _ => return Part::hidden(Hidden::Untyped),
        };
        if let Some(reference) = schema.get("$ref") {
            return self.follow(reference, depth);
        }
        if let Some(constant) = schema.get("const") {
            return literals(std::slice::from_ref(constant));
        }
        if let Some(Value::Array(values)) = schema.get("enum") {
            return literals(values);
        }
        match schema.get("type") {
            Some(Value::String(name)) => self.typed(name, schema, depth),
            Some(Value::Array(names)) => self.one_of_types(names, schema, depth),
            _ => self.untyped(schema, depth),
        }
    }

    fn follow(&mut self, reference: &'a Value, depth: usize) -> Part {
        let Some((reference, pointer)) = reference.as_str().and_then(|text| Some((text, text.strip_prefix('#')?)))
        else {
            return Part::hidden(Hidden::Unresolved);
        };
        if self.open.contains(&reference) || pointer.is_empty() {
            return Part::hidden(Hidden::Recursive);
        }
        let Some(target) = self.root.pointer(pointer) else { return Part::hidden(Hidden::Unresolved) };
        self.open.push(reference);
        let part = self.read(target, depth + 1);
        self.open.pop();
        part
    }

    fn typed(&mut self, name: &str, schema: &'a Map<String, Value>, depth: usize) -> Part {
        match name {
            "boolean" => Part::of(Shape::Bool),
            "integer" => Part::of(Shape::Long),
            "number" => Part::of(Shape::Decimal),
            "string" => Part::of(Shape::String),
            "null" => Part::null(),
            "array" => self.array(schema, depth),
            "object" => self.object(schema, depth),
            _ => Part::hidden(Hidden::Untyped),
        }
    }

    fn one_of_types(&mut self, names: &'a [Value], schema: &'a Map<String, Value>, depth: usize) -> Part {
        let all: Vec<_> = names.iter().filter_map(Value::as_str).collect();
        let null = if all.contains(&"null") { Null::Possible } else { Null::Impossible };
        let mut names: Vec<_> = all.into_iter().filter(|name| *name != "null").collect();
        names.sort_unstable();
        let part = match names.as_slice() {
            [] => Part::null(),
            [name] => self.typed(name, schema, depth),
            ["integer", "number"] => Part::of(Shape::Decimal),
            ["integer", "string"] if is_digits(schema) => Part::of(Shape::Long),
            _ => Part::hidden(Hidden::Mixed),
        };
        part.or_null(null)
    }

    fn untyped(&mut self, schema: &'a Map<String, Value>, depth: usize) -> Part {
        if schema.contains_key("properties") {
            self.object(schema, depth)
        } else if schema.contains_key("items") || schema.contains_key("prefixItems") {
            self.array(schema, depth)
        } else {
            self.composed(schema, depth).unwrap_or_else(|| Part::hidden(Hidden::Untyped))
        }
    }

    fn composed(&mut self, schema: &'a Map<String, Value>, depth: usize) -> Option<Part> {
        if let Some(Value::Array(branches)) = schema.get("anyOf").or_else(|| schema.get("oneOf")) {
            return Some(self.any_of(branches, depth));
        }
        match schema.get("allOf")?.as_array()?.as_slice() {
            [only] => Some(self.read(only, depth + 1)),
            _ => Some(Part::hidden(Hidden::Joined)),
        }
    }

    fn array(&mut self, schema: &'a Map<String, Value>, depth: usize) -> Part {
        if schema.contains_key("prefixItems") {
            return Part::hidden(Hidden::Tuple);
        }
        let Some(items) = schema.get("items") else { return Part::hidden(Hidden::Untyped) };
        let element = self.read(items, depth + 1);
        let why = match (element.null, element.shape) {
            (Null::Possible, _) => Hidden::NullElements,
            (_, Err(why)) => why,
            (_, Ok(shape)) => match shape.hidden_part() {
                Some((_, why)) => why.clone(),
                None => return Part::of(Shape::Set(Box::new(shape))),
            },
        };
        Part::hidden(Hidden::Elements(Box::new(why)))
    }

    fn object(&mut self, schema: &'a Map<String, Value>, depth: usize) -> Part {
        let properties = schema.get("properties").and_then(Value::as_object);
        if properties.is_none_or(Map::is_empty) {
            if let Some(part) = self.composed(schema, depth) {
                return part;
            }
            let open = schema.get("additionalProperties");
            if schema.contains_key("patternProperties") || open.is_some_and(Value::is_object) {
                return Part::hidden(Hidden::Map);
            }
            if properties.is_none() && open != Some(&Value::Bool(false)) {
                return Part::hidden(Hidden::Untyped);
            }
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let required: HashSet<_> = required.filter_map(Value::as_str).take(MAX_PARTS).collect();
        let mut fields = Fields::new();
        for (name, schema) in properties.into_iter().flatten() {
            if self.parts > MAX_PARTS {
                return Part::hidden(Hidden::TooLarge);
            }
            let part =
                if name.len() > MAX_NAME { Part::hidden(Hidden::LongName) } else { self.read(schema, depth + 1) };
            let presence = if required.contains(name.as_str()) { Presence::Required } else { Presence::Optional };
            fields.insert(name.clone(), part.field(presence));
        }
        Part::of(Shape::Record(fields))
    }

    fn any_of(&mut self, branches: &'a [Value], depth: usize) -> Part {
        for (spelling, shape) in [(is_special_floats as Spelling, Shape::Decimal), (is_digit_string, Shape::Long)] {
            let others: Vec<_> = branches.iter().filter(|branch| !spelling(branch)).collect();
            if others.len() < branches.len() {
                let part = self.merged(&others, depth);
                if part.shape == Ok(shape) {
                    return part;
                }
            }
        }
        self.merged(&branches.iter().collect::<Vec<_>>(), depth)
    }

    fn merged(&mut self, branches: &[&'a Value], depth: usize) -> Part {
        let mut null = Null::Impossible;
        let mut merged: Option<Result<Shape, Hidden>> = None;
        for branch in branches {
            let part = self.read(branch, depth + 1);
            if part.null == Null::Possible {
                null = Null::Possible;
            }
            if part.shape != Err(Hidden::Null) {
                merged = Some(match merged {
                    None => part.shape,
                    Some(before) => merge(before, part.shape),
                });
            }
        }
        match merged {
            Some(shape) => Part { shape, null },
            None if null == Null::Possible => Part::null(),
            None => Part::hidden(Hidden::Impossible),
        }
    }
}

/// The shape of values that fit one of two.
fn merge(one: Result<Shape, Hidden>, other: Result<Shape, Hidden>) -> Result<Shape, Hidden> {
    match (one?, other?) {
        (Shape::Record(one), Shape::Record(other)) => Ok(Shape::Record(merge_fields(one, other))),
        (Shape::Long, Shape::Decimal) | (Shape::Decimal, Shape::Long) => Ok(Shape::Decimal),
        (one, other) if one == other => Ok(one),
        _ => Err(Hidden::Mixed),
    }
}

fn merge_fields(one: Fields, mut other: Fields) -> Fields {
    let mut fields = Fields::new();
    for (name, field) in one {
        let both = match other.remove(&name) {
            None => Field { presence: Presence::Optional, ..field },
            Some(twin) => Field {
                presence: if field.presence == twin.presence { field.presence } else { Presence::Optional },
                shape: merge(field.shape, twin.shape),
            },
        };
        fields.insert(name, both);
    }
    fields.extend(other.into_iter().map(|(name, field)| (name, Field { presence: Presence::Optional, ..field })));
    fields
}

fn literals(values: &[Value]) -> Part {
    let null = if values.contains(&Value::Null) { Null::Possible } else { Null::Impossible };
    let mut shapes = values.iter().filter(|value| !value.is_null()).map(|value| match value {
        Value::Bool(_) => Ok(Shape::Bool),
        Value::String(_) => Ok(Shape::String),
        Value::Number(number) if number.is_f64() => Ok(Shape::Decimal),
        Value::Number(_) => Ok(Shape::Long),
        _ => Err(Hidden::Mixed),
    });
    let Some(first) = shapes.next() else {
        return if null == Null::Possible { Part::null() } else { Part::hidden(Hidden::Impossible) };
    };
    Part { shape: shapes.fold(first, merge), null }
}

/// Whether a schema is of strings that stand for numbers.
type Spelling = fn(&Value) -> bool;

/// JSON has no word for these, so they come as strings.
fn is_special_floats(schema: &Value) -> bool {
    schema.get("enum").and_then(Value::as_array).is_some_and(|values| {
        !values.is_empty()
            && values.iter().all(|value| matches!(value.as_str(), Some("NaN" | "Infinity" | "-Infinity")))
    })
}

fn is_digit_string(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("string") && schema.as_object().is_some_and(is_digits)
}

/// Whether strings that fit are the digits of an integer, such as `^-?[0-9]{1,19}$`.
fn is_digits(schema: &Map<String, Value>) -> bool {
    let digits = |pattern: &str| {
        let body = pattern.strip_prefix('^')?.strip_suffix('$')?;
        let body = body.strip_prefix("-?").unwrap_or(body);
        let count = body.strip_prefix("[0-9]").or_else(|| body.strip_prefix("\\d"))?;
        let bounds = count.strip_prefix('{').and_then(|count| count.strip_suffix('}'));
        let bounded = bounds.is_some_and(|bounds| bounds.chars().all(|c| c == ',' || c.is_ascii_digit()));
        (count == "+" || bounded).then_some(())
    };
    schema.get("pattern").and_then(Value::as_str).and_then(digits).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `Long`, `String?` where it may be missing, or the reason why it is hidden.
    fn shown(field: &Field) -> String {
        match &field.shape {
            Ok(shape) if field.presence == Presence::Optional => format!("{shape}?"),
            Ok(shape) => shape.to_string(),
            Err(why) => format!("hidden: {why}"),
        }
    }

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn check(schema: Value, expected: &str) {
        assert_eq!(shown(&read(&schema)), expected, "{schema}");
    }

    #[test]
    fn plain_types() {
        check(json!({"type": "boolean"}), "Bool");
        check(json!({"type": "string", "format": "date-time"}), "String");
        check(json!({"type": "integer", "format": "uint32", "minimum": 0}), "Long");
        check(json!({"type": "number"}), "decimal");
        check(json!({"enum": ["a", "b"]}), "String");
        check(json!({"type": "string", "enum": ["a", "b"]}), "String");
        check(json!({"const": 3}), "Long");
        check(json!({"enum": [1, 2.5]}), "decimal");
        check(json!({"enum": [true, null]}), "Bool?");
        check(json!({"enum": ["a", 1]}), "hidden: it may be of more than one type");
        check(json!({"type": "null"}), "hidden: it is always null");
        check(json!({}), "hidden: its schema says no type");
        check(json!(true), "hidden: its schema says no type");
        check(json!(false), "hidden: no value fits its schema");
        check(json!("nonsense"), "hidden: its schema says no type");
        check(json!({"type": "nonsense"}), "hidden: its schema says no type");
    }

    #[test]
    fn null_makes_optional() {
        check(json!({"type": ["string", "null"]}), "String?");
        check(json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), "Long?");
        check(
            json!({"oneOf": [{"type": "null"}, {"$ref": "#/$defs/x"}], "$defs": {"x": {"type": "boolean"}}}),
            "Bool?",
        );
    }

    #[test]
    fn integers_and_floats_as_components_have_them() {
        check(json!({"type": ["integer", "string"], "pattern": "^-?[0-9]{1,19}$"}), "Long");
        check(json!({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9]{1,20}$"}]}), "Long");
        check(
            json!({"anyOf": [{"type": "string", "pattern": "^\\d+$"}, {"type": "null"}, {"type": "integer"}]}),
            "Long?",
        );
        check(
            json!({"type": ["integer", "string"], "pattern": "^[0-9a-f]+$"}),
            "hidden: it may be of more than one type",
        );
        check(json!({"type": ["integer", "string"]}), "hidden: it may be of more than one type");
        check(json!({"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}), "decimal");
        check(json!({"anyOf": [{"type": "string"}, {"enum": ["NaN"]}]}), "String");
        check(json!({"type": ["integer", "number"]}), "decimal");
    }

    #[test]
    fn arrays() {
        check(json!({"type": "array", "items": {"type": "string"}}), "Set<String>");
        check(
            json!({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}}),
            "Set<{\"a\"?: Long}>",
        );
        check(json!({"type": "array"}), "hidden: its schema says no type");
        check(
            json!({"type": "array", "prefixItems": [{"type": "string"}], "items": false}),
            "hidden: its elements have a type each",
        );
        check(
            json!({"type": "array", "items": {}}),
            "hidden: its elements cannot be compared: its schema says no type",
        );
        check(
            json!({"type": "array", "items": {"type": ["string", "null"]}}),
            "hidden: its elements cannot be compared: they may be null",
        );
        check(
            json!({"type": "array", "items": {"properties": {"a": true}}}),
            "hidden: its elements cannot be compared: its schema says no type",
        );
    }

    #[test]
    fn objects() {
        check(
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b-c": {"type": "string"}}, "required": ["a"]}),
            "{\"a\": String, \"b-c\"?: String}",
        );
        check(json!({"type": "object", "properties": {}, "additionalProperties": false}), "{}");
        check(json!({"type": "object"}), "hidden: its schema says no type");
        check(
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            "hidden: its keys are known only when it is called",
        );
        check(
            json!({"type": "object", "patternProperties": {"^a": true}}),
            "hidden: its keys are known only when it is called",
        );
    }

    #[test]
    fn variants() {
        let keyed =
            |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]});
        check(json!({"oneOf": [{"const": "a"}, {"const": "b"}]}), "String");
        check(json!({"oneOf": [keyed("ok"), keyed("err")]}), "{\"err\"?: String, \"ok\"?: String}");
        check(json!({"oneOf": [keyed("some"), {"const": "none"}]}), "hidden: it may be of more than one type");
        check(
            json!({"anyOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"a": {"type": "integer"}}}]}),
            "{}",
        );
        check(json!({"anyOf": []}), "hidden: no value fits its schema");
        check(json!({"allOf": [{"type": "string"}]}), "String");
        check(
            json!({"allOf": [{"type": "string"}, {"minLength": 1}]}),
            "hidden: its schema joins several with `allOf`",
        );
    }

    #[test]
    fn references() {
        let at =
            |reference: &str| json!({"properties": {"x": {"$ref": reference}}, "$defs": {"n": {"type": "integer"}}});
        check(at("#/$defs/n"), "{\"x\"?: Long}");
        for (reference, why) in [
            ("#/$defs/m", Hidden::Unresolved),
            ("other.json", Hidden::Unresolved),
            ("#", Hidden::Recursive),
            ("#/properties/x", Hidden::Recursive),
        ] {
            let Ok(Shape::Record(fields)) = read(&at(reference)).shape else { panic!("{reference}") };
            assert_eq!(fields["x"].shape, Err(why), "{reference}");
        }
    }

    #[test]
    fn hostile_schemas_end() {
        let mut doubling = json!({"$ref": "#/$defs/0", "$defs": {}});
        for step in 0..40 {
            let next = json!({"$ref": format!("#/$defs/{}", step + 1)});
            doubling["$defs"][step.to_string()] = json!({"properties": {"a": next, "b": next}});
        }
        assert!(matches!(read(&doubling).shape, Ok(Shape::Record(_)) | Err(_)));

        let wide: Map<_, _> = (0..100_000).map(|n| (n.to_string(), json!({"type": "string"}))).collect();
        assert_eq!(read(&json!({"properties": wide})).shape, Err(Hidden::TooLarge));
        let mut deep = json!({"type": "string"});
        for _ in 0..60 {
            deep = json!({"items": deep});
        }
        assert!(matches!(read(&deep).shape, Err(Hidden::Elements(_))));
        let long = json!({"properties": {("a".repeat(1_000)): {"type": "string"}}});
        assert_eq!(shown(&read(&long)), "{}");
    }
}
