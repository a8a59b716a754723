//! Many at once: in one process, and with several handles to one file, as several processes have them.

use std::collections::BTreeSet;
use std::task::Poll;
use std::time::SystemTime;

use casemate::storage::{AppendError, NewApproval, SqliteStorage, Storage};
use casemate::testing::storage::sqlite_commits;
use casemate::{ApprovalId, ArgumentsHash};
use rusqlite::{Connection, TransactionBehavior};

use super::{Folder, HOUR, entry, new_run, owned, texts};

/// Has everything else wait that writes to the file.
fn hold(folder: &Folder) -> impl FnOnce() + use<> {
    let mut connection = Connection::open(folder.file()).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    std::mem::forget(transaction);
    move || drop(connection)
}

fn question() -> NewApproval {
    NewApproval {
        id: ApprovalId::from_bytes(uuid::Uuid::now_v7().into_bytes()),
        hash: ArgumentsHash::of(&serde_json::json!({})),
        expires: SystemTime::now() + HOUR,
        text: "may it?".into(),
    }
}

/// Each task has handed its append in when it was polled once; the executor takes some turns for all of them.
async fn all_are_handed_in() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_waits_is_made_durable_at_once() {
    let folder = Folder::new();
    let storage = folder.open();
    let mut runs = Vec::new();
    for _ in 0..64 {
        runs.push(owned(&storage).await);
    }
    let release = hold(&folder);
    let before = sqlite_commits(&storage);
    let appends: Vec<_> = runs
        .iter()
        .map(|claimed| {
            let (storage, append) = (storage.clone(), entry(claimed.record.id, claimed.epoch, 1, "entry"));
            tokio::spawn(async move { storage.append(append).await })
        })
        .collect();
    all_are_handed_in().await;
    release();
    for append in appends {
        assert_eq!(append.await.unwrap().unwrap(), 2);
    }
    let commits = sqlite_commits(&storage) - before;
    assert!((1..=2).contains(&commits), "{commits} commits for 64 appends");
    for claimed in runs {
        assert_eq!(texts(&storage, claimed.record.id).await.len(), 1);
    }
}

#[tokio::test]
async fn what_cannot_be_done_does_no_harm_to_what_waits_beside_it() {
    let folder = Folder::new();
    let storage = folder.open();
    let mut runs = Vec::new();
    for _ in 0..12 {
        runs.push(owned(&storage).await);
    }
    let release = hold(&folder);
    let appends: Vec<_> = runs
        .iter()
        .enumerate()
        .map(|(n, claimed)| {
            let mut append = entry(claimed.record.id, claimed.epoch, 1, "entry");
            match n % 4 {
                0 => append.blobs.push(casemate::ContentHash::of(b"nowhere")),
                1 => append.epoch += 1,
                // Of the same question twice the first is written, and undone.
                2 => append.approvals = vec![question(); 2],
                _ => {}
            }
            let storage = storage.clone();
            tokio::spawn(async move { storage.append(append).await })
        })
        .collect();
    all_are_handed_in().await;
    release();
    for (n, append) in appends.into_iter().enumerate() {
        let result = append.await.unwrap();
        let is_as_expected = match n % 4 {
            0 | 2 => matches!(result, Err(AppendError::Refused(_))),
            1 => matches!(result, Err(AppendError::Fenced { .. })),
            _ => matches!(result, Ok(2)),
        };
        assert!(is_as_expected, "{n}: {result:?}");
        assert_eq!(texts(&storage, runs[n].record.id).await.len(), usize::from(n % 4 == 3));
    }
    assert!(storage.pending_approvals(None, 9).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_has_one_owner_however_many_want_it() {
    let folder = Folder::new();
    let storages: Vec<SqliteStorage> = (0..3).map(|_| folder.open()).collect();
    let mut all = BTreeSet::new();
    for _ in 0..90 {
        all.insert(storages[0].create(new_run()).await.unwrap());
    }
    let claims = storages.iter().cloned().map(|storage| {
        tokio::spawn(async move {
            let worker = storage.register(HOUR).await.unwrap();
            let mut taken = Vec::new();
            loop {
                let claimed = storage.claim(worker, None, 4).await.unwrap();
                if claimed.is_empty() {
                    return taken;
                }
                for claimed in claimed {
                    let run = claimed.record.id;
                    storage.append(entry(run, claimed.epoch, 1, "mine")).await.unwrap();
                    taken.push(run);
                }
            }
        })
    });
    let mut taken = Vec::new();
    for claim in claims.collect::<Vec<_>>() {
        taken.extend(claim.await.unwrap());
    }
    assert_eq!(taken.len(), all.len());
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), all);
}

#[tokio::test]
async fn an_owner_behind_another_handle_is_fenced() {
    let folder = Folder::new();
    let (old, new) = (folder.open(), folder.open());
    let worker = old.register(HOUR).await.unwrap();
    let run = old.create(new_run()).await.unwrap();
    let before = old.claim_one(worker, run).await.unwrap().unwrap();
    old.append(entry(run, before.epoch, 1, "old")).await.unwrap();
    assert!(new.renew(worker, std::time::Duration::ZERO).await.unwrap());
    let other = new.register(HOUR).await.unwrap();
    let after = new.claim_one(other, run).await.unwrap().unwrap();
    let late = old.append(entry(run, before.epoch, 2, "late")).await.unwrap_err();
    assert!(matches!(late, AppendError::Fenced { epoch } if epoch == after.epoch), "{late:?}");
    new.append(entry(run, after.epoch, 2, "new")).await.unwrap();
    assert_eq!(texts(&old, run).await.iter().map(|text| &**text).collect::<Vec<_>>(), ["old", "new"]);
}

#[tokio::test]
async fn nothing_is_lost_where_whoever_asked_goes_away() {
    let folder = Folder::new();
    let storage = folder.open();
    let claimed = owned(&storage).await;
    for sequence in 1..50 {
        let mut append = storage.append(entry(claimed.record.id, claimed.epoch, sequence, "entry"));
        std::future::poll_fn(|cx| Poll::Ready(append.as_mut().poll(cx).is_ready())).await;
        drop(append);
    }
    // It is done after those.
    storage.check().await.unwrap();
    assert_eq!(texts(&storage, claimed.record.id).await.len(), 49);
}

#[test]
fn a_new_file_is_made_once_however_many_open_it() {
    for _ in 0..20 {
        let folder = Folder::new();
        let openings: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| folder.try_open())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for opening in openings {
            opening.map(drop).unwrap();
        }
    }
}
