//! The steps from asking to a permit, in order.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[cfg(feature = "http")]
use casemate_policy::Policy;
use casemate_policy::{Decision, Query, Rule, Verdict};
use futures_util::FutureExt as _;
use serde_json::Value;
use tracing::Instrument as _;

use super::approval::{Answer, ApprovalId, ApprovalRequest, Approver, Given};
use super::budget::Account;
use super::permit::{Permit, Record};
use super::scope::Scope;
use crate::effect::{Admitted, Denial, Effect, Outcome, ToolCall};
use crate::event::{EventKind, Settlement, Subject};
use crate::journal::{Asked, Parks, PastEffect, Trace, Until, Wait};
use crate::json::{ArgumentsHash, text_len};
use crate::life::WaitingOn;
use crate::limits::LimitExceeded;
use crate::perform::perform;

/// An effect with its number.
pub(super) struct Numbered<E> {
    /// What tells it from all others of its Gate.
    pub(super) id: u64,
    pub(super) effect: E,
}

impl Scope {
    /// Takes the call of a tool from asking to outcome; a denial is an outcome, not an error. `past` is how far it came
    /// before, where it is one of a run that goes on.
    pub(super) async fn pass(self, call: Numbered<ToolCall>, past: Option<Box<PastEffect>>) -> Outcome {
        let span = tracing::debug_span!("effect", id = call.id, tool = call.effect.tool.name());
        let passing = async {
            match self.admit_from(call, past).await {
                Ok(permit) => perform(permit).await,
                Err(outcome) => outcome,
            }
        };
        passing.instrument(span).await
    }

    /// [`admit`](Self::admit), from where it came to before.
    pub(super) async fn admit_from<E: Effect>(
        &self,
        mut numbered: Numbered<E>,
        past: Option<Box<PastEffect>>,
    ) -> Result<Permit<E>, Outcome> {
        for input in past.iter().flat_map(|past| &past.answered).filter_map(|answer| answer.edited.clone()) {
            numbered.effect.edit(input).map_err(|denial| Outcome::Denied(denial.into()))?;
        }
        let permit = match past {
            Some(past) if past.begun => self.begin_again(numbered, past).await?,
            Some(past) => self.admit_as(numbered, Answered::of(&past), past.asked).await?,
            None => self.admit(numbered).await?,
        };
        if let Some(journal) = self.tree().journal()
            && self.inner.depth == 0
            && !permit.effect().repeats()
        {
            // INVARIANT: what cannot be done twice is not begun before it is kept that it begins.
            journal.durable().await;
        }
        Ok(permit)
    }

    /// The steps in order. What is not admitted is recorded, and its outcome is the answer.
    pub(super) async fn admit<E: Effect>(&self, numbered: Numbered<E>) -> Result<Permit<E>, Outcome> {
        self.admit_as(numbered, Answered::default(), None).await
    }

    async fn admit_as<E: Effect>(
        &self,
        mut numbered: Numbered<E>,
        answered: Answered,
        asked: Option<Asked>,
    ) -> Result<Permit<E>, Outcome> {
        self.within(&numbered, |effect, account| effect.spend_attempt(account, self.inner.depth))?;
        let ruling = self.decide(&mut numbered, answered, asked, E::check).await?;
        self.within(&numbered, E::spend)?;
        Ok(self.begin(numbered, ruling))
    }

    /// Whether it is granted, allowed, and said yes to by a person where one is to be asked; `has_room` is looked at
    /// before anybody is.
    async fn decide<E: Effect>(
        &self,
        numbered: &mut Numbered<E>,
        mut answered: Answered,
        mut asked: Option<Asked>,
        has_room: impl Fn(&E, &Account) -> Result<(), LimitExceeded>,
    ) -> Result<Ruling, Outcome> {
        let question = self.check_grant(numbered)?;
        loop {
            let ruling = self.rule(numbered)?;
            self.within(numbered, &has_room)?;
            let questions: Vec<_> = question.iter().chain(&ruling.question).cloned().collect();
            let open = answered.open(ruling.version.clone(), questions);
            if open.is_empty() {
                return Ok(ruling);
            }
            // Asked before, and to be answered still: unless something else is to be asked now.
            let same = |asked: &Asked| asked.questions == open && asked.policy == ruling.version;
            let asked = match asked.take() {
                Some(other) if !same(&other) => {
                    self.withdraw(other.approval);
                    None
                }
                asked => asked,
            };
            if asked.is_none() {
                self.within(numbered, |_, account| account.spend_question())?;
            }
            if self.ask(numbered, &open, &ruling, asked).await? {
                answered.edited = true;
            } else {
                answered.questions.extend(open);
            }
        }
    }

    /// Nobody needs to answer it any more.
    fn withdraw(&self, approval: ApprovalId) {
        if let Some(journal) = self.tree().journal() {
            journal.withdraw(approval);
        }
    }

    /// Records the intent, and gives the permit.
    fn begin<E: Effect>(&self, numbered: Numbered<E>, ruling: Ruling) -> Permit<E> {
        let record = self.record_of(&numbered);
        let Numbered { id, effect } = numbered;
        let trace = Trace { once: !effect.repeats(), ..Trace::default() };
        self.tree().publish_with(trace, || {
            effect.begun(Admitted {
                id,
                principal: self.principal().id().to_owned(),
                depth: self.inner.depth + 1,
                policy: ruling.version.clone(),
                rules: ruling.rules,
            })
        });
        Permit::new(effect, self.clone(), record)
    }

    /// An effect that began before, and of which no end is recorded. It counts against the budget already; whether it may
    /// happen now is decided anew.
    async fn begin_again<E: Effect>(
        &self,
        mut numbered: Numbered<E>,
        past: Box<PastEffect>,
    ) -> Result<Permit<E>, Outcome> {
        let past = self.cleared(&numbered, past).await?;
        let ruling = self.decide(&mut numbered, Answered::of(&past), None, |_, _| Ok(())).await?;
        if past.settled.is_some() {
            return Ok(self.begin(numbered, ruling));
        }
        let record = self.record_of(&numbered);
        Ok(Permit::new(numbered.effect, self.clone(), record))
    }

    /// What began before may be begun again: what can be repeated may, and of all else a person says that it did not
    /// happen. Where it did, what came of it is the outcome.
    pub(super) async fn cleared<E: Effect>(
        &self,
        numbered: &Numbered<E>,
        mut past: Box<PastEffect>,
    ) -> Result<Box<PastEffect>, Outcome> {
        // What was begun as something that happens once is not made sure by what its tool says of itself later.
        if !past.begun || numbered.effect.repeats() && !past.once && !past.in_doubt {
            return Ok(past);
        }
        // Dropped with this future, it records that whoever asked is gone.
        let record = self.record_of(numbered);
        match self.settled(numbered.id, &numbered.effect.subject(), &past).await {
            Settlement::Happened { result } => Err(record.settle(Outcome::Result(result))),
            settlement => {
                record.close();
                past.settled = Some(settlement);
                Ok(past)
            }
        }
    }

    /// What a person says of an effect of which nobody knows whether it happened. Where the run is to fail, it stops here.
    pub(super) async fn settled(&self, id: u64, subject: &Subject, past: &PastEffect) -> Settlement {
        let Some(journal) = self.tree().journal() else { return Settlement::DidNotHappen };
        let settlement = if let Some(settlement) = &past.settled {
            settlement.clone()
        } else {
            if !past.in_doubt {
                self.tree().publish(|| EventKind::InDoubt { id, subject: subject.clone() });
            }
            let _excuses = self.excuse();
            journal.settlement(id).await
        };
        if let Settlement::Fail { reason } = settlement {
            journal.fail(reason);
            return std::future::pending().await;
        }
        settlement
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

    /// Asks a person, who may have changed the arguments: then it answers `true`. `asked` is the same question, asked
    /// before.
    async fn ask<E: Effect>(
        &self,
        numbered: &mut Numbered<E>,
        questions: &[String],
        ruling: &Ruling,
        asked: Option<Asked>,
    ) -> Result<bool, Outcome> {
        let (inner, journal) = (&self.gate().inner, self.tree().journal());
        if inner.approver.is_none() && journal.is_none() {
            let question = questions.join("\n");
            let denial = Denial::new(format!("it needs a person's approval, and there is nobody to ask: {question}"));
            let denial = Denial { rules: ruling.rules.clone(), ..denial };
            return Err(self.deny(numbered, denial, ruling.version.clone()));
        }
        let now = journal.map_or_else(SystemTime::now, |journal| journal.clock().now());
        let request = self.request(numbered, questions, ruling, asked.as_ref().map_or(now, |asked| asked.at));
        let request = ApprovalRequest { id: asked.as_ref().map_or(request.id, |asked| asked.approval), ..request };
        let (id, effect) = (numbered.id, &mut numbered.effect);
        let (subject, approval) = (effect.subject(), request.id);
        if asked.is_none() {
            let kind = EventKind::ApprovalRequired {
                id,
                approval,
                subject: subject.clone(),
                source: request.source.clone(),
                input: effect.shown(effect.input()),
                question: request.question.clone(),
                rules: request.rules.clone(),
                policy: request.policy.clone(),
            };
            self.publish_question(kind, questions, &request);
        }
        // Dropped with this future, it records that whoever asked is gone.
        let record = Record::new(self.tree().clone(), id, subject.clone(), effect.hides());
        let Given { answer, by } = self.answer(id, request).await;
        let denial = match answer {
            Answer::Approve => {
                record.close();
                self.tree().publish(|| EventKind::Approved { id, approval, subject, edited: None, by });
                return Ok(false);
            }
            Answer::ApproveEdited(input) => {
                let input = Arc::new(input);
                match effect.edit(input.clone()) {
                    Ok(()) => {
                        record.close();
                        let edited = Some(effect.shown(&input));
                        let trace = Trace { edited: effect.hides().then_some(input), ..Trace::default() };
                        self.tree().publish_with(trace, || EventKind::Approved { id, approval, subject, edited, by });
                        return Ok(true);
                    }
                    Err(denial) => denial,
                }
            }
            Answer::Reject { reason } => Denial::new(reason),
        };
        record.close();
        let reason = denial.reason.clone();
        let outcome = Outcome::Denied(Denial { rules: ruling.rules.clone(), ..denial }.into());
        self.tree().publish_told(&outcome, || EventKind::Rejected { id, approval, subject, reason, by });
        Err(outcome)
    }

    fn request<E: Effect>(
        &self,
        numbered: &Numbered<E>,
        questions: &[String],
        ruling: &Ruling,
        asked_at: SystemTime,
    ) -> ApprovalRequest {
        let effect = &numbered.effect;
        let (source, annotations) = effect.origin();
        ApprovalRequest {
            id: ApprovalId::new(),
            subject: effect.subject(),
            source,
            annotations,
            hash: ArgumentsHash::of(effect.input()),
            input: effect.input().clone(),
            question: questions.join("\n"),
            rules: ruling.rules.clone(),
            policy: ruling.version.clone(),
            principal: self.principal().id().to_owned(),
            expires: asked_at + self.gate().inner.approval_time,
        }
    }

    fn publish_question(&self, kind: EventKind, questions: &[String], request: &ApprovalRequest) {
        let Some(journal) = self.tree().journal() else { return self.tree().publish(|| kind) };
        self.gate().events().publish(|| kind.clone());
        let trace = Trace { questions: questions.to_vec(), ..Trace::default() };
        journal.ask(kind, trace, request.to_stored());
    }

    /// What a person says. Within a run that counts which the storage takes first: people can be asked in many places.
    async fn answer(&self, effect: u64, request: ApprovalRequest) -> Given {
        let _excuses = self.excuse();
        let approver = self.gate().inner.approver.as_deref();
        let Some(journal) = self.tree().journal() else {
            let time = self.gate().inner.approval_time;
            let asked = tokio::time::timeout(time, ask_safely(approver, request)).await;
            return Given::by_nobody(asked.unwrap_or_else(|_| nobody_answered(time)));
        };
        let (approval, expires) = (request.id, request.expires);
        let parks = if journal.is_own(effect) && approver.is_none() { Parks::Yes } else { Parks::No };
        let (until, wake_at) = (Until::Decided(approval), Some(expires));
        let wait = Wait { on: WaitingOn::Approval, until, wake_at, parks };
        journal.durable().await;
        let proposing = async {
            let too_late = journal.clock().sleep_until(expires);
            let proposed = tokio::select! {
                () = too_late => nobody_answered(self.gate().inner.approval_time),
                answer = ask_safely(approver, request), if approver.is_some() => answer,
            };
            journal.propose(approval, proposed);
            std::future::pending().await
        };
        tokio::select! {
            given = journal.answer(approval, wait) => given,
            never = proposing => never,
        }
    }

    /// There is no tool of which something could be known, so its input is not kept.
    pub(super) fn unknown(&self, id: u64, name: String, input: &Value) -> Outcome {
        if let Err(limit) = self.account().spend_input(text_len(input)) {
            return Outcome::LimitExceeded(limit);
        }
        let reason = format!("there is no tool `{name}`");
        let outcome = Outcome::NotFound(reason.clone());
        self.tree().publish_told(&outcome, || EventKind::Denied {
            id,
            subject: Subject::Tool(name),
            input: Arc::default(),
            principal: self.principal().id().to_owned(),
            reason,
            rules: Vec::new(),
            policy: None,
            allow: None,
        });
        outcome
    }

    fn deny<E: Effect>(&self, numbered: &Numbered<E>, denial: Denial, policy: Option<String>) -> Outcome {
        let effect = &numbered.effect;
        let subject = effect.subject();
        tracing::debug!(%subject, reason = denial.reason, "denied");
        let outcome = Outcome::Denied(denial.clone().into());
        self.tree().publish_told(&outcome, || EventKind::Denied {
            id: numbered.id,
            subject,
            input: effect.shown(effect.input()),
            principal: self.principal().id().to_owned(),
            reason: denial.reason,
            rules: denial.rules,
            policy,
            allow: denial.allow,
        });
        outcome
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
    /// What was answered before.
    fn of(past: &PastEffect) -> Self {
        let Some(last) = past.answered.last() else { return Self::default() };
        let questions = past.answered.iter().filter(|answer| answer.policy == last.policy);
        Self {
            version: last.policy.clone(),
            questions: questions.flat_map(|answer| answer.questions.clone()).collect(),
            edited: last.edited.is_some(),
        }
    }

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

async fn ask_safely(approver: Option<&dyn Approver>, request: ApprovalRequest) -> Answer {
    let Some(approver) = approver else { return std::future::pending().await };
    let asking = AssertUnwindSafe(async { approver.ask(request).await }).catch_unwind();
    asking.await.unwrap_or_else(|_panic| Answer::Reject { reason: "the approver failed".to_owned() })
}

fn nobody_answered(time: Duration) -> Answer {
    Answer::Reject { reason: format!("nobody answered within {time:?}") }
}
