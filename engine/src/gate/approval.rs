//! Asking a person about exactly one effect.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use casemate_policy::{Annotations, Rule, ToolSource};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::event::{Subject, timestamp};
use crate::json::ArgumentsHash;
use crate::storage::NewApproval;

/// What tells an approval from all others, those of other Gates and processes included: a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApprovalId(Uuid);

impl ApprovalId {
    pub(super) fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id that [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its bytes, for whoever stores it; in their order ids are about in that of creation.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl fmt::Display for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ApprovalId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// A question to a person about exactly one effect: that subject with those arguments, under that policy. The answer is
/// used once, for this effect and no other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApprovalRequest {
    /// What tells this approval from all others.
    pub id: ApprovalId,
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// Where the tool comes from, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ToolSource>,
    /// What the tool says of itself; of what is no tool, the worst.
    pub annotations: Annotations,
    /// The arguments, in full.
    pub input: Arc<Value>,
    /// The hash of exactly these arguments.
    pub hash: ArgumentsHash,
    /// What is asked.
    pub question: String,
    /// The rules that ask; none where the grant does.
    pub rules: Vec<Rule>,
    /// The version of the policy under which it is asked, where there is one.
    pub policy: Option<String>,
    /// The id of the principal on whose behalf.
    pub principal: String,
    /// When an answer comes too late.
    #[serde(with = "timestamp")]
    pub expires: SystemTime,
}

impl ApprovalRequest {
    /// As the storage keeps it.
    pub(super) fn to_stored(&self) -> NewApproval {
        // It was made of what can be written.
        let text = serde_json::to_string(self).unwrap_or_default();
        NewApproval { id: self.id, hash: self.hash, expires: self.expires, text: text.into() }
    }
}

/// A person's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer", content = "with")]
#[non_exhaustive]
pub enum Answer {
    /// Yes, exactly so.
    Approve,
    /// Yes, but with these arguments instead. They are recorded as the person's, and policy decides them afresh: a
    /// deny stands. Only calls of tools can be edited; for all else it is a no.
    ApproveEdited(Value),
    /// No.
    Reject {
        /// Why, in words fit for whoever asked, a model included.
        reason: String,
    },
}

/// An answer, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Given {
    pub(crate) answer: Answer,
    pub(crate) by: Option<String>,
}

impl Given {
    pub(super) fn by_nobody(answer: Answer) -> Self {
        Self { answer, by: None }
    }
}

/// What [`Approver::ask`] answers with, when a person has.
pub type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Asks people. The future is dropped when the one who asks is gone, or when the approval expires.
pub trait Approver: Send + Sync {
    /// Asks about one effect.
    fn ask(&self, request: ApprovalRequest) -> AnswerFuture;
}

impl<F, A> Approver for F
where
    F: Fn(ApprovalRequest) -> A + Send + Sync,
    A: Future<Output = Answer> + Send + 'static,
{
    fn ask(&self, request: ApprovalRequest) -> AnswerFuture {
        Box::pin(self(request))
    }
}

/// An approver that keeps questions until somebody lists and answers them; clones are the same.
///
/// Questions live in memory, and go away with whoever asked.
#[derive(Clone, Default)]
pub struct PendingApprovals(Arc<Mutex<BTreeMap<ApprovalId, Pending>>>);

struct Pending {
    request: ApprovalRequest,
    answer: oneshot::Sender<Answer>,
}

impl PendingApprovals {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// All questions without an answer, oldest first.
    pub fn list(&self) -> Vec<ApprovalRequest> {
        self.lock().values().map(|pending| pending.request.clone()).collect()
    }

    /// Says yes.
    pub fn approve(&self, id: ApprovalId) -> Result<(), NotPending> {
        self.answer(id, Answer::Approve)
    }

    /// Says yes to other arguments; see [`Answer::ApproveEdited`].
    pub fn approve_edited(&self, id: ApprovalId, input: Value) -> Result<(), NotPending> {
        self.answer(id, Answer::ApproveEdited(input))
    }

    /// Says no.
    pub fn reject(&self, id: ApprovalId, reason: impl Into<String>) -> Result<(), NotPending> {
        self.answer(id, Answer::Reject { reason: reason.into() })
    }

    fn answer(&self, id: ApprovalId, answer: Answer) -> Result<(), NotPending> {
        let pending = self.lock().remove(&id).ok_or(NotPending { id })?;
        pending.answer.send(answer).map_err(|_| NotPending { id })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ApprovalId, Pending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Approver for PendingApprovals {
    fn ask(&self, request: ApprovalRequest) -> AnswerFuture {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { all: self.clone(), id: request.id };
        self.lock().insert(request.id, Pending { request, answer });
        Box::pin(async move {
            let _asked = asked;
            answered.await.unwrap_or_else(|_| Answer::Reject { reason: "the question was withdrawn".to_owned() })
        })
    }
}

impl fmt::Debug for PendingApprovals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().keys()).finish()
    }
}

/// Withdraws the question when nobody waits for its answer any more.
struct Asked {
    all: PendingApprovals,
    id: ApprovalId,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}

/// No such approval waits for an answer: it was answered, expired, was withdrawn, or never was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("approval {id} waits for no answer: it was answered, expired or withdrawn")]
#[non_exhaustive]
pub struct NotPending {
    /// Which one was meant.
    pub id: ApprovalId,
}
