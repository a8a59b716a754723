//! How many fresh calls a second, on all cores, with 1, 100 and 1,000 in flight? And on one core?

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Result;
use crate::bare::Listing;
use crate::guests::{Guests, Pair, TOOLBOX_FILES};
use crate::table::Table;

/// Calls in a round, so that a round takes well over 50 ms.
const SMALLEST: u32 = 20_000;
const TOOLBOX: u32 = 200;

/// Threads, and calls in flight.
const LOADS: [(usize, u32); 4] = [(1, 100), (2, 1), (2, 100), (2, 1_000)];

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    for (threads, in_flight) in LOADS {
        let crowd = Crowd::new(threads, in_flight)?;
        crowd.smallest(table, guests).await?;
        crowd.toolbox(table, guests).await?;
        crowd.disperse();
    }
    Ok(())
}

/// Callers on a runtime of their own.
pub(crate) struct Crowd {
    runtime: Runtime,
    threads: usize,
    callers: u32,
    /// Casemate has a queue before its pool, where bare wasmtime would fail.
    places: Arc<Semaphore>,
}

impl Crowd {
    pub(crate) fn new(threads: usize, callers: u32) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        Ok(Self { runtime, threads, callers, places: Arc::new(Semaphore::new(128)) })
    }

    /// Async code may not drop a runtime.
    pub(crate) fn disperse(self) {
        self.runtime.shutdown_background();
    }

    fn row_name(&self, call: &str) -> String {
        format!("throughput/{call}/{}x{}", self.threads, self.callers)
    }

    async fn smallest(&self, table: &Table, guests: &Guests) -> Result<()> {
        let name = self.row_name("add");
        if !table.wants(&name) {
            return Ok(());
        }
        let Pair { ours, bare } = guests.smallest().await?.clone();
        let export = bare.export(None, "add")?;
        let places = self.places.clone();
        let ours = move || {
            let call = ours.call("add", json!({"a": 2, "b": 3}));
            async move {
                call.await?;
                Ok(())
            }
        };
        let bare = move || {
            let (bare, places) = (bare.clone(), places.clone());
            async move {
                let _place = places.acquire().await?;
                bare.call::<(u32, u32), (u32,)>(export, (2, 3), None).await?;
                Ok(())
            }
        };
        self.row(table, &name, SMALLEST, ours, bare).await
    }

    async fn toolbox(&self, table: &Table, guests: &Guests) -> Result<()> {
        let name = self.row_name("list-dir");
        if !table.wants(&name) {
            return Ok(());
        }
        let Pair { ours, bare } = guests.toolbox().await?.clone();
        let export = bare.export(Some(TOOLBOX_FILES), "list-dir")?;
        let (grants, folder, places) = (guests.grants()?, guests.folder().to_owned(), self.places.clone());
        let ours = move || {
            let call = ours.call("list-dir", json!({"path": "/data"})).grants(grants.clone());
            async move {
                call.await?;
                Ok(())
            }
        };
        let bare = move || {
            let (bare, places, folder) = (bare.clone(), places.clone(), folder.clone());
            async move {
                let _place = places.acquire().await?;
                let path = ("/data".to_owned(),);
                let (listing,) = bare.call::<_, (Result<Listing, String>,)>(export, path, Some(&folder)).await?;
                listing?;
                Ok(())
            }
        };
        self.row(table, &name, TOOLBOX.max(self.callers), ours, bare).await
    }

    /// A row of two rates, with rounds of so many calls.
    pub(crate) async fn row<A, B>(
        &self,
        table: &Table,
        name: &str,
        calls: u32,
        ours: impl Fn() -> A + Clone + Send + 'static,
        bare: impl Fn() -> B + Clone + Send + 'static,
    ) -> Result<()>
    where
        A: Future<Output = Result<()>> + Send + 'static,
        B: Future<Output = Result<()>> + Send + 'static,
    {
        table
            .compare_rates(
                name,
                calls,
                async || self.round(calls, ours.clone()).await,
                async || self.round(calls, bare.clone()).await,
            )
            .await
    }

    /// How long so many calls take.
    async fn round<F>(&self, calls: u32, call: impl Fn() -> F + Clone + Send + 'static) -> Result<Duration>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let left = Arc::new(AtomicU32::new(calls));
        let mut callers = JoinSet::new();
        let started = Instant::now();
        for _ in 0..self.callers {
            callers.spawn_on(call_while_left(left.clone(), call.clone()), self.runtime.handle());
        }
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        Ok(started.elapsed())
    }
}

async fn call_while_left<F: Future<Output = Result<()>>>(left: Arc<AtomicU32>, call: impl Fn() -> F) -> Result<()> {
    let take_one = |left: u32| left.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one).is_ok() {
        call().await?;
    }
    Ok(())
}
