//! The way of a chat.

use std::sync::Arc;

use casemate_host_bindings::{ChatRequest, ChatResponse};
use serde_json::json;

use super::admit::Numbered;
use super::scope::{Scope, shortened};
use super::ticket::{LookedBack, Ticket};
use crate::effect::{Chat, Outcome};
use crate::event::{EventKind, Subject};
use crate::journal::{DeedKind, End, PastEffect, recorded_outcome};
use crate::json::ArgumentsHash;
use crate::model::{ChatContext, Delta, Deltas, Model};
use crate::perform::chat;

impl Scope {
    /// Asks a model that is here, the default where the request names none. The effect has its number from here on.
    pub(crate) fn chat(
        &self,
        request: ChatRequest,
    ) -> impl Future<Output = Result<ChatResponse, Outcome>> + Send + use<> {
        let (ticket, scope) = (self.ticket(), self.clone());
        let found = self.find_model(request.model.as_deref());
        async move {
            let asked = request.model.clone().unwrap_or_default();
            let past =
                match ticket.look_back(DeedKind::Chat, &shortened(&asked), || ArgumentsHash::of(&json!(request))).await
                {
                    LookedBack::Ended(end) => {
                        let answer = scope.repeat_chat(&request, &end);
                        return ticket.told(answer).await;
                    }
                    LookedBack::Goes(past) => past,
                };
            let answer = match found {
                Ok((name, model)) => scope.ask_model(&ticket, past, (name, model), request).await,
                Err(name) => Err(scope.unknown_model(ticket.id(), name)),
            };
            ticket.told(answer).await
        }
    }

    /// What a chat answered before.
    fn repeat_chat(&self, request: &ChatRequest, end: &End) -> Result<ChatResponse, Outcome> {
        let EventKind::ChatResult { answered_by, message, stop_reason, usage, .. } = &end.kind else {
            return Err(recorded_outcome(end));
        };
        self.tree().conversation().go_on(&request.messages);
        Ok(ChatResponse {
            message: message.clone(),
            stop_reason: *stop_reason,
            usage: *usage,
            model: answered_by.clone(),
        })
    }

    /// The model of that name, or the default; or the name that nothing has.
    fn find_model(&self, asked: Option<&str>) -> Result<(String, Arc<dyn Model>), Option<String>> {
        let models = self.models();
        let name = asked.or(models.default_name()).ok_or(None)?;
        let model = models.get(name).ok_or_else(|| Some(shortened(name)))?;
        Ok((name.to_owned(), model.clone()))
    }

    async fn ask_model(
        &self,
        ticket: &Ticket,
        past: Option<Box<PastEffect>>,
        (name, model): (String, Arc<dyn Model>),
        request: ChatRequest,
    ) -> Result<ChatResponse, Outcome> {
        // Sandboxes below talk at the same time, each of its own matters.
        let tree = (self.depth() == 0).then(|| self.tree().clone());
        let (id, deltas) = (ticket.id(), self.deltas(ticket.id(), &name));
        let effect = Chat::new(name, model, request, tree);
        let permit = self.admit_from(Numbered { id, effect }, past).await?;
        chat(permit, ChatContext { deltas, idempotency_key: ticket.idempotency_key() }).await
    }

    /// What carries the pieces of an answer to whoever listens.
    fn deltas(&self, id: u64, model: &str) -> Deltas {
        let Some(listener) = self.tree().listener() else { return Deltas::default() };
        let (model, depth): (Arc<str>, _) = (model.into(), self.depth() + 1);
        Deltas::new(move |part| listener(Delta { id, model: model.clone(), depth, part }))
    }

    fn unknown_model(&self, id: u64, name: Option<String>) -> Outcome {
        let reason = match &name {
            Some(name) => format!("there is no model `{name}`"),
            None => "there is no model".to_owned(),
        };
        let outcome = Outcome::NotFound(reason.clone());
        self.tree().publish_told(&outcome, || EventKind::Denied {
            id,
            subject: Subject::Model(name.unwrap_or_default()),
            input: Arc::default(),
            principal: self.principal().id().to_owned(),
            reason,
            rules: Vec::new(),
            policy: None,
            allow: None,
        });
        outcome
    }
}
