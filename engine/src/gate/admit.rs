//! The steps from asking to a permit, in order.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use casemate_policy::{Action, Decision, Query, Rule, Verdict};
use futures_util::FutureExt as _;
use serde_json::Value;
use tracing::Instrument as _;

use super::approval::{Answer, ApprovalId, ApprovalRequest, Approver};
use super::budget::Account;
use super::permit::{Permit, Record};
use super::scope::Scope;
use crate::effect::{Denial, Effect, Outcome};
use crate::event::EventKind;
use crate::json::{ArgumentsHash, text_len};
use crate::limits::LimitExceeded;
use crate::perform::perform;

impl Scope {
    /// Takes one effect from asking to outcome; a denial is an outcome, not an error.
    pub(super) async fn pass(self, effect: Effect) -> Outcome {
        let span = tracing::debug_span!("effect", id = effect.id, tool = effect.tool.name());
        let passing = async {
            match self.admit(effect).await {
                Ok(permit) => perform(permit).await,
                Err(outcome) => outcome,
            }
        };
        passing.instrument(span).await
    }

    /// The steps in order. What is not admitted is recorded, and its outcome is the answer.
    async fn admit(&self, mut effect: Effect) -> Result<Permit, Outcome> {
        self.within(&effect, |account| account.spend_input(text_len(&effect.input)))?;
        self.within(&effect, |account| account.check_depth(self.inner.depth))?;
        let question = self.check_grant(&effect)?;
        let mut answered = Answered::default();
        let ruling = loop {
            let ruling = self.rule(&effect)?;
            self.within(&effect, |account| account.check(effect.tool.name()))?;
            let questions: Vec<_> = question.iter().chain(&ruling.question).cloned().collect();
            let open = answered.open(ruling.version.clone(), questions);
            if open.is_empty() {
                break ruling;
            }
            self.within(&effect, Account::spend_question)?;
            match self.ask(&effect, open.join("\n"), &ruling).await? {
                Some(edited) => {
                    effect.input = edited;
                    answered.edited = true;
                }
                None => answered.questions.extend(open),
            }
        };
        self.within(&effect, |account| account.spend(effect.tool.name()))?;
        self.gate().events().publish(|| EventKind::ToolCall {
            id: effect.id,
            tool: effect.tool.name().to_owned(),
            source: effect.tool.identity().source.clone(),
            input: effect.tool.shown(&effect.input),
            principal: self.principal().id().to_owned(),
            depth: self.inner.depth + 1,
            policy: ruling.version.clone(),
            rules: ruling.rules,
        });
        let record = self.record_of(&effect);
        Ok(Permit::new(effect, self.clone(), record))
    }

    /// What a person is asked before each call, if that was granted so.
    fn check_grant(&self, effect: &Effect) -> Result<Option<String>, Outcome> {
        let name = effect.tool.name();
        if let Some(grant) = self.inner.reach.find_tool(name) {
            return Ok(grant.question().map(str::to_owned));
        }
        let denial = Denial::new(format!("the tool `{name}` is not granted"));
        Err(self.deny(effect, Denial { allow: Some(format!("--allow-tool {name}")), ..denial }, None))
    }

    fn rule(&self, effect: &Effect) -> Result<Ruling, Outcome> {
        let Some(policy) = self.gate().policy() else { return Ok(Ruling::default()) };
        let query = Query {
            principal: self.principal(),
            action: Action::Call { tool: effect.tool.identity(), input: &effect.input },
            time: SystemTime::now(),
            depth: self.inner.depth + 1,
            calls: self.account().calls(),
        };
        // Rules can be an embedder's own.
        let decided =
            std::panic::catch_unwind(AssertUnwindSafe(|| (policy.decide(&query), policy.version().to_owned())));
        let Ok((Decision { verdict, rules }, version)) = decided else {
            return Err(self.deny(effect, Denial::new("the policy failed"), None));
        };
        let version = Some(version);
        match verdict {
            Verdict::Allow => Ok(Ruling { version, rules, question: None }),
            Verdict::Ask { question } => Ok(Ruling { version, rules, question: Some(question) }),
            Verdict::Deny { reason, remedy } => {
                Err(self.deny(effect, Denial { reason, rules, allow: remedy }, version))
            }
        }
    }

    /// Asks a person; the answer is the input as the person changed it, if so.
    async fn ask(&self, effect: &Effect, question: String, ruling: &Ruling) -> Result<Option<Arc<Value>>, Outcome> {
        let Some(approver) = &self.gate().inner.approver else {
            let denial = Denial::new(format!("it needs a person's approval, and there is nobody to ask: {question}"));
            let denial = Denial { rules: ruling.rules.clone(), ..denial };
            return Err(self.deny(effect, denial, ruling.version.clone()));
        };
        let inner = &self.gate().inner;
        let request = ApprovalRequest {
            id: ApprovalId::new(),
            tool: effect.tool.identity().clone(),
            annotations: effect.tool.facts().annotations,
            hash: ArgumentsHash::of(&effect.input),
            input: effect.input.clone(),
            question,
            rules: ruling.rules.clone(),
            policy: ruling.version.clone(),
            principal: self.principal().id().to_owned(),
            expires: SystemTime::now() + inner.approval_time,
        };
        let (id, approval, tool) = (effect.id, request.id, effect.tool.name().to_owned());
        inner.events.publish(|| EventKind::ApprovalRequired {
            id,
            approval,
            tool: tool.clone(),
            source: effect.tool.identity().source.clone(),
            input: effect.tool.shown(&effect.input),
            question: request.question.clone(),
            rules: request.rules.clone(),
        });
        // Dropped with this future, it records that whoever asked is gone.
        let record = self.record_of(effect);
        let reason = match self.answer(approver.as_ref(), request).await {
            Answer::Approve => {
                record.close();
                inner.events.publish(|| EventKind::Approved { id, approval, tool, edited: None });
                return Ok(None);
            }
            Answer::ApproveEdited(input) => {
                record.close();
                let input = Arc::new(input);
                let edited = Some(effect.tool.shown(&input));
                inner.events.publish(|| EventKind::Approved { id, approval, tool, edited });
                return Ok(Some(input));
            }
            Answer::Reject { reason } => reason,
        };
        record.close();
        inner.events.publish(|| EventKind::Rejected { id, approval, tool, reason: reason.clone() });
        let denial = Denial { rules: ruling.rules.clone(), ..Denial::new(reason) };
        Err(Outcome::Denied(denial.into()))
    }

    async fn answer(&self, approver: &dyn Approver, request: ApprovalRequest) -> Answer {
        let _excuses = self.excuse();
        let time = self.gate().inner.approval_time;
        let asking = AssertUnwindSafe(async { approver.ask(request).await }).catch_unwind();
        let reject = |reason: String| Answer::Reject { reason };
        match tokio::time::timeout(time, asking).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_panic)) => reject("the approver failed".to_owned()),
            Err(_) => reject(format!("nobody answered within {time:?}")),
        }
    }

    /// There is no tool of which something could be known, so its input is not kept.
    pub(super) fn unknown(&self, id: u64, name: String, input: &Value) -> Outcome {
        if let Err(limit) = self.account().spend_input(text_len(input)) {
            return Outcome::LimitExceeded(limit);
        }
        let reason = format!("there is no tool `{name}`");
        self.gate().events().publish(|| EventKind::Denied {
            id,
            tool: name,
            input: Arc::default(),
            principal: self.principal().id().to_owned(),
            reason: reason.clone(),
            rules: Vec::new(),
            policy: None,
            allow: None,
        });
        Outcome::NotFound(reason)
    }

    fn deny(&self, effect: &Effect, denial: Denial, policy: Option<String>) -> Outcome {
        tracing::debug!(tool = effect.tool.name(), reason = denial.reason, "denied");
        self.gate().events().publish(|| EventKind::Denied {
            id: effect.id,
            tool: effect.tool.name().to_owned(),
            input: effect.tool.shown(&effect.input),
            principal: self.principal().id().to_owned(),
            reason: denial.reason.clone(),
            rules: denial.rules.clone(),
            policy,
            allow: denial.allow.clone(),
        });
        Outcome::Denied(denial.into())
    }

    /// A step that asks the budget; what it has no room for is recorded.
    fn within(&self, effect: &Effect, step: impl FnOnce(&Account) -> Result<(), LimitExceeded>) -> Result<(), Outcome> {
        step(self.account()).map_err(|limit| self.record_of(effect).settle(Outcome::LimitExceeded(limit)))
    }

    fn record_of(&self, effect: &Effect) -> Record {
        Record::new(self.tree().clone(), effect.id, Some(effect.tool.clone()))
    }
}

/// The questions that a person said yes to.
///
/// INVARIANT: an answer counts for the version of the policy under which it was asked.
#[derive(Default)]
struct Answered {
    version: Option<String>,
    questions: Vec<String>,
    /// The person chose the arguments, and answered with that whatever is asked about them.
    edited: bool,
}

impl Answered {
    /// Which of these still have to be asked.
    fn open(&mut self, version: Option<String>, questions: Vec<String>) -> Vec<String> {
        if self.version != version {
            *self = Self { version, ..Self::default() };
        }
        if self.edited {
            return Vec::new();
        }
        questions.into_iter().filter(|question| !self.questions.contains(question)).collect()
    }
}

/// What the policy says of an effect that it does not deny.
#[derive(Default)]
struct Ruling {
    version: Option<String>,
    rules: Vec<Rule>,
    question: Option<String>,
}
