//! What does a further call in the same sandbox cost, by the typed path?

use std::time::{Duration, Instant};

use serde_json::json;
use wasmtime::component::TypedFunc;
use wasmtime::{AsContextMut, Store};

use crate::guests::Guests;
use crate::table::{Goal, Table};
use crate::{Result, bare};

/// Calls a sample: one alone is little more than reading the clock twice.
const CALLS: u32 = 100;

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    if !table.wants("warm/add") {
        return Ok(());
    }
    let pair = guests.smallest().await?;
    table
        .compare("warm/add", Goal::Times(1.1), async || ours(&pair.ours).await, async || on_bare(&pair.bare).await)
        .await
}

async fn ours(guest: &casemate::Component) -> Result<Duration> {
    let report = guest.call("add", json!({})).with_instance(|store, instance| {
        Box::pin(async move {
            let add = instance.get_typed_func(&mut *store, "add")?;
            calls(store, &add).await
        })
    });
    Ok(report.await.result?)
}

async fn on_bare(guest: &bare::Guest) -> Result<Duration> {
    let (mut store, add) = guest.instantiate(guest.export(None, "add")?, None).await?;
    Ok(calls(&mut store, &add).await?)
}

/// What one of many calls takes; the first of them, which is the fresh one, is not among these.
async fn calls<T: Send>(store: &mut Store<T>, add: &TypedFunc<(u32, u32), (u32,)>) -> wasmtime::Result<Duration> {
    add.call_async(store.as_context_mut(), (2, 3)).await?;
    let started = Instant::now();
    for _ in 0..CALLS {
        add.call_async(store.as_context_mut(), (2, 3)).await?;
    }
    Ok(started.elapsed() / CALLS)
}
