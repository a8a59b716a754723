//! Tools made of the embedder's own code.

use std::fmt::Display;
use std::future::Future;
use std::marker::PhantomData;

use casemate_host_bindings::{parameters_from_schema, shape_from_schema};
use casemate_policy::{Grants, ToolSource};
use futures_util::future::BoxFuture;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{KnownFrom, Provide, Tool, ToolSignature, Widening};
use crate::effect::{Failure, Outcome};
use crate::gate::Invocation;

impl Tool {
    /// A tool of an async closure or function. The schemas of its input and its result are derived by schemars; its
    /// error is told to the caller as text.
    ///
    /// Input with keys that the schema does not have is refused. The closure runs on the executor, never on a guest's stack; it is dropped when the caller is stopped, and a
    /// panic in it fails this call only. What it does is the embedder's: nothing limits it.
    ///
    /// ```
    /// use casemate::Tool;
    ///
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// struct Refund {
    ///     order: String,
    ///     amount: u32,
    /// }
    ///
    /// let refund = Tool::new("refund", |refund: Refund| async move {
    ///     if refund.amount == 0 {
    ///         return Err("there is nothing to refund");
    ///     }
    ///     Ok(format!("refunded {} of {}", refund.amount, refund.order))
    /// })
    /// .description("Gives money back for an order");
    /// assert_eq!(refund.input_schema()["required"], serde_json::json!(["order", "amount"]));
    /// ```
    pub fn new<I, O, E, F, R>(name: impl Into<String>, function: F) -> Self
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + 'static,
        E: Display + 'static,
        F: Fn(I) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, E>> + Send + 'static,
    {
        let schemas = (schema_of::<I>(), schema_of::<O>());
        let closure =
            Closure { function, input_schema: schemas.0.clone(), output_schema: schemas.1.clone(), input: PhantomData };
        Self::provided(name.into(), ToolSource::Closure, schemas, closure)
    }
}

fn schema_of<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}

/// A key of `value` that the schema does not have. Rules see what the schema declares, so nothing else may reach the
/// closure, whatever its own reading of the input would make of it (an alias, say).
fn undeclared<'a>(root: &Value, schema: &Value, value: &'a Value) -> Option<&'a str> {
    let referred = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
    let schema = referred.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema);
    match value {
        Value::Array(items) => {
            let schema = schema.get("items")?;
            items.iter().find_map(|item| undeclared(root, schema, item))
        }
        Value::Object(members) => {
            let declared = schema.get("properties")?.as_object()?;
            let open = schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false));
            members.iter().find_map(|(key, value)| match declared.get(key) {
                Some(schema) => undeclared(root, schema, value),
                None => (!open).then_some(key.as_str()),
            })
        }
        _ => None,
    }
}

struct Closure<F, I> {
    function: F,
    input_schema: Value,
    output_schema: Value,
    input: PhantomData<fn(I)>,
}

impl<I, O, E, F, R> Provide for Closure<F, I>
where
    I: DeserializeOwned + Send + 'static,
    O: Serialize + 'static,
    E: Display + 'static,
    F: Fn(I) -> R + Send + Sync + 'static,
    R: Future<Output = Result<O, E>> + Send + 'static,
{
    fn provide(&self, invocation: Invocation) -> BoxFuture<'static, Outcome> {
        if let Some(key) = undeclared(&self.input_schema, &self.input_schema, invocation.input()) {
            let text = format!("unknown field `{key}`");
            return Box::pin(std::future::ready(Outcome::InvalidInput(text)));
        }
        // The input is shared with events, so it is read in place.
        let answer = match I::deserialize(invocation.input()) {
            Ok(input) => (self.function)(input),
            Err(error) => return Box::pin(std::future::ready(Outcome::InvalidInput(error.to_string()))),
        };
        Box::pin(async move {
            match answer.await {
                Ok(output) => match serde_json::to_value(output) {
                    Ok(output) => Outcome::Result(output.into()),
                    Err(error) => Outcome::Failed(Failure::new(format!("the result is not JSON: {error}")).into()),
                },
                Err(error) => Outcome::Failed(Failure::new(error.to_string()).into()),
            }
        })
    }

    fn signature(&self) -> Result<ToolSignature, String> {
        let parameters = parameters_from_schema(&self.input_schema).map_err(|error| error.to_string())?;
        let nothing = self.output_schema.get("type").is_some_and(|kind| kind == "null");
        let result = (!nothing).then(|| shape_from_schema(&self.output_schema)).transpose();
        let result = result.map_err(|error| error.to_string())?;
        Ok(ToolSignature { parameters, result, known_from: KnownFrom::Schema })
    }

    fn narrows(&self, _caller: &Grants) -> Result<(), Widening> {
        Ok(())
    }

    fn brings(&self) -> Vec<Tool> {
        Vec::new()
    }
}
