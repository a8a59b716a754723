//! One run, as those outside see it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use casemate_host_bindings::{Message as Said, Role};
use uuid::Uuid;

use super::message::Message;
use super::request::Spec;
use super::start::{off_executor, read_bounded, within_workspace};
use super::{RunSummary, Runs};
use crate::event::{Event, EventKind, Settlement};
use crate::journal::{UnreadableEntry, read_event};
use crate::life::RunId;
use crate::storage::{Hints, Interest, RunRecord, Sent, Storage, StorageError};
use crate::workspace::WORKSPACE;

/// Bytes of a file that is read.
const LARGEST_FILE: u64 = 64 << 20;

/// How many events are read at once.
const PAGE: usize = 500;

/// How often is looked where no hint comes.
const POLL: Duration = Duration::from_secs(1);

/// A run, wherever it is executed. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Run {
    runs: Runs,
    id: RunId,
}

/// Why nothing can be done with a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There is none of that id.
    #[error("there is no run {id}")]
    NotFound {
        /// Which one was meant.
        id: RunId,
    },
    /// It is finished.
    #[error("run {id} is finished")]
    Finished {
        /// Which one.
        id: RunId,
    },
    /// It has no workspace.
    #[error("run {id} has no workspace")]
    NoWorkspace {
        /// Which one.
        id: RunId,
    },
    /// A file of its workspace cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    File {
        /// Its path in the workspace.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// What is kept of it cannot be read.
    #[error(transparent)]
    Entry(#[from] UnreadableEntry),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why the next event cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// It cannot be read.
    #[error(transparent)]
    Entry(#[from] UnreadableEntry),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Run {
    pub(super) fn new(runs: Runs, id: RunId) -> Self {
        Self { runs, id }
    }

    pub(super) fn runs(&self) -> &Runs {
        &self.runs
    }

    fn storage(&self) -> &Arc<dyn Storage> {
        self.runs.storage()
    }

    /// What tells it from all others.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// What is known of it now.
    pub async fn summary(&self) -> Result<RunSummary, RunError> {
        self.record().await.map(RunSummary::of)
    }

    pub(super) async fn record(&self) -> Result<RunRecord, RunError> {
        self.storage().run(self.id).await?.ok_or(RunError::NotFound { id: self.id })
    }

    pub(super) async fn spec(&self) -> Result<Spec, RunError> {
        let record = self.record().await?;
        let unreadable = |source| UnreadableEntry { sequence: 0, source };
        Ok(serde_json::from_str(&record.spec).map_err(unreadable)?)
    }

    /// Its events from number `from` on, at least 1: those that there are, and then those that come, until it is
    /// finished. Whoever comes again with the number after the last one misses nothing.
    pub fn events(&self, from: u64) -> RunEvents {
        RunEvents {
            storage: self.storage().clone(),
            run: self.id,
            next: from.max(1),
            read: VecDeque::new(),
            // From before the first look.
            hints: self.storage().watch(Interest::Run(self.id)),
            ended: false,
        }
    }

    /// The events that there are by now, from number `from` on, at most `limit`.
    pub async fn recorded(&self, from: u64, limit: usize) -> Result<Vec<Event>, EventsError> {
        let stored = self.storage().read(self.id, from.max(1), limit).await?;
        Ok(stored.iter().map(read_event).collect::<Result<_, _>>()?)
    }

    /// Has it executed here, where agents are found by [`find_agents`](crate::RunsBuilder::find_agents): now, where it
    /// can go on, and whenever it can later. One whose worker was lost goes on once the lease of that is over.
    pub fn execute(&self) {
        self.runs.inner.adopt(self.id);
    }

    /// Waits until it is finished, for days if need be.
    pub async fn wait(&self) -> Result<RunSummary, RunError> {
        let mut hints = self.storage().watch(Interest::State(self.id));
        loop {
            let summary = self.summary().await?;
            if summary.status.is_finished() {
                return Ok(summary);
            }
            something_new(hints.as_mut()).await;
        }
    }

    /// The conversation that its agent had last, with the answer to it: what another run can go on with. Of an agent
    /// that asked no model, its message and its output.
    pub async fn messages(&self) -> Result<Vec<Said>, RunError> {
        let (mut messages, mut from) = (Vec::new(), 1);
        let mut first = None;
        let (mut talked, mut own) = (false, None);
        loop {
            let events = self.storage().read(self.id, from, PAGE).await?;
            let Some(last) = events.last() else { break };
            from = last.sequence + 1;
            for stored in &events {
                match read_event(stored)?.kind {
                    EventKind::Created { message, .. } => first = Some(message),
                    EventKind::Chat { id, depth: 1, kept, messages: new, .. } => {
                        own = Some(id);
                        messages.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
                        messages.extend(new);
                        talked = true;
                    }
                    EventKind::ChatResult { id, message, .. } if own == Some(id) => messages.push(message),
                    EventKind::Complete { output, .. } if !talked => {
                        messages.extend(first.take());
                        messages.push(Said::text(Role::Assistant, output));
                    }
                    _ => {}
                }
            }
        }
        messages.extend(first.filter(|_| messages.is_empty()));
        Ok(messages)
    }

    /// Gives it input: for what it asks, or for what it will ask.
    pub async fn send_input(&self, content: impl Into<String>) -> Result<(), RunError> {
        self.send(&Message::Input { content: content.into() }).await
    }

    /// Has it pause: its agent computes nothing from its next slice of time on, whatever it does. What its tools are at
    /// goes on, and is recorded.
    pub async fn pause(&self) -> Result<(), RunError> {
        self.send(&Message::Pause).await
    }

    /// Has a paused one go on.
    pub async fn resume(&self) -> Result<(), RunError> {
        self.send(&Message::Resume).await
    }

    /// Stops it for good. Effects under way are cancelled; what was done stays recorded.
    pub async fn cancel(&self, reason: impl Into<String>) -> Result<(), RunError> {
        self.send(&Message::Cancel { reason: reason.into() }).await
    }

    /// Says what became of an effect in doubt, by the id that its events have, in the name of `by`.
    pub async fn settle(&self, effect: u64, settlement: Settlement, by: impl Into<String>) -> Result<(), RunError> {
        self.send(&Message::Settle { effect, settlement, by: by.into() }).await
    }

    async fn send(&self, message: &Message) -> Result<(), RunError> {
        let sent = self.storage().send(self.id, Uuid::now_v7(), message.text().into()).await?;
        self.runs.inner.work.notify_one();
        match sent {
            Sent::Delivered => Ok(()),
            Sent::Finished => Err(RunError::Finished { id: self.id }),
            Sent::NotFound => Err(RunError::NotFound { id: self.id }),
        }
    }

    /// The files of its workspace, by their paths there, in order.
    pub async fn files(&self) -> Result<Vec<String>, RunError> {
        let folder = self.workspace().await?;
        let listed = off_executor(move || list(&folder)).await;
        listed.map_err(|source| RunError::File { path: WORKSPACE.to_owned(), source })
    }

    /// What is in a file of its workspace, which may have 64 MiB.
    pub async fn read_file(&self, path: &str) -> Result<Vec<u8>, RunError> {
        let folder = self.workspace().await?;
        let inside = within_workspace(path).to_owned();
        let read = off_executor(move || {
            let folder = cap_std::fs::Dir::open_ambient_dir(folder, cap_std::ambient_authority())?;
            read_bounded(&folder, &inside, LARGEST_FILE)
        });
        read.await.map_err(|source| RunError::File { path: path.to_owned(), source })
    }

    async fn workspace(&self) -> Result<PathBuf, RunError> {
        self.spec().await?.workspace.ok_or(RunError::NoWorkspace { id: self.id })
    }
}

/// All files below a folder, without following links.
fn list(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut files = Vec::new();
    let root = cap_std::fs::Dir::open_ambient_dir(folder, cap_std::ambient_authority())?;
    // By their paths: opened, as many would be held as there are.
    let mut left = vec![String::new()];
    while let Some(above) = left.pop() {
        let folder = if above.is_empty() { root.try_clone()? } else { root.open_dir(&above)? };
        for entry in folder.entries()? {
            let entry = entry?;
            let path = format!("{above}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                left.push(format!("{path}/"));
            } else if kind.is_file() {
                files.push(path);
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Waits until something may have changed.
async fn something_new(hints: &mut dyn Hints) {
    // A hint may be lost.
    let _ = tokio::time::timeout(POLL, hints.next()).await;
}

/// The events of a run from a number on, in order; see [`Run::events`].
pub struct RunEvents {
    storage: Arc<dyn Storage>,
    run: RunId,
    next: u64,
    read: VecDeque<Event>,
    hints: Box<dyn Hints>,
    ended: bool,
}

impl RunEvents {
    /// The next event; none after the last one of a run that is finished. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<Result<Event, EventsError>> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.next = event.sequence + 1;
                self.ended |= event.kind.is_last();
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            match self.read_on().await {
                Ok(true) => {}
                Ok(false) => something_new(self.hints.as_mut()).await,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Whether there was more.
    async fn read_on(&mut self) -> Result<bool, EventsError> {
        let page = self.storage.read(self.run, self.next, PAGE).await?;
        for stored in &page {
            self.read.push_back(read_event(stored)?);
        }
        Ok(!page.is_empty())
    }
}

impl std::fmt::Debug for RunEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunEvents").field("run", &self.run).field("next", &self.next).finish_non_exhaustive()
    }
}
