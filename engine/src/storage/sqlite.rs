//! Storage in a SQLite file: durable, without a server, for one machine.
//!
//! Everything is written by one thread, which makes durable at once what waits ([`writer`]), and read by a few others
//! ([`readers`]); no executor ever waits for a disk. Several processes may have one file open: who owns a run is told
//! by epochs and leases, as everywhere, and never by a lock.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rusqlite::Connection;
use uuid::Uuid;

use super::hints::Watchers;
use super::moment::{Age, before, micros};
use super::{
    Append, AppendError, Claimed, Cursor, Decided, Due, Fail, Head, Hints, InboxMessage, Interest, NewRun, Page, Prune,
    Released, RunFilter, RunRecord, Sent, Storage, StorageError, StoredApproval, StoredDecision, StoredEntry, WorkerId,
};
use crate::clock::{Clock, SystemClock};
use crate::component::ContentHash;
use crate::gate::ApprovalId;
use crate::json::ArgumentsHash;
use crate::life::RunId;

use file::File;
use readers::Readers;
use writer::{Stop, Tx, Writer};

pub use file::OpenError;

mod file;
mod journal;
mod messages;
mod readers;
mod rows;
mod workers;
mod writer;

/// How many threads read: questions are short, and most are answered from memory.
const READERS: usize = 3;

/// Keeps runs in a SQLite file. Its clones are handles to the same file; the last one that is dropped closes it.
///
/// What it acknowledged outlives the process and, as far as the disk keeps what it was told to, the machine. The file
/// must be on a local disk. Beside it SQLite keeps two more, `-wal` and `-shm`, which belong to it. It does not shrink:
/// what is pruned makes room for what comes.
///
/// ```
/// use casemate::storage::{SqliteStorage, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("casemate-doc-{}", std::process::id()));
/// let hash = {
///     let storage = SqliteStorage::open(folder.join("runs.db"))?;
///     storage.put_blob("kept".into()).await?
/// };
/// let again = SqliteStorage::open(folder.join("runs.db"))?;
/// assert_eq!(again.blob(hash).await?.as_deref(), Some(b"kept".as_slice()));
/// # std::fs::remove_dir_all(folder)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStorage(Arc<Inner>);

struct Inner {
    writer: Writer,
    readers: Readers,
    watchers: Watchers,
}

impl SqliteStorage {
    /// Opens the file, and makes it and its folders where they do not exist, private to the user. It waits for the
    /// disk: call it before there is anything that should not wait.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with_clock(path, SystemClock)
    }

    /// The same, with the time of `clock`, which all who have the file open must agree on.
    pub fn open_with_clock(path: impl AsRef<Path>, clock: impl Clock) -> Result<Self, OpenError> {
        let file = File::create(path.as_ref())?;
        let connection = file.open()?;
        let readers = (0..READERS).map(|_| file.open_reader()).collect::<Result<_, _>>()?;
        let watchers = Watchers::new();
        let writer = Writer::spawn(connection, Arc::new(clock), watchers.clone()).map_err(OpenError::Thread)?;
        let readers = Readers::spawn(readers).map_err(OpenError::Thread)?;
        Ok(Self(Arc::new(Inner { writer, readers, watchers })))
    }

    #[cfg(feature = "testing")]
    pub(crate) fn commits(&self) -> u64 {
        self.0.writer.commits()
    }

    #[cfg(feature = "testing")]
    pub(crate) async fn limit_pages(&self, pages: u32) -> Result<(), StorageError> {
        let work = move |tx: &mut Tx<'_>| {
            tx.connection.execute_batch(&format!("PRAGMA max_page_count = {pages}"))?;
            Ok(())
        };
        self.write(work).await
    }

    fn write<T: Send + 'static, E: Fail + Send + 'static>(
        &self,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, Stop<E>> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, E>> {
        self.0.writer.write(work).boxed()
    }

    fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StorageError>> {
        self.0.readers.read(query).boxed()
    }

    async fn page(
        &self,
        filter: RunFilter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> Result<Page<RunRecord>, StorageError> {
        let before = cursor.map(Age::try_from).transpose()?;
        // One more tells whether there is a next page.
        let query = move |connection: &Connection| rows::records(connection, &filter, limit.saturating_add(1), before);
        let mut items = self.query(query).await?;
        let is_last = items.len() <= limit;
        items.truncate(limit);
        let next = items.last().filter(|_| !is_last).map(Age::of).map(Cursor::from);
        Ok(Page { items, next })
    }

    /// One run after the other, so that nobody waits for all of it.
    async fn remove(&self, prune: Prune, limit: usize) -> Result<usize, StorageError> {
        let asked = prune.clone();
        let old = self.query(move |connection| journal::prunable(connection, &asked, limit)).await?;
        let mut removed = 0;
        for run in old {
            let prune = prune.clone();
            removed += usize::from(self.write(move |tx| journal::remove(tx, run, &prune)).await?);
        }
        Ok(removed)
    }
}

impl Storage for SqliteStorage {
    fn create(&self, run: NewRun) -> BoxFuture<'_, Result<RunId, StorageError>> {
        self.write(move |tx| journal::create(tx, &run))
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<u64, AppendError>> {
        self.write(move |tx| journal::append(tx, &append))
    }

    fn register(&self, ttl: Duration) -> BoxFuture<'_, Result<WorkerId, StorageError>> {
        let worker = WorkerId::new();
        self.write(move |tx| workers::register(tx, worker, ttl))
    }

    fn renew(&self, worker: WorkerId, ttl: Duration) -> BoxFuture<'_, Result<bool, StorageError>> {
        self.write(move |tx| workers::renew(tx, worker, ttl))
    }

    fn claim(
        &self,
        worker: WorkerId,
        agents: Option<Vec<String>>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Claimed>, StorageError>> {
        self.write(move |tx| workers::claim(tx, worker, agents.as_deref(), limit))
    }

    fn claim_one(&self, worker: WorkerId, run: RunId) -> BoxFuture<'_, Result<Option<Claimed>, StorageError>> {
        self.write(move |tx| workers::claim_one(tx, worker, run))
    }

    fn release(&self, append: Append, seen_inbox: u64) -> BoxFuture<'_, Result<Released, AppendError>> {
        self.write(move |tx| journal::release(tx, &append, seen_inbox))
    }

    fn send(&self, run: RunId, id: Uuid, text: Arc<str>) -> BoxFuture<'_, Result<Sent, StorageError>> {
        self.write(move |tx| messages::send(tx, run, id, &text))
    }

    fn inbox(&self, run: RunId, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<InboxMessage>, StorageError>> {
        self.query(move |connection| rows::messages(connection, run, after, limit))
    }

    fn decide(
        &self,
        approval: ApprovalId,
        hash: ArgumentsHash,
        decision: StoredDecision,
        message: Arc<str>,
    ) -> BoxFuture<'_, Result<Decided, StorageError>> {
        self.write(move |tx| messages::decide(tx, approval, hash, &decision, &message))
    }

    fn approval(&self, approval: ApprovalId) -> BoxFuture<'_, Result<Option<StoredApproval>, StorageError>> {
        self.query(move |connection| rows::approval(connection, approval))
    }

    fn pending_approvals(
        &self,
        run: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredApproval>, StorageError>> {
        self.query(move |connection| rows::pending_approvals(connection, run, limit))
    }

    fn read(&self, run: RunId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<StoredEntry>, StorageError>> {
        self.query(move |connection| rows::entries(connection, run, from, limit))
    }

    fn head(&self, run: RunId) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        self.query(move |connection| rows::head(connection, run))
    }

    fn run(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StorageError>> {
        self.query(move |connection| rows::record(connection, run))
    }

    fn list(
        &self,
        filter: RunFilter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> BoxFuture<'_, Result<Page<RunRecord>, StorageError>> {
        self.page(filter, limit, cursor).boxed()
    }

    fn due(&self, until: SystemTime, limit: usize) -> BoxFuture<'_, Result<Due, StorageError>> {
        self.write(move |tx| messages::due(tx, micros(until), limit))
    }

    fn watch(&self, interest: Interest) -> Box<dyn Hints> {
        let hints = self.0.watchers.join(interest);
        self.0.writer.look_outside();
        hints
    }

    fn put_blob(&self, bytes: Bytes) -> BoxFuture<'_, Result<ContentHash, StorageError>> {
        let work = move |tx: &mut Tx<'_>| {
            let hash = ContentHash::of(&bytes);
            journal::put_blob(tx, hash, &bytes)?;
            Ok(hash)
        };
        self.write(work)
    }

    fn blob(&self, hash: ContentHash) -> BoxFuture<'_, Result<Option<Bytes>, StorageError>> {
        self.query(move |connection| Ok(rows::blob(connection, hash)?.map(Bytes::from)))
    }

    fn prune(&self, prune: Prune, limit: usize) -> BoxFuture<'_, Result<usize, StorageError>> {
        self.remove(prune, limit).boxed()
    }

    fn prune_blobs(&self, grace: Duration, limit: usize) -> BoxFuture<'_, Result<usize, StorageError>> {
        self.write(move |tx| journal::prune_blobs(tx, before(tx.now, grace), limit))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        let check = async {
            self.query(|connection| connection.query_row("SELECT count(*) FROM workers", [], |_| Ok(()))).await?;
            self.write(|_| Ok(())).await
        };
        check.boxed()
    }
}
