use serde_json::{Map, Value, json};

use crate::{Field, Shape};

/// The JSON Schema (2020-12) of one value.
pub fn schema(shape: &Shape) -> Value {
    match shape {
        Shape::Bool => json!({"type": "boolean"}),
        Shape::S8 => integer(i64::from(i8::MIN), u64::from(i8::MAX.unsigned_abs())),
        Shape::U8 => integer(0, u64::from(u8::MAX)),
        Shape::S16 => integer(i64::from(i16::MIN), u64::from(i16::MAX.unsigned_abs())),
        Shape::U16 => integer(0, u64::from(u16::MAX)),
        Shape::S32 => integer(i64::from(i32::MIN), u64::from(i32::MAX.unsigned_abs())),
        Shape::U32 => integer(0, u64::from(u32::MAX)),
        Shape::S64 => wide_integer(i64::MIN, i64::MAX.unsigned_abs(), "^-?[0-9]{1,19}$"),
        Shape::U64 => wide_integer(0, u64::MAX, "^[0-9]{1,20}$"),
        Shape::Float32 | Shape::Float64 => {
            json!({"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]})
        }
        Shape::Char => json!({"type": "string", "minLength": 1, "maxLength": 1}),
        Shape::String => json!({"type": "string"}),
        Shape::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Shape::List(element) => json!({"type": "array", "items": schema(element)}),
        Shape::Record(fields) => object(fields),
        Shape::Tuple(parts) => tuple(parts),
        Shape::Variant(cases) => {
            json!({"oneOf": cases.iter().map(|(name, payload)| case(name, payload.as_ref())).collect::<Vec<_>>()})
        }
        Shape::Enum(names) => json!({"type": "string", "enum": names}),
        Shape::Option(inner) if matches!(**inner, Shape::Option(_)) => {
            json!({"anyOf": [keyed("some", &schema(inner)), {"type": "null"}]})
        }
        Shape::Option(inner) => json!({"anyOf": [schema(inner), {"type": "null"}]}),
        Shape::Result { ok, err } => json!({"oneOf": [
            keyed("ok", &payload(ok.as_deref())),
            keyed("err", &payload(err.as_deref())),
        ]}),
        Shape::Flags(names) => {
            json!({"type": "array", "items": {"type": "string", "enum": names}, "uniqueItems": true})
        }
    }
}

/// The JSON Schema (2020-12) of a function's input: an object keyed by the parameter names.
pub fn parameters_schema(parameters: &[Field]) -> Value {
    object(parameters)
}

fn integer(minimum: i64, maximum: u64) -> Value {
    json!({"type": "integer", "minimum": minimum, "maximum": maximum})
}

/// Many JSON readers lose digits above 2^53, so 64-bit integers may come as strings.
fn wide_integer(minimum: i64, maximum: u64, pattern: &str) -> Value {
    json!({"type": ["integer", "string"], "minimum": minimum, "maximum": maximum, "pattern": pattern})
}

fn object(fields: &[Field]) -> Value {
    let properties: Map<_, _> = fields.iter().map(|field| (field.name.clone(), schema(&field.shape))).collect();
    let required: Vec<_> =
        fields.iter().filter(|field| !matches!(field.shape, Shape::Option(_))).map(|field| &field.name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn tuple(parts: &[Shape]) -> Value {
    let count = parts.len();
    let parts: Vec<_> = parts.iter().map(schema).collect();
    json!({"type": "array", "prefixItems": parts, "items": false, "minItems": count, "maxItems": count})
}

fn case(name: &str, payload: Option<&Shape>) -> Value {
    payload.map_or_else(|| json!({"const": name}), |shape| keyed(name, &schema(shape)))
}

fn keyed(name: &str, schema: &Value) -> Value {
    json!({"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": false})
}

fn payload(shape: Option<&Shape>) -> Value {
    shape.map_or_else(|| json!({"type": "null"}), schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_not_required() {
        let fields = [
            Field { name: "city".into(), shape: Shape::String },
            Field { name: "days".into(), shape: Shape::Option(Box::new(Shape::U8)) },
        ];
        assert_eq!(
            parameters_schema(&fields),
            json!({
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 255}, {"type": "null"}]},
                },
                "required": ["city"],
                "additionalProperties": false,
            })
        );
    }
}
