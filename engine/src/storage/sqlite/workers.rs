//! Leases, and who takes which run.

use std::time::Duration;

use rusqlite::params;

use super::super::hints::Change;
use super::super::moment::after;
use super::super::{Claimed, Head, StorageError, WorkerId};
use super::rows::{self, at_most, list};
use super::writer::{Stop, Tx};
use crate::life::RunId;

/// Whether no worker whose lease is on, at `:now`, owns the run.
const FREE: &str = "NOT EXISTS (SELECT 1 FROM workers WHERE workers.id = runs.worker AND lease_until_us > :now)";

pub(super) fn register(tx: &Tx<'_>, worker: WorkerId, ttl: Duration) -> Result<WorkerId, Stop<StorageError>> {
    // Nobody can tell a lease that is over from none.
    tx.connection.prepare_cached("DELETE FROM workers WHERE lease_until_us <= ?1")?.execute([tx.now])?;
    let mut insert = tx.connection.prepare_cached("INSERT INTO workers (id, lease_until_us) VALUES (?1, ?2)")?;
    insert.execute(params![worker.to_bytes(), after(tx.now, ttl)])?;
    Ok(worker)
}

pub(super) fn renew(tx: &Tx<'_>, worker: WorkerId, ttl: Duration) -> Result<bool, Stop<StorageError>> {
    let sql = "UPDATE workers SET lease_until_us = ?2 WHERE id = ?1 AND lease_until_us > ?3";
    let values = params![worker.to_bytes(), after(tx.now, ttl), tx.now];
    Ok(tx.connection.prepare_cached(sql)?.execute(values)? > 0)
}

pub(super) fn claim(
    tx: &mut Tx<'_>,
    worker: WorkerId,
    agents: Option<&[String]>,
    limit: usize,
) -> Result<Vec<Claimed>, Stop<StorageError>> {
    if !is_on(tx, worker)? {
        return Ok(Vec::new());
    }
    // The plus keeps SQLite from looking among all runs of an agent, instead of among those that are active.
    let wanted = if agents.is_some() { "+agent IN (SELECT value FROM json_each(:agents))" } else { ":agents IS NULL" };
    let sql = format!(
        "SELECT id FROM runs WHERE status IN ('queued', 'running') AND {FREE} AND {wanted} \
         ORDER BY created_us, id LIMIT :limit"
    );
    let values = rusqlite::named_params! {
        ":now": tx.now, ":agents": agents.map(list).transpose()?, ":limit": at_most(limit),
    };
    let free = rows::all(tx.connection, &sql, values, |row| row.get(0).map(RunId::from_bytes))?;
    free.into_iter().filter_map(|run| take(tx, worker, run).transpose()).collect()
}

pub(super) fn claim_one(tx: &mut Tx<'_>, worker: WorkerId, run: RunId) -> Result<Option<Claimed>, Stop<StorageError>> {
    let sql = format!("SELECT 1 FROM runs WHERE id = :id AND {FREE}");
    let values = rusqlite::named_params! { ":id": run.to_bytes(), ":now": tx.now };
    if is_on(tx, worker)? && tx.connection.prepare_cached(&sql)?.exists(values)? {
        take(tx, worker, run)
    } else {
        Ok(None)
    }
}

fn is_on(tx: &Tx<'_>, worker: WorkerId) -> rusqlite::Result<bool> {
    let mut query = tx.connection.prepare_cached("SELECT 1 FROM workers WHERE id = ?1 AND lease_until_us > ?2")?;
    query.exists(params![worker.to_bytes(), tx.now])
}

/// Makes that worker the owner of a run that nobody else owns, unless it is finished.
fn take(tx: &mut Tx<'_>, worker: WorkerId, run: RunId) -> Result<Option<Claimed>, Stop<StorageError>> {
    let Some(record) = rows::record(tx.connection, run)?.filter(|record| !record.state.status.is_finished()) else {
        return Ok(None);
    };
    let sql = "UPDATE runs SET status = 'running', waiting_on = NULL, wake_at_us = NULL, worker = ?2, \
         epoch = epoch + 1, updated_us = ?3 WHERE id = ?1";
    let mut update = tx.connection.prepare_cached(sql)?;
    update.execute(params![run.to_bytes(), worker.to_bytes(), tx.now])?;
    tx.touch(run, Change::State);
    let head = rows::head(tx.connection, run)?;
    Ok(head.map(|Head { epoch, next, consumed_inbox, .. }| Claimed { record, epoch, next, consumed_inbox }))
}
