//! How long does it take to load the toolbox from the cache, once the entry was verified?

use std::path::Path;

use casemate::{Component, ContentHash, Engine};
use casemate_guests::TOOLBOX;

use crate::Result;
use crate::guests::Guests;
use crate::measure::timed;
use crate::table::{Goal, Table};

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    if !table.wants("load/cached") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let engine = Engine::builder().cache(folder.path().join("cache")).build()?;
    engine.load_bytes(TOOLBOX).await?;
    let hash = ContentHash::of(TOOLBOX);
    let code = folder.path().join("toolbox.cwasm");
    std::fs::write(&code, guests.bare_engine().compile(TOOLBOX)?)?;
    table
        .compare(
            "load/cached",
            Goal::Times(1.5),
            async || timed(async || from_cache(&engine, hash).await).await,
            async || timed(async || map(guests, &code)).await,
        )
        .await
}

async fn from_cache(engine: &Engine, hash: ContentHash) -> Result<Component> {
    Ok(engine.load_cached(hash).await.ok_or("the cache holds no entry")?)
}

#[allow(unsafe_code, reason = "wasmtime cannot check native code")]
fn map(guests: &Guests, code: &Path) -> Result<wasmtime::component::Component> {
    // SAFETY: the file was compiled and written above, in a folder of our own.
    Ok(unsafe { guests.bare_engine().map(code) }?)
}
