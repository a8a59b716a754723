//! JSON Schemas of Rust types, as schemars writes them, read back as the WIT types with the same JSON.

use serde_json::{Map, Value};

use crate::{Field, Shape};

/// A part of a schema that no WIT type has the JSON of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at `{path}`: {reason}")]
#[non_exhaustive]
pub struct NotWit {
    /// Where in the described value: `$.amount`.
    pub path: String,
    /// Why there is none.
    pub reason: &'static str,
}

/// The WIT type whose JSON `schema` describes.
///
/// Only what derives of schemars write is understood: an integer needs its `format` (`uint32`), since WIT knows no
/// integer without a width.
pub fn shape_from_schema(schema: &Value) -> Result<Shape, NotWit> {
    let mut reader = Reader { root: schema, parts_left: 10_000, depth: 0, path: vec!["$".to_owned()] };
    reader.shape(schema)
}

/// The parameters whose JSON, an object keyed by their names, `schema` describes.
pub fn parameters_from_schema(schema: &Value) -> Result<Vec<Field>, NotWit> {
    match shape_from_schema(schema)? {
        Shape::Record(fields) => Ok(fields),
        _ => Err(NotWit { path: "$".to_owned(), reason: "the input is no object" }),
    }
}

impl Shape {
    /// The same type with the fields of records, and the cases of variants, enums and flags, in the order of their
    /// names: JSON does not tell their order, so what is known from JSON is compared in this form.
    #[must_use]
    pub fn sorted(&self) -> Self {
        let boxed = |shape: &Option<Box<Self>>| shape.as_ref().map(|shape| Box::new(shape.sorted()));
        let names = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort();
            names
        };
        match self {
            Self::List(element) => Self::List(Box::new(element.sorted())),
            Self::Option(inner) => Self::Option(Box::new(inner.sorted())),
            Self::Tuple(parts) => Self::Tuple(parts.iter().map(Self::sorted).collect()),
            Self::Record(fields) => Self::Record(Field::sorted(fields)),
            Self::Variant(cases) => {
                let sorted = |shape: &Option<Self>| shape.as_ref().map(Self::sorted);
                let mut cases: Vec<_> = cases.iter().map(|(name, shape)| (name.clone(), sorted(shape))).collect();
                cases.sort_by(|one, other| one.0.cmp(&other.0));
                Self::Variant(cases)
            }
            Self::Enum(all) => Self::Enum(names(all)),
            Self::Flags(all) => Self::Flags(names(all)),
            Self::Result { ok, err } => Self::Result { ok: boxed(ok), err: boxed(err) },
            simple => simple.clone(),
        }
    }
}

impl Field {
    /// [`Shape::sorted`] for the fields of a record, or the parameters of a function.
    #[must_use]
    pub fn sorted(fields: &[Self]) -> Vec<Self> {
        let mut fields: Vec<_> =
            fields.iter().map(|field| Self { name: field.name.clone(), shape: field.shape.sorted() }).collect();
        fields.sort_by(|one, other| one.name.cmp(&other.name));
        fields
    }
}

struct Reader<'a> {
    root: &'a Value,
    /// Schemas refer to themselves; each look at one counts.
    parts_left: usize,
    depth: usize,
    path: Vec<String>,
}

impl Reader<'_> {
    fn shape(&mut self, schema: &Value) -> Result<Shape, NotWit> {
        const DEEPEST: usize = 64;
        self.parts_left = self.parts_left.saturating_sub(1);
        if self.parts_left == 0 || self.depth == DEEPEST {
            return Err(NotWit { path: "$".to_owned(), reason: "the type is recursive or huge" });
        }
        self.depth += 1;
        let shape = self.one_shape(schema);
        self.depth -= 1;
        shape
    }

    fn one_shape(&mut self, schema: &Value) -> Result<Shape, NotWit> {
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let definition = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)).cloned();
            let definition = definition.ok_or_else(|| self.refuse("it refers to what is not there"))?;
            return self.shape(&definition);
        }
        for key in ["oneOf", "anyOf"] {
            if let Some(choices) = schema.get(key).and_then(Value::as_array) {
                return self.choice(choices);
            }
        }
        match schema.get("type") {
            Some(Value::String(kind)) => self.of_kind(kind, schema),
            Some(Value::Array(kinds)) => match kinds.as_slice() {
                [Value::String(kind), Value::String(null)] | [Value::String(null), Value::String(kind)]
                    if null == "null" =>
                {
                    Ok(Shape::Option(Box::new(self.of_kind(kind, schema)?)))
                }
                _ => Err(self.refuse("it can be of several types")),
            },
            _ => Err(self.refuse("it has no type")),
        }
    }

    fn of_kind(&mut self, kind: &str, schema: &Value) -> Result<Shape, NotWit> {
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        match (kind, format) {
            ("boolean", _) => Ok(Shape::Bool),
            ("integer", "int8") => Ok(Shape::S8),
            ("integer", "uint8") => Ok(Shape::U8),
            ("integer", "int16") => Ok(Shape::S16),
            ("integer", "uint16") => Ok(Shape::U16),
            ("integer", "int32") => Ok(Shape::S32),
            ("integer", "uint32") => Ok(Shape::U32),
            ("integer", "int64") => Ok(Shape::S64),
            ("integer", "uint64") => Ok(Shape::U64),
            ("integer", _) => Err(self.refuse("the integer has no width that WIT knows")),
            ("number", "float") => Ok(Shape::Float32),
            ("number", "double") => Ok(Shape::Float64),
            ("number", _) => Err(self.refuse("the number has no width that WIT knows")),
            ("string", _) => self.text(schema),
            ("array", _) => self.array(schema),
            ("object", _) => self.object(schema),
            _ => Err(self.refuse("WIT has no such type")),
        }
    }

    fn text(&self, schema: &Value) -> Result<Shape, NotWit> {
        if let Some(names) = names(schema) {
            return Ok(Shape::Enum(names));
        }
        if schema.get("contentEncoding").is_some_and(|encoding| encoding == "base64") {
            return Ok(Shape::Bytes);
        }
        let one = |key| schema.get(key).and_then(Value::as_u64) == Some(1);
        if one("minLength") && one("maxLength") {
            return Ok(Shape::Char);
        }
        if schema.get("const").is_some() || schema.get("enum").is_some() {
            return Err(self.refuse("it is not any text"));
        }
        Ok(Shape::String)
    }

    fn array(&mut self, schema: &Value) -> Result<Shape, NotWit> {
        if let Some(parts) = schema.get("prefixItems").and_then(Value::as_array) {
            let shapes = parts.iter().enumerate().map(|(index, part)| self.under(&format!("[{index}]"), part));
            return Ok(Shape::Tuple(shapes.collect::<Result<_, _>>()?));
        }
        let items = schema.get("items").ok_or_else(|| self.refuse("its items have no type"))?;
        let element = self.under("[]", items)?;
        match (schema.get("uniqueItems"), element) {
            (Some(Value::Bool(true)), Shape::Enum(names)) => Ok(Shape::Flags(names)),
            (Some(Value::Bool(true)), _) => Err(self.refuse("WIT has no sets but flags")),
            // The JSON of WIT's `list<u8>` is a base64 string.
            (_, Shape::U8) => Err(self.refuse("an array of bytes is no `list<u8>`, whose JSON is a base64 string")),
            (_, element) => Ok(Shape::List(Box::new(element))),
        }
    }

    fn object(&mut self, schema: &Value) -> Result<Shape, NotWit> {
        if schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false)) {
            return Err(self.refuse("WIT has no maps"));
        }
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let required = |name: &str| {
            let names = schema.get("required").and_then(Value::as_array);
            names.is_some_and(|names| names.iter().any(|required| required == name))
        };
        let mut fields = Vec::new();
        for (name, property) in properties {
            let shape = self.under(&format!(".{name}"), property)?;
            if !required(name) && !matches!(shape, Shape::Option(_)) {
                return Err(self.refuse("what may be left out has to be an option"));
            }
            fields.push(Field { name: name.clone(), shape });
        }
        Ok(Shape::Record(fields))
    }

    /// An option, or the cases of an enum or variant.
    fn choice(&mut self, choices: &[Value]) -> Result<Shape, NotWit> {
        let is_null = |choice: &Value| choice.get("type").is_some_and(|kind| kind == "null");
        let some: Vec<_> = choices.iter().filter(|choice| !is_null(choice)).collect();
        if let ([one], 2) = (some.as_slice(), choices.len()) {
            return Ok(Shape::Option(Box::new(self.shape(one)?)));
        }
        let mut cases = Vec::new();
        for choice in choices {
            if let Some(names) = names(choice) {
                cases.extend(names.into_iter().map(|name| (name, None)));
            } else {
                cases.push(self.case(choice)?);
            }
        }
        if cases.iter().any(|(_, payload)| payload.is_some()) {
            return Ok(Shape::Variant(cases));
        }
        Ok(Shape::Enum(cases.into_iter().map(|(name, _)| name).collect()))
    }

    fn case(&mut self, choice: &Value) -> Result<(String, Option<Shape>), NotWit> {
        let properties = choice.get("properties").and_then(Value::as_object);
        match properties.map(|properties| properties.iter().collect::<Vec<_>>()).as_deref() {
            Some([(name, payload)]) => Ok(((*name).clone(), Some(self.under(&format!(".{name}"), payload)?))),
            _ => Err(self.refuse("a case of a variant is a text, or an object with one key")),
        }
    }

    fn under(&mut self, step: &str, schema: &Value) -> Result<Shape, NotWit> {
        self.path.push(step.to_owned());
        let shape = self.shape(schema)?;
        self.path.pop();
        Ok(shape)
    }

    fn refuse(&self, reason: &'static str) -> NotWit {
        NotWit { path: self.path.concat(), reason }
    }
}

/// The texts that a string may be, where it is one of a few.
fn names(schema: &Value) -> Option<Vec<String>> {
    if let Some(Value::String(name)) = schema.get("const") {
        return Some(vec![name.clone()]);
    }
    let names = schema.get("enum")?.as_array()?;
    names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use schemars::{JsonSchema, schema_for};

    use super::*;

    #[derive(JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    #[allow(dead_code, reason = "only described")]
    enum Sky {
        /// Nothing above.
        Clear,
        Light,
        HalfCovered(f32),
        Rain {
            millimetres: u32,
        },
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    #[allow(dead_code, reason = "only described")]
    enum Wind {
        North,
        SouthWest,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    #[allow(dead_code, reason = "only described")]
    struct Forecast {
        city: String,
        high_noon: i32,
        low: Option<i64>,
        sky: Sky,
        wind: Option<Wind>,
        hours: Vec<(u8, f64)>,
        mark: char,
        sure: bool,
    }

    #[track_caller]
    fn reads<T: JsonSchema>(expected: &str) {
        assert_eq!(shape_from_schema(schema_for!(T).as_value()).unwrap().to_string(), expected);
    }

    #[track_caller]
    fn refuses<T: JsonSchema>(expected: &str) {
        assert_eq!(shape_from_schema(schema_for!(T).as_value()).unwrap_err().to_string(), expected);
    }

    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only described")]
    struct Endless {
        next: Option<Box<Endless>>,
    }

    #[test]
    fn what_a_derive_writes_is_read_back() {
        reads::<Forecast>(
            "record { city: string, high-noon: s32, low: option<s64>, \
             sky: variant { light, clear, half-covered(f32), rain(record { millimetres: u32 }) }, \
             wind: option<enum { north, south-west }>, hours: list<tuple<u8, f64>>, mark: char, sure: bool }",
        );
        reads::<u64>("u64");
        reads::<Vec<String>>("list<string>");
    }

    #[test]
    fn what_wit_does_not_have_is_refused() {
        refuses::<HashMap<String, u32>>("at `$`: WIT has no maps");
        refuses::<Vec<u8>>("at `$`: an array of bytes is no `list<u8>`, whose JSON is a base64 string");
        refuses::<Vec<usize>>("at `$[]`: the integer has no width that WIT knows");
        refuses::<Value>("at `$`: it has no type");
        let endless = shape_from_schema(schema_for!(Endless).as_value()).unwrap_err();
        assert_eq!(endless.reason, "the type is recursive or huge");
    }

    #[test]
    fn order_is_left_out_of_a_comparison() {
        let one = shape_from_schema(schema_for!(Sky).as_value()).unwrap();
        let Shape::Variant(mut cases) = one.clone() else { panic!("{one}") };
        cases.reverse();
        assert_ne!(one, Shape::Variant(cases.clone()));
        assert_eq!(one.sorted(), Shape::Variant(cases).sorted());
    }
}
