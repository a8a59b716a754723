mod concurrency;
mod crashes;
mod faults;
mod files;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use casemate::storage::{
    Append, Claimed, MemoryStorage, NewRun, OpenError, RunState, SqliteStorage, Storage, StoredEntry,
};
use casemate::testing::ManualClock;
use casemate::testing::storage::{Faults, FaultyStorage, PROMISES, conformance};
use casemate::{RunId, RunStatus};
use tempfile::TempDir;

/// Longer than any test takes.
const HOUR: Duration = Duration::from_hours(1);

/// A microsecond less.
const ALMOST_AN_HOUR: Duration = Duration::from_micros(3_599_999_999);

/// A folder for a file that does not exist yet.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("of/its/own/runs.db")
    }

    fn open(&self) -> SqliteStorage {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<SqliteStorage, OpenError> {
        SqliteStorage::open(self.file())
    }
}

fn new_run() -> NewRun {
    NewRun {
        id: RunId::new(),
        agent: "agent".to_owned(),
        created: SystemTime::now(),
        spec: "spec".into(),
        state: RunState { status: RunStatus::Queued, waiting_on: None, wake_at: None, detail: "".into() },
        entries: Vec::new(),
        blobs: Vec::new(),
        idempotency_key: None,
    }
}

/// A new run that a worker owns.
async fn owned(storage: &dyn Storage) -> Claimed {
    let run = storage.create(new_run()).await.unwrap();
    let worker = storage.register(HOUR).await.unwrap();
    storage.claim_one(worker, run).await.unwrap().unwrap()
}

/// One entry, for that run in that epoch.
fn entry(run: RunId, epoch: u64, sequence: u64, text: &str) -> Append {
    Append {
        run,
        epoch,
        expected_next: sequence,
        entries: vec![StoredEntry { sequence, text: text.into() }],
        state: None,
        consumed_inbox: None,
        approvals: Vec::new(),
        withdrawn: Vec::new(),
        blobs: Vec::new(),
    }
}

async fn texts(storage: &dyn Storage, run: RunId) -> Vec<Arc<str>> {
    let entries = storage.read(run, 1, usize::MAX).await.unwrap();
    for (entry, number) in entries.iter().zip(1..) {
        assert_eq!(entry.sequence, number);
    }
    entries.into_iter().map(|entry| entry.text).collect()
}

#[tokio::test]
async fn memory_keeps_what_every_storage_promises() {
    conformance(|| {
        let storage = MemoryStorage::new();
        move || storage.clone()
    })
    .await;
}

#[tokio::test]
async fn memory_keeps_it_with_a_clock_that_stands_still() {
    conformance(|| {
        let storage = MemoryStorage::with_clock(ManualClock::default());
        move || storage.clone()
    })
    .await;
}

#[tokio::test]
async fn memory_keeps_it_where_operations_are_late() {
    for seed in 0..8 {
        conformance(|| {
            let storage = FaultyStorage::new(MemoryStorage::new(), Faults::from_seed(seed));
            move || storage.clone()
        })
        .await;
    }
}

#[tokio::test]
async fn sqlite_keeps_what_every_storage_promises() {
    conformance(|| {
        let folder = Folder::new();
        move || folder.open()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_keeps_it_with_a_clock_that_stands_still() {
    conformance(|| {
        let (folder, clock) = (Folder::new(), ManualClock::default());
        move || SqliteStorage::open_with_clock(folder.file(), clock.clone()).unwrap()
    })
    .await;
}

#[tokio::test]
async fn sqlite_keeps_it_where_operations_are_late() {
    conformance(|| {
        let folder = Folder::new();
        move || FaultyStorage::new(folder.open(), Faults::from_seed(7))
    })
    .await;
}

/// A suite that no storage fails says nothing.
#[tokio::test]
async fn a_storage_that_forgets_is_found_out() {
    let forgetful = |name: &str| {
        let promise = PROMISES.iter().find(|promise| promise.name() == name).copied().unwrap();
        tokio::spawn(async move { promise.check(MemoryStorage::new).await })
    };
    for name in ["what_was_acknowledged_is_there_after_opening_again", "creating_twice_is_creating_once"] {
        assert!(forgetful(name).await.unwrap_err().is_panic(), "{name}");
    }
    let sound = forgetful("blobs_go_when_nobody_needs_them").await;
    assert!(sound.is_ok());
}

#[tokio::test]
async fn leases_go_by_the_clock_of_the_storage() {
    let clock = ManualClock::default();
    let folder = Folder::new();
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::with_clock(clock.clone()));
    let sqlite: Arc<dyn Storage> = Arc::new(SqliteStorage::open_with_clock(folder.file(), clock.clone()).unwrap());
    for storage in [memory, sqlite] {
        let claimed = owned(&*storage).await;
        let run = claimed.record.id;
        let other = storage.register(HOUR * 9).await.unwrap();
        clock.advance(ALMOST_AN_HOUR);
        assert!(storage.claim(other, None, 9).await.unwrap().is_empty());
        clock.advance(Duration::from_micros(1));
        let taken = storage.claim(other, None, 9).await.unwrap();
        assert_eq!(taken.iter().map(|claimed| claimed.record.id).collect::<Vec<_>>(), [run]);
        assert_eq!(taken[0].epoch, claimed.epoch + 1);
    }
}

#[tokio::test]
async fn blobs_age_by_the_clock_of_the_storage() {
    let clock = ManualClock::default();
    let folder = Folder::new();
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::with_clock(clock.clone()));
    let sqlite: Arc<dyn Storage> = Arc::new(SqliteStorage::open_with_clock(folder.file(), clock.clone()).unwrap());
    for storage in [memory, sqlite] {
        let hash = storage.put_blob("blob".into()).await.unwrap();
        clock.advance(HOUR / 2);
        assert_eq!(storage.put_blob("blob".into()).await.unwrap(), hash);
        clock.advance(ALMOST_AN_HOUR);
        assert_eq!(storage.prune_blobs(HOUR, 9).await.unwrap(), 0, "it was put again");
        clock.advance(Duration::from_micros(1));
        assert_eq!(storage.prune_blobs(HOUR, 9).await.unwrap(), 1);
    }
}
