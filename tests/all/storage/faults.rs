//! A storage that fails as it is told.

use casemate::storage::{AppendError, MemoryStorage, Storage, StorageError};
use casemate::testing::storage::{Fault, Faults, FaultyStorage, Operation};

use super::{entry, new_run, owned, texts};

fn faulty() -> (FaultyStorage<MemoryStorage>, Faults) {
    let faults = Faults::none();
    (FaultyStorage::new(MemoryStorage::new(), faults.clone()), faults)
}

#[tokio::test]
async fn an_append_fails_as_planned_and_is_done_or_not_as_planned() {
    let rows = [
        (Fault::Refused, "refused", 0),
        (Fault::DoneButUnknown, "unknown", 1),
        (Fault::NotDoneButUnknown, "unknown", 0),
        (Fault::Fenced, "fenced", 0),
        (Fault::Conflict, "conflict", 0),
        (Fault::WentBack, "went back", 0),
    ];
    for (fault, expected, entries) in rows {
        let (storage, faults) = faulty();
        let claimed = owned(&storage).await;
        faults.plan(Operation::Append, 1, fault);
        let error = storage.append(entry(claimed.record.id, claimed.epoch, 1, "one")).await.unwrap_err();
        let told = match error {
            AppendError::Refused(_) => "refused",
            AppendError::Unknown(_) => "unknown",
            AppendError::Fenced { epoch } if epoch > claimed.epoch => "fenced",
            AppendError::Conflict { next: 2 } => "conflict",
            AppendError::WentBack { next: 0 } => "went back",
            other => panic!("{other}"),
        };
        assert_eq!(told, expected);
        assert_eq!(texts(storage.inner(), claimed.record.id).await.len(), entries, "{fault:?}");
        assert_eq!(faults.to_come(), 0);
    }
}

#[tokio::test]
async fn only_the_call_that_was_named_fails() {
    let (storage, faults) = faulty();
    let claimed = owned(&storage).await;
    faults.plan(Operation::Append, 2, Fault::Refused);
    let append = |n| storage.append(entry(claimed.record.id, claimed.epoch, n, "entry"));
    append(1).await.unwrap();
    append(2).await.unwrap_err();
    append(2).await.unwrap();
    assert_eq!(faults.calls(Operation::Append), 3);
}

#[tokio::test]
async fn an_owner_that_was_fenced_stays_fenced() {
    let (storage, faults) = faulty();
    let (fenced, other) = (owned(&storage).await, owned(&storage).await);
    faults.plan(Operation::Append, 1, Fault::Fenced);
    for _ in 0..2 {
        let late = entry(fenced.record.id, fenced.epoch, 1, "late");
        assert!(matches!(storage.append(late.clone()).await, Err(AppendError::Fenced { .. })));
        assert!(matches!(storage.release(late, 0).await, Err(AppendError::Fenced { .. })));
    }
    storage.append(entry(other.record.id, other.epoch, 1, "in time")).await.unwrap();
    assert!(texts(storage.inner(), fenced.record.id).await.is_empty());
}

#[tokio::test]
async fn a_seed_decides_which_operations_fail() {
    let failures = |seed| async move {
        let faults =
            Faults::from_seed(seed).sometimes(&[Operation::Create], &[Fault::Refused, Fault::DoneButUnknown], 300);
        let storage = FaultyStorage::new(MemoryStorage::new(), faults);
        let mut failures = String::new();
        for _ in 0..200 {
            let new = new_run();
            let id = new.id;
            let created = storage.create(new).await;
            let is_there = storage.run(id).await.unwrap().is_some();
            failures.push(match created {
                Ok(_) if is_there => '.',
                Err(StorageError::Refused(_)) if !is_there => 'r',
                Err(StorageError::Unknown(_)) if is_there => 'u',
                other => panic!("{other:?}"),
            });
        }
        failures
    };
    let (one, same, other) = (failures(1).await, failures(1).await, failures(2).await);
    assert_eq!(one, same);
    assert_ne!(one, other);
    let count = one.chars().filter(|c| *c != '.').count();
    assert!((20..120).contains(&count) && one.contains('r') && one.contains('u'), "{one}");
}
