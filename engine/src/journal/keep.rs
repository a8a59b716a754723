//! Handing entries to the storage.

use std::sync::Arc;
use std::time::Duration;

use super::{Entry, Halt, Journal, State, Unkept};
use crate::storage::{Append, AppendError, Storage};

/// How long entries that nobody waits for may be unkept.
const LINGER: Duration = Duration::from_millis(20);

/// After which pauses a storage that fails is tried again.
const PAUSES: [Option<Duration>; 4] =
    [None, Some(Duration::from_millis(50)), Some(Duration::from_millis(500)), Some(Duration::from_secs(2))];

impl Journal {
    /// Keeps what is recorded, in order, for as long as it is polled. Ends only where the run stops.
    pub(crate) async fn keep(&self, storage: &dyn Storage, epoch: u64) {
        loop {
            self.0.work.notified().await;
            if self.state().unkept.is_empty() {
                // It was told of what it has kept meanwhile.
                continue;
            }
            if !self.is_urgent() {
                tokio::select! {
                    () = tokio::time::sleep(LINGER) => {}
                    () = self.urgent() => {}
                }
            }
            if let Err(halt) = self.keep_all(storage, epoch).await {
                return self.halt(halt);
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

    /// Keeps everything that is recorded by now. What was handed over before and not acknowledged is handed over again
    /// first: the storage knows it by its numbers.
    pub(crate) async fn keep_all(&self, storage: &dyn Storage, epoch: u64) -> Result<(), Halt> {
        while let Some((append, attempt)) = self.hand_over(epoch) {
            let last = append.expected_next + append.entries.len() as u64 - 1;
            append_surely(storage, &append, attempt).await?;
            let mut state = self.state();
            (state.handed, state.durable) = (None, last);
            drop(state);
            self.0.kept.notify_waiters();
        }
        Ok(())
    }

    /// What the storage is to take next, if there is anything.
    fn hand_over(&self, epoch: u64) -> Option<(Arc<Append>, Attempt)> {
        let mut state = self.state();
        state.urgent = false;
        if let Some(append) = &state.handed {
            return Some((append.clone(), Attempt::Further));
        }
        if state.unkept.is_empty() {
            return None;
        }
        let append = Arc::new(self.append_of(&mut state, epoch));
        state.handed = Some(append.clone());
        Some((append, Attempt::First))
    }

    /// Whether something was handed to the storage that it did not acknowledge.
    pub(crate) fn has_handed(&self) -> bool {
        self.state().handed.is_some()
    }

    /// The last append of an owner, after [`keep_all`](Self::keep_all).
    pub(crate) fn last_append(&self, epoch: u64) -> Append {
        self.append_of(&mut self.state(), epoch)
    }

    fn append_of(&self, state: &mut State, epoch: u64) -> Append {
        let expected_next = state.durable + 1;
        let Unkept { entries, state: run_state, consumed_inbox, approvals, withdrawn } =
            std::mem::take(&mut state.unkept);
        Append {
            run: self.run(),
            epoch,
            expected_next,
            entries: Entry::stored(&entries),
            state: run_state,
            consumed_inbox,
            approvals,
            withdrawn,
            blobs: Vec::new(),
        }
    }
}

impl Unkept {
    /// Approvals come with the entries that ask for them.
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.state.is_none() && self.consumed_inbox.is_none() && self.withdrawn.is_empty()
    }
}

/// Whether the storage may have something already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Further,
}

/// Appends; where nobody knows whether it was done, finds out.
async fn append_surely(storage: &dyn Storage, append: &Append, mut attempt: Attempt) -> Result<(), Halt> {
    let after = append.expected_next + append.entries.len() as u64;
    let mut failure: Arc<str> = "the storage does not answer".into();
    for pause in PAUSES {
        // A timer would be late even for no time at all, by the millisecond that it is rounded up to.
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        match storage.append(append.clone()).await {
            Ok(_) => return Ok(()),
            Err(AppendError::WentBack { .. }) => return Err(Halt::WentBack),
            // It was done after all, by an attempt of which nobody knew.
            Err(AppendError::Conflict { next })
                if attempt == Attempt::Further && next == after && after > append.expected_next =>
            {
                return Ok(());
            }
            Err(AppendError::Fenced { .. } | AppendError::NotFound | AppendError::Conflict { .. }) => {
                return Err(Halt::Fenced);
            }
            Err(AppendError::Refused(cause)) => failure = cause.to_string().into(),
            Err(AppendError::Unknown(cause)) => {
                (failure, attempt) = (cause.to_string().into(), Attempt::Further);
                match storage.head(append.run).await {
                    Ok(Some(head)) if head.epoch != append.epoch => return Err(Halt::Fenced),
                    Ok(Some(head)) if head.next == after && after > append.expected_next => return Ok(()),
                    Ok(Some(head)) if head.next < append.expected_next => return Err(Halt::WentBack),
                    Ok(_) => {}
                    Err(error) => failure = error.to_string().into(),
                }
            }
        }
    }
    Err(Halt::Storage(failure))
}
