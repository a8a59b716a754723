//! Input against its schema, as far as rules depend on it: they see what the schema declares, so nothing else may pass.

use serde_json::{Map, Value};

/// How far a chain of references is followed. Those of real schemas have one link.
const MAX_LINKS: usize = 8;

/// What makes an object's keys a matter of more than its own `properties`. Rules do not see into such objects.
const OPEN: [&str; 6] = ["allOf", "anyOf", "oneOf", "if", "patternProperties", "dependentSchemas"];

/// The members of `input`, if all of them are declared and none is missing.
pub(crate) fn members<'a>(schema: &Value, input: &'a Value) -> Result<&'a Map<String, Value>, String> {
    let members = input.as_object().ok_or("the input has to be an object")?;
    if let Some(key) = undeclared(schema, schema, input) {
        return Err(format!("unknown field `{key}`"));
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    match required.filter_map(Value::as_str).find(|name| !members.contains_key(*name)) {
        Some(missing) => Err(format!("missing field `{missing}`")),
        None => Ok(members),
    }
}

/// A key of `value` that the schema does not have, at any depth.
fn undeclared<'a>(root: &Value, schema: &Value, value: &'a Value) -> Option<&'a str> {
    let schema = resolved(root, schema);
    match value {
        Value::Array(items) => {
            let schema = schema.get("items")?;
            items.iter().find_map(|item| undeclared(root, schema, item))
        }
        Value::Object(members) => {
            let declared = schema.get("properties")?.as_object()?;
            let open = schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false))
                || OPEN.iter().any(|keyword| schema.get(keyword).is_some());
            members.iter().find_map(|(key, value)| match declared.get(key) {
                Some(schema) => undeclared(root, schema, value),
                None => (!open).then_some(key.as_str()),
            })
        }
        _ => None,
    }
}

fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let follow = |schema: &&'a Value| root.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?);
    std::iter::successors(Some(schema), follow).take(MAX_LINKS).last().unwrap_or(schema)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn check(input: Value, expected: Result<(), &str>) {
        let schema = json!({
            "properties": {
                "id": {"type": "string"},
                "node": {"$ref": "#/$defs/node"},
                "map": {"type": "object", "additionalProperties": {"type": "string"}},
                "either": {"properties": {"a": {}}, "oneOf": [{"properties": {"b": {}}}]},
                "endless": {"$ref": "#/properties/endless"},
                "any": {},
            },
            "required": ["id"],
            "additionalProperties": false,
            "$defs": {"node": {"properties": {"next": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}},
        });
        let members = members(&schema, &input);
        assert_eq!(members.map(|_| ()).map_err(|error| error.clone()), expected.map_err(str::to_owned));
    }

    #[test]
    fn undeclared_keys_are_refused_at_any_depth() {
        check(json!({"id": "1", "any": {"x": 1}, "map": {"x": "y"}, "either": {"b": 1}}), Ok(()));
        check(json!({"id": "1", "node": {"next": [{"next": []}]}, "endless": {"x": 1}}), Ok(()));
        check(json!({"id": "1", "Id": "2"}), Err("unknown field `Id`"));
        check(json!({"id": "1", "node": {"next": [{}, {"next": [{"x": 1}]}]}}), Err("unknown field `x`"));
        check(json!({}), Err("missing field `id`"));
        check(json!(["id"]), Err("the input has to be an object"));
    }
}
