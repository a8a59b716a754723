//! Rows as values, and the questions that answer with them.

use std::sync::Arc;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Params, Row, ToSql, params};
use serde::Serialize;
use serde::de::value::{Error as Unknown, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer as _};

use super::super::moment::{Age, micros, moment};
use super::super::standing::Standing;
use super::super::{
    Head, InboxMessage, NewApproval, RunFilter, RunRecord, RunState, StoredApproval, StoredDecision, StoredEntry,
};
use crate::component::ContentHash;
use crate::gate::ApprovalId;
use crate::json::ArgumentsHash;
use crate::life::RunId;

/// What a [`RunRecord`] is made of.
const RECORD: &str = "SELECT id, agent, created_us, updated_us, status, waiting_on, wake_at_us, detail, specs.text \
     FROM runs JOIN specs ON specs.run = runs.id";

/// What a [`StoredApproval`] is made of.
const APPROVAL: &str = "SELECT id, run, hash, expires_us, text, decision, decided_by, decided_us FROM approvals";

/// What a [`Standing`] is made of. A journal has no holes, so its last number says how long it is.
const STANDING: &str = "SELECT epoch, inbox_last, inbox_consumed, worker IS NOT NULL AS is_owned, \
     (SELECT coalesce(max(sequence), 0) + 1 FROM entries WHERE run = runs.id) AS next FROM runs WHERE id = ?1";

/// A value that has one word for each case, as serde says it.
pub(super) struct Word<T>(pub(super) T);

impl<T: Serialize> ToSql for Word<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match serde_json::to_value(&self.0) {
            Ok(serde_json::Value::String(word)) => Ok(ToSqlOutput::Owned(Value::Text(word))),
            Ok(other) => Err(rusqlite::Error::ToSqlConversionFailure(format!("`{other}` is no word").into())),
            Err(error) => Err(rusqlite::Error::ToSqlConversionFailure(error.into())),
        }
    }
}

impl<T: DeserializeOwned> FromSql for Word<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word: StrDeserializer<'_, Unknown> = value.as_str()?.into_deserializer();
        T::deserialize(word).map(Self).map_err(FromSqlError::other)
    }
}

/// Words for `json_each`.
pub(super) fn list<T: Serialize>(words: &[T]) -> rusqlite::Result<String> {
    serde_json::to_string(words).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// As many as SQLite can count.
pub(super) fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The state of a run that is there.
pub(super) fn state(connection: &Connection, run: RunId) -> rusqlite::Result<RunState> {
    let mut query =
        connection.prepare_cached("SELECT status, waiting_on, wake_at_us, detail FROM runs WHERE id = ?1")?;
    query.query_row([run.to_bytes()], state_of)
}

fn state_of(row: &Row<'_>) -> rusqlite::Result<RunState> {
    let waiting_on = row.get::<_, Option<Word<_>>>("waiting_on")?;
    Ok(RunState {
        status: row.get::<_, Word<_>>("status")?.0,
        waiting_on: waiting_on.map(|word| word.0),
        wake_at: row.get::<_, Option<i64>>("wake_at_us")?.map(moment),
        detail: row.get("detail")?,
    })
}

pub(super) fn record(connection: &Connection, run: RunId) -> rusqlite::Result<Option<RunRecord>> {
    let mut query = connection.prepare_cached(&format!("{RECORD} WHERE id = ?1"))?;
    query.query_row([run.to_bytes()], record_of).optional()
}

pub(super) fn records(
    connection: &Connection,
    filter: &RunFilter,
    limit: usize,
    before: Option<Age>,
) -> rusqlite::Result<Vec<RunRecord>> {
    let mut sql = format!("{RECORD} WHERE true");
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut condition = |condition: &str, mut given: Vec<Box<dyn ToSql>>| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.append(&mut given);
    };
    if let Some(agent) = &filter.agent {
        condition("agent = ?", vec![Box::new(agent.clone())]);
    }
    if !filter.statuses.is_empty() {
        condition("status IN (SELECT value FROM json_each(?))", vec![Box::new(list(&filter.statuses)?)]);
    }
    if let Some(since) = filter.since {
        condition("created_us >= ?", vec![Box::new(micros(since))]);
    }
    if let Some(until) = filter.until {
        condition("created_us < ?", vec![Box::new(micros(until))]);
    }
    if let Some(Age { created, run }) = before {
        condition("(created_us, id) < (?, ?)", vec![Box::new(created), Box::new(run.to_bytes())]);
    }
    sql.push_str(" ORDER BY created_us DESC, id DESC LIMIT ?");
    values.push(Box::new(at_most(limit)));
    all(connection, &sql, rusqlite::params_from_iter(values), record_of)
}

fn record_of(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    Ok(RunRecord {
        id: RunId::from_bytes(row.get("id")?),
        agent: row.get("agent")?,
        created: moment(row.get("created_us")?),
        updated: moment(row.get("updated_us")?),
        spec: row.get("text")?,
        state: state_of(row)?,
    })
}

pub(super) fn entries(
    connection: &Connection,
    run: RunId,
    from: u64,
    limit: usize,
) -> rusqlite::Result<Vec<StoredEntry>> {
    let sql = "SELECT sequence, text, bytes FROM entries LEFT JOIN blobs ON blobs.hash = entries.blob \
         WHERE run = ?1 AND sequence >= ?2 ORDER BY sequence LIMIT ?3";
    // No number is greater than those that SQLite knows.
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    all(connection, sql, params![run.to_bytes(), from, at_most(limit)], |row| {
        let text = match row.get("text")? {
            Some(text) => text,
            None => text_of(row.get_ref("bytes")?)?,
        };
        Ok(StoredEntry { sequence: row.get("sequence")?, text })
    })
}

fn text_of(bytes: ValueRef<'_>) -> FromSqlResult<Arc<str>> {
    std::str::from_utf8(bytes.as_blob()?).map(Arc::from).map_err(FromSqlError::other)
}

pub(super) fn messages(
    connection: &Connection,
    run: RunId,
    after: u64,
    limit: usize,
) -> rusqlite::Result<Vec<InboxMessage>> {
    let sql = "SELECT number, text FROM inbox WHERE run = ?1 AND number > ?2 ORDER BY number LIMIT ?3";
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    all(connection, sql, params![run.to_bytes(), after, at_most(limit)], |row| {
        Ok(InboxMessage { number: row.get("number")?, text: row.get("text")? })
    })
}

pub(super) fn standing(connection: &Connection, run: RunId) -> rusqlite::Result<Option<Standing>> {
    let standing = |row: &Row<'_>| {
        let head = Head {
            epoch: row.get("epoch")?,
            next: row.get("next")?,
            inbox: row.get("inbox_last")?,
            consumed_inbox: row.get("inbox_consumed")?,
        };
        Ok(Standing { head, is_owned: row.get("is_owned")? })
    };
    connection.prepare_cached(STANDING)?.query_row([run.to_bytes()], standing).optional()
}

pub(super) fn head(connection: &Connection, run: RunId) -> rusqlite::Result<Option<Head>> {
    Ok(standing(connection, run)?.map(|standing| standing.head))
}

pub(super) fn approval(connection: &Connection, id: ApprovalId) -> rusqlite::Result<Option<StoredApproval>> {
    let mut query = connection.prepare_cached(&format!("{APPROVAL} WHERE id = ?1"))?;
    query.query_row([id.to_bytes()], approval_of).optional()
}

pub(super) fn pending_approvals(
    connection: &Connection,
    run: Option<RunId>,
    limit: usize,
) -> rusqlite::Result<Vec<StoredApproval>> {
    let rest = "decision IS NULL ORDER BY id LIMIT";
    let limit = at_most(limit);
    match run {
        Some(run) => {
            let sql = format!("{APPROVAL} WHERE run = ?1 AND {rest} ?2");
            all(connection, &sql, params![run.to_bytes(), limit], approval_of)
        }
        None => all(connection, &format!("{APPROVAL} WHERE {rest} ?1"), [limit], approval_of),
    }
}

fn approval_of(row: &Row<'_>) -> rusqlite::Result<StoredApproval> {
    let decision = match row.get("decision")? {
        Some(text) => {
            let at = moment(row.get("decided_us")?);
            Some(StoredDecision { text, by: row.get("decided_by")?, at })
        }
        None => None,
    };
    let asked = NewApproval {
        id: ApprovalId::from_bytes(row.get("id")?),
        hash: ArgumentsHash::from_bytes(row.get("hash")?),
        expires: moment(row.get("expires_us")?),
        text: row.get("text")?,
    };
    Ok(StoredApproval { run: RunId::from_bytes(row.get("run")?), asked, decision })
}

pub(super) fn blob(connection: &Connection, hash: ContentHash) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut query = connection.prepare_cached("SELECT bytes FROM blobs WHERE hash = ?1")?;
    query.query_row([hash.to_bytes()], |row| row.get(0)).optional()
}

pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    item: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map(params, item)?.collect()
}
