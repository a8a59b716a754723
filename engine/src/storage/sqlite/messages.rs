//! What others tell a run: messages, decisions, and that its moment has come.

use rusqlite::{OptionalExtension as _, params};
use uuid::Uuid;

use super::super::hints::Change;
use super::super::moment::{micros, moment};
use super::super::{Decided, Due, Sent, StorageError, StoredDecision};
use super::rows::{self, Word, at_most};
use super::writer::{Stop, Tx};
use crate::gate::ApprovalId;
use crate::json::ArgumentsHash;
use crate::life::{RunId, RunStatus};

/// Has a run that waits go on.
const QUEUE: &str =
    "UPDATE runs SET status = 'queued', waiting_on = NULL, wake_at_us = NULL, updated_us = ?2 WHERE id = ?1";

pub(super) fn send(tx: &mut Tx<'_>, run: RunId, id: Uuid, text: &str) -> Result<Sent, Stop<StorageError>> {
    let mut query = tx.connection.prepare_cached("SELECT status, inbox_last + 1 FROM runs WHERE id = ?1")?;
    let found =
        query.query_row([run.to_bytes()], |row| Ok((row.get::<_, Word<RunStatus>>(0)?.0, row.get::<_, u64>(1)?)));
    let Some((status, number)) = found.optional()? else { return Ok(Sent::NotFound) };
    let mut query = tx.connection.prepare_cached("SELECT 1 FROM inbox WHERE run = ?1 AND id = ?2")?;
    if query.exists([run.to_bytes(), id.into_bytes()])? {
        return Ok(Sent::Delivered);
    }
    if status.is_finished() {
        return Ok(Sent::Finished);
    }
    let sql = "INSERT INTO inbox (run, number, id, text) VALUES (?1, ?2, ?3, ?4)";
    tx.connection.prepare_cached(sql)?.execute(params![run.to_bytes(), number, id.into_bytes(), text])?;
    let mut count = tx.connection.prepare_cached("UPDATE runs SET inbox_last = ?2 WHERE id = ?1")?;
    count.execute(params![run.to_bytes(), number])?;
    if status.is_woken() {
        tx.connection.prepare_cached(QUEUE)?.execute(params![run.to_bytes(), tx.now])?;
    }
    tx.touch(run, Change::Work);
    Ok(Sent::Delivered)
}

pub(super) fn decide(
    tx: &mut Tx<'_>,
    id: ApprovalId,
    hash: ArgumentsHash,
    decision: &StoredDecision,
    message: &str,
) -> Result<Decided, Stop<StorageError>> {
    let Some(approval) = rows::approval(tx.connection, id)? else { return Ok(Decided::NotFound) };
    let at = micros(decision.at);
    if let Some(no) = approval.asked.judge(hash, approval.decision.as_ref(), moment(at)) {
        return Ok(no);
    }
    let sql = "UPDATE approvals SET decision = ?2, decided_by = ?3, decided_us = ?4 WHERE id = ?1";
    tx.connection.prepare_cached(sql)?.execute(params![id.to_bytes(), decision.text, decision.by, at])?;
    send(tx, approval.run, Uuid::from_bytes(id.to_bytes()), message)?;
    Ok(Decided::Taken)
}

pub(super) fn due(tx: &mut Tx<'_>, until: i64, limit: usize) -> Result<Due, Stop<StorageError>> {
    let timers = "FROM runs WHERE status = 'waiting' AND wake_at_us IS NOT NULL";
    let sql = format!("SELECT id {timers} AND wake_at_us <= ?1 ORDER BY wake_at_us, id LIMIT ?2");
    let over = rows::all(tx.connection, &sql, params![until, at_most(limit)], |row| row.get(0).map(RunId::from_bytes))?;
    let mut queue = tx.connection.prepare_cached(QUEUE)?;
    for run in &over {
        queue.execute(params![run.to_bytes(), tx.now])?;
        tx.touch(*run, Change::Work);
    }
    let mut next = tx.connection.prepare_cached(&format!("SELECT min(wake_at_us) {timers}"))?;
    let next = next.query_row([], |row| row.get::<_, Option<i64>>(0))?;
    Ok(Due { queued: over.len(), next: next.map(moment) })
}
