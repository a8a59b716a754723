//! Approvals of runs: asked in one process, decided in any.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::Runs;
use super::execute::{ExecuteError, Owned};
use super::message::{Message, written};
use crate::gate::{Answer, ApprovalId, ApprovalRequest, Given};
use crate::life::RunId;
use crate::storage::{Decided, StorageError, StoredApproval, StoredDecision};

/// A question to a person about exactly one effect of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Approval {
    /// The run that asks.
    pub run: RunId,
    /// What it asks.
    #[serde(flatten)]
    pub request: ApprovalRequest,
    /// What was decided, and by whom, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// What a person decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Decision {
    /// What.
    #[serde(flatten)]
    pub answer: Answer,
    /// Who.
    pub by: String,
    /// When.
    #[serde(with = "crate::event::timestamp")]
    pub at: SystemTime,
}

/// Why a decision does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecideError {
    /// There is none of that id, or nobody waits for it any more.
    #[error("approval {id} waits for no decision: it never was, or its run does not need it any more")]
    NotFound {
        /// Which one was meant.
        id: ApprovalId,
    },
    /// It was decided before.
    #[error("approval {id} was decided already, by {by}")]
    Already {
        /// Which one was meant.
        id: ApprovalId,
        /// Who decided it.
        by: String,
    },
    /// It comes too late.
    #[error("approval {id} has expired")]
    Expired {
        /// Which one was meant.
        id: ApprovalId,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Runs {
    /// The approvals that nobody has decided yet, oldest first; of one run, where one is named.
    pub async fn approvals(&self, run: Option<RunId>, limit: usize) -> Result<Vec<Approval>, StorageError> {
        let pending = self.inner.storage.pending_approvals(run, limit).await?;
        Ok(pending.into_iter().filter_map(Approval::read).collect())
    }

    /// An approval, decided or not.
    pub async fn approval(&self, id: ApprovalId) -> Result<Option<Approval>, StorageError> {
        Ok(self.inner.storage.approval(id).await?.and_then(Approval::read))
    }

    /// Decides an approval in the name of `by`. Of several decisions the first counts. The run goes on wherever it is
    /// executed.
    pub async fn decide(&self, id: ApprovalId, answer: Answer, by: impl Into<String>) -> Result<(), DecideError> {
        let storage = &self.inner.storage;
        let stored = storage.approval(id).await?.ok_or(DecideError::NotFound { id })?;
        let decision = StoredDecision { text: written(&answer).into(), by: by.into(), at: self.inner.clock.now() };
        let message = Message::Decided { approval: id }.text().into();
        let decided = storage.decide(id, stored.asked.hash, decision, message).await?;
        self.inner.work.notify_one();
        match decided {
            Decided::Taken => Ok(()),
            Decided::Already(decision) => Err(DecideError::Already { id, by: decision.by }),
            Decided::Expired => Err(DecideError::Expired { id }),
            Decided::OtherArguments | Decided::NotFound => Err(DecideError::NotFound { id }),
        }
    }
}

impl Approval {
    fn read(stored: StoredApproval) -> Option<Self> {
        let request = serde_json::from_str(&stored.asked.text).ok()?;
        let decision = stored.decision.and_then(|decision| {
            let StoredDecision { text, by, at } = decision;
            Some(Decision { answer: serde_json::from_str(&text).ok()?, by, at })
        });
        Some(Self { run: stored.run, request, decision })
    }
}

impl Owned<'_> {
    /// Has the storage say which answers count, of those that somebody in this process gave.
    pub(super) async fn decide_proposed(&mut self) -> Result<(), ExecuteError> {
        for proposed in self.journal.proposed() {
            let storage = &self.inner.storage;
            let Some(stored) = storage.approval(proposed.approval).await? else { continue };
            let expires = stored.asked.expires;
            let decision = StoredDecision {
                text: written(&proposed.answer).into(),
                by: String::new(),
                // Nobody answered: that is an answer of the last moment in which there could be one.
                at: self.inner.clock.now().min(expires - std::time::Duration::from_micros(1)),
            };
            let message: Arc<str> = Message::Decided { approval: proposed.approval }.text().into();
            storage.decide(proposed.approval, stored.asked.hash, decision, message).await?;
            self.look_at(proposed.approval).await?;
        }
        Ok(())
    }

    /// Tells whoever waits for it what was decided.
    pub(super) async fn look_at(&self, approval: ApprovalId) -> Result<(), ExecuteError> {
        let Some(stored) = self.inner.storage.approval(approval).await? else { return Ok(()) };
        let Some(decision) = stored.decision else { return Ok(()) };
        if let Ok(answer) = serde_json::from_str(&decision.text) {
            let by = Some(decision.by).filter(|by| !by.is_empty());
            self.journal.decided(approval, Given { answer, by });
        }
        Ok(())
    }
}
