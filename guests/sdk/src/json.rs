//! JSON text and values.

use crate::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The value that a text is. A text that is not JSON is kept as a string, since a model may write anything.
#[cfg(target_family = "wasm")]
pub(crate) fn lenient(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// A value as text.
pub(crate) fn written(value: &Value) -> String {
    value.to_string()
}

/// What a tool takes, from its input: an object, though serde would take a list for a struct too.
pub(crate) fn taken<T: DeserializeOwned>(input: Value) -> Result<T, Error> {
    if !input.is_object() {
        return Err(Error::InvalidInput(format!("the input has to be a JSON object, and is `{input}`")));
    }
    serde_json::from_value(input).map_err(|error| Error::InvalidInput(error.to_string()))
}

/// What was given for a tool, as its input.
pub(crate) fn given(input: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(input).map_err(|error| Error::InvalidInput(error.to_string()))
}

/// What was made by a tool, as its result.
pub(crate) fn made(result: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(result).map_err(|error| Error::Failed(format!("the result cannot be JSON: {error}")))
}
