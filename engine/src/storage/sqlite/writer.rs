//! The one thread that writes.
//!
//! What waits is done in one transaction and made durable at once, since that is what takes the time: one sync for
//! all instead of one for each. Nobody is answered before the commit. Work that comes to nothing has written nothing as
//! a rule; where it has, the transaction is undone, and each piece of work is tried alone. So none sees half of another,
//! and none pays for a savepoint.

use std::io;
use std::sync::Arc;
#[cfg(feature = "testing")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::super::hints::{Change, Watchers};
use super::super::malformed::Malformed;
use super::super::moment::micros;
use super::super::{Cause, Fail};
use crate::clock::Clock;
use crate::life::RunId;

/// How much is done in one transaction at most, so that the first of it need not wait for ever.
const TOGETHER: usize = 512;

/// How long is waited awake for the next piece of work. An effect that is alone takes 80 µs this way, and 112 µs
/// without, on a disk that syncs for nothing.
const SOON: Duration = Duration::from_micros(40);

/// How often somebody looks whether another process changed something, while anybody watches.
const LOOK: Duration = Duration::from_millis(25);

/// One piece of work's view of the transaction.
pub(super) struct Tx<'a> {
    pub(super) connection: &'a Connection,
    /// By the clock of the storage.
    pub(super) now: i64,
    touched: &'a mut Vec<(RunId, Change)>,
}

impl Tx<'_> {
    /// Has those who watch told of that change, when this is done.
    pub(super) fn touch(&mut self, run: RunId, change: Change) {
        self.touched.push((run, change));
    }
}

/// Why a piece of work comes to nothing.
#[derive(Debug)]
pub(super) enum Stop<E> {
    /// That is the answer.
    No(E),
    /// SQLite could not.
    Sql(rusqlite::Error),
}

impl<E: From<Malformed>> From<Malformed> for Stop<E> {
    fn from(malformed: Malformed) -> Self {
        Self::No(malformed.into())
    }
}

impl<E> From<rusqlite::Error> for Stop<E> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// Where work is handed in.
pub(super) struct Writer {
    turns: Sender<Turn>,
    #[cfg(feature = "testing")]
    commits: Arc<AtomicU64>,
}

enum Turn {
    Work(Box<dyn Work>),
    /// Somebody began to watch.
    Watched,
}

impl Writer {
    pub(super) fn spawn(connection: Connection, clock: Arc<dyn Clock>, watchers: Watchers) -> io::Result<Self> {
        let (sender, turns) = mpsc::channel();
        #[cfg(feature = "testing")]
        let commits = Arc::new(AtomicU64::new(0));
        let desk = Desk {
            connection,
            clock,
            watchers,
            turns,
            touched: Vec::new(),
            is_spoiled: false,
            seen: None,
            looked: Instant::now(),
            #[cfg(feature = "testing")]
            commits: commits.clone(),
        };
        thread::Builder::new().name("casemate-sqlite".to_owned()).spawn(move || desk.serve())?;
        Ok(Self {
            turns: sender,
            #[cfg(feature = "testing")]
            commits,
        })
    }

    /// Does that work, perhaps more than once, but only what it did last counts.
    pub(super) async fn write<T, E>(
        &self,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, Stop<E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Fail + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let task = Task { work, result: Err(Stop::No(E::refused(Box::new(Closed)))), reply };
        if self.turns.send(Turn::Work(Box::new(task))).is_err() {
            return Err(E::refused(Box::new(Closed)));
        }
        answer.await.unwrap_or_else(|_| Err(E::unknown(Box::new(Closed))))
    }

    /// Has somebody look for changes by other processes, since somebody watches now.
    pub(super) fn look_outside(&self) {
        // Without its thread nothing changes any more.
        let _ = self.turns.send(Turn::Watched);
    }

    /// How many transactions were committed.
    #[cfg(feature = "testing")]
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

/// The thread that does the work is gone.
#[derive(Debug, thiserror::Error)]
#[error("the storage is closed")]
pub(super) struct Closed;

/// How a transaction ended.
enum End {
    Done,
    /// Surely nothing of it is there.
    Void(Arc<rusqlite::Error>),
    /// Perhaps it is there, perhaps after the next start only.
    Unknown(Arc<rusqlite::Error>),
}

/// Work, whatever its answer is.
trait Work: Send {
    fn perform(&mut self, tx: &mut Tx<'_>) -> Verdict;
    fn answer(self: Box<Self>, end: &End);
}

/// Whether what the work wrote is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    Undo,
}

struct Task<T, E, F> {
    work: F,
    result: Result<T, Stop<E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T: Send, E: Fail + Send, F: FnMut(&mut Tx<'_>) -> Result<T, Stop<E>> + Send> Work for Task<T, E, F> {
    fn perform(&mut self, tx: &mut Tx<'_>) -> Verdict {
        self.result = (self.work)(tx);
        if self.result.is_ok() { Verdict::Keep } else { Verdict::Undo }
    }

    fn answer(self: Box<Self>, end: &End) {
        let answer = match (self.result, end) {
            (Err(Stop::Sql(error)), _) => Err(E::refused(Box::new(error))),
            (Ok(value), End::Done) => Ok(value),
            (Err(Stop::No(no)), End::Done) => Err(no),
            (_, End::Void(error)) => Err(E::refused(cause(error))),
            (_, End::Unknown(error)) => Err(E::unknown(cause(error))),
        };
        // Whoever asked may have gone.
        let _ = self.reply.send(answer);
    }
}

fn cause(error: &Arc<rusqlite::Error>) -> Cause {
    Box::new(error.clone())
}

/// What the thread works with.
struct Desk {
    connection: Connection,
    clock: Arc<dyn Clock>,
    watchers: Watchers,
    turns: Receiver<Turn>,
    touched: Vec<(RunId, Change)>,
    /// Whether the transaction holds what came to nothing after all.
    is_spoiled: bool,
    /// SQLite's count of other connections' commits, while anybody watches.
    seen: Option<i64>,
    looked: Instant,
    #[cfg(feature = "testing")]
    commits: Arc<AtomicU64>,
}

impl Desk {
    fn serve(mut self) {
        while let Some(work) = self.next() {
            self.together(work);
        }
    }

    fn next(&mut self) -> Option<Box<dyn Work>> {
        // Also where there is always work.
        self.look();
        if let Some(work) = self.soon() {
            return Some(work);
        }
        loop {
            let turn = match self.look() {
                Some(wait) => self.turns.recv_timeout(wait),
                None => self.turns.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match turn {
                Ok(Turn::Work(work)) => return Some(work),
                Ok(Turn::Watched) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// What is handed in at once: whoever was answered often goes on with the next piece, and a thread that sleeps is
    /// woken late. Others may have the processor meanwhile.
    fn soon(&self) -> Option<Box<dyn Work>> {
        let began = Instant::now();
        while began.elapsed() < SOON {
            match self.waiting().next() {
                None => thread::yield_now(),
                work => return work,
            }
        }
        None
    }

    /// Tells all who watch where another connection committed, and whoever watches first: something may have changed
    /// before anybody looked. Answers when to look again, and looks no earlier; never where nobody watches.
    fn look(&mut self) -> Option<Duration> {
        if !self.watchers.are_there() {
            self.seen = None;
            return None;
        }
        let left = self.seen.and_then(|_| LOOK.checked_sub(self.looked.elapsed()));
        if left.is_some() {
            return left;
        }
        let version = self.connection.prepare_cached("PRAGMA data_version");
        let version = version.and_then(|mut pragma| pragma.query_row([], |row| row.get(0))).ok();
        if version != self.seen {
            self.seen = version;
            self.watchers.tell_all();
        }
        self.looked = Instant::now();
        Some(LOOK)
    }

    /// Does this and whatever else waits in one transaction. Where it comes to nothing, each is tried alone, so that
    /// one that cannot be done does no harm to the others.
    fn together(&mut self, first: Box<dyn Work>) {
        let mut batch = vec![first];
        if let Err(error) = self.begin() {
            batch.extend(self.waiting());
            return self.answer(batch, &End::Void(Arc::new(error)));
        }
        self.fill(&mut batch);
        let is_spoiled = self.is_spoiled;
        let end = self.end();
        if batch.len() > 1 && (is_spoiled || matches!(end, End::Void(_))) {
            for work in batch {
                self.alone(work);
            }
        } else {
            self.answer(batch, &end);
        }
    }

    fn alone(&mut self, mut work: Box<dyn Work>) {
        let end = match self.begin() {
            Ok(()) => {
                self.perform(&mut *work);
                self.end()
            }
            Err(error) => End::Void(Arc::new(error)),
        };
        self.answer(vec![work], &end);
    }

    /// Does what is in the batch, and what comes while it does.
    fn fill(&mut self, batch: &mut Vec<Box<dyn Work>>) {
        let mut done = 0;
        while let Some(work) = batch.get_mut(done) {
            self.perform(&mut **work);
            done += 1;
            if self.is_spoiled {
                return;
            }
            if done == batch.len() && done < TOGETHER {
                batch.extend(self.waiting().next());
            }
        }
    }

    fn waiting(&self) -> impl Iterator<Item = Box<dyn Work>> {
        self.turns.try_iter().filter_map(|turn| match turn {
            Turn::Work(work) => Some(work),
            Turn::Watched => None,
        })
    }

    fn begin(&mut self) -> rusqlite::Result<()> {
        self.is_spoiled = false;
        self.touched.clear();
        execute(&self.connection, "BEGIN IMMEDIATE")
    }

    fn perform(&mut self, work: &mut dyn Work) {
        // Some failures end the transaction by themselves.
        if self.connection.is_autocommit() {
            return;
        }
        let (touched, changes) = (self.touched.len(), self.connection.total_changes());
        let mut tx = Tx { connection: &self.connection, now: micros(self.clock.now()), touched: &mut self.touched };
        if work.perform(&mut tx) == Verdict::Undo {
            self.touched.truncate(touched);
            self.is_spoiled = self.connection.total_changes() != changes;
        }
    }

    /// Commits; where work that is alone in its transaction came to nothing, undoes what it wrote.
    fn end(&mut self) -> End {
        if self.is_spoiled {
            self.roll_back();
            return End::Done;
        }
        let was_on = !self.connection.is_autocommit();
        let Err(error) = execute(&self.connection, "COMMIT") else {
            #[cfg(feature = "testing")]
            self.commits.fetch_add(1, Ordering::Relaxed);
            return End::Done;
        };
        self.roll_back();
        if !was_on || is_surely_void(&error) { End::Void(Arc::new(error)) } else { End::Unknown(Arc::new(error)) }
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit() {
            // Where this fails the next transaction cannot begin, and says so.
            let _ = execute(&self.connection, "ROLLBACK");
        }
    }

    fn answer(&mut self, batch: Vec<Box<dyn Work>>, end: &End) {
        for work in batch {
            work.answer(end);
        }
        if let End::Done = end {
            self.touched.drain(..).for_each(|(run, change)| self.watchers.tell(run, change));
        }
    }
}

/// Whether a commit that failed so left nothing behind: it found no room or no lock, or could not write its frames,
/// without the last of which the others count for nothing. Where syncing failed, for one, they may count.
fn is_surely_void(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(error, _) = error else { return false };
    let found_no_place = matches!(
        error.code,
        ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::ConstraintViolation
    );
    found_no_place || error.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}
