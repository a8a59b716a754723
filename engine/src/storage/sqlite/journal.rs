//! What is written of runs: that they are made, go on, are given back and removed.

use rusqlite::{OptionalExtension as _, params};

use super::super::hints::Change;
use super::super::malformed::{Malformed, numbered};
use super::super::moment::micros;
use super::super::standing::{Admitted, Standing};
use super::super::{Append, AppendError, NewApproval, NewRun, Prune, Released, RunState, StorageError, StoredEntry};
use super::rows::{self, Word, list};
use super::writer::{Stop, Tx};
use crate::component::ContentHash;
use crate::gate::ApprovalId;
use crate::life::{RunId, RunStatus};

/// Texts of more bytes are kept as blobs: they would crowd the pages of the journal.
const LONG: usize = 64 << 10;

pub(super) fn create(tx: &mut Tx<'_>, run: &NewRun) -> Result<RunId, Stop<StorageError>> {
    if let Some(id) = same(tx, run)? {
        return Ok(id);
    }
    numbered(1, &run.entries)?;
    check_blobs(tx, &run.blobs)?;
    let state = &run.state;
    let sql = "INSERT INTO runs (id, agent, created_us, updated_us, status, waiting_on, wake_at_us, detail, \
         idempotency_key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    tx.connection.prepare_cached(sql)?.execute(params![
        run.id.to_bytes(),
        run.agent,
        micros(run.created),
        tx.now,
        Word(state.status),
        state.waiting_on.as_ref().map(Word),
        state.wake_at.map(micros),
        state.detail,
        run.idempotency_key,
    ])?;
    let mut specs = tx.connection.prepare_cached("INSERT INTO specs (run, text) VALUES (?1, ?2)")?;
    specs.execute(params![run.id.to_bytes(), run.spec])?;
    put_entries(tx, run.id, &run.entries)?;
    refer(tx, run.id, &run.blobs)?;
    tx.touch(run.id, Change::Work);
    Ok(run.id)
}

/// The run that was made before as this is to be.
fn same(tx: &Tx<'_>, run: &NewRun) -> rusqlite::Result<Option<RunId>> {
    let sql = "SELECT id FROM runs WHERE idempotency_key = ?1 AND idempotency_key IS NOT NULL \
         UNION ALL SELECT id FROM runs WHERE id = ?2 LIMIT 1";
    let mut query = tx.connection.prepare_cached(sql)?;
    let same = query.query_row(params![run.idempotency_key, run.id.to_bytes()], |row| row.get(0)).optional()?;
    Ok(same.map(RunId::from_bytes))
}

pub(super) fn append(tx: &mut Tx<'_>, append: &Append) -> Result<u64, Stop<AppendError>> {
    let standing = standing(tx, append.run)?;
    let next = put(tx, append, &standing)?;
    if let Some(state) = &append.state {
        set_state(tx, append.run, state)?;
    }
    tx.touch(append.run, Change::of(append));
    Ok(next)
}

pub(super) fn release(tx: &mut Tx<'_>, append: &Append, seen_inbox: u64) -> Result<Released, Stop<AppendError>> {
    let standing = standing(tx, append.run)?;
    put(tx, append, &standing)?;
    let before = rows::state(tx.connection, append.run)?;
    let (state, released) = append.released_as(&before, standing.head.inbox, seen_inbox);
    set_state(tx, append.run, &state)?;
    let mut disown = tx.connection.prepare_cached("UPDATE runs SET worker = NULL WHERE id = ?1")?;
    disown.execute([append.run.to_bytes()])?;
    tx.touch(append.run, Change::Work);
    Ok(released)
}

fn standing(tx: &Tx<'_>, run: RunId) -> Result<Standing, Stop<AppendError>> {
    rows::standing(tx.connection, run)?.ok_or(Stop::No(AppendError::NotFound))
}

/// Looks at everything before it writes anything: what is refused then leaves nothing that had to be undone.
fn put(tx: &Tx<'_>, append: &Append, standing: &Standing) -> Result<u64, Stop<AppendError>> {
    let Admitted { next, consumed } = standing.admit(append).map_err(Stop::No)?;
    check_blobs(tx, &append.blobs)?;
    let run = append.run;
    ask(tx, run, &append.approvals)?;
    withdraw(tx, run, &append.withdrawn)?;
    put_entries(tx, run, &append.entries)?;
    refer(tx, run, &append.blobs)?;
    if consumed != standing.head.consumed_inbox {
        let mut use_up = tx.connection.prepare_cached("UPDATE runs SET inbox_consumed = ?2 WHERE id = ?1")?;
        use_up.execute(params![run.to_bytes(), consumed])?;
    }
    Ok(next)
}

/// A run's new state. With its end, nobody needs to decide anything any more.
pub(super) fn set_state(tx: &Tx<'_>, run: RunId, state: &RunState) -> rusqlite::Result<()> {
    let sql =
        "UPDATE runs SET status = ?2, waiting_on = ?3, wake_at_us = ?4, detail = ?5, updated_us = ?6 WHERE id = ?1";
    tx.connection.prepare_cached(sql)?.execute(params![
        run.to_bytes(),
        Word(state.status),
        state.waiting_on.as_ref().map(Word),
        state.wake_at.map(micros),
        state.detail,
        tx.now,
    ])?;
    if state.status.is_finished() {
        let mut withdraw = tx.connection.prepare_cached("DELETE FROM approvals WHERE run = ?1 AND decision IS NULL")?;
        withdraw.execute([run.to_bytes()])?;
    }
    Ok(())
}

fn put_entries(tx: &Tx<'_>, run: RunId, entries: &[StoredEntry]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO entries (run, sequence, text, blob) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = tx.connection.prepare_cached(sql)?;
    for entry in entries {
        if entry.text.len() > LONG {
            let hash = ContentHash::of(entry.text.as_bytes());
            put_blob(tx, hash, entry.text.as_bytes())?;
            refer(tx, run, &[hash])?;
            insert.execute(params![run.to_bytes(), entry.sequence, None::<&str>, hash.to_bytes()])?;
        } else {
            insert.execute(params![run.to_bytes(), entry.sequence, entry.text, None::<[u8; 32]>])?;
        }
    }
    Ok(())
}

pub(super) fn put_blob(tx: &Tx<'_>, hash: ContentHash, bytes: &[u8]) -> rusqlite::Result<()> {
    let mut again = tx.connection.prepare_cached("UPDATE blobs SET put_us = ?2 WHERE hash = ?1")?;
    if again.execute(params![hash.to_bytes(), tx.now])? == 0 {
        let mut insert = tx.connection.prepare_cached("INSERT INTO blobs (hash, bytes, put_us) VALUES (?1, ?2, ?3)")?;
        insert.execute(params![hash.to_bytes(), bytes, tx.now])?;
    }
    Ok(())
}

fn check_blobs<E: From<Malformed>>(tx: &Tx<'_>, blobs: &[ContentHash]) -> Result<(), Stop<E>> {
    for hash in blobs {
        let mut known = tx.connection.prepare_cached("SELECT 1 FROM blobs WHERE hash = ?1")?;
        if !known.exists([hash.to_bytes()])? {
            return Err(Malformed::NoBlob(*hash).into());
        }
    }
    Ok(())
}

fn refer(tx: &Tx<'_>, run: RunId, blobs: &[ContentHash]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO run_blobs (run, hash) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    for hash in blobs {
        let mut insert = tx.connection.prepare_cached(sql)?;
        insert.execute([run.to_bytes().as_slice(), hash.to_bytes().as_slice()])?;
    }
    Ok(())
}

fn ask(tx: &Tx<'_>, run: RunId, approvals: &[NewApproval]) -> Result<(), Stop<AppendError>> {
    let sql = "INSERT INTO approvals (id, run, hash, expires_us, text) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT DO NOTHING";
    for asked in approvals {
        let mut insert = tx.connection.prepare_cached(sql)?;
        let expires = micros(asked.expires);
        let values = params![asked.id.to_bytes(), run.to_bytes(), asked.hash.to_bytes(), expires, asked.text];
        if insert.execute(values)? == 0 {
            return Err(Malformed::SameApproval(asked.id).into());
        }
    }
    Ok(())
}

fn withdraw(tx: &Tx<'_>, run: RunId, approvals: &[ApprovalId]) -> rusqlite::Result<()> {
    let sql = "DELETE FROM approvals WHERE id = ?1 AND run = ?2 AND decision IS NULL";
    for id in approvals {
        let mut delete = tx.connection.prepare_cached(sql)?;
        delete.execute([id.to_bytes(), run.to_bytes()])?;
    }
    Ok(())
}

/// Runs that may be removed, those first that ended first.
pub(super) fn prunable(connection: &rusqlite::Connection, prune: &Prune, limit: usize) -> rusqlite::Result<Vec<RunId>> {
    let sql = "SELECT id FROM runs WHERE status IN ('completed', 'failed', 'cancelled', 'diverged') AND updated_us < ?1 \
         AND status IN (SELECT value FROM json_each(?2)) ORDER BY updated_us LIMIT ?3";
    let values = params![micros(prune.before), pruned_statuses(prune)?, rows::at_most(limit)];
    rows::all(connection, sql, values, |row| row.get(0).map(RunId::from_bytes))
}

/// Removes a run, if it may be removed still; answers whether it is gone now.
pub(super) fn remove(tx: &Tx<'_>, run: RunId, prune: &Prune) -> Result<bool, Stop<StorageError>> {
    let sql = "DELETE FROM runs WHERE id = ?1 AND updated_us < ?2 AND status IN (SELECT value FROM json_each(?3))";
    let values = params![run.to_bytes(), micros(prune.before), pruned_statuses(prune)?];
    Ok(tx.connection.prepare_cached(sql)?.execute(values)? > 0)
}

fn pruned_statuses(prune: &Prune) -> rusqlite::Result<String> {
    let all = [RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled, RunStatus::Diverged];
    let named = |status: &RunStatus| prune.statuses.is_empty() || prune.statuses.contains(status);
    list(&all.into_iter().filter(named).collect::<Vec<_>>())
}

pub(super) fn prune_blobs(tx: &Tx<'_>, put_until: i64, limit: usize) -> Result<usize, Stop<StorageError>> {
    let sql = "DELETE FROM blobs WHERE hash IN (SELECT hash FROM blobs WHERE put_us <= ?1 \
         AND NOT EXISTS (SELECT 1 FROM run_blobs WHERE run_blobs.hash = blobs.hash) ORDER BY put_us LIMIT ?2)";
    Ok(tx.connection.prepare_cached(sql)?.execute(params![put_until, rows::at_most(limit)])?)
}
