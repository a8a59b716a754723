//! A component's own imports: functions with types, each served by a tool.
//!
//! They are linked once for each component, to functions that find in the store's data what serves them.

use std::fmt;
use std::sync::Arc;

use casemate_host_bindings::{Shape, from_json, to_json};
use serde_json::{Map, Value};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Val};

use super::{Host, RefusedAction};
use crate::call::{CallError, ToolError};
use crate::component::{ImportedFunction, OwnImports, Returns};
use crate::effect::{Failure, Outcome};
use crate::json::text_len;

/// Adds a component's own imports to what is linked for all.
pub(crate) fn link(linker: &mut Linker<Host>, imports: &OwnImports) -> wasmtime::Result<()> {
    for interface in &imports.interfaces {
        linker.instance(interface)?;
    }
    for (index, import) in imports.functions.iter().enumerate() {
        let mut place = match &import.interface {
            Some(interface) => linker.instance(interface)?,
            None => linker.root(),
        };
        let functions = imports.functions.clone();
        place.func_new_async(&import.function, move |store, _, parameters, results| {
            serve(store, functions.clone(), index, parameters, results)
        })?;
    }
    Ok(())
}

fn serve<'a>(
    store: StoreContextMut<'a, Host>,
    functions: Arc<[ImportedFunction]>,
    index: usize,
    parameters: &'a [Val],
    results: &'a mut [Val],
) -> Box<dyn Future<Output = wasmtime::Result<()>> + Send + 'a> {
    Box::new(async move {
        let import = functions.get(index).ok_or_else(|| wasmtime::Error::msg("the component lost an import"))?;
        let (outcome, most) = call(store, index, import, parameters).await;
        if let (Some(value), Some(result)) = (value_of(import, outcome, most)?, results.first_mut()) {
            *result = value;
        }
        Ok(())
    })
}

/// Hands the call over; it is under way from here on. Beside the outcome comes the most bytes that its value may take.
fn call(
    mut store: StoreContextMut<'_, Host>,
    index: usize,
    import: &ImportedFunction,
    parameters: &[Val],
) -> impl Future<Output = (Outcome, usize)> + Send + use<> {
    let host = store.data_mut();
    host.serving();
    let input = input(import, parameters);
    host.charge(usize::try_from(text_len(&input)).unwrap_or(usize::MAX));
    let (refusals, called, most) = (host.refusals.clone(), import.name(), host.copy_limit);
    let answer = host.handover.run(host.scope.call_import(index, input));
    async move {
        let outcome = answer.await.unwrap_or(Outcome::Cancelled);
        if let Outcome::Denied(denial) = &outcome {
            refusals.add_denied(RefusedAction::Call, &called, denial);
        }
        (outcome, most)
    }
}

fn input(import: &ImportedFunction, parameters: &[Val]) -> Value {
    let fields = import.signature.parameters.iter().zip(parameters);
    Value::Object(
        fields.map(|(field, value)| (field.name.clone(), to_json(&field.shape, value))).collect::<Map<_, _>>(),
    )
}

/// What the guest gets, or the error that ends it.
fn value_of(import: &ImportedFunction, outcome: Outcome, most: usize) -> Result<Option<Val>, EffectEnded> {
    let returns = &import.signature.returns;
    let (ok, err) = match returns {
        Returns::Nothing => (None, None),
        Returns::Value(shape) => (Some(shape), None),
        Returns::Fallible { ok, err } => (ok.as_ref(), err.as_ref()),
    };
    let outcome = match outcome {
        Outcome::Result(value) => match ok.map(|shape| from_json(shape, &value, most)).transpose() {
            Ok(value) if matches!(returns, Returns::Fallible { .. }) => {
                return Ok(Some(Val::Result(Ok(value.map(Box::new)))));
            }
            Ok(value) => return Ok(value),
            Err(error) => {
                Outcome::Failed(Failure::new(format!("the tool's result does not have its type: {error}")).into())
            }
        },
        other => other,
    };
    match (returns, err) {
        (Returns::Fallible { .. }, None) => Ok(Some(Val::Result(Err(None)))),
        (Returns::Fallible { .. }, Some(shape)) => match error_value(shape, &outcome, most) {
            Some(value) => Ok(Some(Val::Result(Err(Some(Box::new(value)))))),
            None => Err(EffectEnded(outcome)),
        },
        _ => Err(EffectEnded(outcome)),
    }
}

/// The outcome in the words of the import's own error, where it has some for it.
fn error_value(shape: &Shape, outcome: &Outcome, most: usize) -> Option<Val> {
    if let Outcome::Failed(failure) = outcome
        && let Ok(value) = from_json(shape, &failure.value, most)
    {
        return Some(value);
    }
    let (case, text) = (outcome.kind(), outcome.message());
    match shape {
        Shape::String if matches!(outcome, Outcome::Failed(_)) => Some(Val::String(text)),
        Shape::String => Some(Val::String(format!("{case}: {text}"))),
        Shape::Variant(cases) => match cases.iter().find(|(name, _)| name == case)? {
            (_, Some(Shape::String)) => Some(Val::Variant(case.to_owned(), Some(Box::new(Val::String(text))))),
            (_, None) => Some(Val::Variant(case.to_owned(), None)),
            _ => None,
        },
        Shape::Enum(names) => names.iter().any(|name| name == case).then(|| Val::Enum(case.to_owned())),
        _ => None,
    }
}

/// An effect without a result, of which the guest's types leave no way to tell it: the guest ends.
#[derive(Debug)]
pub(crate) struct EffectEnded(Outcome);

impl EffectEnded {
    /// What becomes of the guest's call.
    pub(crate) fn error(&self) -> CallError {
        match &self.0 {
            Outcome::LimitExceeded(limit) => (*limit).into(),
            Outcome::Cancelled => CallError::Cancelled,
            other => CallError::Tool(ToolError { value: other.message().into(), exit_status: None, hint: None }),
        }
    }
}

impl fmt::Display for EffectEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message())
    }
}

impl std::error::Error for EffectEnded {}
