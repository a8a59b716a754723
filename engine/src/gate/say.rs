//! What an agent says and asks: recorded, and decided by nobody.

use std::sync::Arc;
use std::time::SystemTime;

use casemate_host_bindings::ToolDefinition;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::scope::Scope;
use crate::effect::{Failure, Outcome};
use crate::event::EventKind;
use crate::journal::{Deed, DeedKind, Exchange, Journal, Recalled, Setting, Trace};

impl Scope {
    /// The journal, for an agent itself.
    pub(crate) fn own_journal(&self) -> Option<&Journal> {
        self.tree().journal().filter(|_| self.depth() == 0)
    }

    /// What the run was started with, for its agent.
    pub(crate) fn setting(&self) -> Option<&Setting> {
        self.own_journal().map(Journal::setting)
    }

    /// Tells those who watch what the agent is about.
    pub(crate) fn think(&self, content: String) -> impl Future<Output = ()> + Send + use<> {
        let deed = Deed::new(DeedKind::Thinking, "", &Value::from(content.as_str()));
        self.say(deed, EventKind::Thinking { content })
    }

    /// Adds to the output of the run.
    pub(crate) fn put_out(&self, delta: String) -> impl Future<Output = ()> + Send + use<> {
        let deed = Deed::new(DeedKind::Output, "", &Value::from(delta.as_str()));
        self.say(deed, EventKind::Output { delta })
    }

    fn say(&self, deed: Deed, kind: EventKind) -> impl Future<Output = ()> + Send + use<> {
        let journal = self.own_journal().cloned();
        async move {
            if let Some(journal) = journal {
                journal.say(kind, deed).await;
            }
        }
    }

    /// Asks whoever started the run.
    pub(crate) fn ask_for_input(
        &self,
        question: String,
    ) -> impl Future<Output = Result<String, Outcome>> + Send + use<> {
        let asking = self.own_journal().cloned().map(|journal| (journal.place(), journal));
        let scope = self.clone();
        async move {
            let Some((place, journal)) = asking else {
                return Err(Outcome::Failed(Failure::new("there is nobody to ask: this is no run").into()));
            };
            let (_blocked, _excuses) = (journal.blocked(), scope.excuse());
            let deed = Deed::new(DeedKind::Ask, "", &Value::from(question.as_str()));
            if let Recalled::New = place.recall(deed).await {
                journal.record(EventKind::InputRequired { id: place.id, question }, Trace::default());
                journal.durable().await;
            }
            let input = journal.input(&place).await;
            journal.durable().await;
            journal.observe(&place);
            Ok(input)
        }
    }

    /// Waits for a moment in the agent's time, or for one of these exchanges, whichever comes first. The one that came is
    /// the answer; none where it was the moment.
    pub(crate) fn wait(
        &self,
        until: Option<SystemTime>,
        exchanges: Vec<Exchange>,
    ) -> impl Future<Output = Option<Exchange>> + Send + use<> {
        let journal = self.own_journal().cloned();
        let timer = until.zip(journal.as_ref()).map(|(until, journal)| (until, journal.place()));
        let scope = self.clone();
        async move {
            let journal = journal?;
            let (_blocked, _excuses) = (journal.blocked(), scope.excuse());
            let before = journal.first_ended(&exchanges);
            let Some((until, place)) = timer else {
                if before.is_none() {
                    journal.only_live().await;
                }
                return Some(journal.first_to_end(&exchanges).await);
            };
            let since = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let deed = Deed::new(DeedKind::Sleep, "", &json!(since.as_micros().to_string()));
            let recalled = place.recall(deed).await;
            match (&recalled, before) {
                (Recalled::Ended(end), Some((sequence, exchange))) if sequence < end.sequence => return Some(exchange),
                (Recalled::Ended(_), _) => {
                    journal.observe(&place);
                    return None;
                }
                (_, Some((_, exchange))) => return Some(exchange),
                (_, None) => journal.only_live().await,
            }
            let id = place.id;
            if let Recalled::New = recalled {
                journal.record(EventKind::Sleeping { id, until }, Trace::default());
                journal.durable().await;
            }
            tokio::select! {
                exchange = journal.first_to_end(&exchanges) => Some(exchange),
                () = journal.until(until, &exchanges) => {
                    let ended = journal.wake(id, &exchanges);
                    if ended.is_none() {
                        journal.durable().await;
                        journal.observe(&place);
                    }
                    ended
                }
            }
        }
    }

    /// The tools that can be called from here; on replay an agent is told what it was told before.
    pub(crate) fn list_tools(&self) -> impl Future<Output = Vec<ToolDefinition>> + Send + use<> {
        let (scope, listing) = (self.clone(), self.own_journal().cloned().map(|journal| (journal.place(), journal)));
        async move {
            let Some((place, journal)) = listing else { return scope.definitions() };
            let deed = Deed::new(DeedKind::ListTools, "", &Value::Null);
            let recalled = place.recall(deed).await;
            if let Recalled::Ended(end) = recalled {
                // Where nothing is said of it, they were the same as before.
                let told = end.what.answer.or_else(|| journal.listed()).unwrap_or_default();
                journal.listed_anew(&told);
                journal.observe(&place);
                return Vec::deserialize(&*told).unwrap_or_default();
            }
            let definitions = scope.definitions();
            let tools = definitions.iter().map(|tool| tool.name.clone()).collect();
            let told = Arc::new(json!(definitions));
            let answer = journal.listed_anew(&told).then_some(told);
            journal.record(EventKind::ToolsListed { id: place.id, tools }, Trace { answer, ..Trace::default() });
            journal.durable().await;
            journal.observe(&place);
            definitions
        }
    }

    fn definitions(&self) -> Vec<ToolDefinition> {
        let available = self.available().into_iter();
        let definitions = available.map(|(name, tool)| ToolDefinition {
            name,
            description: tool.about().to_owned(),
            input_schema: tool.input_schema().clone(),
        });
        definitions.collect()
    }
}
