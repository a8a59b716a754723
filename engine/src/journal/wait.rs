//! What an effect waits for that only the world can give: a person, or a moment.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::{Exchange, Halt, Journal, Mode, Place, State, ToBeDecided, Trace};
use crate::event::{EventKind, Settlement};
use crate::gate::{Answer, ApprovalId, Given};
use crate::life::WaitingOn;
use crate::storage::RunState;

/// What one effect waits for.
#[derive(Clone)]
pub(crate) struct Wait {
    pub(crate) on: WaitingOn,
    /// What ends it.
    pub(crate) until: Until,
    /// When it goes on by itself.
    pub(crate) wake_at: Option<SystemTime>,
    /// Whether it can be waited for without a sandbox.
    pub(crate) parks: Parks,
}

/// What a wait ends with.
#[derive(Clone)]
pub(crate) enum Until {
    Decided(ApprovalId),
    Input,
    Settled(u64),
    /// A moment, or one of these before.
    Moment(Vec<Exchange>),
}

/// Whether a run that waits for this can do so without a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parks {
    Yes,
    /// A tool of it waits, or somebody in this process is being asked.
    No,
}

/// All that is waited for.
#[derive(Default)]
pub(super) struct Waits {
    last: u64,
    all: BTreeMap<u64, Wait>,
}

/// While it lives, the effect waits.
struct Waiting<'a> {
    journal: &'a Journal,
    key: u64,
}

impl Journal {
    /// Waits until `look` finds something.
    async fn wait<T>(&self, wait: Wait, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let early = look(&mut self.state());
        if let Some(found) = early {
            return found;
        }
        let _waiting = self.begin_waiting(wait);
        found(&self.0.news, || look(&mut self.state())).await
    }

    fn begin_waiting(&self, wait: Wait) -> Waiting<'_> {
        let mut state = self.state();
        state.waits.last += 1;
        let key = state.waits.last;
        state.waits.all.insert(key, wait);
        self.0.news.notify_waiters();
        Waiting { journal: self, key }
    }

    /// What was decided about an approval.
    pub(crate) async fn answer(&self, approval: ApprovalId, wait: Wait) -> Given {
        self.wait(wait, |state| state.answers.remove(&approval)).await
    }

    /// Hands an answer of somebody in this process to the storage, which decides whether it counts.
    pub(crate) fn propose(&self, approval: ApprovalId, answer: Answer) {
        self.state().asking.push(ToBeDecided { approval, answer });
        self.0.proposals.notify_waiters();
    }

    /// Completes when there are answers for the storage.
    pub(crate) async fn has_proposals(&self) {
        found(&self.0.proposals, || (!self.state().asking.is_empty()).then_some(())).await;
    }

    /// Answers that wait for the storage.
    pub(crate) fn proposed(&self) -> Vec<ToBeDecided> {
        std::mem::take(&mut self.state().asking)
    }

    /// An approval was decided.
    pub(crate) fn decided(&self, approval: ApprovalId, given: Given) {
        self.state().answers.insert(approval, given);
        self.0.news.notify_waiters();
    }

    /// What a person says of an effect in doubt.
    pub(crate) async fn settlement(&self, id: u64) -> Settlement {
        let wait = Wait { on: WaitingOn::InDoubt, until: Until::Settled(id), wake_at: None, parks: Parks::Yes };
        self.wait(wait, |state| state.settlements.remove(&id)).await
    }

    /// A person said what became of an effect: that counts only where it is in doubt.
    pub(crate) fn settle(&self, id: u64, settlement: Settlement, by: String) {
        let mut state = self.state();
        let waits = state.waits.all.values().any(|wait| matches!(wait.until, Until::Settled(doubt) if doubt == id));
        if !(waits || state.past.is_in_doubt(id)) || state.settlements.contains_key(&id) {
            return;
        }
        self.write(&mut state, EventKind::Settled { id, settlement: settlement.clone(), by }, Trace::default());
        state.settlements.insert(id, settlement);
        drop(state);
        self.0.news.notify_waiters();
    }

    /// Whether something is under way that is more than waiting.
    pub(crate) fn is_at_work(&self) -> bool {
        let state = self.state();
        let parkable = state.waits.all.values().filter(|wait| wait.parks == Parks::Yes).count();
        parkable < state.begun()
    }

    /// The next input that the agent did not take yet, once there is one.
    pub(crate) async fn input(&self, place: &Place) -> String {
        let wait = Wait { on: WaitingOn::Input, until: Until::Input, wake_at: None, parks: Parks::Yes };
        self.wait(wait, |state| {
            let Some(input) = state.past.inputs.get(state.inputs_taken).cloned() else {
                if self.0.mode == Mode::Replay {
                    self.halt_in(state, Halt::UsedUp);
                }
                return None;
            };
            state.inputs_taken += 1;
            if let Some(open) = state.open.get_mut(&place.id) {
                open.touched = open.touched.max(Some((input.sequence, input.at)));
            }
            Some(input.what.to_string())
        })
        .await
    }

    /// Somebody sent input.
    pub(crate) fn add_input(&self, content: &str) {
        let mut state = self.state();
        let sequence = self.write(&mut state, EventKind::Input { content: content.to_owned() }, Trace::default());
        let at = state.at;
        state.past.inputs.push(super::Happening { sequence, at, what: content.into() });
        self.0.news.notify_waiters();
    }

    /// Waits for a moment, while somebody else waits for these exchanges.
    pub(crate) async fn until(&self, moment: SystemTime, or: &[Exchange]) {
        let (until, wake_at) = (Until::Moment(or.to_vec()), Some(moment));
        let wait = Wait { on: WaitingOn::Timer, until, wake_at, parks: Parks::Yes };
        if self.0.clock.now() >= moment {
            return;
        }
        let _waiting = self.begin_waiting(wait);
        self.0.clock.sleep_until(moment).await;
    }

    /// The messages up to that number are used up by what is recorded by now.
    pub(crate) fn consumed(&self, number: u64) {
        let mut state = self.state();
        state.unkept.consumed_inbox = Some(number);
        self.0.work.notify_one();
    }

    /// What can be told of the run from now on.
    pub(crate) fn set_state(&self, run_state: Option<RunState>) {
        let mut state = self.state();
        state.unkept.state = run_state;
        state.urgent = true;
        self.0.work.notify_one();
    }

    /// What the run waits for, as soon as it has done nothing but wait for `grace`: it could as well do so without a
    /// sandbox.
    pub(crate) async fn idle(&self, grace: Duration) -> Wait {
        loop {
            found(&self.0.news, || self.waits_only()).await;
            tokio::select! {
                () = tokio::time::sleep(grace) => if let Some(wait) = self.waits_only() { return wait },
                () = found(&self.0.news, || self.waits_only().is_none().then_some(())) => {}
            }
        }
    }

    /// The oldest wait with the earliest moment of all, where the agent and each of its effects waits.
    pub(crate) fn waits_only(&self) -> Option<Wait> {
        let state = self.state();
        let blocked = self.0.blocked.load(std::sync::atomic::Ordering::Acquire) > 0;
        let parkable = state.waits.all.values().filter(|wait| wait.parks == Parks::Yes).count();
        // What came is not taken yet: that is no waiting any more.
        if state.waits.all.values().any(|wait| state.has(&wait.until)) {
            return None;
        }
        if !blocked || parkable == 0 || parkable < state.begun() || parkable < state.waits.all.len() {
            return None;
        }
        let first = state.waits.all.values().next()?.clone();
        let wake_at = state.waits.all.values().filter_map(|wait| wait.wake_at).min();
        Some(Wait { wake_at, ..first })
    }

    /// A stop that a person asked for.
    pub(crate) fn fail(&self, reason: String) {
        self.halt(Halt::Failed(reason));
    }
}

/// Looks whenever there is news, until there is something.
pub(super) async fn found<T>(news: &Notify, mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        let told = news.notified();
        match look() {
            Some(found) => return found,
            None => told.await,
        }
    }
}

impl State {
    /// Whether what ends a wait is there.
    fn has(&self, until: &Until) -> bool {
        match until {
            Until::Decided(approval) => self.answers.contains_key(approval),
            Until::Input => self.past.inputs.len() > self.inputs_taken,
            Until::Settled(id) => self.settlements.contains_key(id),
            Until::Moment(or) => or.iter().any(Exchange::has_ended),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.journal.state().waits.all.remove(&self.key);
        self.journal.0.news.notify_waiters();
    }
}
