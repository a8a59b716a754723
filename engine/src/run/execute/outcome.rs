//! What becomes of a run whose sandbox is gone.

use super::leave::Leaving;
use super::{ExecuteError, Handled, Owned};
use crate::call::{CallError, ErrorKind};
use crate::event::EventKind;
use crate::journal::Halt;
use crate::life::RunId;
use crate::limits::LimitKind;
use crate::run::request::Spec;
use crate::run::summary::Detail;

impl Owned<'_> {
    pub(super) fn detail(&self) -> Detail {
        Detail { usage: self.journal.usage(), ..Detail::default() }
    }

    pub(super) fn cancelled(&self, reason: String) -> Leaving {
        self.end(EventKind::Cancelled { reason })
    }

    fn end(&self, end: EventKind) -> Leaving {
        let state = self.detail().stopped(&end);
        self.journal.tell(end);
        Leaving::Finished(state)
    }

    pub(super) async fn failed(&self, error: &CallError, spec: &Spec) -> Result<Leaving, ExecuteError> {
        self.failure(error.kind(), error.to_string(), spec).await
    }

    async fn failure(&self, kind: ErrorKind, message: String, spec: &Spec) -> Result<Leaving, ExecuteError> {
        let retried_as = self.try_again(spec).await?;
        Ok(self.end(EventKind::Failed { kind, message, retried_as }))
    }

    /// Starts another run in the place of this one, where it may be tried again.
    async fn try_again(&self, spec: &Spec) -> Result<Option<RunId>, ExecuteError> {
        let Some(retries) = spec.retries.checked_sub(1) else { return Ok(None) };
        if self.journal.was_rejected() {
            return Ok(None);
        }
        let spec = Spec { retries, seed: crate::run::start::seed(), forked_from: None, ..spec.clone() };
        let key = format!("retry of {}", self.id);
        Ok(Some(self.inner.create(RunId::new(), &spec, Some(key)).await?))
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
            return Ok(self.end(EventKind::Diverged { position, recorded: Some(recorded), attempted }));
        }
        let response = match handled {
            Ok(Ok(response)) => response,
            Ok(Err(message)) => return self.failure(ErrorKind::ToolError, message, spec).await,
            Err(error) => return self.failed(&error, spec).await,
        };
        let said = self.journal.output();
        let output = if said.is_empty() { response.output } else { said };
        let (files, usage) = (self.journal.files(), self.journal.usage());
        Ok(self.end(EventKind::Complete { output, files, usage }))
    }

    pub(super) async fn halted(&self, halt: Halt, spec: &Spec) -> Result<Leaving, ExecuteError> {
        Ok(match halt {
            Halt::Fenced | Halt::UsedUp => Leaving::Lost,
            Halt::WentBack => return Err(ExecuteError::WentBack),
            Halt::Limit(limit) => self.failed(&limit.into(), spec).await?,
            Halt::Storage(error) => return Err(ExecuteError::Journal(error)),
            Halt::Diverged { position, recorded, attempted } => {
                self.end(EventKind::Diverged { position, recorded, attempted })
            }
            // A person said so: it is not tried again.
            Halt::Failed(message) => {
                self.end(EventKind::Failed { kind: ErrorKind::ToolError, message, retried_as: None })
            }
        })
    }
}

/// Whether the time that it had was over, which says nothing of what it would have done.
fn is_out_of_time(handled: &Handled) -> bool {
    matches!(handled, Err(CallError::LimitExceeded(limit)) if limit.limit == LimitKind::WallTime)
}

/// For people: what an agent did, and what it did before.
pub(in crate::run) fn divergence(position: u64, recorded: Option<&str>, attempted: Option<&str>) -> String {
    if recorded.is_none() && attempted.is_none() {
        return "the storage lost entries that it had acknowledged: nobody knows any more what the agent did"
            .to_owned();
    }
    let came_to_its_end = "it came to its end";
    format!(
        "on replay effect {position} of the agent is another one: recorded is {}, and now it is {}",
        recorded.unwrap_or(came_to_its_end),
        attempted.unwrap_or(came_to_its_end)
    )
}
