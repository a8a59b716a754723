//! An approver that answers as a test says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::gate::{Answer, AnswerFuture, ApprovalRequest, Approver};

/// Answers each question with the next of its answers, and rejects what is asked after the last. Its clones are the same
/// approver.
///
/// ```
/// use casemate::testing::ScriptedApprover;
/// use casemate::{Answer, Gate};
///
/// let approver = ScriptedApprover::new([Answer::Approve]);
/// let gate = Gate::builder().approver(approver.clone()).build();
/// assert!(approver.asked().is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct ScriptedApprover(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    answers: VecDeque<Answer>,
    asked: Vec<ApprovalRequest>,
}

impl ScriptedApprover {
    /// One with these answers, in order.
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let script = Script { answers: answers.into_iter().collect(), asked: Vec::new() };
        Self(Arc::new(Mutex::new(script)))
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<ApprovalRequest> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Approver for ScriptedApprover {
    fn ask(&self, request: ApprovalRequest) -> AnswerFuture {
        let mut script = self.lock();
        script.asked.push(request);
        let answer = script.answers.pop_front();
        let answer = answer.unwrap_or_else(|| Answer::Reject { reason: "the script has no further answer".to_owned() });
        Box::pin(std::future::ready(answer))
    }
}
