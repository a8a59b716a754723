//! What does a request cost that leaves through the Gate, beside one of a bare hyper client to the same server?

use std::time::{Duration, Instant};

use casemate::{
    Call, Component, Engine, Gate, Grants, HttpLimits, Secret, SecretFuture, SecretPlace, SecretSource, Secrets,
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::Result;
use crate::guests::Guests;
use crate::loopback::{Bare, LARGE, Server};
use crate::table::{Amount, Goal, Row, Table, print_row};

/// Requests a sample, in one sandbox.
const REQUESTS: u32 = 50;
const CROWD: u32 = 1_000;

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    if table.wants("http/request") {
        request(table, guests).await?;
    }
    for (name, looks_for) in [("http/100-mb", Secrecy::NoSecret), ("http/100-mb-scrubbed", Secrecy::OneSecret)] {
        if table.wants(name) {
            large(table, guests, name, looks_for).await?;
        }
    }
    if table.wants("http/1000-in-flight") {
        crowd(table).await?;
    }
    Ok(())
}

async fn request(table: &Table, guests: &Guests) -> Result<()> {
    let (server, fetcher) = (Server::start(1)?, guests.fetcher().await?);
    let (gate, grants) = (Gate::default(), host(&server)?);
    let mut bare = Bare::connect(&server).await?;
    let call = |count: u32| {
        let call = fetcher.call("repeat", json!({"url": server.url("/"), "count": count}));
        call.grants(grants.clone()).gate(&gate)
    };
    table
        .compare(
            "http/request",
            Goal::Times(2.0),
            async || {
                // What the sandbox and its first request cost is taken away.
                let one = timed(call(1)).await?;
                let many = timed(call(1 + REQUESTS)).await?;
                Ok(many.saturating_sub(one) / REQUESTS)
            },
            async || {
                let started = Instant::now();
                for _ in 0..REQUESTS {
                    bare.get("/").await?;
                }
                Ok(started.elapsed() / REQUESTS)
            },
        )
        .await
}

/// Whether a secret is looked for in what comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    NoSecret,
    OneSecret,
}

async fn large(table: &Table, guests: &Guests, name: &str, secrecy: Secrecy) -> Result<()> {
    let (server, fetcher) = (Server::start(1)?, guests.fetcher().await?);
    let (secrets, mut grants) = (Secrets::new(), host(&server)?);
    if secrecy == Secrecy::OneSecret {
        secrets.set(Secret::new("KEY", Fixed)?.bound_to(server.url("").parse()?, SecretPlace::bearer()));
        grants = grants.secret("KEY")?;
    }
    let gate = Gate::builder().secrets(secrets).build();
    let mut bare = Bare::connect(&server).await?;
    let limits = guests.engine().limits().http(HttpLimits::default().response_bytes(LARGE)).build();
    table
        .compare(
            name,
            Goal::Times(2.0),
            async || {
                let call = fetcher.call("drain", json!({"url": server.url("/large")}));
                timed(call.grants(grants.clone()).gate(&gate).limits(limits)).await
            },
            async || {
                let started = Instant::now();
                bare.get("/large").await?;
                Ok(started.elapsed())
            },
        )
        .await
}

/// The slowest of a thousand that are in flight together, beside their median.
async fn crowd(table: &Table) -> Result<()> {
    let samples = table.rounds();
    let engine = Engine::builder().max_sandboxes(CROWD).build()?;
    let fetcher = engine.load_bytes(casemate_guests::FETCHER).await?;
    let mut slowest = Vec::new();
    let mut medians = Vec::new();
    for _ in 0..samples {
        let times = round(&fetcher).await?;
        slowest.push(times.last().copied().unwrap_or_default());
        medians.push(times.get(times.len() / 2).copied().unwrap_or_default());
    }
    let [casemate, bare] = [slowest, medians].map(|mut times| {
        times.sort_unstable();
        Amount::Time(times.get(times.len() / 2).copied().unwrap_or_default())
    });
    print_row(&Row { name: "http/1000-in-flight", casemate, bare, goal: Goal::Times(3.0), samples });
    Ok(())
}

/// What each took, from its call to its end, sorted.
async fn round(fetcher: &Component) -> Result<Vec<Duration>> {
    let server = Server::start(usize::try_from(CROWD)?)?;
    let (gate, grants) = (Gate::default(), host(&server)?);
    let mut calls = JoinSet::new();
    for _ in 0..CROWD {
        let call = fetcher.call("drain", json!({"url": server.url("/wait")}));
        calls.spawn(timed(call.grants(grants.clone()).gate(&gate)));
    }
    let mut times = calls.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times)
}

pub(crate) fn host(server: &Server) -> Result<Grants> {
    Ok(Grants::none().host(server.url("").parse()?))
}

async fn timed(call: Call) -> Result<Duration> {
    let started = Instant::now();
    call.await?;
    Ok(started.elapsed())
}

struct Fixed;

impl SecretSource for Fixed {
    fn read(&self) -> SecretFuture<'_> {
        Box::pin(std::future::ready(Ok(Some("sk_bench_51H8xYzAbCdEfGhIjKlMnOp".into()))))
    }

    fn place(&self) -> String {
        "the benchmark".to_owned()
    }
}
