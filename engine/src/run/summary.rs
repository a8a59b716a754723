//! A run without its journal, as lists show it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::execute::divergence;
use super::request::Spec;
use crate::call::ErrorKind;
use crate::component::ContentHash;
use crate::event::{EventKind, RunUsage, timestamp};
use crate::life::{RunId, RunStatus, WaitingOn};
use crate::storage::{RunRecord, RunState};

/// A run without its journal.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunSummary {
    /// Which run.
    pub id: RunId,
    /// The name of its agent.
    pub agent: String,
    /// The hash of the component that its agent is; of a run that is still to be created, none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<ContentHash>,
    /// Where it is in its life.
    pub status: RunStatus,
    /// What it waits for, where it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_on: Option<WaitingOn>,
    /// When it was created.
    #[serde(with = "timestamp")]
    pub created: SystemTime,
    /// When its state changed last.
    #[serde(with = "timestamp")]
    pub updated: SystemTime,
    /// What it said, once it is finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Why it has no output, where it failed; or why it is paused, where nobody asked for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<RunFailure>,
    /// What it took, up to when it was kept last.
    pub usage: RunUsage,
    /// What the embedder attached.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub attachment: Value,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct RunFailure {
    /// What sort of end it was.
    pub kind: ErrorKind,
    /// Why.
    pub message: String,
}

/// What the storage keeps of a run's state as text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Detail {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<RunFailure>,
    #[serde(default)]
    pub(super) usage: RunUsage,
}

impl Detail {
    pub(super) fn read(text: &str) -> Self {
        // What another version wrote beside is left out.
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The state of a run that stops with that event; none where it does not.
    pub(super) fn stopped(self, stop: &EventKind) -> Option<RunState> {
        let (status, failure) = match stop {
            EventKind::Complete { output, .. } => {
                return Some(Self { output: Some(output.clone()), ..self }.state(RunStatus::Completed));
            }
            EventKind::Failed { kind, message, .. } => {
                (RunStatus::Failed, RunFailure { kind: *kind, message: message.clone() })
            }
            EventKind::Paused { reason } => {
                let failure = reason.clone().map(|message| RunFailure { kind: ErrorKind::Internal, message });
                return Some(Self { failure, ..self }.state(RunStatus::Paused));
            }
            EventKind::Cancelled { reason } => {
                (RunStatus::Cancelled, RunFailure { kind: ErrorKind::Cancelled, message: reason.clone() })
            }
            EventKind::Diverged { position, recorded, attempted } => {
                let message = divergence(*position, recorded.as_deref(), attempted.as_deref());
                (RunStatus::Diverged, RunFailure { kind: ErrorKind::Internal, message })
            }
            _ => return None,
        };
        Some(Self { failure: Some(failure), ..self }.state(status))
    }

    pub(super) fn state(&self, status: RunStatus) -> RunState {
        // It is data without keys that are no text.
        let detail = serde_json::to_string(self).unwrap_or_default();
        RunState { status, waiting_on: None, wake_at: None, detail: detail.into() }
    }
}

impl RunSummary {
    /// A run that is to be.
    pub(super) fn unborn(id: RunId, agent: &str, at: SystemTime, attachment: &Value) -> Self {
        Self {
            id,
            agent: agent.to_owned(),
            component: None,
            status: RunStatus::Queued,
            waiting_on: None,
            created: at,
            updated: at,
            output: None,
            failure: None,
            usage: RunUsage::default(),
            attachment: attachment.clone(),
        }
    }

    pub(super) fn of(record: RunRecord) -> Self {
        let Detail { output, failure, usage } = Detail::read(&record.state.detail);
        // What another version wrote may not be read; then its owner says so.
        let spec = serde_json::from_str::<Spec>(&record.spec).ok();
        let (component, attachment) = spec.map(|spec| (spec.component, spec.attachment)).unzip();
        Self {
            id: record.id,
            agent: record.agent,
            component,
            status: record.state.status,
            waiting_on: record.state.waiting_on,
            created: record.created,
            updated: record.updated,
            output,
            failure,
            usage,
            attachment: attachment.unwrap_or_default(),
        }
    }
}
