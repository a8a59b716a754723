//! How does a fresh sandbox compare with what people start now: a process of a native build?
//!
//! Here the column `bare` is `native-tool`, started, waited for and read from.

use std::process::Command;

use serde_json::{Value, json};

use crate::guests::Guests;
use crate::measure::timed;
use crate::table::{Goal, Table};
use crate::{Error, Result};

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    if table.wants("process/add") {
        let guest = &guests.smallest().await?.ours;
        let ours = async || Ok(guest.call("add", json!({"a": 2, "b": 3})).await?);
        row(table, "process/add", ours, &["add", "2", "3"]).await?;
    }
    if table.wants("process/list-dir") {
        let guest = &guests.toolbox().await?.ours;
        let ours = async || Ok(guest.call("list-dir", json!({"path": "/data"})).grants(guests.grants()?).await?);
        let folder = guests.folder().to_str().ok_or("the folder's name is no UTF-8")?;
        row(table, "process/list-dir", ours, &["list-dir", folder]).await?;
    }
    Ok(())
}

async fn row(table: &Table, name: &str, ours: impl AsyncFn() -> Result<Value>, arguments: &[&str]) -> Result<()> {
    if ours().await? != in_process(arguments)? {
        return Err(format!("{name}: the process answers something else").into());
    }
    table
        .compare(name, Goal::None, async || timed(&ours).await, async || timed(async || in_process(arguments)).await)
        .await
}

fn in_process(arguments: &[&str]) -> Result<Value> {
    let process = Command::new(env!("CARGO_BIN_EXE_native-tool")).args(arguments).output()?;
    Ok::<_, Error>(serde_json::from_slice(&process.stdout)?)
}
