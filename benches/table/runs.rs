//! What do durable runs cost: an effect that is kept, a past that is gone through again, a run that waits?
//!
//! A run's effects are timed from within: by the tool that is called, so that nobody has to watch the run.

mod crowd;
mod effect;
mod past;
mod setting;
mod stopwatch;
mod waiting;

use crate::Result;
use crate::guests::Guests;
use crate::table::Table;

pub(crate) use waiting::{CHILD, measure as measure_waiting};

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    effect::rows(table, guests).await?;
    past::rows(table, guests).await?;
    crowd::rows(table, guests).await?;
    waiting::rows(table)
}
