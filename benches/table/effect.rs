//! What does one effect cost on its way through the Gate, beside a host function that answers at once?

use std::time::{Duration, Instant};

use casemate::{Call, Gate, Grants, Tool};
use serde_json::json;
use wasmtime::component::{ComponentNamedList, Lift, Lower, TypedFunc};
use wasmtime::{AsContextMut, Store};

use crate::gate::{CALLED, INPUT, QUEUE, Setting, take_all};
use crate::guests::{CALLS, Guests, Pair};
use crate::table::{Goal, Table};
use crate::{Result, bare};

/// By the grants alone.
const GRANTED: Goal = Goal::Plus(Duration::from_micros(4));
const RULED: Goal = Goal::Plus(Duration::from_micros(25));

/// Effects a sample, in one sandbox.
const EFFECTS: u32 = 100;

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    if table.wants("effect/granted") {
        by_name(table, guests, "effect/granted", GRANTED, &Setting::granted(1)?).await?;
    }
    if table.wants("effect/ten-rules") {
        by_name(table, guests, "effect/ten-rules", RULED, &Setting::ruled(1)?).await?;
    }
    if table.wants("effect/typed") {
        typed(table, guests).await?;
    }
    Ok(())
}

/// Somebody watches the Gate, and takes the events between samples.
async fn by_name(table: &Table, guests: &Guests, name: &str, goal: Goal, setting: &Setting) -> Result<()> {
    let Pair { ours, bare } = guests.caller().await?;
    let mut watcher = setting.gate.subscribe(QUEUE);
    table
        .compare(
            name,
            goal,
            async || {
                let time = BY_NAME.ours(setting.call(ours, 0)).await;
                take_all(&mut watcher)?;
                time
            },
            async || BY_NAME.on_bare(bare).await,
        )
        .await
}

async fn typed(table: &Table, guests: &Guests) -> Result<()> {
    let Pair { ours, bare } = guests.doubler().await?;
    let gate = Gate::default();
    let mut watcher = gate.subscribe(QUEUE);
    let grants = Grants::none().tool("double")?;
    let imports = ours.imports().function("double", Tool::new("double", double))?;
    let call = || {
        let call = ours.call("double-many", json!({"count": 0}));
        call.imports(imports.clone()).grants(grants.clone()).gate(&gate)
    };
    table
        .compare(
            "effect/typed",
            GRANTED,
            async || {
                let time = TYPED.ours(call()).await;
                take_all(&mut watcher)?;
                time
            },
            async || TYPED.on_bare(bare).await,
        )
        .await
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Number {
    n: u32,
}

async fn double(Number { n }: Number) -> Result<u32, String> {
    Ok(n.wrapping_mul(2))
}

/// A guest's function that makes as many effects as it is told.
#[derive(Clone, Copy)]
pub(crate) struct Many<P, R> {
    interface: Option<&'static str>,
    name: &'static str,
    parameters: fn(u32) -> P,
    /// Whether so many effects took place; a denial might be quicker.
    took_place: fn(u32, R) -> bool,
}

pub(crate) const BY_NAME: Many<(String, String, u32), ((u32, u32),)> = Many {
    interface: Some(CALLS),
    name: "call-many-in-a-row",
    parameters: |count| (CALLED.to_owned(), INPUT.to_owned(), count),
    took_place: |count, ((good, _),)| good == count,
};

const TYPED: Many<(u32,), (u32,)> = Many {
    interface: None,
    name: "double-many",
    parameters: |count| (count,),
    took_place: |count, (number,)| number == 1_u32.checked_shl(count).unwrap_or(0),
};

impl<P, R> Many<P, R>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    R: ComponentNamedList + Lift + Send + Sync + 'static,
{
    /// What one effect takes in the sandbox of `call`.
    pub(crate) async fn ours(self, call: Call) -> Result<Duration> {
        let report = call.with_instance(move |store, instance| {
            Box::pin(async move {
                let interface = self.interface.and_then(|name| instance.get_export_index(&mut *store, None, name));
                let export = instance.get_export_index(&mut *store, interface.as_ref(), self.name);
                let export = export.ok_or_else(|| wasmtime::Error::msg("no such export"))?;
                let function = instance.get_typed_func(&mut *store, export)?;
                self.effects(store, &function).await
            })
        });
        Ok(report.await.result?)
    }

    async fn on_bare(self, guest: &bare::Guest) -> Result<Duration> {
        let export = guest.export(self.interface, self.name)?;
        let (mut store, function) = guest.instantiate(export, None).await?;
        Ok(self.effects(&mut store, &function).await?)
    }

    /// The first effect in a sandbox is not counted.
    async fn effects<T: Send>(self, store: &mut Store<T>, function: &TypedFunc<P, R>) -> wasmtime::Result<Duration> {
        function.call_async(store.as_context_mut(), (self.parameters)(1)).await?;
        let parameters = (self.parameters)(EFFECTS);
        let started = Instant::now();
        let answer = function.call_async(store.as_context_mut(), parameters).await?;
        let time = started.elapsed();
        wasmtime::ensure!((self.took_place)(EFFECTS, answer), "the effects did not take place");
        Ok(time / EFFECTS)
    }
}
