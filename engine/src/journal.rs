//! The ordered record of a run that is being executed: what is written at its end, and what is read back at its
//! beginning.
//!
//! One log is both the timeline that people watch and what replay goes by. Entries are numbered where they are made, and
//! handed to the storage in order by whoever executes the run ([`Journal::keep`]); who has to be sure that something is
//! kept waits for [`Journal::durable`]. Whatever an agent could notice of time and order is taken from here, so that it
//! notices the same again.
//!
//! This file knows nothing of wasmtime, and nothing of what decides an effect.

mod chance;
mod entry;
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only with HTTP there are exchanges"))]
mod exchange;
mod keep;
mod past;
mod place;
mod setting;
mod time;
mod told;
mod wait;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rand_chacha::ChaCha20Rng;
use serde_json::Value;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::event::{Event, EventKind, RunUsage, Settlement};
use crate::gate::{Answer, ApprovalId, Given, Spent};
use crate::life::RunId;
use crate::limits::{LimitExceeded, LimitKind, Usage, millis};
use crate::storage::{Append, NewApproval, RunState};
use crate::workspace::Workspace;

pub use entry::UnreadableEntry;
pub(crate) use entry::{Deed, DeedKind, Entry, Trace, read_event};
pub(crate) use exchange::Exchange;
pub(crate) use past::{Asked, End, Happening, Past, PastEffect};
pub(crate) use place::{Place, Recalled, recorded_outcome};
pub(crate) use setting::{ContextFile, Setting};
use time::VirtualTime;
use told::Told;
use wait::Waits;
pub(crate) use wait::{Parks, Until, Wait};

/// The journal of a run that is being executed. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(crate) struct Journal(Arc<Shared>);

struct Shared {
    setting: Setting,
    clock: Arc<dyn Clock>,
    workspace: Option<Workspace>,
    mode: Mode,
    state: Mutex<State>,
    /// There is something to keep.
    work: Notify,
    /// Something was kept.
    kept: Notify,
    /// Something arrived, or an effect waits or does not any more.
    news: Notify,
    /// There are answers for the storage.
    proposals: Notify,
    /// The run stops.
    stop: Notify,
    /// Host calls in which the agent waits.
    blocked: AtomicUsize,
}

/// Whether effects happen that are not recorded yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They do.
    Live,
    /// They do not: the past is gone through once more, to be looked at.
    Replay,
}

struct State {
    next: u64,
    at: SystemTime,
    /// What is not handed to the storage yet.
    unkept: Unkept,
    /// What was handed to it and is not acknowledged: whoever waited for that may be gone.
    handed: Option<Arc<Append>>,
    /// Whether somebody waits for all that is made so far to be kept.
    urgent: bool,
    /// Entries up to this one are kept.
    durable: u64,
    past: Past,
    /// Effects of the agent's own that have no end yet, by id.
    open: HashMap<u64, Open>,
    last_position: u64,
    last_id: u64,
    waits: Waits,
    answers: HashMap<ApprovalId, Given>,
    settlements: HashMap<u64, Settlement>,
    /// How many inputs the agent took.
    inputs_taken: usize,
    asking: Vec<ToBeDecided>,
    time: VirtualTime,
    chance: ChaCha20Rng,
    told: Told,
    /// The tools that the agent was told of last.
    listed: Option<Arc<Value>>,
    closed: bool,
    halt: Option<Halt>,
}

/// What goes to the storage together.
#[derive(Default)]
pub(crate) struct Unkept {
    pub(crate) entries: Vec<Entry>,
    pub(crate) state: Option<RunState>,
    pub(crate) consumed_inbox: Option<u64>,
    pub(crate) approvals: Vec<NewApproval>,
    pub(crate) withdrawn: Vec<ApprovalId>,
}

/// An answer that somebody in this process gave, and that counts once the storage took it.
pub(crate) struct ToBeDecided {
    pub(crate) approval: ApprovalId,
    pub(crate) answer: Answer,
}

struct Open {
    position: u64,
    /// Until it is recorded.
    deed: Option<Deed>,
    /// Its last entry, as far as it came.
    touched: Option<(u64, SystemTime)>,
    /// The number of its end, once there is one.
    end: Option<u64>,
    /// Whether the agent is still about to say what it is.
    forming: bool,
}

/// Why a run stops where it stands.
#[derive(Clone, Debug)]
pub(crate) enum Halt {
    /// Another worker has it.
    Fenced,
    /// The storage lost what it had promised to keep.
    WentBack,
    /// The storage fails.
    Storage(Arc<str>),
    /// What the agent does is not what it did.
    Diverged { position: u64, recorded: Option<String>, attempted: Option<String> },
    /// A person said that it fails.
    Failed(String),
    /// It may have no more events.
    Limit(LimitExceeded),
    /// A replay came to the end of what is recorded.
    UsedUp,
}

impl Journal {
    /// The journal of a run with that past.
    pub(crate) fn new(setting: Setting, clock: Arc<dyn Clock>, mode: Mode, past: Past, seed: [u8; 32]) -> Self {
        let workspace = setting.workspace.clone().map(Workspace::new);
        let state = State {
            next: past.sequence + 1,
            at: past.at,
            unkept: Unkept::default(),
            handed: None,
            listed: None,
            urgent: false,
            durable: past.sequence,
            open: HashMap::new(),
            last_position: 0,
            last_id: past.id,
            waits: Waits::default(),
            answers: HashMap::new(),
            settlements: HashMap::new(),
            inputs_taken: 0,
            asking: Vec::new(),
            time: VirtualTime::new(past.created),
            chance: chance::stream(seed),
            told: past.told.clone(),
            closed: false,
            halt: None,
            past,
        };
        Self(Arc::new(Shared {
            setting,
            clock,
            workspace,
            mode,
            state: Mutex::new(state),
            work: Notify::new(),
            kept: Notify::new(),
            news: Notify::new(),
            proposals: Notify::new(),
            stop: Notify::new(),
            blocked: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn run(&self) -> RunId {
        self.0.setting.run
    }

    /// What the run was started with.
    pub(crate) fn setting(&self) -> &Setting {
        &self.0.setting
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder that its tools see, if it has one.
    pub(crate) fn workspace(&self) -> Option<&Workspace> {
        self.0.workspace.as_ref()
    }

    /// A number for an effect of a tool.
    pub(crate) fn next_id(&self) -> u64 {
        let mut state = self.state();
        self.check_room(&mut state);
        state.new_id()
    }

    /// Whether something more may begin; else the run stops.
    fn check_room(&self, state: &mut State) -> bool {
        let max = self.0.setting.events;
        let has_room = state.next <= max;
        if !has_room {
            self.halt_in(state, Halt::Limit(LimitExceeded::new(LimitKind::Events, state.next, max)));
        }
        has_room
    }

    /// Writes an entry of what happens in the sandbox.
    pub(crate) fn record(&self, kind: EventKind, trace: Trace) {
        let mut state = self.state();
        if !state.closed {
            self.write(&mut state, kind, trace);
        }
    }

    /// Writes an entry of the life of the run, also once its sandbox is gone.
    pub(crate) fn tell(&self, kind: EventKind) {
        self.write(&mut self.state(), kind, Trace::default());
    }

    fn write(&self, state: &mut State, kind: EventKind, mut trace: Trace) -> u64 {
        let sequence = state.next;
        state.next += 1;
        state.at = state.at.max(to_micros(self.0.clock.now()));
        if let Some(open) = kind.effect().and_then(|id| state.open.get_mut(&id)) {
            open.write(&kind, (sequence, state.at), &mut trace);
        }
        state.told.add(&kind);
        let event = Event { sequence, kind, at: state.at };
        state.unkept.entries.push(Entry { event, trace });
        self.0.work.notify_one();
        sequence
    }

    /// What the agent says, which is an effect without an end.
    pub(crate) async fn say(&self, kind: EventKind, deed: Deed) {
        let place = self.place();
        if matches!(place.recall(deed.clone()).await, Recalled::New) {
            let trace = Trace { position: Some(place.position), deed: Some(deed), ..Trace::default() };
            self.record(kind, trace);
        }
    }

    /// Has a person asked.
    pub(crate) fn ask(&self, kind: EventKind, trace: Trace, approval: NewApproval) {
        let mut state = self.state();
        if !state.closed {
            self.write(&mut state, kind, trace);
            state.unkept.approvals.push(approval);
        }
    }

    /// Nobody needs to decide it any more.
    pub(crate) fn withdraw(&self, approval: ApprovalId) {
        self.state().unkept.withdrawn.push(approval);
    }

    /// Waits until everything that is recorded by now is kept. Never answers where it cannot be, and once the sandbox is
    /// not wanted any more: what is attempted then was not recorded, and may not begin.
    pub(crate) async fn durable(&self) {
        let target = self.state().next - 1;
        let is_kept = || {
            let mut state = self.state();
            if state.closed || state.halt.is_some() {
                return None;
            }
            if state.durable >= target {
                return Some(());
            }
            state.urgent = true;
            self.0.work.notify_one();
            None
        };
        wait::found(&self.0.kept, is_kept).await;
    }

    /// Stops a replay that came to the end of what is recorded.
    pub(crate) async fn only_live(&self) {
        if self.0.mode == Mode::Replay {
            self.halt(Halt::UsedUp);
            std::future::pending::<()>().await;
        }
    }

    /// Keeps in mind which tools the agent was told of; answers whether these are others than before.
    pub(crate) fn listed_anew(&self, tools: &Arc<Value>) -> bool {
        let mut state = self.state();
        let same = state.listed.as_ref() == Some(tools);
        state.listed = Some(tools.clone());
        !same
    }

    /// The tools that the agent was told of last.
    pub(crate) fn listed(&self) -> Option<Arc<Value>> {
        self.state().listed.clone()
    }

    /// The next random bytes.
    pub(crate) fn fill_random(&self, bytes: &mut [u8]) {
        chance::fill(&mut self.state().chance, bytes);
    }

    /// Stops the run where it stands.
    pub(crate) fn halt(&self, halt: Halt) {
        self.halt_in(&mut self.state(), halt);
    }

    fn halt_in(&self, state: &mut State, halt: Halt) {
        state.halt.get_or_insert(halt);
        self.0.stop.notify_waiters();
        self.0.work.notify_one();
    }

    /// Why the run stops, once it does.
    pub(crate) async fn halted(&self) -> Halt {
        wait::found(&self.0.stop, || self.state().halt.clone()).await
    }

    /// From now on nothing more is recorded: what is dropped with the sandbox did not come to an end.
    pub(crate) fn close(&self) {
        self.state().closed = true;
    }

    /// Counts what a sandbox took.
    pub(crate) fn took(&self, usage: &Usage) {
        let mut state = self.state();
        state.told.usage.fuel = usage.fuel.unwrap_or_default();
    }

    /// Counts time in which the run did not wait.
    pub(crate) fn was_active(&self, time: Duration) {
        let mut state = self.state();
        let active_ms = &mut state.told.usage.active_ms;
        *active_ms = active_ms.saturating_add(millis(time));
    }

    /// What the agent did and did not do again, where it came to its end.
    pub(crate) fn left_over(&self) -> Option<(u64, String)> {
        let state = self.state();
        state.past.effects.iter().next().map(|(position, effect)| (*position, effect.deed.to_string()))
    }

    /// How many of the agent's own effects there were.
    pub(crate) fn gone_through(&self) -> u64 {
        self.state().last_position
    }

    /// What was spent of the run's budget before it was gone on with.
    pub(crate) fn spent(&self) -> Spent {
        self.state().past.spent.clone()
    }

    pub(crate) fn usage(&self) -> RunUsage {
        self.state().told.usage
    }

    pub(crate) fn output(&self) -> String {
        self.state().told.output.clone()
    }

    pub(crate) fn files(&self) -> Vec<String> {
        self.state().told.files.clone()
    }

    /// Whether a person, or nobody in time, said no to something.
    pub(crate) fn was_rejected(&self) -> bool {
        self.state().told.was_rejected
    }

    /// While it lives, the agent waits for the world.
    pub(crate) fn blocked(&self) -> Blocked {
        self.0.blocked.fetch_add(1, Ordering::AcqRel);
        self.0.news.notify_waiters();
        Blocked(self.clone())
    }
}

impl Open {
    /// Takes an entry of it, the first of which says what it is.
    fn write(&mut self, kind: &EventKind, touched: (u64, SystemTime), trace: &mut Trace) {
        if let Some(deed) = self.deed.take() {
            (trace.position, trace.deed) = (Some(self.position), Some(deed));
        }
        if kind.ends_effect() {
            self.end.get_or_insert(touched.0);
        }
        if !matches!(kind, EventKind::FileEdit { .. }) {
            self.touched = Some(touched);
        }
    }
}

impl State {
    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// How many effects are under way or wait.
    fn begun(&self) -> usize {
        self.open.values().filter(|open| !open.forming).count()
    }
}

/// See [`Journal::blocked`].
pub(crate) struct Blocked(Journal);

impl Drop for Blocked {
    fn drop(&mut self) {
        self.0.0.blocked.fetch_sub(1, Ordering::AcqRel);
        self.0.0.news.notify_waiters();
    }
}

/// Cut to whole microseconds, as entries are written.
pub(crate) fn to_micros(at: SystemTime) -> SystemTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
