//! Giving a run back, so that another worker, or this one, goes on with it later.

use std::time::Duration;

use super::{ExecuteError, Owned};
use crate::event::{Event, EventKind};
use crate::journal::{Entry, Trace, Wait, to_micros};
use crate::life::{RunId, RunStatus};
use crate::run::Inner;
use crate::run::summary::Detail;
use crate::storage::{Append, AppendError, RunState};

/// How long a storage may take that a run is given back to.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a run is given back.
pub(super) enum Leaving {
    /// In that state.
    Finished(Option<RunState>),
    Waiting(Wait),
    Paused,
    /// The worker stops, or the agent is not known here.
    Unfinished,
    /// It is tried again a little later: the host is overloaded, or the storage fails.
    Later,
    /// Another worker has it, or the storage is not what it was: nothing more is written.
    Lost,
}

/// How an execution went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// The run was given back as it is to be.
    On,
    /// It was not, and would best be tried again a little later.
    Nowhere,
}

impl Owned<'_> {
    /// Gives the run back.
    pub(super) async fn leave(&mut self, leaving: Leaving) -> Result<Came, ExecuteError> {
        let state = match leaving {
            Leaving::Lost | Leaving::Later => return Ok(Came::Nowhere),
            Leaving::Unfinished if !self.paused => None,
            Leaving::Finished(state) => state,
            Leaving::Unfinished | Leaving::Paused => {
                self.detail().stopped(&EventKind::Paused { reason: self.pause_reason.clone() })
            }
            Leaving::Waiting(Wait { on, wake_at, .. }) => {
                self.journal.tell(EventKind::Waiting { on: on.clone() });
                let state = self.detail().state(RunStatus::Waiting);
                Some(RunState { waiting_on: Some(on), wake_at, ..state })
            }
        };
        let released = tokio::time::timeout(PATIENCE, self.release(state)).await;
        released.unwrap_or_else(|_| Err(ExecuteError::Journal("the storage does not answer".into())))?;
        Ok(Came::On)
    }

    async fn release(&self, state: Option<RunState>) -> Result<(), ExecuteError> {
        self.keep_all_but_the_last().await?;
        let mut append = self.journal.last_append(self.epoch);
        append.state = state;
        self.inner.storage.release(append, self.consumed).await?;
        Ok(())
    }

    /// What was handed to the storage is there before anything else.
    async fn keep_all_but_the_last(&self) -> Result<(), ExecuteError> {
        if self.journal.has_handed() { self.keep_all().await } else { Ok(()) }
    }
}

impl Inner {
    /// Has a run end or pause, as long as it is still this worker's, whatever its journal says.
    pub(super) async fn stop_with(&self, run: RunId, epoch: u64, stop: EventKind, detail: &str) -> Came {
        tracing::error!(%run, ?stop, "nobody can go on with the run");
        match self.try_stop_with(run, epoch, stop, detail).await {
            Ok(()) => Came::On,
            Err(error) => {
                tracing::warn!(%run, %error, "that the run stops cannot be kept yet");
                Came::Nowhere
            }
        }
    }

    async fn try_stop_with(&self, run: RunId, epoch: u64, stop: EventKind, detail: &str) -> Result<(), ExecuteError> {
        let head = self.storage.head(run).await?;
        let Some(head) = head.filter(|head| head.epoch == epoch) else { return Ok(()) };
        let state = Detail::read(detail).stopped(&stop);
        let event = Event { sequence: head.next, kind: stop, at: to_micros(self.clock.now()) };
        let entry = Entry { event, trace: Trace::default() };
        let append = Append { entries: Entry::stored(&[entry]), state, ..nothing(run, epoch, head.next) };
        self.storage.release(append, head.inbox).await?;
        Ok(())
    }

    /// Has a run queued that could not be gone on with, as long as it is still this worker's.
    pub(super) async fn give_back(&self, run: RunId, epoch: u64) {
        let mut stop = self.stop.clone();
        for pause in BACKOFF {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // It is taken over once the lease is given up.
                _ = stop.wait_for(|stop| *stop) => return,
            }
            match self.try_give_back(run, epoch).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%run, %error, "the run cannot be given back yet"),
            }
        }
    }

    async fn try_give_back(&self, run: RunId, epoch: u64) -> Result<(), ExecuteError> {
        let head = self.storage.head(run).await?;
        let Some(head) = head.filter(|head| head.epoch == epoch) else { return Ok(()) };
        match self.storage.release(nothing(run, epoch, head.next), head.inbox).await {
            // It is another's by now.
            Ok(_) | Err(AppendError::Fenced { .. } | AppendError::NotFound) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn nothing(run: RunId, epoch: u64, expected_next: u64) -> Append {
    Append {
        run,
        epoch,
        expected_next,
        entries: Vec::new(),
        state: None,
        consumed_inbox: None,
        approvals: Vec::new(),
        withdrawn: Vec::new(),
        blobs: Vec::new(),
    }
}

/// After which pauses a run is given back that could not be gone on with: the storage may be failing.
const BACKOFF: [Duration; 6] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(1),
];
