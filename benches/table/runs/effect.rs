//! What does an effect cost that is kept before and after?

use std::cell::RefCell;
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
    if table.wants("runs/bare-group-commit") {
        together_bare(table, &puppet).await?;
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
    let mut bare = BareJournal::like(&disk, &runs).await?;
    table
        .compare_long(
            "runs/durable-effect",
            DURABLE,
            Amount::Time,
            async || one_effect(puppet, &runs, 1, FEW).await,
            async || bare.keep_each(),
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

/// The same inserts as many at a time as there are runs, beside each alone: what this disk has to gain.
async fn together_bare(table: &Table, puppet: &Puppet) -> Result<()> {
    let disk = Disk::open()?;
    let runs = puppet.runs(&disk.storage);
    let bare = RefCell::new(BareJournal::like(&disk, &runs).await?);
    runs.shutdown().await;
    table
        .compare_long(
            "runs/bare-group-commit",
            Goal::None,
            Amount::rate_of,
            async || bare.borrow_mut().keep_together(CROWD),
            async || bare.borrow_mut().keep_each(),
        )
        .await
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
    /// One that keeps what a run says of its effects, in the same folder.
    async fn like(disk: &Disk, runs: &Runs) -> Result<Self> {
        let run = start(runs, &effects(FEW)).await?;
        completed(&run).await?;
        let texts = texts_of_effects(disk, &run).await?;
        if texts.len() != usize::try_from(2 * FEW)? {
            return Err("an effect does not have two entries".into());
        }
        Self::create(disk.folder.path(), texts)
    }

    fn create(folder: &Path, texts: Vec<Arc<str>>) -> Result<Self> {
        let connection = Connection::open(folder.join("bare.db"))?;
        connection.execute_batch(
            "PRAGMA journal_mode = wal;
             PRAGMA synchronous = FULL;
             CREATE TABLE entries (run INTEGER, sequence INTEGER, text TEXT, PRIMARY KEY (run, sequence)) WITHOUT ROWID",
        )?;
        Ok(Self { connection, texts, run: 0 })
    }

    /// What it takes to keep the two entries of one effect, each committed alone.
    fn keep_each(&mut self) -> Result<Duration> {
        self.run += 1;
        let started = Instant::now();
        for (sequence, text) in (1_i64..).zip(&self.texts) {
            // Outside of a transaction each is one.
            self.insert(self.run, sequence, text)?;
        }
        Ok(started.elapsed() / FEW)
    }

    /// The same, where so many runs have an entry committed together.
    fn keep_together(&mut self, runs: u32) -> Result<Duration> {
        let first = self.run + 1;
        self.run += i64::from(runs);
        let started = Instant::now();
        for (sequence, text) in (1_i64..).zip(&self.texts) {
            let transaction = self.connection.unchecked_transaction()?;
            for run in first..=self.run {
                self.insert(run, sequence, text)?;
            }
            transaction.commit()?;
        }
        Ok(started.elapsed() / (FEW * runs))
    }

    fn insert(&self, run: i64, sequence: i64, text: &str) -> Result<()> {
        let mut insert = self.connection.prepare_cached("INSERT INTO entries VALUES (?1, ?2, ?3)")?;
        insert.execute(rusqlite::params![run, sequence, text])?;
        Ok(())
    }
}
