//! What do Casemate's settings of the pool gain over wasmtime's defaults, on one thread and on two?
//!
//! Both sides are bare wasmtime: the column `casemate` has the chosen settings, `bare` the default ones.

use casemate_guests::TOOLBOX;

use crate::Result;
use crate::bare::{Engine, Guest, Listing, Pool, Settings};
use crate::guests::{ADD, Guests, TOOLBOX_FILES};
use crate::table::Table;
use crate::throughput::Crowd;

const THREADS: [u32; 2] = [1, 2];

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    for threads in THREADS {
        let crowd = Crowd::new(threads.try_into()?, threads)?;
        smallest(table, &crowd, &format!("pool/add/{threads}")).await?;
        toolbox(table, guests, &crowd, &format!("pool/list-dir/{threads}")).await?;
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

async fn toolbox(table: &Table, guests: &Guests, crowd: &Crowd, name: &str) -> Result<()> {
    if !table.wants(name) {
        return Ok(());
    }
    let [chosen, default] = on_both(TOOLBOX)?;
    let exports = [&chosen, &default].map(|guest| guest.export(Some(TOOLBOX_FILES), "list-dir"));
    let [chosen, default] = [chosen, default].map(|guest| {
        let folder = guests.folder().to_owned();
        move |export| {
            let (guest, folder) = (guest.clone(), folder.clone());
            async move {
                let path = ("/data".to_owned(),);
                let (listing,) = guest.call::<_, (Result<Listing, String>,)>(export, path, Some(&folder)).await?;
                listing?;
                Ok(())
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
