//! What do Casemate's settings of the pool gain over wasmtime's defaults, on one thread and on two?
//!
//! Both sides are bare wasmtime: the column `casemate` has the chosen settings, `bare` the default ones.

use casemate_guests::TOOLBOX;

use crate::Result;
use crate::bare::{Engine, Guest, Listing, Pool, Settings};
use crate::guests::{ADD, TOOLBOX_FILES};
use crate::table::Table;
use crate::throughput::Crowd;

const THREADS: [u32; 2] = [1, 2];

pub(crate) async fn rows(table: &mut Table) -> Result<()> {
    for threads in THREADS {
        let crowd = Crowd::new(threads.try_into()?, threads)?;
        smallest(table, &crowd, &format!("pool/add/{threads}")).await?;
        toolbox(table, &crowd, &format!("pool/toolbox/{threads}")).await?;
        crowd.disperse();
    }
    Ok(())
}

async fn smallest(table: &Table, crowd: &Crowd, name: &str) -> Result<()> {
    if !table.wants(name) {
        return Ok(());
    }
    let [chosen, default] = on_both(&wat::parse_bytes(ADD)?)?;
    let exports = [chosen.export(None, "add")?, default.export(None, "add")?];
    let [chosen, default] = [chosen, default].map(|guest| {
        move |export| {
            let guest = guest.clone();
            async move {
                guest.call::<(u32, u32), (u32,)>(export, (2, 3), None).await?;
                Ok(())
            }
        }
    });
    let [for_chosen, for_default] = exports;
    crowd.row(table, name, 10_000, move || chosen(for_chosen), move || default(for_default)).await
}

/// A real guest that starts, finds no folder, and says so: no file operation blurs the picture.
async fn toolbox(table: &Table, crowd: &Crowd, name: &str) -> Result<()> {
    if !table.wants(name) {
        return Ok(());
    }
    let [chosen, default] = on_both(TOOLBOX)?;
    let exports = [&chosen, &default].map(|guest| guest.export(Some(TOOLBOX_FILES), "list-dir"));
    let [chosen, default] = [chosen, default].map(|guest| {
        move |export| {
            let guest = guest.clone();
            async move {
                let path = ("/data".to_owned(),);
                let (listing,) = guest.call::<_, (Result<Listing, String>,)>(export, path, None).await?;
                listing.err().map(drop).ok_or_else(|| "a folder was listed that nobody granted".into())
            }
        }
    });
    let [for_chosen, for_default] = exports;
    let (for_chosen, for_default) = (for_chosen?, for_default?);
    crowd.row(table, name, 1_000, move || chosen(for_chosen), move || default(for_default)).await
}

fn on_both(component: &[u8]) -> Result<[Guest; 2]> {
    let load = |settings| Engine::new(settings)?.load(component);
    Ok([load(Settings::CHOSEN)?, load(Settings { pool: Pool::Default, ..Settings::CHOSEN })?])
}
