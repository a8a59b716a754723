//! Watching a Gate: events as lines of JSON, and what was denied.

use std::collections::HashMap;
use std::io::Write as _;

use casemate::{ApprovalId, Event, EventKind, Gate, Rule, Subject, Subscription};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::render;

/// As many as may wait to be printed; a guest cannot fill memory with what nobody reads.
const MAX_WAITING: usize = 100_000;
/// Enough to explain what a guest was missing.
const MAX_DENIALS: usize = 32;

/// Whether events are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Events,
    Nothing,
}

/// One who watches until it is told that the call has ended.
pub(crate) struct Watcher {
    ended: oneshot::Sender<()>,
    task: JoinHandle<Vec<Denial>>,
}

/// A "no" that a guest was told.
#[derive(PartialEq, Eq, Serialize)]
pub(crate) struct Denial {
    #[serde(flatten)]
    pub(crate) subject: Subject,
    pub(crate) reason: String,
    pub(crate) rules: Vec<Rule>,
    pub(crate) allow: Option<String>,
}

impl Watcher {
    pub(crate) fn start(gate: &Gate, show: Show) -> Self {
        let (ended, end) = oneshot::channel();
        let watch = Watch { events: gate.subscribe(MAX_WAITING), show, asking: HashMap::new(), denials: Vec::new() };
        Self { ended, task: tokio::spawn(watch.until(end)) }
    }

    /// Prints what has not been printed, and tells what was denied, in order and each once.
    pub(crate) async fn finish(self) -> anyhow::Result<Vec<Denial>> {
        // Where the receiver is gone, the events have ended before.
        drop(self.ended);
        Ok(self.task.await?)
    }
}

struct Watch {
    events: Subscription,
    show: Show,
    /// The rules that ask, by approval.
    asking: HashMap<ApprovalId, Vec<Rule>>,
    denials: Vec<Denial>,
}

impl Watch {
    async fn until(mut self, mut end: oneshot::Receiver<()>) -> Vec<Denial> {
        loop {
            let event = tokio::select! {
                biased;
                event = self.events.next() => event,
                _ = &mut end => break,
            };
            match event {
                Some(Ok(event)) => self.take(&event),
                Some(Err(overflowed)) => render::warning_line(&overflowed.to_string()),
                None => return self.denials,
            }
        }
        while let Some(Ok(event)) = self.events.try_next() {
            self.take(&event);
        }
        self.denials
    }

    fn take(&mut self, event: &Event) {
        if self.show == Show::Events {
            print(event);
        }
        match &event.kind {
            EventKind::ApprovalRequired { approval, rules, .. } => {
                self.asking.insert(*approval, rules.clone());
            }
            EventKind::Approved { approval, .. } => {
                self.asking.remove(approval);
            }
            EventKind::Rejected { approval, subject, reason, .. } => {
                let rules = self.asking.remove(approval).unwrap_or_default();
                self.keep(Denial { subject: subject.clone(), reason: reason.clone(), rules, allow: None });
            }
            EventKind::Denied { subject, reason, rules, allow, .. } => {
                let (subject, reason) = (subject.clone(), reason.clone());
                self.keep(Denial { subject, reason, rules: rules.clone(), allow: allow.clone() });
            }
            _ => {}
        }
    }

    fn keep(&mut self, denial: Denial) {
        if self.denials.len() < MAX_DENIALS && !self.denials.contains(&denial) {
            self.denials.push(denial);
        }
    }
}

fn print(event: &Event) {
    let line = serde_json::to_string(event).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    let mut stderr = std::io::stderr().lock();
    // Whoever does not read standard error any more does not miss it.
    _ = writeln!(stderr, "{}", render::plain(&line)).and_then(|()| stderr.flush());
}
