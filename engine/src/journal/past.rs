//! What a journal says of a run's past, so that it can be gone through again without doing anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use casemate_policy::ToolSource;
use serde_json::Value;

use super::entry::{Deed, DeedKind, Entry, Trace, outcome};
use super::told::Told;
use crate::effect::Outcome;
use crate::event::{Event, EventKind, Interruption, Settlement, Versions};
use crate::gate::{ApprovalId, Spent};

/// Everything that was recorded before the run went on.
#[derive(Debug)]
pub(crate) struct Past {
    pub(super) effects: BTreeMap<u64, PastEffect>,
    /// By id, the positions.
    positions: BTreeMap<u64, u64>,
    pub(super) inputs: Vec<Happening<Arc<str>>>,
    /// The last number.
    pub(super) sequence: u64,
    /// When the last entry was made.
    pub(super) at: SystemTime,
    /// The highest id of an effect.
    pub(super) id: u64,
    pub(super) told: Told,
    /// What is spent of its budget.
    pub(super) spent: Spent,
    /// How the run ended, if it did.
    last: Option<EventKind>,
    /// When it was created.
    pub(super) created: SystemTime,
    /// What executed it last.
    pub(crate) versions: Option<Versions>,
    /// Why it is not going on.
    pub(crate) interrupted: Interruption,
    /// Whether somebody had it pause, and nobody had it go on.
    pub(crate) paused: bool,
    /// How often its process was lost since it got any further.
    pub(crate) losses: u32,
}

/// Something with the number and the moment of its entry.
#[derive(Clone, Debug)]
pub(crate) struct Happening<T> {
    pub(crate) sequence: u64,
    pub(crate) at: SystemTime,
    pub(crate) what: T,
}

/// One of the agent's own effects, as far as it came.
#[derive(Clone, Debug)]
pub(crate) struct PastEffect {
    pub(crate) id: u64,
    pub(crate) deed: Deed,
    /// The approval that nobody had decided.
    pub(crate) asked: Option<Asked>,
    /// What a person said yes to.
    pub(crate) answered: Vec<PastAnswer>,
    /// Whether its intent is recorded.
    pub(crate) begun: bool,
    /// Whether it began as something that may happen once only.
    pub(crate) once: bool,
    /// Where the tool comes from whose call began.
    source: Option<ToolSource>,
    /// Whether it is recorded as in doubt.
    pub(crate) in_doubt: bool,
    /// What a person said of it.
    pub(crate) settled: Option<Settlement>,
    /// Its last entry.
    pub(crate) touched: (u64, SystemTime),
    pub(crate) end: Option<Happening<End>>,
}

/// How an effect ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) kind: EventKind,
    /// Where the tool came from that was called.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only requests to tools are answered by it"))]
    pub(crate) source: Option<ToolSource>,
    /// What its guest was told, where that is an outcome.
    pub(crate) outcome: Option<Outcome>,
    /// What its guest was told, where that is something else.
    pub(crate) answer: Option<Arc<Value>>,
}

/// An approval, as it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) approval: ApprovalId,
    pub(crate) questions: Vec<String>,
    pub(crate) policy: Option<String>,
    pub(crate) at: SystemTime,
}

/// An approval that was given.
#[derive(Clone, Debug)]
pub(crate) struct PastAnswer {
    pub(crate) policy: Option<String>,
    pub(crate) questions: Vec<String>,
    pub(crate) edited: Option<Arc<Value>>,
}

impl Default for Past {
    fn default() -> Self {
        Self {
            effects: BTreeMap::new(),
            positions: BTreeMap::new(),
            inputs: Vec::new(),
            sequence: 0,
            at: SystemTime::UNIX_EPOCH,
            id: 0,
            told: Told::default(),
            spent: Spent::default(),
            last: None,
            created: SystemTime::UNIX_EPOCH,
            versions: None,
            interrupted: Interruption::Handover,
            paused: false,
            losses: 0,
        }
    }
}

impl Past {
    /// Takes the next entry.
    pub(crate) fn add(&mut self, entry: Entry) {
        let Entry { event, mut trace } = entry;
        self.sequence = event.sequence;
        self.at = self.at.max(event.at);
        self.tell(&event.kind);
        if let (Some(position), Some(deed)) = (trace.position, trace.deed.take()) {
            let id = event.kind.effect().unwrap_or_default();
            self.effects.insert(position, PastEffect::new(id, deed, (event.sequence, event.at)));
            self.positions.insert(id, position);
            if id == 0 {
                // What has no id is said and done at once.
                self.end_at(position, &event, &Trace::default());
            }
        }
        let Some(id) = event.kind.effect() else { return };
        self.id = self.id.max(id);
        let Some((position, effect)) =
            self.positions.get(&id).and_then(|position| Some((*position, self.effects.get_mut(position)?)))
        else {
            return;
        };
        if effect.end.is_some() {
            return;
        }
        if !matches!(event.kind, EventKind::FileEdit { .. }) {
            effect.touched = (event.sequence, event.at);
        }
        match &event.kind {
            EventKind::ApprovalRequired { approval, policy, .. } => {
                effect.asked = Some(Asked {
                    approval: *approval,
                    questions: trace.questions,
                    policy: policy.clone(),
                    at: event.at,
                });
            }
            EventKind::Approved { edited, .. } => {
                if let Some(asked) = effect.asked.take() {
                    let edited = trace.edited.or_else(|| edited.clone());
                    let answer = PastAnswer { policy: asked.policy, questions: asked.questions, edited };
                    effect.answered.push(answer);
                }
            }
            EventKind::InDoubt { .. } => effect.in_doubt = true,
            EventKind::Settled { settlement, .. } => effect.settled = Some(settlement.clone()),
            EventKind::ToolCall { .. }
            | EventKind::Fetch { .. }
            | EventKind::Chat { .. }
            | EventKind::InputRequired { .. } => {
                (effect.begun, effect.once) = (true, trace.once);
                if let EventKind::ToolCall { source, .. } = &event.kind {
                    effect.source = Some(source.clone());
                }
                // Where it begins anew, what was said of it before is about another attempt.
                (effect.in_doubt, effect.settled) = (false, None);
            }
            kind if kind.ends_effect() => self.end_at(position, &event, &trace),
            _ => {}
        }
    }

    fn end_at(&mut self, position: u64, event: &Event, trace: &Trace) {
        if let Some(effect) = self.effects.get_mut(&position) {
            let outcome = outcome(&event.kind, trace.told.as_ref());
            let (kind, source, answer) = (event.kind.clone(), effect.source.take(), trace.answer.clone());
            let end = End { kind, source, outcome, answer };
            effect.end = Some(Happening { sequence: event.sequence, at: event.at, what: end });
        }
    }

    /// What an entry adds to what can be told of the whole run.
    fn tell(&mut self, kind: &EventKind) {
        self.told.add(kind);
        self.spent.count(kind);
        self.losses = match kind {
            EventKind::Resumed { after: Interruption::Loss, .. } => self.losses + 1,
            _ => 0,
        };
        match kind {
            EventKind::Created { versions, .. } => {
                self.created = self.at;
                self.versions = Some(versions.clone());
            }
            EventKind::Resumed { versions, .. } => {
                (self.interrupted, self.paused) = (Interruption::Handover, false);
                self.versions = versions.clone().or(self.versions.take());
            }
            EventKind::Paused { .. } => (self.interrupted, self.paused) = (Interruption::Pause, true),
            EventKind::Waiting { .. } => self.interrupted = Interruption::Wait,
            kind if kind.is_last() => self.last = Some(kind.clone()),
            EventKind::Input { content } => {
                self.inputs.push(Happening { sequence: self.sequence, at: self.at, what: content.as_str().into() });
            }
            _ => {}
        }
    }

    /// How long it had not waited, in milliseconds: no entry says so.
    pub(crate) fn was_active(&mut self, milliseconds: u64) {
        self.told.usage.active_ms = milliseconds;
    }

    /// Whether an effect of that id began and has no end.
    pub(crate) fn is_open(&self, id: u64) -> bool {
        let Some((position, effect)) = self.by_id(id) else { return false };
        if effect.deed.kind == DeedKind::Ask {
            // Answers are taken in order.
            let asks = self.effects.range(..position).filter(|(_, effect)| effect.deed.kind == DeedKind::Ask);
            return asks.count() >= self.inputs.len();
        }
        effect.end.is_none()
    }

    /// Whether nobody knows what became of an effect of that id.
    pub(crate) fn is_in_doubt(&self, id: u64) -> bool {
        self.by_id(id).is_some_and(|(_, effect)| effect.in_doubt && effect.end.is_none() && effect.settled.is_none())
    }

    /// Questions to which no answer is recorded.
    pub(crate) fn open_questions(&self) -> Vec<ApprovalId> {
        let open = self.effects.values().filter(|effect| effect.end.is_none());
        open.filter_map(|effect| effect.asked.as_ref().map(|asked| asked.approval)).collect()
    }

    fn by_id(&self, id: u64) -> Option<(u64, &PastEffect)> {
        let position = *self.positions.get(&id).filter(|_| id > 0)?;
        Some((position, self.effects.get(&position)?))
    }

    /// How the run ended, if it did.
    pub(crate) fn recorded_end(&self) -> Option<EventKind> {
        self.last.clone()
    }

    /// How long ago its last entry was made.
    pub(crate) fn idle_for(&self, now: SystemTime) -> Duration {
        now.duration_since(self.at).unwrap_or_default()
    }

    /// Whether nothing of the agent is recorded yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.effects.is_empty() && self.sequence <= 1
    }
}

impl PastEffect {
    fn new(id: u64, deed: Deed, touched: (u64, SystemTime)) -> Self {
        Self {
            id,
            deed,
            asked: None,
            answered: Vec::new(),
            begun: false,
            once: false,
            source: None,
            in_doubt: false,
            settled: None,
            touched,
            end: None,
        }
    }
}
