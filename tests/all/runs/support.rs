//! A storage, and workers that come and go on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use casemate::storage::MemoryStorage;
use casemate::testing::ManualClock;
use casemate::{Agent, Clock, Event, Run, RunStatus, RunSummary, Runs, SystemClock, Tool, WaitingOn};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::support::{Anything, engine};

/// Where runs live.
pub(super) struct Place {
    storage: Arc<MemoryStorage>,
    clock: Arc<dyn Clock>,
    agent: Box<dyn Fn(Agent) -> Agent + Send + Sync>,
}

static PUPPET: OnceCell<Agent> = OnceCell::const_new();

async fn puppet() -> Agent {
    let load = || async { Agent::load(engine(), casemate_guests::PUPPET).await.unwrap() };
    PUPPET.get_or_init(load).await.clone()
}

impl Place {
    pub(super) fn new() -> Self {
        Self { storage: Arc::new(MemoryStorage::new()), clock: Arc::new(SystemClock), agent: Box::new(|agent| agent) }
    }

    pub(super) fn at(clock: ManualClock) -> Self {
        Self { clock: Arc::new(clock), ..Self::new() }
    }

    /// Has its agent given something.
    pub(super) fn agent(self, give: impl FnOnce(Agent) -> Agent + Send + Sync + 'static) -> Self {
        let given = std::sync::Mutex::new((Some(give), None::<Agent>));
        let give = move |agent: Agent| {
            let mut given = given.lock().unwrap();
            if let Some(give) = given.0.take() {
                given.1 = Some(give(agent));
            }
            given.1.clone().unwrap()
        };
        Self { agent: Box::new(give), ..self }
    }

    /// A worker, as of a process of its own.
    pub(super) async fn runs(&self) -> Runs {
        let agent = (self.agent)(puppet().await);
        let clock = SharedClock(self.clock.clone());
        Runs::builder(engine(), self.storage.clone())
            .agent("puppet", agent)
            .clock(clock)
            .grace(Duration::ZERO)
            .lease(Duration::from_secs(1))
            .build()
    }

    /// Waits until its events are as they should be.
    pub(super) async fn until(&self, run: &Run, is: impl Fn(&[Event]) -> bool) {
        let mut events = run.events(1);
        let mut seen = Vec::new();
        while !is(&seen) {
            let next = tokio::time::timeout(Duration::from_millis(50), events.next()).await;
            if let Ok(event) = next {
                seen.push(event.expect("it goes on").unwrap());
            }
        }
    }

    pub(super) async fn until_status(&self, run: &Run, status: RunStatus) {
        self.until_summary(run, |summary| summary.status == status).await;
    }

    /// Waits until it waits, without a sandbox.
    pub(super) async fn until_waiting(&self, run: &Run, on: WaitingOn) {
        self.until_summary(run, |summary| {
            summary.status == RunStatus::Waiting && summary.waiting_on.as_ref() == Some(&on)
        })
        .await;
    }

    async fn until_summary(&self, run: &Run, is: impl Fn(&RunSummary) -> bool) {
        let looking = async {
            loop {
                let summary = run.summary().await.unwrap();
                if is(&summary) {
                    return;
                }
                assert!(!summary.status.is_finished(), "it is finished: {summary:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let late = tokio::time::timeout(Duration::from_secs(20), looking).await.is_err();
        assert!(!late, "it is not so: {:?} {:#?}", run.summary().await, run.recorded(1, 100).await);
    }
}

/// A clock of several workers.
struct SharedClock(Arc<dyn Clock>);

impl Clock for SharedClock {
    fn now(&self) -> SystemTime {
        self.0.now()
    }

    fn sleep_until(&self, moment: SystemTime) -> futures_util::future::BoxFuture<'static, ()> {
        self.0.sleep_until(moment)
    }
}

/// What it is in the end.
pub(super) async fn settled(run: &Run) -> RunSummary {
    match tokio::time::timeout(Duration::from_secs(20), run.wait()).await {
        Ok(summary) => summary.unwrap(),
        Err(late) => panic!("it does not end, {late}: {:?} {:#?}", run.summary().await, run.recorded(1, 100).await),
    }
}

/// The types of events.
pub(super) fn kinds(events: &[Event]) -> Vec<String> {
    let kind = |event: &Event| serde_json::to_value(event).unwrap()["type"].as_str().unwrap().to_owned();
    events.iter().map(kind).collect()
}

/// A tool that never answers.
pub(super) fn never(name: &str) -> Tool {
    Tool::new(name, |_: Anything| async { std::future::pending::<Result<Value, String>>().await })
}

/// A tool that does not answer the first time, with the number of its calls.
pub(super) fn never_first(name: &str) -> (Tool, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let tool = Tool::new(name, move |_: Anything| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first {
                std::future::pending::<()>().await;
            }
            Ok::<_, String>(Value::from("done"))
        }
    });
    (tool, count)
}
