//! The one path of every effect, from asking to outcome.
//!
//! ```text
//! a guest asks ─→ grants ─→ policy ─→ budget ─→ a person, where one is asked ─→ the intent ─→ Permit ─→ perform ─→ outcome
//! ```
//!
//! Only [`Permit::begin`](permit::Permit::begin) gives what a tool's provider takes, and only the Gate makes a permit,
//! so nothing is performed that was not admitted. This file knows nothing of wasmtime or WIT.

mod approval;
mod budget;
mod permit;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use casemate_policy::{Decision, Grants, Policy, Principal, Query, Rule, Verdict};
use futures_util::FutureExt as _;
use serde_json::Value;
use tracing::Instrument as _;

use crate::driver::{Excuse, Excused};
use crate::effect::{Denial, Effect, Outcome};
use crate::event::{EventKind, Events, Subscription};
use crate::json::{ArgumentsHash, text_len};
use crate::limits::{LimitExceeded, LimitKind};
use crate::perform::perform;
use crate::tool::{Tool, Toolset};

pub use approval::{Answer, AnswerFuture, ApprovalId, ApprovalRequest, Approver, NotPending, PendingApprovals};
use budget::Account;
pub use budget::Budget;
pub(crate) use permit::{Invocation, Permit, Record};

/// Decides, records and shows what sandboxes do through tools. Cheap to clone; clones are the same Gate.
///
/// One serves any number of calls, or one of them each: events are numbered by Gate.
///
/// ```
/// use casemate::{Gate, PendingApprovals};
///
/// let approvals = PendingApprovals::new();
/// let gate = Gate::builder().approver(approvals.clone()).build();
/// let events = gate.subscribe(1_000);
/// ```
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    policy: RwLock<Option<Arc<dyn Policy>>>,
    approver: Option<Arc<dyn Approver>>,
    approval_time: Duration,
    events: Events,
    effects: AtomicU64,
    anonymous: Arc<Principal>,
}

/// Settings of a [`Gate`].
#[must_use]
pub struct GateBuilder {
    policy: Option<Arc<dyn Policy>>,
    approver: Option<Arc<dyn Approver>>,
    approval_time: Duration,
}

impl Gate {
    /// Settings to choose before the Gate is made.
    pub fn builder() -> GateBuilder {
        GateBuilder { policy: None, approver: None, approval_time: Duration::from_mins(10) }
    }

    /// Everything that happens from now on. A subscriber that leaves `capacity` events untaken is closed; nobody waits
    /// for it.
    pub fn subscribe(&self, capacity: usize) -> Subscription {
        self.inner.events.subscribe(capacity)
    }

    /// Puts other rules in the place of those there are, at once: an effect is decided by the old or the new ones, never
    /// by both. A person who is being asked under the old ones is asked again, if the new ones still ask.
    pub fn set_policy(&self, policy: impl Policy + 'static) {
        *self.inner.policy.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(policy));
    }

    fn policy(&self) -> Option<Arc<dyn Policy>> {
        self.inner.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn events(&self) -> &Events {
        &self.inner.events
    }

    fn next_effect(&self) -> u64 {
        self.inner.effects.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// A Gate without policy, where nobody is asked: the grants alone decide.
impl Default for Gate {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.policy().map(|policy| policy.version().to_owned());
        f.debug_struct("Gate").field("policy", &version).finish_non_exhaustive()
    }
}

impl GateBuilder {
    /// Rules that decide beside the grants: both must say yes. By default there are none, and the grants alone decide.
    pub fn policy(mut self, policy: impl Policy + 'static) -> Self {
        self.policy = Some(Arc::new(policy));
        self
    }

    /// Who is asked where grants or rules say so. By default nobody can be, and such calls are denied.
    pub fn approver(mut self, approver: impl Approver + 'static) -> Self {
        self.approver = Some(Arc::new(approver));
        self
    }

    /// How long a person has to answer, at most a year; default ten minutes. That time does not count on the limit of wall time.
    pub fn approval_time(mut self, time: Duration) -> Self {
        self.approval_time = time.min(Duration::from_hours(365 * 24));
        self
    }

    /// Makes the Gate.
    pub fn build(self) -> Gate {
        let Self { policy, approver, approval_time } = self;
        Gate {
            inner: Arc::new(Inner {
                policy: RwLock::new(policy),
                approver,
                approval_time,
                events: Events::default(),
                effects: AtomicU64::new(0),
                anonymous: Arc::new(Principal::default()),
            }),
        }
    }
}

/// One sandbox at the Gate: what it may do, and on whose behalf. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Scope {
    inner: Arc<ScopeInner>,
}

struct ScopeInner {
    gate: Gate,
    /// Shared by the whole tree of calls.
    account: Arc<Account>,
    principal: Arc<Principal>,
    /// What the sandbox itself reaches.
    reach: Arc<Grants>,
    tools: Toolset,
    /// What serves the component's own imports, in their order.
    imports: Arc<[Tool]>,
    depth: u32,
    /// The clocks of this call and of all that wait for it: they stop while a person is asked.
    clocks: Vec<Excused>,
}

/// What the outermost sandbox of a tree of calls is given.
pub(crate) struct Outermost {
    pub(crate) gate: Gate,
    pub(crate) budget: Budget,
    pub(crate) principal: Option<Arc<Principal>>,
    pub(crate) reach: Arc<Grants>,
}

impl Scope {
    pub(crate) fn outermost(given: Outermost, tools: Toolset, imports: Arc<[Tool]>) -> Self {
        let principal = given.principal.unwrap_or_else(|| given.gate.inner.anonymous.clone());
        let inner = ScopeInner {
            gate: given.gate,
            account: Arc::new(Account::new(given.budget)),
            principal,
            reach: given.reach,
            tools,
            imports,
            depth: 0,
            clocks: vec![Excused::default()],
        };
        Self { inner: Arc::new(inner) }
    }

    /// The scope of a tool that is called from here.
    pub(crate) fn child(&self, grants: Arc<Grants>, tools: Toolset, imports: Arc<[Tool]>) -> Self {
        let mut clocks = self.inner.clocks.clone();
        clocks.push(Excused::default());
        let inner = ScopeInner {
            gate: self.inner.gate.clone(),
            account: self.inner.account.clone(),
            principal: self.inner.principal.clone(),
            reach: grants,
            tools,
            imports,
            depth: self.inner.depth + 1,
            clocks,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What the sandbox itself reaches.
    pub(crate) fn reach(&self) -> &Arc<Grants> {
        &self.inner.reach
    }

    pub(crate) fn tools(&self) -> &Toolset {
        &self.inner.tools
    }

    /// How many sandboxes wait for this one.
    pub(crate) fn depth(&self) -> u32 {
        self.inner.depth
    }

    /// The time of this call that does not count.
    pub(crate) fn excused(&self) -> Excused {
        self.inner.clocks.last().cloned().unwrap_or_default()
    }

    /// The tools that can be called from here, by the names they are shown under: of those it sees, those it is
    /// granted and the policy does not deny whatever their input.
    pub(crate) fn available(&self) -> Vec<(String, Tool)> {
        let policy = self.inner.gate.policy();
        let can_be_called = |tool: &Tool| {
            self.inner.reach.find_tool(tool.name()).is_some()
                && policy.as_ref().is_none_or(|policy| policy.could_allow(tool.identity()))
        };
        let callable = self.inner.tools.tools().filter(|(_, tool)| can_be_called(tool));
        callable.map(|(name, tool)| (name.to_owned(), tool.clone())).collect()
    }

    /// Calls the tool that is shown as `name`.
    pub(crate) fn call(&self, name: &str, input: Value) -> impl Future<Output = Outcome> + Send + use<> {
        let id = self.inner.gate.next_effect();
        let (scope, input) = (self.clone(), Arc::new(input));
        let found = self.inner.tools.get(name).cloned().ok_or_else(|| name.to_owned());
        async move {
            match found {
                Ok(tool) => scope.pass(Effect { id, tool, input }).await,
                Err(name) => scope.unknown(id, &name, &input),
            }
        }
    }

    /// Calls what serves the component's own import number `index`.
    pub(crate) fn call_import(&self, index: usize, input: Value) -> impl Future<Output = Outcome> + Send + use<> {
        let id = self.inner.gate.next_effect();
        let (scope, input) = (self.clone(), Arc::new(input));
        let found = self.inner.imports.get(index).cloned();
        async move {
            match found {
                Some(tool) => scope.pass(Effect { id, tool, input }).await,
                None => scope.unknown(id, "import", &input),
            }
        }
    }

    /// How many of `asked` calls at once may be; where that is not all, the excess is recorded as one event.
    pub(crate) fn fan_out(&self, asked: usize) -> (usize, LimitExceeded) {
        let max = self.inner.account.budget().max_fan_out();
        let exceeded = LimitExceeded::new(LimitKind::FanOut, asked as u64, u64::from(max));
        let allowed = usize::try_from(max).unwrap_or(usize::MAX).min(asked);
        if allowed < asked {
            let (events, account) = (self.inner.gate.events().clone(), self.inner.account.clone());
            let record = Record::new(events, account, self.inner.gate.next_effect(), None);
            record.settle(Outcome::LimitExceeded(exceeded));
        }
        (allowed, exceeded)
    }

    /// Takes one effect from asking to outcome; a denial is an outcome, not an error.
    async fn pass(self, effect: Effect) -> Outcome {
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
            let open = answered.open(ruling.version(), questions);
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
        self.inner.gate.events().publish(|| EventKind::ToolCall {
            id: effect.id,
            tool: effect.tool.name().to_owned(),
            source: effect.tool.identity().source.clone(),
            input: effect.tool.shown(&effect.input),
            principal: self.inner.principal.id().to_owned(),
            depth: self.inner.depth + 1,
            policy: ruling.version(),
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
        let Some(policy) = self.inner.gate.policy() else { return Ok(Ruling::default()) };
        let query = Query {
            principal: &self.inner.principal,
            tool: effect.tool.identity(),
            input: &effect.input,
            time: SystemTime::now(),
            depth: self.inner.depth + 1,
            calls: self.inner.account.calls(),
        };
        // Rules can be an embedder's own.
        let decided =
            std::panic::catch_unwind(AssertUnwindSafe(|| (policy.decide(&query), policy.version().to_owned())));
        let Ok((Decision { verdict, rules }, version)) = decided else {
            return Err(self.deny(effect, Denial::new("the policy failed"), None));
        };
        let ruling = |question, rules| Ruling { version: Some(version.clone()), rules, question };
        match verdict {
            Verdict::Allow => Ok(ruling(None, rules)),
            Verdict::Ask { question } => Ok(ruling(Some(question), rules)),
            Verdict::Deny { reason, remedy } => {
                Err(self.deny(effect, Denial { reason, rules, allow: remedy }, Some(version)))
            }
        }
    }

    /// Asks a person; the answer is the input as the person changed it, if so.
    async fn ask(&self, effect: &Effect, question: String, ruling: &Ruling) -> Result<Option<Arc<Value>>, Outcome> {
        let Some(approver) = &self.inner.gate.inner.approver else {
            let denial = Denial::new(format!("it needs a person's approval, and there is nobody to ask: {question}"));
            let denial = Denial { rules: ruling.rules.clone(), ..denial };
            return Err(self.deny(effect, denial, ruling.version()));
        };
        let inner = &self.inner.gate.inner;
        let request = ApprovalRequest {
            id: ApprovalId::new(),
            tool: effect.tool.identity().clone(),
            annotations: effect.tool.facts().annotations,
            hash: ArgumentsHash::of(&effect.input),
            input: effect.input.clone(),
            question,
            rules: ruling.rules.clone(),
            policy: ruling.version(),
            principal: self.inner.principal.id().to_owned(),
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
        let _excuses: Vec<Excuse> = self.inner.clocks.iter().map(Excused::begin).collect();
        let time = self.inner.gate.inner.approval_time;
        let asking = AssertUnwindSafe(async { approver.ask(request).await }).catch_unwind();
        let reject = |reason: String| Answer::Reject { reason };
        match tokio::time::timeout(time, asking).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_panic)) => reject("the approver failed".to_owned()),
            Err(_) => reject(format!("nobody answered within {time:?}")),
        }
    }

    /// There is no tool of which something could be known, so neither name nor input are kept as they are.
    fn unknown(&self, id: u64, name: &str, input: &Value) -> Outcome {
        const SHOWN: usize = 128;
        let name = format!("{}", name.get(..SHOWN).map_or(name, |start| start).escape_debug());
        if let Err(limit) = self.inner.account.spend_input(text_len(input)) {
            return Outcome::LimitExceeded(limit);
        }
        let reason = format!("there is no tool `{name}`");
        self.inner.gate.events().publish(|| EventKind::Denied {
            id,
            tool: name,
            input: Arc::default(),
            principal: self.inner.principal.id().to_owned(),
            reason: reason.clone(),
            rules: Vec::new(),
            policy: None,
            allow: None,
        });
        Outcome::NotFound(reason)
    }

    fn deny(&self, effect: &Effect, denial: Denial, policy: Option<String>) -> Outcome {
        tracing::debug!(tool = effect.tool.name(), reason = denial.reason, "denied");
        self.inner.gate.events().publish(|| EventKind::Denied {
            id: effect.id,
            tool: effect.tool.name().to_owned(),
            input: effect.tool.shown(&effect.input),
            principal: self.inner.principal.id().to_owned(),
            reason: denial.reason.clone(),
            rules: denial.rules.clone(),
            policy,
            allow: denial.allow.clone(),
        });
        Outcome::Denied(denial.into())
    }

    /// A step that asks the budget; what it has no room for is recorded.
    fn within(&self, effect: &Effect, step: impl FnOnce(&Account) -> Result<(), LimitExceeded>) -> Result<(), Outcome> {
        step(&self.inner.account).map_err(|limit| self.record_of(effect).settle(Outcome::LimitExceeded(limit)))
    }

    fn record_of(&self, effect: &Effect) -> Record {
        Record::new(self.inner.gate.events().clone(), self.inner.account.clone(), effect.id, Some(effect.tool.clone()))
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

impl Ruling {
    fn version(&self) -> Option<String> {
        self.version.clone()
    }
}
