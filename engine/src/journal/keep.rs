//! Handing entries to the storage.

use std::sync::Arc;
use std::time::Duration;

use super::{Halt, Journal, Unkept};
use crate::storage::{Append, AppendError, Storage};

/// How long entries that nobody waits for may be unkept.
const LINGER: Duration = Duration::from_millis(20);

/// How often the storage is asked what became of an append that it does not know of.
const ATTEMPTS: u32 = 5;

impl Journal {
    /// Keeps what is recorded, in order, for as long as it is polled. Ends only with the run.
    pub(crate) async fn keep(&self, storage: &dyn Storage, epoch: u64) {
        loop {
            self.0.work.notified().await;
            if !self.is_urgent() {
                tokio::select! {
                    () = tokio::time::sleep(LINGER) => {}
                    () = self.urgent() => {}
                }
            }
            if let Err(halt) = self.keep_all(storage, epoch).await {
                self.halt(halt);
                return;
            }
        }
    }

    fn is_urgent(&self) -> bool {
        self.state().urgent
    }

    async fn urgent(&self) {
        while !self.is_urgent() {
            self.0.work.notified().await;
        }
    }

    /// Keeps everything that is recorded by now.
    pub(crate) async fn keep_all(&self, storage: &dyn Storage, epoch: u64) -> Result<(), Halt> {
        while let Some((unkept, expected_next)) = self.take_unkept() {
            let last = unkept.entries.last().map_or(expected_next - 1, |entry| entry.event.sequence);
            let append = self.append_of(unkept, expected_next, epoch);
            append_surely(storage, append).await?;
            self.state().durable = last;
            self.0.news.notify_waiters();
        }
        Ok(())
    }

    fn take_unkept(&self) -> Option<(Unkept, u64)> {
        let mut state = self.state();
        state.urgent = false;
        let expected = state.durable + 1;
        let unkept = std::mem::take(&mut state.unkept);
        let empty = unkept.entries.is_empty()
            && unkept.state.is_none()
            && unkept.consumed_inbox.is_none()
            && unkept.withdrawn.is_empty();
        (!empty).then_some((unkept, expected))
    }

    /// The last append of a worker, with all that is not kept yet.
    pub(crate) fn last_append(&self, epoch: u64) -> Append {
        let (unkept, expected) = self.take_unkept().unwrap_or_else(|| (Unkept::default(), self.state().durable + 1));
        self.append_of(unkept, expected, epoch)
    }

    fn append_of(&self, unkept: Unkept, expected_next: u64, epoch: u64) -> Append {
        Append {
            run: self.run(),
            epoch,
            expected_next,
            entries: unkept.entries.iter().map(super::Entry::stored).collect(),
            state: unkept.state,
            consumed_inbox: unkept.consumed_inbox,
            approvals: unkept.approvals,
            withdrawn: unkept.withdrawn,
            blobs: Vec::new(),
        }
    }
}

/// Appends; where nobody knows whether it was done, finds out.
async fn append_surely(storage: &dyn Storage, append: Append) -> Result<(), Halt> {
    let after = append.expected_next + append.entries.len() as u64;
    let mut failure: Arc<str> = "the storage does not answer".into();
    for _ in 0..ATTEMPTS {
        match storage.append(append.clone()).await {
            Ok(_) => return Ok(()),
            Err(AppendError::Fenced { .. } | AppendError::NotFound) => return Err(Halt::Fenced),
            Err(AppendError::WentBack { .. }) => return Err(Halt::WentBack),
            // It was done after all, by an attempt of which nobody knew.
            Err(AppendError::Conflict { next }) if next == after && after > append.expected_next => return Ok(()),
            Err(AppendError::Conflict { .. }) => return Err(Halt::Fenced),
            Err(AppendError::Refused(cause)) => return Err(Halt::Storage(cause.to_string().into())),
            Err(AppendError::Unknown(cause)) => failure = cause.to_string().into(),
        }
        match storage.head(append.run).await {
            Ok(Some(head)) if head.epoch != append.epoch => return Err(Halt::Fenced),
            Ok(Some(head)) if head.next == after && after > append.expected_next => return Ok(()),
            Ok(Some(head)) if head.next < append.expected_next => return Err(Halt::WentBack),
            Ok(_) => {}
            Err(error) => failure = error.to_string().into(),
        }
    }
    Err(Halt::Storage(failure))
}
