//! Files that are not as they should be, and disks that are full.

use std::error::Error as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use casemate::storage::{AppendError, OpenError, Storage, StorageError};
use casemate::testing::storage::limit_sqlite_pages;
use rusqlite::Connection;

use super::{Folder, entry, owned, texts};

#[tokio::test]
async fn nobody_else_can_read_what_is_made() {
    let folder = Folder::new();
    let storage = folder.open();
    owned(&storage).await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = folder.file();
    for ancestor in file.ancestors().skip(1).take(3) {
        assert_eq!(mode(ancestor), 0o700, "{}", ancestor.display());
    }
    let files: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_file_of_a_newer_release_is_refused() {
    let folder = Folder::new();
    drop(folder.open());
    let file = Connection::open(folder.file()).unwrap();
    let version: u32 = file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    file.pragma_update(None, "user_version", version + 1).unwrap();
    let error = folder.try_open().err().unwrap();
    assert!(matches!(&error, OpenError::Newer { found, known, .. } if (*found, *known) == (version + 1, version)));
    let text = error.to_string();
    assert!(text.contains("version 3") && text.contains("up to 2"), "{text}");
    file.pragma_update(None, "user_version", version).unwrap();
    folder.open();
}

#[test]
fn a_file_of_another_application_is_refused_and_left_as_it_is() {
    let statements = ["CREATE TABLE theirs (a)", "PRAGMA application_id = 7"];
    for statement in statements {
        let folder = Folder::new();
        fs::create_dir_all(folder.file().parent().unwrap()).unwrap();
        Connection::open(folder.file()).unwrap().execute_batch(statement).unwrap();
        let before = fs::read(folder.file()).unwrap();
        let error = folder.try_open().err().unwrap();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
        assert_eq!(fs::read(folder.file()).unwrap(), before);
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    fs::create_dir_all(folder.file().parent().unwrap()).unwrap();
    let text = "This is a diary.\n".repeat(1000);
    fs::write(folder.file(), &text).unwrap();
    let error = folder.try_open().err().unwrap();
    assert!(matches!(error, OpenError::Unusable { .. }), "{error:?}");
    assert!(error.source().is_some());
    assert_eq!(fs::read_to_string(folder.file()).unwrap(), text);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = Folder::new();
    fs::write(folder.0.path().join("of"), "a file").unwrap();
    let error = folder.try_open().err().unwrap();
    assert!(matches!(error, OpenError::Create { .. }), "{error:?}");
}

/// Damage that is found only where it is read.
#[tokio::test]
async fn damage_is_refused_and_never_read_as_if_it_were_sound() {
    let folder = Folder::new();
    let (run, epoch) = {
        let storage = folder.open();
        let claimed = owned(&storage).await;
        for sequence in 1..200 {
            storage.append(entry(claimed.record.id, claimed.epoch, sequence, &"x".repeat(900))).await.unwrap();
        }
        (claimed.record.id, claimed.epoch)
    };
    let own = Connection::open(folder.file()).unwrap();
    let busy: i64 = own.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert_eq!(busy, 0, "all is in the file");
    let mut bytes = fs::read(folder.file()).unwrap();
    let pages = bytes.len() / 4096;
    for page in bytes.chunks_mut(4096).skip(pages / 2) {
        page.fill(0xAB);
    }
    let damaged = Folder::new();
    fs::create_dir_all(damaged.file().parent().unwrap()).unwrap();
    fs::write(damaged.file(), bytes).unwrap();
    let storage = damaged.open();
    let error = storage.read(run, 1, usize::MAX).await.unwrap_err();
    assert!(matches!(error, StorageError::Refused(_)), "{error:?}");
    let error = storage.append(entry(run, epoch, 200, "on")).await.unwrap_err();
    assert!(matches!(error, AppendError::Refused(_)), "{error:?}");
}

#[tokio::test]
async fn a_full_disk_refuses_and_keeps_what_was() {
    let folder = Folder::new();
    let storage = folder.open();
    let claimed = owned(&storage).await;
    let run = claimed.record.id;
    storage.append(entry(run, claimed.epoch, 1, "first")).await.unwrap();
    let head = storage.head(run).await.unwrap();
    limit_sqlite_pages(&storage, 1).await.unwrap();
    for text in ["x".repeat(60_000), "y".repeat(600_000)] {
        let error = storage.append(entry(run, claimed.epoch, 2, &text)).await.unwrap_err();
        assert!(matches!(error, AppendError::Refused(_)), "{error:?}");
        assert_eq!(storage.head(run).await.unwrap(), head);
        assert_eq!(texts(&storage, run).await.len(), 1);
    }
    let error = storage.put_blob(vec![0; 100_000].into()).await.unwrap_err();
    assert!(matches!(error, StorageError::Refused(_)), "{error:?}");
    limit_sqlite_pages(&storage, u32::MAX >> 1).await.unwrap();
    storage.append(entry(run, claimed.epoch, 2, &"x".repeat(60_000))).await.unwrap();
}

#[tokio::test]
async fn on_a_full_disk_what_has_room_is_done() {
    let folder = Folder::new();
    let storage = folder.open();
    let (large, small) = (owned(&storage).await, owned(&storage).await);
    limit_sqlite_pages(&storage, 1).await.unwrap();
    let text = "x".repeat(500_000);
    let (refused, done) = tokio::join!(
        storage.append(entry(large.record.id, large.epoch, 1, &text)),
        storage.append(entry(small.record.id, small.epoch, 1, "small")),
    );
    assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
    assert_eq!(done.unwrap(), 2);
}
