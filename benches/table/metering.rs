//! What does metering cost a guest that computes: by fuel, and by time, beside no metering at all?

use casemate::{Engine, Metering};

use crate::Result;
use crate::bare::{self, Settings};
use crate::compute::{calibrate, on_bare, ours};
use crate::guests::{Guests, worker};
use crate::table::{Goal, Table};

const ROWS: [(&str, Metering); 2] = [("metering/fuel", Metering::Fuel), ("metering/time", Metering::Time)];

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    if !ROWS.iter().any(|(name, _)| table.wants(name)) {
        return Ok(());
    }
    let unmetered = bare::Engine::new(Settings { metering: bare::Metering::Off, ..Settings::CHOSEN })?;
    let unmetered = unmetered.load(&worker()?)?;
    let iterations = calibrate(&guests.worker().await?.bare).await?;
    for (name, metering) in ROWS {
        let metered = Engine::builder().metering(metering).build()?.load_bytes(worker()?).await?;
        table
            .compare(
                name,
                Goal::None,
                async || ours(&metered, iterations).await,
                async || on_bare(&unmetered, iterations).await,
            )
            .await?;
    }
    Ok(())
}
