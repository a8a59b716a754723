//! Following a run to where it ends or is left: shows it, asks the person at the terminal, and heeds their Ctrl-C.
//!
//! Decisions and input go the way of every other process, through the storage; of several the first counts.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use casemate::{Answer, ApprovalId, DecideError, Delta, Event, EventKind, Run, RunError, RunStatus, RunSummary};
use serde_json::json;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use crate::approval::{self, Approve};
use crate::person;
use crate::record::{each_event, each_event_from};
use crate::render::{self, DIM, WARN};
use crate::store::Store;
use crate::typist::Typist;
use crate::view::{Detail, Next, View};

/// How often is looked whether a run is in this process's hands.
const LOOK: Duration = Duration::from_millis(10);

/// How long a run may be in no hands, or in those of others, before that is told.
const PATIENCE: Duration = Duration::from_secs(1);

/// The status where a run is left before its end.
const LEFT: u8 = 8;
/// The status where a run diverged.
pub(crate) const DIVERGED: u8 = 7;
/// The status where somebody interrupted it, as shells have it.
const INTERRUPTED: u8 = 130;

/// How a run is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It is executed here: Ctrl-C pauses it.
    Execute,
    /// Somebody else executes it: Ctrl-C stops looking.
    Watch,
}

/// What is shown of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Text(Detail),
    /// Each event, and then the run, as JSON.
    Json,
    /// Nothing: whoever read it has read enough.
    Nothing,
}

/// How a run is followed, and shown.
pub(crate) struct Follow {
    pub(crate) part: Part,
    pub(crate) show: Show,
    /// What becomes of questions.
    pub(crate) approve: Approve,
    /// The first event that is shown.
    pub(crate) from: u64,
    /// Standard input is there to be asked at.
    pub(crate) may_ask: bool,
}

/// What a run waits for a person to say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Open {
    Approval(ApprovalId),
    Input { effect: u64, question: String },
    InDoubt { effect: u64 },
}

/// What a person said.
enum Said {
    Decision(ApprovalId, Answer),
    Input(String),
    /// Nothing, and nothing more will come.
    Nothing,
}

/// Where following goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    On,
    /// It is left as soon as it waits without a sandbox.
    ToItsWait,
    /// It is left as soon as this process has let go of it.
    ToItsPause,
    /// It is being cancelled.
    ToItsEnd,
    /// It is left now.
    Out,
}

struct Live<'a> {
    store: &'a Store,
    run: Run,
    part: Part,
    show: Show,
    approve: Approve,
    view: View,
    typist: Option<Typist>,
    open: VecDeque<Open>,
    /// Of what is open, that to which an answer is on its way.
    answered: Vec<Open>,
    /// Input that came before it was asked for.
    ahead: usize,
    asking: Option<(Open, JoinHandle<Said>)>,
    way: Way,
    at_rest: bool,
    /// The number of the last event that was there already: of it and those before it, nothing is asked twice.
    past: u64,
    /// The number of the last event that was taken.
    last: u64,
    /// Since when it is followed, while nothing of it happened.
    idle_since: Option<Instant>,
    told_of_others: bool,
}

/// Follows a run to its end, or until it is left, and tells how it stands.
pub(crate) async fn follow(store: &Store, run: Run, follow: Follow) -> anyhow::Result<ExitCode> {
    let Follow { part, show, approve, from, may_ask } = follow;
    let detail = if let Show::Text(detail) = show { detail } else { Detail::Folded };
    let asks = may_ask && show != Show::Json && matches!(approve, Approve::Ask);
    let live = Live {
        store,
        run,
        part,
        show,
        approve,
        view: View::new(detail),
        typist: if asks { Typist::at_terminal() } else { None },
        open: VecDeque::new(),
        answered: Vec::new(),
        ahead: 0,
        asking: None,
        way: Way::On,
        at_rest: false,
        past: 0,
        idle_since: None,
        told_of_others: false,
        last: from.saturating_sub(1),
    };
    live.follow(from).await
}

impl Live<'_> {
    async fn follow(mut self, from: u64) -> anyhow::Result<ExitCode> {
        if self.shows_text() {
            let summary = self.run.summary().await?;
            self.view.header(&summary);
        }
        self.past = self.store.last_event(&self.run).await?;
        self.catch_up(from).await?;
        let mut interrupts = interrupts();
        let mut events = self.run.events(from);
        let mut deltas = None;
        while self.way != Way::Out {
            self.ask_next().await?;
            let listening = self.shows_text() && self.view.streams() && self.part == Part::Execute;
            if listening && deltas.is_none() {
                deltas = self.store.runs().deltas(self.run.id());
            }
            tokio::select! {
                biased;
                Some(()) = interrupts.recv() => self.interrupted().await?,
                piece = next_piece(&mut deltas) => self.view.piece(piece),
                event = events.next() => match event {
                    Some(event) => self.take(&event?).await?,
                    None => break,
                },
                said = answer(&mut self.asking) => self.hear(said).await?,
                () = tokio::time::sleep(LOOK), if self.looks(listening && deltas.is_none()) => self.look(),
            }
        }
        self.withdraw();
        self.finish().await
    }

    /// Goes through what happened before, for what is still open.
    async fn catch_up(&mut self, from: u64) -> anyhow::Result<()> {
        let run = self.run.clone();
        each_event(&run, |event| {
            if event.sequence < from {
                self.note_open(&event.kind);
            }
            Ok(())
        })
        .await?;
        self.idle_since = (self.part == Part::Execute && from > self.past && !self.at_rest).then(Instant::now);
        if from > self.past { self.still_open().await } else { Ok(()) }
    }

    /// What was opened before, and is open now.
    async fn still_open(&mut self) -> anyhow::Result<()> {
        for open in self.open.clone() {
            self.opened(&open).await?;
        }
        Ok(())
    }

    fn shows_text(&self) -> bool {
        matches!(self.show, Show::Text(_))
    }

    /// Prints an object, where that is wanted. Where nobody reads it any more, a run that is executed here goes on.
    fn print(&mut self, object: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<()> {
        if self.show != Show::Json {
            return Ok(());
        }
        match writeln!(std::io::stdout().lock(), "{}", object()?) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe && self.part == Part::Execute => {
                self.show = Show::Nothing;
                Ok(())
            }
            written => Ok(written?),
        }
    }

    /// Keeps in mind what a person is asked, and what is answered; answers with what is new.
    fn note_open(&mut self, kind: &EventKind) -> Option<Open> {
        self.at_rest = matches!(kind, EventKind::Waiting { .. });
        let new = match kind {
            EventKind::ApprovalRequired { approval, .. } => Open::Approval(*approval),
            EventKind::InputRequired { .. } if self.ahead > 0 => {
                self.ahead -= 1;
                return None;
            }
            EventKind::InputRequired { id, question } => Open::Input { effect: *id, question: question.clone() },
            EventKind::InDoubt { id, .. } => Open::InDoubt { effect: *id },
            kind => {
                self.note_closed(kind);
                return None;
            }
        };
        self.open.push_back(new.clone());
        Some(new)
    }

    fn note_closed(&mut self, kind: &EventKind) {
        let closed = match kind {
            EventKind::Approved { approval, .. } | EventKind::Rejected { approval, .. } => {
                self.open.iter().position(|open| *open == Open::Approval(*approval))
            }
            EventKind::Settled { id, .. } => self.open.iter().position(|open| *open == Open::InDoubt { effect: *id }),
            EventKind::Input { .. } => {
                let asked = self.open.iter().position(|open| matches!(open, Open::Input { .. }));
                self.ahead += usize::from(asked.is_none());
                asked
            }
            _ => None,
        };
        let closed = closed.and_then(|closed| self.open.remove(closed));
        self.answered.retain(|answered| Some(answered) != closed.as_ref());
        if closed.is_some() && self.asking.as_ref().map(|(open, _)| open) == closed.as_ref() {
            self.withdraw();
            self.view.note(DIM, "  (answered elsewhere)");
        }
    }

    async fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        self.last = event.sequence;
        self.idle_since = None;
        // What was just typed need not be told.
        let typed = matches!(event.kind, EventKind::Input { .. })
            && self.answered.iter().any(|open| matches!(open, Open::Input { .. }));
        let new = self.note_open(&event.kind);
        self.print(|| Ok(serde_json::to_string(event)?))?;
        if self.shows_text() && !typed && !self.asks_in_place(event) {
            self.view.event(event);
        }
        match new {
            _ if event.sequence == self.past => self.still_open().await?,
            Some(open) if event.sequence > self.past => self.opened(&open).await?,
            _ => {}
        }
        if event.kind.is_last() || (self.at_rest && self.way == Way::ToItsWait) {
            self.way = Way::Out;
        }
        Ok(())
    }

    /// Whether the question itself shows all of it.
    fn asks_in_place(&self, event: &Event) -> bool {
        let kind = &event.kind;
        let asked = matches!(kind, EventKind::ApprovalRequired { .. } | EventKind::InputRequired { .. });
        // That it rests while a person thinks is nothing that they need to know.
        let rests = matches!(kind, EventKind::Waiting { .. } | EventKind::Resumed { .. }) && self.asking.is_some();
        self.typist.is_some() && event.sequence > self.past && (asked || rests)
    }

    async fn opened(&mut self, open: &Open) -> anyhow::Result<()> {
        let Open::Approval(approval) = open else {
            self.tell_how_to_answer(open);
            return Ok(());
        };
        // Where it is decided, or gone, the event that says so is on its way.
        let asked = self.store.runs().approval(*approval).await?;
        if asked.is_none_or(|asked| asked.decision.is_some()) {
            return Ok(());
        }
        let answer = match self.approve {
            Approve::Always => Some(Answer::Approve),
            Approve::Never => Some(Answer::Reject { reason: "nobody is asked, and the answer is no".to_owned() }),
            Approve::Ask => None,
        };
        if let Some(answer) = answer {
            return self.decide(*approval, answer).await;
        }
        self.tell_how_to_answer(open);
        Ok(())
    }

    /// For those who cannot be asked here.
    fn tell_how_to_answer(&mut self, open: &Open) {
        let (id, flag) = (self.run.id(), self.store.flag());
        if !self.shows_text() {
            return;
        }
        match open {
            Open::InDoubt { effect } => {
                let settle = format!("casemate runs settle {id} {effect}{flag}");
                self.view.note(DIM, &format!("    say what became of it: {settle} happened RESULT"));
                self.view.note(DIM, "    or, in the place of `happened RESULT`: did-not-happen, or fail REASON");
            }
            _ if self.typist.is_some() => {}
            Open::Approval(approval) => {
                self.view.note(DIM, &format!("    answer with: casemate approvals approve {approval}{flag}"));
                self.view.note(DIM, &format!("    or with:     casemate approvals reject {approval} REASON{flag}"));
            }
            Open::Input { .. } => {
                self.view.note(DIM, &format!("    answer with: casemate runs input {id} TEXT{flag}"));
            }
        }
    }

    /// Puts the oldest open question to the person at the terminal.
    async fn ask_next(&mut self) -> anyhow::Result<()> {
        if self.asking.is_some() || self.way != Way::On || self.last < self.past {
            return Ok(());
        }
        let Some(typist) = self.typist.clone() else { return Ok(()) };
        let to_ask = |open: &&Open| !matches!(open, Open::InDoubt { .. }) && !self.answered.contains(open);
        let Some(open) = self.open.iter().find(to_ask).cloned() else { return Ok(()) };
        let mut typed = typist.listen();
        let asking = match &open {
            Open::Approval(id) => {
                // Where it is gone, the event that says so is on its way.
                let Some(approval) = self.store.runs().approval(*id).await? else { return Ok(()) };
                if approval.decision.is_some() {
                    return Ok(());
                }
                let id = *id;
                tokio::task::spawn_blocking(move || {
                    let answer = approval::ask(&approval.request, &mut typed, &mut anstream::stderr().lock());
                    answer.ok().flatten().map_or(Said::Nothing, |answer| Said::Decision(id, answer))
                })
            }
            Open::Input { question, .. } => {
                let question = question.clone();
                tokio::task::spawn_blocking(move || {
                    let answer = approval::ask_for_text(&question, &mut typed, &mut anstream::stderr().lock());
                    answer.ok().flatten().map_or(Said::Nothing, Said::Input)
                })
            }
            Open::InDoubt { .. } => return Ok(()),
        };
        self.view.question_follows();
        self.asking = Some((open, asking));
        Ok(())
    }

    fn withdraw(&mut self) {
        if self.asking.take().is_some()
            && let Some(typist) = &self.typist
        {
            typist.withdraw();
        }
    }

    async fn hear(&mut self, said: Said) -> anyhow::Result<()> {
        if let Some(typist) = &self.typist {
            typist.withdraw();
        }
        let Some((open, _)) = self.asking.take() else { return Ok(()) };
        match said {
            Said::Decision(approval, answer) => {
                self.view.answered();
                self.answered.push(open);
                self.decide(approval, answer).await
            }
            Said::Input(text) => {
                self.view.answered();
                self.answered.push(open);
                unless_finished(self.run.send_input(text).await)
            }
            Said::Nothing => {
                // The input ended: nobody is asked here any more.
                self.typist = None;
                self.tell_how_to_answer(&open);
                Ok(())
            }
        }
    }

    async fn decide(&mut self, approval: ApprovalId, answer: Answer) -> anyhow::Result<()> {
        match self.store.runs().decide(approval, answer, person::name()).await {
            Ok(()) => Ok(()),
            Err(DecideError::Storage(error)) => Err(error.into()),
            // Somebody was faster, or it is too late: the events tell.
            Err(error) => {
                self.view.note(WARN, &format!("  {error}"));
                Ok(())
            }
        }
    }

    async fn interrupted(&mut self) -> anyhow::Result<()> {
        let asks = !self.open.is_empty();
        let (way, says) = match self.way {
            _ if self.part == Part::Watch => (Way::Out, "no longer watching; the run is not touched"),
            Way::On if self.idle_since.is_some() => (Way::Out, "leaving it to the process that has it"),
            Way::On if self.at_rest => (Way::Out, ""),
            Way::On if asks => (Way::ToItsWait, "leaving it as it waits; Ctrl-C once more cancels it"),
            Way::On => {
                unless_finished(self.run.pause().await)?;
                (Way::ToItsPause, "pausing; Ctrl-C once more cancels it")
            }
            Way::ToItsWait | Way::ToItsPause => {
                unless_finished(self.run.cancel("interrupted at the terminal").await)?;
                (Way::ToItsEnd, "cancelling")
            }
            Way::ToItsEnd | Way::Out => (Way::Out, ""),
        };
        self.way = way;
        self.withdraw();
        if self.shows_text() {
            self.view.interrupted();
            self.view.note(WARN, says);
        }
        Ok(())
    }

    /// Whether something is to be looked for of which no event tells.
    fn looks(&self, needs_deltas: bool) -> bool {
        (needs_deltas && !self.at_rest) || self.way == Way::ToItsPause || self.idle_since.is_some()
    }

    fn look(&mut self) {
        let is_here = self.store.runs().deltas(self.run.id()).is_some();
        if self.way == Way::ToItsPause && !is_here {
            self.way = Way::Out;
        }
        if is_here {
            self.idle_since = None;
        }
        if self.idle_since.is_some_and(|since| since.elapsed() >= PATIENCE) && !self.told_of_others {
            self.told_of_others = true;
            self.note_of_others();
        }
    }

    fn note_of_others(&mut self) {
        if self.shows_text() {
            let (id, flag) = (self.run.id(), self.store.flag());
            self.view
                .note(DIM, "  another process has this run; it goes on here once that one lets go of it, or is gone");
            self.view.note(DIM, &format!("  to look at it meanwhile: casemate runs watch {id}{flag}"));
        }
    }

    async fn finish(mut self) -> anyhow::Result<ExitCode> {
        self.store.close().await;
        // What was recorded while it was given back.
        let run = self.run.clone();
        each_event_from(&run, self.last + 1, |event| self.print(|| Ok(serde_json::to_string(&event)?))).await?;
        let summary = self.run.summary().await?;
        self.print(|| Ok(as_json(&summary).to_string()))?;
        if self.shows_text() {
            let files = changed_files(self.store, &self.run).await?;
            let (id, flag) = (summary.id, self.store.flag());
            let next = if summary.status.is_finished() || self.part == Part::Watch {
                Next { says: "more:", command: format!("casemate runs show {id}{flag}") }
            } else {
                Next { says: "it goes on with:", command: format!("casemate runs resume {id}{flag}") }
            };
            self.view.summary(&summary, &files, &next)?;
        }
        Ok(status(&summary))
    }
}

/// A run as JSON, without what only this binary needs.
pub(crate) fn as_json(run: &RunSummary) -> serde_json::Value {
    let mut object = json!(run);
    if let Some(members) = object.as_object_mut() {
        members.remove("attachment");
    }
    object
}

/// The files that a finished run changed.
pub(crate) async fn changed_files(store: &Store, run: &Run) -> anyhow::Result<Vec<String>> {
    let last = store.last_event(run).await?;
    let event = run.recorded(last, 1).await?.pop();
    Ok(match event.map(|event| event.kind) {
        Some(EventKind::Complete { files, .. }) => files,
        _ => Vec::new(),
    })
}

/// The exit status for how a run stands.
pub(crate) fn status(run: &RunSummary) -> ExitCode {
    match (run.status, &run.failure) {
        (RunStatus::Completed, _) => ExitCode::SUCCESS,
        (RunStatus::Diverged, _) => ExitCode::from(DIVERGED),
        (RunStatus::Cancelled, _) => ExitCode::from(INTERRUPTED),
        (RunStatus::Failed, Some(failure)) => render::status(failure.kind),
        (RunStatus::Failed, None) => ExitCode::FAILURE,
        _ => ExitCode::from(LEFT),
    }
}

/// What is told a run that finished meanwhile is told nobody.
fn unless_finished(told: Result<(), RunError>) -> anyhow::Result<()> {
    match told {
        Ok(()) | Err(RunError::Finished { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Each Ctrl-C, from now on.
fn interrupts() -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move { while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).await.is_ok() {} });
    receiver
}

/// The next piece of an answer; none where some are missing.
async fn next_piece(deltas: &mut Option<broadcast::Receiver<Delta>>) -> Option<Delta> {
    let Some(receiver) = deltas else { return std::future::pending().await };
    match receiver.recv().await {
        Ok(piece) => Some(piece),
        Err(broadcast::error::RecvError::Lagged(_)) => None,
        Err(broadcast::error::RecvError::Closed) => {
            *deltas = None;
            std::future::pending().await
        }
    }
}

async fn answer(asking: &mut Option<(Open, JoinHandle<Said>)>) -> Said {
    match asking {
        // Where the terminal failed, nobody is asked any more.
        Some((_, answer)) => answer.await.unwrap_or(Said::Nothing),
        None => std::future::pending().await,
    }
}
