//! The places where sandboxes live. Callers wait for them in order, for a bounded time, in bounded number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::settings::{CORE_INSTANCES_PER_SLOT, TABLES_PER_SLOT};

pub(crate) struct Slots {
    size: u32,
    free: Arc<Semaphore>,
    waiting: AtomicU32,
    max_waiting: u32,
    max_wait: Duration,
}

/// A held place, given back when dropped.
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

/// What the sandbox of a component takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    pub(crate) memories: u32,
    pub(crate) tables: u32,
    pub(crate) core_instances: u64,
}

impl Demand {
    /// In slots: one has a stack, a memory, some tables and many core instances.
    pub(crate) fn slots(self) -> u32 {
        let instances = u32::try_from(self.core_instances).unwrap_or(u32::MAX).div_ceil(CORE_INSTANCES_PER_SLOT);
        self.memories.max(self.tables.div_ceil(TABLES_PER_SLOT)).max(instances).max(1)
    }
}

/// Why there was no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoSlot {
    /// Too many callers are waiting already.
    #[error(
        "all {sandboxes} sandboxes are taken and {waiting} callers are waiting: try again later, or raise `max_sandboxes`"
    )]
    QueueFull {
        /// The number of sandboxes.
        sandboxes: u32,
        /// The number of callers that wait.
        waiting: u32,
    },
    /// None became free in time.
    #[error("all {sandboxes} sandboxes stayed taken for {} ms: try again later, or raise `max_sandboxes`", waited.as_millis())]
    TimedOut {
        /// The number of sandboxes.
        sandboxes: u32,
        /// How long the caller waited.
        waited: Duration,
    },
}

impl Slots {
    pub(crate) fn new(size: u32, max_waiting: u32, max_wait: Duration) -> Self {
        let free = Arc::new(Semaphore::new(size as usize));
        Self { size, free, waiting: AtomicU32::new(0), max_waiting, max_wait }
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// Takes `count` places if they are free now.
    pub(crate) fn try_take(&self, count: u32) -> Option<Slot> {
        let permit = self.free.clone().try_acquire_many_owned(count.min(self.size)).ok()?;
        Some(Slot { _permit: permit })
    }

    /// Takes `count` places, waiting for them behind those who came earlier; at most as many as there are.
    pub(crate) async fn take(&self, count: u32) -> Result<Slot, NoSlot> {
        if let Some(slot) = self.try_take(count) {
            return Ok(slot);
        }
        let count = count.min(self.size);
        let _waiting = self.queue()?;
        let permit = tokio::time::timeout(self.max_wait, self.free.clone().acquire_many_owned(count)).await;
        match permit {
            Ok(Ok(permit)) => Ok(Slot { _permit: permit }),
            // The semaphore is never closed, so an error can only be the timeout.
            Ok(Err(_)) | Err(_) => Err(NoSlot::TimedOut { sandboxes: self.size, waited: self.max_wait }),
        }
    }

    fn queue(&self) -> Result<Waiting<'_>, NoSlot> {
        let place = Waiting(&self.waiting);
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        if waiting >= self.max_waiting {
            return Err(NoSlot::QueueFull { sandboxes: self.size, waiting });
        }
        Ok(place)
    }
}

struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_most_decides_the_slots() {
        let slots = |memories, tables, core_instances| Demand { memories, tables, core_instances }.slots();
        assert_eq!(slots(0, 0, 0), 1);
        assert_eq!(slots(1, 2, 4), 1);
        assert_eq!(slots(3, 2, 4), 3);
        assert_eq!(slots(1, 9, 4), 3);
        assert_eq!(slots(1, 2, 65), 2);
    }
}
