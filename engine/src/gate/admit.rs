//! The steps from asking to a permit, in order.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

#[cfg(feature = "http")]
use casemate_policy::Policy;
use casemate_policy::{Decision, Query, Rule, Verdict};
use futures_util::FutureExt as _;
use serde_json::Value;
use tracing::Instrument as _;

use super::approval::{Answer, ApprovalId, ApprovalRequest, Approver};
use super::budget::Account;
use super::permit::{Permit, Record};
use super::scope::Scope;
use crate::effect::{Admitted, Denial, Effect, Outcome, ToolCall};
use crate::event::{EventKind, Subject};
use crate::json::{ArgumentsHash, text_len};
use crate::limits::LimitExceeded;
use crate::perform::perform;

/// An effect with its number.
pub(super) struct Numbered<E> {
    /// What tells it from all others of its Gate.
    pub(super) id: u64,
    pub(super) effect: E,
}

impl Scope {
    /// Takes the call of a tool from asking to outcome; a denial is an outcome, not an error.
    pub(super) async fn pass(self, call: Numbered<ToolCall>) -> Outcome {
        let span = tracing::debug_span!("effect", id = call.id, tool = call.effect.tool.name());
        let passing = async {
            match self.admit(call).await {
                Ok(permit) => perform(permit).await,
                Err(outcome) => outcome,
            }
        };
        passing.instrument(span).await
    }

    /// The steps in order. What is not admitted is recorded, and its outcome is the answer.
    pub(super) async fn admit<E: Effect>(&self, mut numbered: Numbered<E>) -> Result<Permit<E>, Outcome> {
        self.within(&numbered, |effect, account| effect.spend_attempt(account, self.inner.depth))?;
        let question = self.check_grant(&numbered)?;
        let mut answered = Answered::default();
        let ruling = loop {
            let ruling = self.rule(&numbered)?;
            self.within(&numbered, E::check)?;
            let questions: Vec<_> = question.iter().chain(&ruling.question).cloned().collect();
            let open = answered.open(ruling.version.clone(), questions);
            if open.is_empty() {
                break ruling;
            }
            self.within(&numbered, |_, account| account.spend_question())?;
            if self.ask(&mut numbered, open.join("\n"), &ruling).await? {
                answered.edited = true;
            } else {
                answered.questions.extend(open);
            }
        };
        self.within(&numbered, E::spend)?;
        let record = self.record_of(&numbered);
        let Numbered { id, effect } = numbered;
        self.gate().events().publish(|| {
            effect.begun(Admitted {
                id,
                principal: self.principal().id().to_owned(),
                depth: self.inner.depth + 1,
                policy: ruling.version.clone(),
                rules: ruling.rules,
            })
        });
        Ok(Permit::new(effect, self.clone(), record))
    }

    /// What a person is asked each time, if it was granted so.
    pub(super) fn check_grant<E: Effect>(&self, numbered: &Numbered<E>) -> Result<Option<String>, Outcome> {
        let granted = numbered.effect.granted(&self.inner.reach);
        granted.map_err(|denial| self.deny(numbered, denial, None))
    }

    /// Whether the rules deny it; nothing is recorded.
    #[cfg(feature = "http")]
    pub(super) fn would_deny<E: Effect>(&self, effect: &E) -> bool {
        let decide = |policy: &dyn Policy| policy.decide(&self.query(effect)).verdict;
        self.gate().policy().is_some_and(|policy| {
            let verdict = std::panic::catch_unwind(AssertUnwindSafe(|| decide(policy.as_ref())));
            verdict.map_or(true, |verdict| matches!(verdict, Verdict::Deny { .. }))
        })
    }

    fn query<'a, E: Effect>(&'a self, effect: &'a E) -> Query<'a> {
        Query {
            principal: self.principal(),
            action: effect.action(),
            time: SystemTime::now(),
            depth: self.inner.depth + 1,
            calls: self.account().calls(),
        }
    }

    pub(super) fn rule<E: Effect>(&self, numbered: &Numbered<E>) -> Result<Ruling, Outcome> {
        let Some(policy) = self.gate().policy() else { return Ok(Ruling::default()) };
        let query = self.query(&numbered.effect);
        // Rules can be an embedder's own.
        let decided =
            std::panic::catch_unwind(AssertUnwindSafe(|| (policy.decide(&query), policy.version().to_owned())));
        let Ok((Decision { verdict, rules }, version)) = decided else {
            return Err(self.deny(numbered, Denial::new("the policy failed"), None));
        };
        let version = Some(version);
        match verdict {
            Verdict::Allow => Ok(Ruling { version, rules, question: None }),
            Verdict::Ask { question } => Ok(Ruling { version, rules, question: Some(question) }),
            Verdict::Deny { reason, remedy } => {
                Err(self.deny(numbered, Denial { reason, rules, allow: remedy }, version))
            }
        }
    }

    /// Asks a person, who may have changed the arguments: then it answers `true`.
    async fn ask<E: Effect>(
        &self,
        numbered: &mut Numbered<E>,
        question: String,
        ruling: &Ruling,
    ) -> Result<bool, Outcome> {
        let Some(approver) = &self.gate().inner.approver else {
            let denial = Denial::new(format!("it needs a person's approval, and there is nobody to ask: {question}"));
            let denial = Denial { rules: ruling.rules.clone(), ..denial };
            return Err(self.deny(numbered, denial, ruling.version.clone()));
        };
        let inner = &self.gate().inner;
        let (id, effect) = (numbered.id, &mut numbered.effect);
        let (subject, (source, annotations)) = (effect.subject(), effect.origin());
        let request = ApprovalRequest {
            id: ApprovalId::new(),
            subject: subject.clone(),
            source: source.clone(),
            annotations,
            hash: ArgumentsHash::of(effect.input()),
            input: effect.input().clone(),
            question,
            rules: ruling.rules.clone(),
            policy: ruling.version.clone(),
            principal: self.principal().id().to_owned(),
            expires: SystemTime::now() + inner.approval_time,
        };
        let approval = request.id;
        inner.events.publish(|| EventKind::ApprovalRequired {
            id,
            approval,
            subject: subject.clone(),
            source,
            input: effect.shown(effect.input()),
            question: request.question.clone(),
            rules: request.rules.clone(),
        });
        // Dropped with this future, it records that whoever asked is gone.
        let record = Record::new(self.tree().clone(), id, subject.clone(), effect.hides());
        let denial = match self.answer(approver.as_ref(), request).await {
            Answer::Approve => {
                record.close();
                inner.events.publish(|| EventKind::Approved { id, approval, subject, edited: None });
                return Ok(false);
            }
            Answer::ApproveEdited(input) => {
                let input = Arc::new(input);
                match effect.edit(input.clone()) {
                    Ok(()) => {
                        record.close();
                        let edited = Some(effect.shown(&input));
                        inner.events.publish(|| EventKind::Approved { id, approval, subject, edited });
                        return Ok(true);
                    }
                    Err(denial) => denial,
                }
            }
            Answer::Reject { reason } => Denial::new(reason),
        };
        record.close();
        let reason = denial.reason.clone();
        inner.events.publish(|| EventKind::Rejected { id, approval, subject, reason });
        Err(Outcome::Denied(Denial { rules: ruling.rules.clone(), ..denial }.into()))
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
            subject: Subject::Tool(name),
            input: Arc::default(),
            principal: self.principal().id().to_owned(),
            reason: reason.clone(),
            rules: Vec::new(),
            policy: None,
            allow: None,
        });
        Outcome::NotFound(reason)
    }

    fn deny<E: Effect>(&self, numbered: &Numbered<E>, denial: Denial, policy: Option<String>) -> Outcome {
        let effect = &numbered.effect;
        let subject = effect.subject();
        tracing::debug!(%subject, reason = denial.reason, "denied");
        self.gate().events().publish(|| EventKind::Denied {
            id: numbered.id,
            subject,
            input: effect.shown(effect.input()),
            principal: self.principal().id().to_owned(),
            reason: denial.reason.clone(),
            rules: denial.rules.clone(),
            policy,
            allow: denial.allow.clone(),
        });
        Outcome::Denied(denial.into())
    }

    /// A step that asks the budget; what it has no room for is recorded.
    pub(super) fn within<E: Effect>(
        &self,
        numbered: &Numbered<E>,
        step: impl FnOnce(&E, &Account) -> Result<(), LimitExceeded>,
    ) -> Result<(), Outcome> {
        step(&numbered.effect, self.account())
            .map_err(|limit| self.record_of(numbered).settle(Outcome::LimitExceeded(limit)))
    }

    pub(super) fn record_of<E: Effect>(&self, numbered: &Numbered<E>) -> Record {
        let effect = &numbered.effect;
        Record::new(self.tree().clone(), numbered.id, effect.subject(), effect.hides())
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
pub(super) struct Ruling {
    version: Option<String>,
    rules: Vec<Rule>,
    question: Option<String>,
}
