//! Models that are asked.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use casemate_host_bindings::{ChatRequest, Message, Role, ToolDefinition};
use casemate_policy::{Action, Annotations, Grants, ToolSource};
use serde_json::{Map, Value, json};

use super::{Admitted, Denial, Effect, flag};
use crate::event::{EventKind, Subject};
use crate::gate::{Account, Tree};
use crate::limits::LimitExceeded;
use crate::model::Model;

/// One chat with a model.
pub(crate) struct Chat {
    /// By the name that grants know it by.
    pub(crate) name: String,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) request: ChatRequest,
    /// The tree whose conversation it is, where it is that of the outermost sandbox.
    tree: Option<Arc<Tree>>,
    /// What rules see of it.
    facts: Arc<Value>,
    /// All of it, made where somebody has to be asked.
    input: OnceLock<Arc<Value>>,
}

impl Chat {
    pub(crate) fn new(name: String, model: Arc<dyn Model>, request: ChatRequest, tree: Option<Arc<Tree>>) -> Self {
        let facts = Arc::new(facts(&request));
        let request = ChatRequest { model: Some(name.clone()), ..request };
        Self { name, model, request, tree, facts, input: OnceLock::new() }
    }
}

fn facts(request: &ChatRequest) -> Value {
    let ChatRequest { messages, max_output_tokens, temperature, .. } = request;
    let mut facts = Map::new();
    facts.insert("messages".to_owned(), messages.len().into());
    if let Some(message) = messages.iter().rfind(|message| message.role == Role::User) {
        facts.insert("text".to_owned(), message.texts().collect::<Vec<_>>().join("\n").into());
    }
    facts.insert("tools".to_owned(), names(&request.tools).into());
    if let Some(most) = max_output_tokens {
        facts.insert("max_output_tokens".to_owned(), (*most).into());
    }
    if let Some(temperature) = temperature {
        facts.insert("temperature".to_owned(), (*temperature).into());
    }
    facts.into()
}

fn names(tools: &[ToolDefinition]) -> Vec<String> {
    tools.iter().map(|tool| tool.name.clone()).collect()
}

impl Effect for Chat {
    fn subject(&self) -> Subject {
        Subject::Model(self.name.clone())
    }

    fn input(&self) -> &Arc<Value> {
        self.input.get_or_init(|| Arc::new(json!(self.request)))
    }

    fn origin(&self) -> (Option<ToolSource>, Annotations) {
        (None, Annotations::default())
    }

    /// It is asked again and pays again, and no more.
    fn repeats(&self) -> bool {
        true
    }

    /// A long conversation stands in the event of its chat, and need not in others.
    fn shown(&self, _input: &Arc<Value>) -> Arc<Value> {
        self.facts.clone()
    }

    fn granted(&self, reach: &Grants) -> Result<Option<String>, Denial> {
        let grant = reach.find_model(&self.name).ok_or_else(|| {
            let allow = Some(flag("--allow-model", &self.name));
            Denial { allow, ..Denial::new(format!("the model `{}` is not granted", self.name)) }
        })?;
        Ok(grant.question().map(str::to_owned))
    }

    fn action(&self) -> Action<'_> {
        Action::Chat { model: &self.name, input: &self.facts }
    }

    fn edit(&mut self, _input: Arc<Value>) -> Result<(), Denial> {
        Err(Denial::new("a chat cannot be edited, so the answer is taken for a no"))
    }

    fn check(&self, account: &Account) -> Result<(), LimitExceeded> {
        account.check_chat()
    }

    fn spend(&self, account: &Account) -> Result<(), LimitExceeded> {
        account.spend_chat()
    }

    fn begun(&self, admitted: Admitted) -> EventKind {
        let Admitted { id, principal, depth, policy, rules } = admitted;
        let all = &self.request.messages;
        let kept = self.tree.as_ref().map_or(0, |tree| tree.conversation().go_on(all));
        let messages = all.iter().skip(kept).cloned().collect();
        let (model, tools) = (self.name.clone(), names(&self.request.tools));
        EventKind::Chat { id, model, kept: kept as u64, messages, tools, principal, depth, policy, rules }
    }
}

/// The conversation that was last in an event, by the hashes of its messages: the next one tells only what is new.
#[derive(Default)]
pub(crate) struct Conversation(Mutex<Vec<blake3::Hash>>);

impl Conversation {
    /// Puts `messages` in the place of what was there, and tells how many of the first are the same.
    pub(crate) fn go_on(&self, messages: &[Message]) -> usize {
        let hashes: Vec<_> = messages.iter().map(hash).collect();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = last.iter().zip(&hashes).take_while(|(one, other)| one == other).count();
        *last = hashes;
        kept
    }
}

fn hash(message: &Message) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    // A hash takes everything, and every message can be written.
    let _ = serde_json::to_writer(&mut hasher, message);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Message {
        Message::text(Role::User, text)
    }

    #[test]
    fn what_stands_in_the_last_event_is_not_told_again() {
        let conversation = Conversation::default();
        assert_eq!(conversation.go_on(&[said("a")]), 0);
        assert_eq!(conversation.go_on(&[said("a"), said("b"), said("c")]), 1);
        assert_eq!(conversation.go_on(&[said("a"), said("x"), said("c")]), 1);
        assert_eq!(conversation.go_on(&[said("a"), said("x")]), 2);
        assert_eq!(conversation.go_on(&[Message::text(Role::Assistant, "a")]), 0);
    }

    #[test]
    fn rules_see_the_last_message_of_the_user() {
        let request = ChatRequest {
            messages: vec![said("a"), said("b"), Message::text(Role::Assistant, "c")],
            temperature: Some(0.5),
            ..ChatRequest::default()
        };
        assert_eq!(facts(&request), json!({"messages": 3, "text": "b", "tools": [], "temperature": 0.5}));
        let nobody = ChatRequest { max_output_tokens: Some(7), ..ChatRequest::default() };
        assert_eq!(facts(&nobody), json!({"messages": 0, "tools": [], "max_output_tokens": 7}));
    }
}
