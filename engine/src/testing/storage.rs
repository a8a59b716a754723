//! What every storage is held to, and storages that fail.
//!
//! An implementation of [`Storage`] passes [`conformance`] in a test of its own:
//!
//! ```
//! use casemate::storage::MemoryStorage;
//! use casemate::testing::storage::conformance;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! conformance(|| {
//!     let storage = MemoryStorage::new();
//!     move || storage.clone()
//! })
//! .await;
//! # }
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::storage::Storage;
#[cfg(feature = "sqlite")]
use crate::storage::{SqliteStorage, StorageError};

use promises::World;

pub use faults::{Fault, Faults, FaultyStorage, Operation};

mod faults;
mod promises;

/// One promise of [`Storage`], as a check.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    name: &'static str,
    check: fn(World) -> BoxFuture<'static, ()>,
}

/// Every promise that can be checked without harming anybody.
pub const PROMISES: &[Promise] = promises::ALL;

/// Checks every promise, each with a storage of its own.
///
/// `fresh` makes a place where nothing was stored yet. A place opens the storage that is there, the same one each time:
/// for what is durable, after all handles are dropped too.
///
/// # Panics
///
/// Where promises are not kept; it names them.
pub async fn conformance<P, S>(fresh: impl Fn() -> P)
where
    P: Fn() -> S + Send + Sync + 'static,
    S: Storage + 'static,
{
    let mut broken = Vec::new();
    for promise in PROMISES {
        // What it panics with is printed where it panics.
        if AssertUnwindSafe(promise.check(fresh())).catch_unwind().await.is_err() {
            broken.push(promise.name);
        }
    }
    assert!(broken.is_empty(), "promises that are not kept: {}", broken.join(", "));
}

impl Promise {
    /// What is promised.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Checks it in a place where nothing was stored yet, and panics where it is not kept.
    pub async fn check<S: Storage + 'static>(&self, place: impl Fn() -> S + Send + Sync + 'static) {
        let open = move || -> Arc<dyn Storage> { Arc::new(place()) };
        (self.check)(World::new(Box::new(open))).await;
    }
}

/// How many transactions this handle's writer has committed.
#[cfg(feature = "sqlite")]
pub fn sqlite_commits(storage: &SqliteStorage) -> u64 {
    storage.commits()
}

/// Has the file grow to no more than `pages` pages of 4 KiB, as on a disk that is full then.
#[cfg(feature = "sqlite")]
pub async fn limit_sqlite_pages(storage: &SqliteStorage, pages: u32) -> Result<(), StorageError> {
    storage.limit_pages(pages).await
}
