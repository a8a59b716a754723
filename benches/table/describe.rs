//! How long does it take to describe the toolbox: names, documents and schemas?
//!
//! wasmtime has no such thing; beside it stands a walk over the names that it knows.

use crate::Result;
use crate::guests::Guests;
use crate::measure::timed;
use crate::table::{Goal, Table};

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    if !table.wants("describe/toolbox") {
        return Ok(());
    }
    let pair = guests.toolbox().await?;
    table
        .compare(
            "describe/toolbox",
            Goal::None,
            async || timed(async || Ok::<_, crate::Error>(pair.ours.description())).await,
            async || timed(async || Ok::<_, crate::Error>(pair.bare.names())).await,
        )
        .await
}
