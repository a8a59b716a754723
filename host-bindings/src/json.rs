use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};
use wasmtime::component::Val;

use crate::{Field, Shape};

/// A JSON value that does not fit the type it is meant for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at `{path}`: expected {expected}, found {found}")]
#[non_exhaustive]
pub struct InvalidValue {
    /// Where: `$` is the whole input, then `.key` and `[index]`.
    pub path: String,
    /// What the type asks for.
    pub expected: String,
    /// What was there, shortened.
    pub found: String,
}

/// Why JSON could not be made a component value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FromJsonError {
    /// It does not fit the type.
    #[error(transparent)]
    Invalid(#[from] InvalidValue),
    /// As a component value it takes more bytes than allowed; one dynamic value is 40 bytes.
    #[error("the input takes {bytes} bytes or more as component values, and {max} are allowed")]
    TooLarge {
        /// The number of bytes that it takes at least.
        bytes: usize,
        /// The number of bytes allowed.
        max: usize,
    },
}

/// The value of type `shape` that `json` stands for.
///
/// `max_bytes` bounds the memory that the value takes, which for a `list<u8>` is forty times its length.
pub fn from_json(shape: &Shape, json: &Value, max_bytes: usize) -> Result<Val, FromJsonError> {
    Reader::new(max_bytes).value(shape, json).map_err(|fault| fault.finish(max_bytes))
}

/// The arguments of a function, in order, out of an object keyed by parameter names; `max_bytes` as for [`from_json`].
pub fn parameters_from_json(parameters: &[Field], input: &Value, max_bytes: usize) -> Result<Vec<Val>, FromJsonError> {
    let read = |reader: &mut Reader| {
        let fields = reader.fields(parameters, input, "an object keyed by the parameter names")?;
        Ok(fields.into_iter().map(|(_, value)| value).collect())
    };
    read(&mut Reader::new(max_bytes)).map_err(|fault: Fault| fault.finish(max_bytes))
}

/// The JSON that stands for `value`, a value of type `shape`.
///
/// A value that is not of that type becomes `null`; wasmtime lifts no such values.
pub fn to_json(shape: &Shape, value: &Val) -> Value {
    match (shape, value) {
        (_, Val::Bool(value)) => Value::Bool(*value),
        (_, Val::S8(value)) => Value::from(*value),
        (_, Val::U8(value)) => Value::from(*value),
        (_, Val::S16(value)) => Value::from(*value),
        (_, Val::U16(value)) => Value::from(*value),
        (_, Val::S32(value)) => Value::from(*value),
        (_, Val::U32(value)) => Value::from(*value),
        (_, Val::S64(value)) => Value::from(*value),
        (_, Val::U64(value)) => Value::from(*value),
        (_, Val::Float32(value)) => float(shortest(*value)),
        (_, Val::Float64(value)) => float(*value),
        (_, Val::Char(value)) => Value::String(value.to_string()),
        (_, Val::String(value) | Val::Enum(value)) => Value::String(value.clone()),
        (Shape::Bytes, Val::List(items)) => {
            Value::String(STANDARD.encode(items.iter().map_while(byte).collect::<Vec<_>>()))
        }
        (Shape::List(element), Val::List(items)) => items.iter().map(|item| to_json(element, item)).collect(),
        (Shape::Record(shapes), Val::Record(values)) => Value::Object(
            shapes
                .iter()
                .zip(values)
                .map(|(field, (name, value))| (name.clone(), to_json(&field.shape, value)))
                .collect(),
        ),
        (Shape::Tuple(shapes), Val::Tuple(values)) => {
            shapes.iter().zip(values).map(|(shape, value)| to_json(shape, value)).collect()
        }
        (Shape::Variant(cases), Val::Variant(name, payload)) => {
            let shape = cases.iter().find(|(case, _)| case == name).and_then(|(_, shape)| shape.as_ref());
            match (shape, payload) {
                (Some(shape), Some(payload)) => keyed(name, to_json(shape, payload)),
                _ => Value::String(name.clone()),
            }
        }
        (Shape::Option(inner), Val::Option(Some(value))) => {
            let json = to_json(inner, value);
            if matches!(**inner, Shape::Option(_)) { keyed("some", json) } else { json }
        }
        (Shape::Result { ok, err }, Val::Result(result)) => match result {
            Ok(value) => keyed("ok", payload_to_json(ok.as_deref(), value.as_deref())),
            Err(value) => keyed("err", payload_to_json(err.as_deref(), value.as_deref())),
        },
        (_, Val::Flags(names)) => names.iter().map(String::as_str).collect(),
        _ => Value::Null,
    }
}

fn payload_to_json(shape: Option<&Shape>, value: Option<&Val>) -> Value {
    shape.zip(value).map_or(Value::Null, |(shape, value)| to_json(shape, value))
}

fn keyed(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

fn byte(value: &Val) -> Option<u8> {
    if let Val::U8(byte) = value { Some(*byte) } else { None }
}

fn float(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| Value::from(non_finite_name(value)), Value::Number)
}

fn non_finite_name(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// The double that prints as the shortest decimal which reads back as `value`: 0.1, not 0.10000000149011612.
fn shortest(value: f32) -> f64 {
    let exact = f64::from(value);
    let shown = value.to_string().parse().unwrap_or(exact);
    if narrow(shown) == Some(value) { shown } else { exact }
}

/// Why reading stopped; the path grows from the inside out while the error travels up.
enum Fault {
    Invalid { path: Vec<Step>, expected: String, found: String },
    TooLarge { bytes: usize },
}

enum Step {
    Key(String),
    Index(usize),
}

impl Fault {
    fn under(mut self, step: impl FnOnce() -> Step) -> Self {
        if let Self::Invalid { path, .. } = &mut self {
            path.push(step());
        }
        self
    }

    fn finish(self, max: usize) -> FromJsonError {
        match self {
            Self::TooLarge { bytes } => FromJsonError::TooLarge { bytes, max },
            Self::Invalid { path, expected, found } => InvalidValue { path: render(&path), expected, found }.into(),
        }
    }
}

fn render(path: &[Step]) -> String {
    path.iter().rev().fold("$".to_owned(), |mut text, step| {
        // Writing to a string cannot fail.
        let _ = match step {
            Step::Key(key) => write!(text, ".{key}"),
            Step::Index(index) => write!(text, "[{index}]"),
        };
        text
    })
}

fn mismatch(expected: impl Into<String>, found: &Value) -> Fault {
    Fault::Invalid { path: Vec::new(), expected: expected.into(), found: describe(found) }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => {
            let start: String = text.chars().take(40).collect();
            let ellipsis = if start.len() < text.len() { "…" } else { "" };
            format!("the string {start:?}{ellipsis}")
        }
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(members) => {
            let keys: Vec<_> = members.keys().take(5).map(|key| format!("`{key}`")).collect();
            format!("an object with {}", if keys.is_empty() { "no keys".to_owned() } else { keys.join(", ") })
        }
    }
}

struct Reader {
    bytes: usize,
    max: usize,
}

impl Reader {
    fn new(max: usize) -> Self {
        Self { bytes: 0, max }
    }

    fn value(&mut self, shape: &Shape, json: &Value) -> Result<Val, Fault> {
        self.spend(size_of::<Val>())?;
        Ok(match shape {
            Shape::Bool => Val::Bool(json.as_bool().ok_or_else(|| mismatch("a boolean", json))?),
            Shape::S8 => Val::S8(narrow_integer(json, "an integer from -128 to 127")?),
            Shape::U8 => Val::U8(narrow_integer(json, "an integer from 0 to 255")?),
            Shape::S16 => Val::S16(narrow_integer(json, "an integer from -32768 to 32767")?),
            Shape::U16 => Val::U16(narrow_integer(json, "an integer from 0 to 65535")?),
            Shape::S32 => Val::S32(narrow_integer(json, "an integer from -2147483648 to 2147483647")?),
            Shape::U32 => Val::U32(narrow_integer(json, "an integer from 0 to 4294967295")?),
            Shape::S64 => Val::S64(wide_integer(json, "a 64-bit integer, as a number or a decimal string")?),
            Shape::U64 => Val::U64(wide_integer(json, "an unsigned 64-bit integer, as a number or a decimal string")?),
            Shape::Float32 => {
                Val::Float32(double(json).and_then(narrow).ok_or_else(|| mismatch(format!("a 32-bit {FLOAT}"), json))?)
            }
            Shape::Float64 => Val::Float64(double(json).ok_or_else(|| mismatch(format!("a {FLOAT}"), json))?),
            Shape::Char => Val::Char(character(json).ok_or_else(|| mismatch("a string of one character", json))?),
            Shape::String => Val::String(self.text(json)?),
            Shape::Bytes => self.bytes(json)?,
            Shape::List(element) => Val::List(self.items(json, "an array", None, |_| Some(element))?),
            Shape::Record(fields) => Val::Record(self.fields(fields, json, "an object")?),
            Shape::Tuple(shapes) => {
                let expected = format!("an array of {}", shapes.len());
                Val::Tuple(self.items(json, &expected, Some(shapes.len()), |index| shapes.get(index))?)
            }
            Shape::Variant(cases) => self.variant(cases, json)?,
            Shape::Enum(names) => Val::Enum(one_of(names, json)?),
            Shape::Option(inner) => Val::Option(self.option(inner, json)?.map(Box::new)),
            Shape::Result { ok, err } => Val::Result(self.result(ok.as_deref(), err.as_deref(), json)?),
            Shape::Flags(names) => Val::Flags(self.flags(names, json)?),
        })
    }

    fn fields(&mut self, fields: &[Field], json: &Value, expected: &str) -> Result<Vec<(String, Val)>, Fault> {
        let members = json.as_object().ok_or_else(|| mismatch(expected, json))?;
        if let Some((key, value)) = members.iter().find(|(key, _)| fields.iter().all(|field| field.name != **key)) {
            return Err(unknown_key(fields, value).under(|| Step::Key(key.clone())));
        }
        fields
            .iter()
            .map(|field| {
                let value = match (members.get(&field.name), &field.shape) {
                    (Some(value), shape) => self.value(shape, value),
                    (None, Shape::Option(_)) => Ok(Val::Option(None)),
                    (None, _) => Err(Fault::Invalid {
                        path: Vec::new(),
                        expected: "a value".to_owned(),
                        found: "nothing".to_owned(),
                    }),
                };
                let value = value.map_err(|fault| fault.under(|| Step::Key(field.name.clone())))?;
                Ok((field.name.clone(), value))
            })
            .collect()
    }

    fn items<'a>(
        &mut self,
        json: &Value,
        expected: &str,
        count: Option<usize>,
        shape: impl Fn(usize) -> Option<&'a Shape>,
    ) -> Result<Vec<Val>, Fault> {
        let items = json.as_array().filter(|items| count.is_none_or(|count| items.len() == count));
        let items = items.ok_or_else(|| mismatch(expected, json))?;
        self.check(items.len().saturating_mul(size_of::<Val>()))?;
        let shapes = (0..).map_while(shape);
        items
            .iter()
            .zip(shapes)
            .enumerate()
            .map(|(index, (item, shape))| self.value(shape, item).map_err(|fault| fault.under(|| Step::Index(index))))
            .collect()
    }

    fn text(&mut self, json: &Value) -> Result<String, Fault> {
        let text = json.as_str().ok_or_else(|| mismatch("a string", json))?;
        self.spend(text.len())?;
        Ok(text.to_owned())
    }

    fn bytes(&mut self, json: &Value) -> Result<Val, Fault> {
        let invalid = || mismatch("bytes as a base64 string", json);
        let text = json.as_str().ok_or_else(invalid)?;
        self.spend((text.len() / 4 * 3).saturating_mul(size_of::<Val>()))?;
        let bytes = STANDARD.decode(text).map_err(|_| invalid())?;
        Ok(Val::List(bytes.into_iter().map(Val::U8).collect()))
    }

    fn variant(&mut self, cases: &[(String, Option<Shape>)], json: &Value) -> Result<Val, Fault> {
        let invalid = || mismatch(format!("one of {}", case_list(cases)), json);
        let (name, payload) = match json {
            Value::String(name) => (name, None),
            Value::Object(members) => {
                single_member(members).map(|(name, value)| (name, Some(value))).ok_or_else(invalid)?
            }
            _ => return Err(invalid()),
        };
        let (_, shape) = cases.iter().find(|(case, _)| case == name).ok_or_else(invalid)?;
        match (shape, payload) {
            (None, None) => Ok(Val::Variant(name.clone(), None)),
            (Some(shape), Some(payload)) => {
                let value = self.value(shape, payload).map_err(|fault| fault.under(|| Step::Key(name.clone())))?;
                Ok(Val::Variant(name.clone(), Some(Box::new(value))))
            }
            _ => Err(invalid()),
        }
    }

    fn option(&mut self, inner: &Shape, json: &Value) -> Result<Option<Val>, Fault> {
        match (inner, json) {
            (_, Value::Null) => Ok(None),
            (Shape::Option(_), Value::Object(members)) => match single_member(members) {
                Some((key, value)) if key == "some" => {
                    self.value(inner, value).map(Some).map_err(|fault| fault.under(|| Step::Key("some".to_owned())))
                }
                _ => Err(mismatch("null or {\"some\": …}", json)),
            },
            (Shape::Option(_), _) => Err(mismatch("null or {\"some\": …}", json)),
            _ => self.value(inner, json).map(Some),
        }
    }

    #[allow(clippy::type_complexity, reason = "this is the payload of wasmtime's own `Val::Result`")]
    fn result(
        &mut self,
        ok: Option<&Shape>,
        err: Option<&Shape>,
        json: &Value,
    ) -> Result<Result<Option<Box<Val>>, Option<Box<Val>>>, Fault> {
        let invalid = || mismatch("{\"ok\": …} or {\"err\": …}", json);
        let (key, value) = json.as_object().and_then(single_member).ok_or_else(invalid)?;
        let mut payload = |shape: Option<&Shape>| match shape {
            Some(shape) => self.value(shape, value).map(|value| Some(Box::new(value))),
            None if value.is_null() => Ok(None),
            None => Err(mismatch("null", value)),
        };
        match key.as_str() {
            "ok" => payload(ok).map(Ok),
            "err" => payload(err).map(Err),
            _ => return Err(invalid()),
        }
        .map_err(|fault| fault.under(|| Step::Key(key.clone())))
    }

    fn flags(&mut self, names: &[String], json: &Value) -> Result<Vec<String>, Fault> {
        let items = json.as_array().ok_or_else(|| mismatch("an array of flag names", json))?;
        let mut flags = Vec::with_capacity(items.len().min(names.len()));
        for (index, item) in items.iter().enumerate() {
            let name = one_of(names, item).map_err(|fault| fault.under(|| Step::Index(index)))?;
            if !flags.contains(&name) {
                self.spend(name.len())?;
                flags.push(name);
            }
        }
        Ok(flags)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        self.check(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    fn check(&self, bytes: usize) -> Result<(), Fault> {
        let bytes = self.bytes.saturating_add(bytes);
        if bytes > self.max { Err(Fault::TooLarge { bytes }) } else { Ok(()) }
    }
}

const FLOAT: &str = "number, \"NaN\", \"Infinity\" or \"-Infinity\"";

fn unknown_key(fields: &[Field], value: &Value) -> Fault {
    let known: Vec<_> = fields.iter().map(|field| format!("`{}`", field.name)).collect();
    let expected = if known.is_empty() {
        "no such key: there are none".to_owned()
    } else {
        format!("no such key: the keys are {}", known.join(", "))
    };
    mismatch(expected, value)
}

fn case_list(cases: &[(String, Option<Shape>)]) -> String {
    let shown: Vec<_> = cases
        .iter()
        .map(|(name, payload)| if payload.is_some() { format!("{{\"{name}\": …}}") } else { format!("\"{name}\"") })
        .collect();
    shown.join(", ")
}

fn one_of(names: &[String], json: &Value) -> Result<String, Fault> {
    let known = json.as_str().and_then(|text| names.iter().find(|name| *name == text));
    known.cloned().ok_or_else(|| {
        let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        mismatch(format!("one of {}", names.join(", ")), json)
    })
}

fn single_member(members: &Map<String, Value>) -> Option<(&String, &Value)> {
    let mut all = members.iter();
    all.next().filter(|_| all.next().is_none())
}

fn narrow_integer<T: TryFrom<i64>>(json: &Value, expected: &str) -> Result<T, Fault> {
    whole_number(json)
        .and_then(|number| i64::try_from(number).ok())
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| mismatch(expected, json))
}

fn wide_integer<T: TryFrom<i128>>(json: &Value, expected: &str) -> Result<T, Fault> {
    let number = json.as_str().map_or_else(|| whole_number(json), decimal);
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| mismatch(expected, json))
}

fn decimal(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    (!digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// JSON Schema calls 5.0 an integer, and some writers print integers so.
fn whole_number(json: &Value) -> Option<i128> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = json.as_number()?;
    if let Some(number) = number.as_i64() {
        return Some(i128::from(number));
    }
    if let Some(number) = number.as_u64() {
        return Some(i128::from(number));
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT)?;
    #[allow(clippy::cast_possible_truncation, reason = "a whole number of at most 2^53 is exact")]
    Some(float as i128)
}

fn double(json: &Value) -> Option<f64> {
    match json {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// The nearest 32-bit float, unless a finite number would become infinite.
fn narrow(value: f64) -> Option<f32> {
    #[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest float is what is wanted")]
    let narrow = value as f32;
    (narrow.is_finite() || !value.is_finite()).then_some(narrow)
}

fn character(json: &Value) -> Option<char> {
    let mut characters = json.as_str()?.chars();
    characters.next().filter(|_| characters.next().is_none())
}

#[cfg(test)]
mod tests;
