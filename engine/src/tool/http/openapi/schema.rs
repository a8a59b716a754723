//! Schemas of `OpenAPI` 3.0 and 3.1 as JSON Schema 2020-12.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::document::pointed;
use super::names::Names;

/// How many values the schema of one tool may have. In some documents every response leads to nearly every schema:
/// nobody reads all that, and each operation would bring its own copy.
const MAX_VALUES: usize = 5_000;

/// The schemas of a document. What is referred to is converted once, however many tools need it.
pub(super) struct Schemas<'a> {
    document: &'a Value,
    names: Names,
    /// The names of what is referred to, by pointer.
    referred: HashMap<String, Rc<str>>,
    definitions: HashMap<Rc<str>, Result<Rc<Definition<'a>>, String>>,
}

struct Definition<'a> {
    schema: Value,
    reach: Reach<'a>,
}

/// How large converted schemas are, and what they refer to.
#[derive(Default)]
pub(super) struct Reach<'a> {
    values: usize,
    referred: Vec<(Rc<str>, &'a Value)>,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(document: &'a Value) -> Self {
        Self { document, names: Names::default(), referred: HashMap::new(), definitions: HashMap::new() }
    }

    /// `schema` with references to `$defs`, which [`Schemas::complete`] adds when it is told of the same `reach`.
    pub(super) fn convert(&mut self, schema: &'a Value, reach: &mut Reach<'a>) -> Result<Value, String> {
        reach.add(1)?;
        match schema {
            Value::Bool(_) => Ok(schema.clone()),
            Value::Object(keywords) => self.convert_object(keywords, reach),
            _ => Err("it has a schema that is neither an object nor a boolean".to_owned()),
        }
    }

    /// `schema`, made of converted ones, with all that they refer to.
    pub(super) fn complete(&mut self, mut schema: Value, mut reach: Reach<'a>) -> Result<Value, String> {
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        while let Some((name, source)) = reach.referred.pop() {
            if seen.insert(name.clone()) {
                let definition = self.definition(&name, source)?;
                reach.add(definition.reach.values)?;
                reach.referred.extend(definition.reach.referred.iter().cloned());
                found.push((name, definition));
            }
        }
        // Only what is not too large is worth a copy.
        let definitions = found.iter().map(|(name, definition)| (name.to_string(), definition.schema.clone()));
        let definitions: Map<_, _> = definitions.collect();
        if let (false, Some(schema)) = (definitions.is_empty(), schema.as_object_mut()) {
            schema.insert("$defs".to_owned(), definitions.into());
        }
        Ok(schema)
    }

    fn definition(&mut self, name: &Rc<str>, schema: &'a Value) -> Result<Rc<Definition<'a>>, String> {
        if let Some(known) = self.definitions.get(name) {
            return known.clone();
        }
        let mut reach = Reach::default();
        let definition = self.convert(schema, &mut reach).map(|schema| Rc::new(Definition { schema, reach }));
        self.definitions.insert(name.clone(), definition.clone());
        definition
    }

    fn convert_object(&mut self, keywords: &'a Map<String, Value>, reach: &mut Reach<'a>) -> Result<Value, String> {
        let mut converted = Map::new();
        for (keyword, value) in keywords {
            if let Some(value) = self.keyword(keyword, value, reach)? {
                converted.insert(keyword.clone(), value);
            }
        }
        for (bound, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
            if keywords.get(exclusive) == Some(&Value::Bool(true))
                && let Some(bound) = converted.shift_remove(bound)
            {
                converted.insert(exclusive.to_owned(), bound);
            }
        }
        let nullable = keywords.get("nullable") == Some(&Value::Bool(true));
        Ok(if nullable { or_null(converted) } else { converted.into() })
    }

    /// What becomes of one keyword, if anything.
    fn keyword(&mut self, keyword: &str, value: &'a Value, reach: &mut Reach<'a>) -> Result<Option<Value>, String> {
        let converted = match (keyword, value) {
            ("$ref", Value::String(target)) => json!(self.reference(target, reach)?),
            ("properties" | "patternProperties" | "dependentSchemas" | "$defs", Value::Object(schemas)) => {
                let schemas = schemas.iter().map(|(name, schema)| Ok((name.clone(), self.convert(schema, reach)?)));
                schemas.collect::<Result<_, String>>()?
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => {
                schemas.iter().map(|schema| self.convert(schema, reach)).collect::<Result<_, _>>()?
            }
            (
                "additionalProperties"
                | "contains"
                | "else"
                | "if"
                | "items"
                | "not"
                | "propertyNames"
                | "then"
                | "unevaluatedItems"
                | "unevaluatedProperties",
                schema,
            ) => self.convert(schema, reach)?,
            // Words of OpenAPI and of older drafts.
            ("discriminator" | "example" | "externalDocs" | "nullable" | "xml", _)
            | ("exclusiveMaximum" | "exclusiveMinimum" | "required", Value::Bool(_)) => return Ok(None),
            (extension, _) if extension.starts_with("x-") => return Ok(None),
            (_, plain) => {
                reach.add(size(plain))?;
                plain.clone()
            }
        };
        Ok(Some(converted))
    }

    fn reference(&mut self, target: &str, reach: &mut Reach<'a>) -> Result<String, String> {
        let (pointer, schema) = pointed(self.document, target)?;
        let name = self.referred.get(&pointer).cloned().unwrap_or_else(|| {
            let wanted = pointer.strip_prefix("/components/schemas/").unwrap_or(pointer.trim_start_matches('/'));
            let name: Rc<str> = self.names.fresh(wanted).into();
            self.referred.insert(pointer, name.clone());
            name
        });
        let reference = format!("#/$defs/{name}");
        reach.referred.push((name, schema));
        Ok(reference)
    }
}

impl Reach<'_> {
    fn add(&mut self, values: usize) -> Result<(), String> {
        self.values += values;
        if self.values > MAX_VALUES { Err("its schema is too large".to_owned()) } else { Ok(()) }
    }
}

fn or_null(mut schema: Map<String, Value>) -> Value {
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push(json!("null")),
        Some(one) => *one = json!([one, "null"]),
        None => return json!({"anyOf": [schema, {"type": "null"}]}),
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    schema.into()
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn becomes(schema: Value, expected: Value) {
        let nowhere = json!({});
        assert_eq!(Schemas::new(&nowhere).convert(&schema, &mut Reach::default()), Ok(expected));
    }

    #[test]
    fn the_older_dialect_is_translated() {
        becomes(json!({"type": "string", "nullable": true}), json!({"type": ["string", "null"]}));
        becomes(
            json!({"type": "string", "enum": ["a"], "nullable": true}),
            json!({"type": ["string", "null"], "enum": ["a", null]}),
        );
        becomes(json!({"allOf": [true], "nullable": true}), json!({"anyOf": [{"allOf": [true]}, {"type": "null"}]}));
        becomes(json!({"minimum": 1, "exclusiveMinimum": true}), json!({"exclusiveMinimum": 1}));
        becomes(json!({"maximum": 1, "exclusiveMaximum": false}), json!({"maximum": 1}));
        becomes(
            json!({"type": "integer", "example": 1, "x-a": {}, "xml": {}, "default": {"example": 1}}),
            json!({"type": "integer", "default": {"example": 1}}),
        );
    }

    #[test]
    fn the_newer_dialect_stays() {
        for schema in [
            json!(true),
            json!({"type": ["string", "null"], "const": {"nullable": true}, "examples": [{"x-a": 1}]}),
            json!({"exclusiveMinimum": 1}),
            json!({"properties": {"example": {"type": "string"}, "x-a": true, "nullable": {}}, "required": ["x-a"]}),
            json!({"prefixItems": [{}], "items": false, "not": {"if": {}, "then": {}}}),
        ] {
            becomes(schema.clone(), schema);
        }
    }

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn leads(schema: Value, converted: Value, definitions: Value) {
        let document = json!({"components": {"schemas": {
            "Node": {"properties": {"next": {"$ref": "#/components/schemas/Node"}, "x": {"type": "string"}}},
            "A b": {"items": {"$ref": "#/components/schemas/A%20b"}, "nullable": true, "type": "array"},
            "Unused": {},
        }}});
        let (mut schemas, mut reach) = (Schemas::new(&document), Reach::default());
        assert_eq!(schemas.convert(&schema, &mut reach), Ok(converted));
        assert_eq!(schemas.complete(json!({}), reach), Ok(json!({"$defs": definitions})));
    }

    #[test]
    fn what_is_referred_to_comes_along() {
        let node = json!({"properties": {"next": {"$ref": "#/$defs/Node"}, "x": {"type": "string"}}});
        leads(
            json!({
                "items": {"$ref": "#/components/schemas/Node", "description": "d"},
                "not": {"$ref": "#/components/schemas/Node"},
            }),
            json!({"items": {"$ref": "#/$defs/Node", "description": "d"}, "not": {"$ref": "#/$defs/Node"}}),
            json!({"Node": node}),
        );
        leads(
            json!({"$ref": "#/components/schemas/A%20b"}),
            json!({"$ref": "#/$defs/A_b"}),
            json!({"A_b": {"items": {"$ref": "#/$defs/A_b"}, "type": ["array", "null"]}}),
        );
        leads(
            json!({"$ref": "#/components/schemas/Node/properties/x"}),
            json!({"$ref": "#/$defs/Node_properties_x"}),
            json!({"Node_properties_x": {"type": "string"}}),
        );
    }

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn refused(schema: Value, expected: &str) {
        let document = json!({"many": {"enum": vec![0; MAX_VALUES]}});
        let (mut schemas, mut reach) = (Schemas::new(&document), Reach::default());
        let all = schemas.convert(&schema, &mut reach).and_then(|schema| schemas.complete(schema, reach));
        assert_eq!(all, Err(expected.to_owned()));
    }

    #[test]
    fn what_cannot_be_converted_says_why() {
        refused(json!({"items": []}), "it has a schema that is neither an object nor a boolean");
        refused(json!({"$ref": "other.json#/A"}), "`other.json#/A` is not in the document");
        refused(json!({"$ref": "#/components/schemas/A"}), "`#/components/schemas/A` leads to nothing");
        refused(json!({"$ref": "#/many"}), "its schema is too large");
    }
}
