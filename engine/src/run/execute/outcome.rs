//! What becomes of a run whose sandbox is gone.

use super::leave::Leaving;
use super::{ExecuteError, Handled, Owned};
use crate::call::{CallError, ErrorKind};
use crate::event::EventKind;
use crate::journal::Halt;
use crate::life::{RunId, RunStatus};
use crate::limits::LimitKind;
use crate::run::request::Spec;
use crate::run::summary::{Detail, RunFailure};

impl Owned<'_> {
    pub(super) fn detail(&self) -> Detail {
        Detail { usage: self.journal.usage(), ..Detail::default() }
    }

    pub(super) fn cancelled(&self, reason: String) -> Leaving {
        self.journal.tell(EventKind::Cancelled { reason: reason.clone() });
        let failure = RunFailure { kind: ErrorKind::Cancelled, message: reason };
        Leaving::Finished(RunStatus::Cancelled, Detail { failure: Some(failure), ..self.detail() })
    }

    pub(super) async fn failed(&self, error: &CallError, spec: &Spec) -> Result<Leaving, ExecuteError> {
        self.failure(error.kind(), error.to_string(), spec).await
    }

    async fn failure(&self, kind: ErrorKind, message: String, spec: &Spec) -> Result<Leaving, ExecuteError> {
        let retried_as = self.try_again(spec).await?;
        Ok(self.failed_for_good(kind, message, retried_as))
    }

    fn failed_for_good(&self, kind: ErrorKind, message: String, retried_as: Option<RunId>) -> Leaving {
        self.journal.tell(EventKind::Failed { kind, message: message.clone(), retried_as });
        let failure = RunFailure { kind, message };
        Leaving::Finished(RunStatus::Failed, Detail { failure: Some(failure), ..self.detail() })
    }

    /// Starts another run in the place of this one, where it may be tried again.
    async fn try_again(&self, spec: &Spec) -> Result<Option<RunId>, ExecuteError> {
        let Some(retries) = spec.retries.checked_sub(1) else { return Ok(None) };
        let spec = Spec { retries, seed: crate::run::start::seed(), forked_from: None, ..spec.clone() };
        let key = format!("retry of {}", self.id);
        Ok(Some(self.inner.create(RunId::new(), &spec, Some(key)).await?))
    }

    pub(super) fn diverged(&self, position: u64, recorded: Option<String>, attempted: Option<String>) -> Leaving {
        let message = divergence(position, recorded.as_deref(), attempted.as_deref());
        self.journal.tell(EventKind::Diverged { position, recorded, attempted });
        let failure = RunFailure { kind: ErrorKind::Internal, message };
        Leaving::Finished(RunStatus::Diverged, Detail { failure: Some(failure), ..self.detail() })
    }

    /// What becomes of a run whose handler came to an end.
    pub(super) async fn finished(&self, handled: Handled, spec: &Spec) -> Result<Leaving, ExecuteError> {
        if let Some((position, recorded)) = self.journal.left_over()
            && !is_out_of_time(&handled)
        {
            let attempted = match &handled {
                Ok(_) => None,
                Err(error) => Some(error.to_string()),
            };
            return Ok(self.diverged(position, Some(recorded), attempted));
        }
        let response = match handled {
            Ok(Ok(response)) => response,
            Ok(Err(message)) => return self.failure(ErrorKind::ToolError, message, spec).await,
            Err(error) => return self.failed(&error, spec).await,
        };
        let said = self.journal.output();
        let output = if said.is_empty() { response.output } else { said };
        let (files, usage) = (self.journal.files(), self.journal.usage());
        self.journal.tell(EventKind::Complete { output: output.clone(), files, usage });
        Ok(Leaving::Finished(RunStatus::Completed, Detail { output: Some(output), ..self.detail() }))
    }

    pub(super) fn halted(&self, halt: Halt) -> Result<Leaving, ExecuteError> {
        Ok(match halt {
            Halt::Fenced | Halt::WentBack | Halt::UsedUp => Leaving::Lost,
            Halt::Storage(error) => return Err(ExecuteError::Journal(error)),
            Halt::Diverged { position, recorded, attempted } => self.diverged(position, recorded, attempted),
            // A person said so: it is not tried again.
            Halt::Failed(reason) => self.failed_for_good(ErrorKind::ToolError, reason, None),
        })
    }
}

/// Whether the time that it had was over, which says nothing of what it would have done.
fn is_out_of_time(handled: &Handled) -> bool {
    matches!(handled, Err(CallError::LimitExceeded(limit)) if limit.limit == LimitKind::WallTime)
}

/// For people: what an agent did, and what it did before.
pub(in crate::run) fn divergence(position: u64, recorded: Option<&str>, attempted: Option<&str>) -> String {
    let came_to_its_end = "it came to its end";
    format!(
        "on replay effect {position} of the agent is another one: recorded is {}, and now it is {}",
        recorded.unwrap_or(came_to_its_end),
        attempted.unwrap_or(came_to_its_end)
    )
}
