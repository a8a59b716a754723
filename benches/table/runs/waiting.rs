//! What do a hundred thousand runs cost that only wait?
//!
//! Each of them is executed until it asks for input, and given back. Then the process holds nothing of it; in memory it
//! holds the run itself, which is the storage.

use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate::storage::{MemoryStorage, RunFilter, Storage};
use casemate::{Engine, Run, RunId, RunStatus, Runs};

use super::setting::{Disk, Puppet, completed, start, until_it_waits};
use crate::memory::{answer_of_child, settled};
use crate::table::{Amount, Goal, Row, Table, print_row};
use crate::{Result, on_one_thread};

/// The argument with which a child is started.
pub(crate) const CHILD: &str = "--measure-runs-that-wait-in";

const MEMORY: (&str, Goal) = ("memory/100000-waiting", Goal::Reach(Amount::Memory(100 << 10)));
const ANSWER: (&str, Goal) = ("runs/answer-of-100000", Goal::Reach(Amount::Time(Duration::from_millis(50))));

const WAITING: usize = 100_000;
/// Runs that are started before it is waited for them.
const WAVE: usize = 1_000;
/// Runs that are answered.
const ANSWERED: usize = 21;

pub(super) fn rows(table: &Table) -> Result<()> {
    if !table.wants(MEMORY.0) && !table.wants(ANSWER.0) {
        return Ok(());
    }
    let (disk, memory) = (in_child("sqlite")?, in_child("memory")?);
    print_row(&Row { name: MEMORY.0, casemate: disk.grown, bare: memory.grown, goal: MEMORY.1, samples: 1 });
    print_row(&Row { name: ANSWER.0, casemate: disk.answer, bare: memory.answer, goal: ANSWER.1, samples: ANSWERED });
    Ok(())
}

struct Measured {
    grown: Amount,
    answer: Amount,
}

fn in_child(storage: &str) -> Result<Measured> {
    let text = answer_of_child(CHILD, storage)?;
    let (kib, micros) = text.split_once(' ').ok_or("a child says two numbers")?;
    let answer = Amount::Time(Duration::from_micros(micros.parse()?));
    Ok(Measured { grown: Amount::Memory(kib.parse()?), answer })
}

/// What a child does: prints the KiB that the runs added, and the microseconds that it took to answer one.
pub(crate) fn measure(storage: &str) -> Result<()> {
    let (kib, answer) = on_one_thread(async {
        match storage {
            "sqlite" => {
                let disk = Disk::open()?;
                measure_in(&disk.storage).await
            }
            "memory" => measure_in(&(Arc::new(MemoryStorage::new()) as Arc<dyn Storage>)).await,
            _ => Err(format!("no storage `{storage}` to measure").into()),
        }
    })?;
    println!("{kib} {}", answer.as_micros());
    Ok(())
}

async fn measure_in(storage: &Arc<dyn Storage>) -> Result<(u32, Duration)> {
    let puppet = Puppet::load(&Engine::new()?).await?;
    let runs = puppet.runs(storage);
    // What the first one sets up is not counted for the others.
    until_it_waits(&begin(&runs).await?).await?;
    let before = settled().await?;
    let mut some = Vec::new();
    for _ in 0..WAITING / WAVE {
        some.push(wave(&runs).await?);
    }
    let after = settled().await?;
    let mut times = Vec::new();
    for id in some.into_iter().take(ANSWERED) {
        times.push(answered(&runs.run(id)).await?);
    }
    times.sort_unstable();
    runs.shutdown().await;
    Ok((after.saturating_sub(before), times.get(ANSWERED / 2).copied().unwrap_or_default()))
}

async fn begin(runs: &Runs) -> Result<Run> {
    start(runs, "ask and now?").await
}

/// Starts some runs, and waits until all of them wait; answers with one.
async fn wave(runs: &Runs) -> Result<RunId> {
    let starts = (0..WAVE).map(|_| {
        let runs = runs.clone();
        tokio::spawn(async move { begin(&runs).await.map(|run| run.id()) })
    });
    let starts: Vec<_> = starts.collect();
    let mut last = None;
    for start in starts {
        last = Some(start.await??);
    }
    let busy = RunFilter { statuses: vec![RunStatus::Queued, RunStatus::Running], ..RunFilter::default() };
    while !runs.list(busy.clone(), 1, None).await?.items.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    last.ok_or_else(|| "there is no run".into())
}

/// What it takes a run until it has taken input and come to its end.
async fn answered(run: &Run) -> Result<Duration> {
    let started = Instant::now();
    run.send_input("go on").await?;
    completed(run).await?;
    Ok(started.elapsed())
}
