//! What does an effect cost that is kept before and after?

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate::storage::{MemoryStorage, Storage};
use casemate::{Run, Runs};
use rusqlite::Connection;

use super::setting::{Disk, Puppet, completed, effects, start};
use crate::Result;
use crate::guests::Guests;
use crate::table::{Amount, Goal, Table};

const DURABLE: Goal = Goal::Times(1.3);
const TOGETHER: Goal = Goal::Times(0.1);
const IN_MEMORY: Goal = Goal::Plus(Duration::from_micros(5));

/// Effects of a run that waits for the disk.
const FEW: u32 = 50;
/// Effects of each of many such runs, so that starting them tells little.
const SEVERAL: u32 = 150;
/// Effects of a run that does not.
const MANY: u32 = 2_000;
/// Runs at once.
const CROWD: u32 = 64;

pub(super) async fn rows(table: &Table, guests: &Guests) -> Result<()> {
    let puppet = Puppet::load(guests.engine()).await?;
    if table.wants("runs/durable-effect") {
        durable(table, &puppet).await?;
    }
    if table.wants("runs/group-commit") {
        together(table, &puppet).await?;
    }
    if table.wants("runs/memory-effect") {
        in_memory(table, &puppet).await?;
    }
    Ok(())
}

/// Beside the inserts that an effect comes to: its two entries, each committed alone.
async fn durable(table: &Table, puppet: &Puppet) -> Result<()> {
    let disk = Disk::open()?;
    let runs = puppet.runs(&disk.storage);
    let run = start(&runs, &effects(FEW)).await?;
    completed(&run).await?;
    let mut bare = BareJournal::create(disk.folder.path(), texts_of_effects(&disk, &run).await?)?;
    table
        .compare_long(
            "runs/durable-effect",
            DURABLE,
            Amount::Time,
            async || one_effect(puppet, &runs, 1, FEW).await,
            async || bare.keep_each(FEW),
        )
        .await?;
    runs.shutdown().await;
    Ok(())
}

/// The effects of many runs, whose entries are committed together, beside those of one.
async fn together(table: &Table, puppet: &Puppet) -> Result<()> {
    let disk = Disk::open()?;
    let runs = puppet.runs(&disk.storage);
    table
        .compare_long(
            "runs/group-commit",
            TOGETHER,
            Amount::rate_of,
            async || one_effect(puppet, &runs, CROWD, SEVERAL).await,
            async || one_effect(puppet, &runs, 1, FEW).await,
        )
        .await?;
    runs.shutdown().await;
    Ok(())
}

/// Beside the effect of the same agent that is called outside of a run.
async fn in_memory(table: &Table, puppet: &Puppet) -> Result<()> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let runs = puppet.runs(&storage);
    let call = async || {
        puppet.call(&effects(MANY)).await?;
        Ok(())
    };
    table
        .compare_long(
            "runs/memory-effect",
            IN_MEMORY,
            Amount::Time,
            async || one_effect(puppet, &runs, 1, MANY).await,
            async || puppet.stopwatch.each_of(MANY, call).await,
        )
        .await?;
    runs.shutdown().await;
    Ok(())
}

/// What one effect takes, where so many runs have so many each.
async fn one_effect(puppet: &Puppet, runs: &Runs, count: u32, each: u32) -> Result<Duration> {
    let mut started = Vec::new();
    let begin = async || {
        for _ in 0..count {
            started.push(start(runs, &effects(each)).await?);
        }
        Ok(())
    };
    let time = puppet.stopwatch.each_of(count * each, begin).await?;
    for run in &started {
        completed(run).await?;
    }
    Ok(time)
}

/// What the journal of a run says of its effects.
async fn texts_of_effects(disk: &Disk, run: &Run) -> Result<Vec<Arc<str>>> {
    let entries = disk.storage.read(run.id(), 1, usize::MAX).await?;
    let of_effects = |text: &str| text.contains("\"tool_call\"") || text.contains("\"tool_result\"");
    Ok(entries.into_iter().map(|entry| entry.text).filter(|text| of_effects(text)).collect())
}

/// A table of entries as durable as ours, and nothing else.
struct BareJournal {
    connection: Connection,
    texts: Vec<Arc<str>>,
    run: i64,
}

impl BareJournal {
    fn create(folder: &Path, texts: Vec<Arc<str>>) -> Result<Self> {
        let connection = Connection::open(folder.join("bare.db"))?;
        connection.execute_batch(
            "PRAGMA journal_mode = wal;
             PRAGMA synchronous = FULL;
             CREATE TABLE entries (run INTEGER, sequence INTEGER, text TEXT, PRIMARY KEY (run, sequence)) WITHOUT ROWID",
        )?;
        Ok(Self { connection, texts, run: 0 })
    }

    /// What it takes to keep the two entries of one of so many effects.
    fn keep_each(&mut self, effects: u32) -> Result<Duration> {
        if self.texts.len() != usize::try_from(2 * effects)? {
            return Err("an effect does not have two entries".into());
        }
        self.run += 1;
        let started = Instant::now();
        for (sequence, text) in (1_i64..).zip(&self.texts) {
            let mut insert = self.connection.prepare_cached("INSERT INTO entries VALUES (?1, ?2, ?3)")?;
            // Outside of a transaction each is one.
            insert.execute(rusqlite::params![self.run, sequence, text])?;
        }
        Ok(started.elapsed() / effects)
    }
}
