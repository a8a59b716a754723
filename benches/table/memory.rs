//! How much memory do a thousand sandboxes take that are alive at once?
//!
//! Each side is measured in a process of its own: this program, started again with [`CHILD`] as its first argument.

use std::path::Path;
use std::time::Duration;

use casemate_guests::TOOLBOX;
use serde_json::json;
use tokio::task::JoinSet;

use crate::bare::{self, Listing, Pool, Settings};
use crate::guests::{TOOLBOX_FILES, worker};
use crate::http::host;
use crate::loopback::{Bare, Server};
use crate::table::{Amount, Goal, Row, Table, print_row};
use crate::{Result, on_one_thread};

/// The argument with which a child is started.
pub(crate) const CHILD: &str = "--measure-memory-of";

const SANDBOXES: u32 = 1_000;

/// A row each: what is measured of ours, and of theirs. What stands beside a sandbox with a request in flight is a
/// request of hyper's without one, so nothing is promised there.
const ROWS: [(&str, &str, &str, Goal); 3] = [
    ("memory/1000-asleep", "casemate-asleep", "bare-asleep", Goal::Times(1.1)),
    ("memory/1000-toolboxes", "casemate-toolbox", "bare-toolbox", Goal::Times(1.1)),
    ("memory/1000-requests", "casemate-requests", "bare-requests", Goal::None),
];

pub(crate) fn rows(table: &mut Table) -> Result<()> {
    for (name, ours, bare, goal) in ROWS {
        if table.wants(name) {
            let of = |side| Ok::<_, crate::Error>(Amount::Memory(answer_of_child(CHILD, side)?.parse()?));
            print_row(&Row { name, casemate: of(ours)?, bare: of(bare)?, goal, samples: 1 });
        }
    }
    Ok(())
}

/// What this program prints in a process of its own.
pub(crate) fn answer_of_child(flag: &str, side: &str) -> Result<String> {
    let child = std::process::Command::new(std::env::current_exe()?).args([flag, side]).output()?;
    if !child.status.success() {
        return Err(format!("{side}: {}", String::from_utf8_lossy(&child.stderr)).into());
    }
    Ok(String::from_utf8(child.stdout)?.trim().to_owned())
}

/// What a child does: prints the KiB that a thousand sandboxes added.
pub(crate) fn measure(side: &str) -> Result<()> {
    let kib = on_one_thread(async {
        match side {
            "casemate-asleep" => casemate_asleep().await,
            "bare-asleep" => bare_asleep().await,
            "casemate-toolbox" => casemate_toolboxes().await,
            "bare-toolbox" => bare_toolboxes().await,
            "casemate-requests" => casemate_requests().await,
            "bare-requests" => bare_requests().await,
            _ => Err(format!("no `{side}` to measure").into()),
        }
    })?;
    println!("{kib}");
    Ok(())
}

/// Guests that sleep for an hour in a call of the host.
async fn casemate_asleep() -> Result<u32> {
    let guest = ours(worker()?).await?;
    let parked = || {
        let call = guest.call("sleep-an-hour", json!({}));
        async move {
            call.await?;
            Ok(())
        }
    };
    growth_by(parked).await
}

async fn bare_asleep() -> Result<u32> {
    let guest = theirs(worker()?).await?;
    let export = guest.export(None, "sleep-an-hour")?;
    let parked = || {
        let guest = guest.clone();
        async move { Ok(guest.call::<(), ()>(export, (), None).await?) }
    };
    growth_by(parked).await
}

/// Toolboxes that were instantiated and wait for their first call.
async fn casemate_toolboxes() -> Result<u32> {
    let guest = ours(TOOLBOX).await?;
    let parked = || {
        let call = guest
            .call("list-dir", json!({}))
            .with_instance(|_, _| Box::pin(std::future::pending::<wasmtime::Result<()>>()));
        async move { Ok(call.await.result?) }
    };
    growth_by(parked).await
}

async fn bare_toolboxes() -> Result<u32> {
    let guest = theirs(TOOLBOX).await?;
    let export = guest.export(Some(TOOLBOX_FILES), "list-dir")?;
    let parked = || {
        let guest = guest.clone();
        async move {
            let _alive = guest.instantiate::<(String,), (Result<Listing, String>,)>(export, None::<&Path>).await?;
            std::future::pending().await
        }
    };
    growth_by(parked).await
}

/// Guests that wait for the response to a request.
async fn casemate_requests() -> Result<u32> {
    let (guest, server) = (ours(casemate_guests::FETCHER).await?, Server::start(NEVER)?);
    let (gate, grants) = (casemate::Gate::default(), host(&server)?);
    let parked = || {
        let call = guest.call("drain", json!({"url": server.url("/wait")})).grants(grants.clone()).gate(&gate);
        async move {
            call.await?;
            Ok(())
        }
    };
    growth_by(parked).await
}

async fn bare_requests() -> Result<u32> {
    let server = std::sync::Arc::new(Server::start(NEVER)?);
    let parked = || {
        let server = server.clone();
        async move {
            Bare::connect(&server).await?.get("/wait").await?;
            Ok(())
        }
    };
    growth_by(parked).await
}

/// More than ever come, so that nobody is answered.
const NEVER: usize = 1 << 20;

async fn ours(bytes: impl AsRef<[u8]> + Send + 'static) -> Result<casemate::Component> {
    Ok(casemate::Engine::builder().max_sandboxes(SANDBOXES).build()?.load_bytes(bytes).await?)
}

/// Compiled on another thread, as Casemate does: what the compiler frees would serve this thread's sandboxes.
async fn theirs(bytes: impl AsRef<[u8]> + Send + 'static) -> Result<bare::Guest> {
    let settings = Settings { pool: Pool::Chosen { slots: SANDBOXES }, ..Settings::CHOSEN };
    let engine = bare::Engine::new(settings)?;
    Ok(tokio::task::spawn_blocking(move || engine.load(bytes.as_ref())).await??)
}

/// By how many KiB this process grows when a thousand of these are alive, and none of them moves any more.
async fn growth_by<F>(parked: impl Fn() -> F) -> Result<u32>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    // One to begin with: what the first of them sets up is not counted for the others.
    let mut alive = JoinSet::new();
    alive.spawn(parked());
    let before = settled().await?;
    for _ in 1..SANDBOXES {
        alive.spawn(parked());
    }
    let after = settled().await?;
    match alive.try_join_next() {
        Some(ended) => Err(format!("a guest did not stay: {:?}", ended?).into()),
        None => Ok(after.saturating_sub(before)),
    }
}

/// The resident memory in KiB, as soon as it stays the same.
pub(crate) async fn settled() -> Result<u32> {
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = resident()?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}

fn resident() -> Result<u32> {
    // Exact, where `statm` is off by what each processor has not added up yet.
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).ok_or("no `Rss` in smaps_rollup")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
