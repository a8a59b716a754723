//! What does Casemate add to a guest that computes for ten milliseconds?

use std::time::Duration;

use serde_json::json;

use crate::Result;
use crate::bare;
use crate::guests::Guests;
use crate::measure::timed;
use crate::table::{Goal, Table};

const COMPUTED: Duration = Duration::from_millis(10);

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    if !table.wants("compute/10-ms") {
        return Ok(());
    }
    let pair = guests.worker().await?;
    let iterations = calibrate(&pair.bare).await?;
    table
        .compare(
            "compute/10-ms",
            Goal::Times(1.02),
            async || ours(&pair.ours, iterations).await,
            async || on_bare(&pair.bare, iterations).await,
        )
        .await
}

/// The rounds of `busy-loop` that a guest takes about ten milliseconds for.
pub(crate) async fn calibrate(guest: &bare::Guest) -> Result<u64> {
    const TRIED: u32 = 1_000_000;
    let mut quickest = Duration::MAX;
    for _ in 0..20 {
        quickest = quickest.min(on_bare(guest, TRIED.into()).await?);
    }
    // Two digits of a ratio are plenty.
    Ok(COMPUTED.as_nanos().saturating_mul(TRIED.into()).div_ceil(quickest.as_nanos()).try_into()?)
}

pub(crate) async fn ours(guest: &casemate::Component, iterations: u64) -> Result<Duration> {
    timed(async || guest.call("busy-loop", json!({"iterations": iterations})).await).await
}

pub(crate) async fn on_bare(guest: &bare::Guest, iterations: u64) -> Result<Duration> {
    let export = guest.export(None, "busy-loop")?;
    timed(async || guest.call::<(u64,), (u64,)>(export, (iterations,), None).await).await
}
