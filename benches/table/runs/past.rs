//! How quickly is a past gone through again?

use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate::storage::{MemoryStorage, Storage};
use casemate::{ReplayEnd, Run};

use super::setting::{Disk, Puppet, completed, effects, start, until_it_waits};
use crate::Result;
use crate::guests::Guests;
use crate::table::{Amount, Goal, Table};

const REPLAY: Goal = Goal::Reach(Amount::Rate(50_000.0));
const RESUME: Goal = Goal::Reach(Amount::Time(Duration::from_millis(50)));

/// Effects of the run that is replayed.
const MANY: u32 = 5_000;
/// Effects of the run that goes on.
const PAST: u32 = 1_000;

pub(super) async fn rows(table: &Table, guests: &Guests) -> Result<()> {
    let puppet = Puppet::load(guests.engine()).await?;
    if table.wants("runs/replay") {
        replay(table, &puppet).await?;
    }
    if table.wants("runs/resume-1000") {
        resume(table, &puppet).await?;
    }
    Ok(())
}

/// Effects a second: those that are replayed, beside those that happen outside of a run.
async fn replay(table: &Table, puppet: &Puppet) -> Result<()> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let runs = puppet.runs(&storage);
    let run = start(&runs, &effects(MANY)).await?;
    completed(&run).await?;
    let replayed = async || {
        let started = Instant::now();
        let replayed = run.replay().await?;
        match replayed.end {
            ReplayEnd::Reproduced { .. } if replayed.effects == u64::from(MANY) => Ok(started.elapsed() / MANY),
            _ => Err(format!("it was not replayed: {replayed:?}").into()),
        }
    };
    let called = async || {
        let started = Instant::now();
        puppet.call(&effects(MANY)).await?;
        Ok(started.elapsed() / MANY)
    };
    table.compare_long("runs/replay", REPLAY, Amount::rate_of, replayed, called).await?;
    runs.shutdown().await;
    Ok(())
}

/// From the making of a worker until the answer of a run that waited, beside a run that only waited.
async fn resume(table: &Table, puppet: &Puppet) -> Result<()> {
    let disk = Disk::open()?;
    let (long, short) = (waiting(puppet, &disk, PAST).await?, waiting(puppet, &disk, 1).await?);
    table
        .compare_long(
            "runs/resume-1000",
            RESUME,
            Amount::Time,
            async || answered(puppet, &disk, &long).await,
            async || answered(puppet, &disk, &short).await,
        )
        .await
}

/// A run that waits for input after so many effects.
async fn waiting(puppet: &Puppet, disk: &Disk, past: u32) -> Result<Run> {
    let runs = puppet.runs(&disk.storage);
    let run = start(&runs, &format!("{}\nask and now?", effects(past))).await?;
    until_it_waits(&run).await?;
    runs.shutdown().await;
    Ok(run)
}

/// What it takes a new worker until a run with the same past has taken input and come to its end.
async fn answered(puppet: &Puppet, disk: &Disk, like: &Run) -> Result<Duration> {
    let id = {
        let runs = puppet.runs(&disk.storage);
        let last = runs.run(like.id()).recorded(1, usize::MAX).await?.len();
        let run = runs.run(like.id()).fork(u64::try_from(last)?, None).await?;
        until_it_waits(&run).await?;
        runs.shutdown().await;
        run.id()
    };
    let started = Instant::now();
    let runs = puppet.runs(&disk.storage);
    let run = runs.run(id);
    run.send_input("go on").await?;
    completed(&run).await?;
    let time = started.elapsed();
    runs.shutdown().await;
    Ok(time)
}
