//! What does a fresh call cost, JSON in and out and everything metered?

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use wasmtime::component::{ComponentNamedList, Lift, Lower};

use crate::Result;
use crate::bare::{FileText, GlobResult, Listing};
use crate::guests::{Guests, TOOLBOX_FILES};
use crate::measure::timed;
use crate::table::{Goal, Table};

const SMALLEST: Goal = Goal::Plus(Duration::from_micros(4));
const TOOLBOX: Goal = Goal::Times(1.3);

type Answer<T> = (Result<T, String>,);

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    if table.wants("fresh/add") {
        smallest(table, guests).await?;
    }
    let listing = tool::<_, Answer<Listing>>("list-dir", json!({"path": "/data"}), || ("/data".to_owned(),));
    listing.row(table, guests).await?;
    let text = tool::<_, Answer<FileText>>("read-file", json!({"path": "/data/3.txt"}), || {
        ("/data/3.txt".to_owned(), None::<u32>, None::<u32>)
    });
    text.row(table, guests).await?;
    let paths = tool::<_, Answer<GlobResult>>("glob", json!({"pattern": "*.txt", "path": "/data"}), || {
        ("*.txt".to_owned(), Some("/data".to_owned()))
    });
    paths.row(table, guests).await
}

async fn smallest(table: &Table, guests: &Guests) -> Result<()> {
    let pair = guests.smallest().await?;
    let export = pair.bare.export(None, "add")?;
    table
        .compare(
            "fresh/add",
            SMALLEST,
            async || timed(async || pair.ours.call("add", json!({"a": 2, "b": 3})).await).await,
            async || timed(async || pair.bare.call::<(u32, u32), (u32,)>(export, (2, 3), None).await).await,
        )
        .await
}

/// One function of the toolbox, as both sides call it.
struct Tool<P, R> {
    name: &'static str,
    input: Value,
    parameters: fn() -> P,
    result: std::marker::PhantomData<R>,
}

fn tool<P, R>(name: &'static str, input: Value, parameters: fn() -> P) -> Tool<P, R> {
    Tool { name, input, parameters, result: std::marker::PhantomData }
}

impl<P, T> Tool<P, Answer<T>>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    T: Send + Sync + 'static,
    Answer<T>: ComponentNamedList + Lift,
{
    async fn row(&self, table: &Table, guests: &Guests) -> Result<()> {
        let name = format!("fresh/{}", self.name);
        if !table.wants(&name) {
            return Ok(());
        }
        let pair = guests.toolbox().await?;
        let export = pair.bare.export(Some(TOOLBOX_FILES), self.name)?;
        let folder: &Path = guests.folder();
        table
            .compare(
                &name,
                TOOLBOX,
                async || {
                    timed(async || {
                        Ok::<_, crate::Error>(
                            pair.ours.call(self.name, self.input.clone()).grants(guests.grants()?).await?,
                        )
                    })
                    .await
                },
                async || {
                    timed(async || {
                        let (answer,): Answer<T> = pair.bare.call(export, (self.parameters)(), Some(folder)).await?;
                        Ok::<_, crate::Error>(answer?)
                    })
                    .await
                },
            )
            .await
    }
}
