//! What others tell a run while it is executed.

use super::{ExecuteError, Owned, PAGE};
use crate::event::{EventKind, Interruption};
use crate::life::RunStatus;
use crate::run::message::Message;
use crate::storage::InboxMessage;

/// What a message asks of whoever executes the run.
pub(super) enum Order {
    Cancel(String),
}

impl Owned<'_> {
    /// Takes what others sent; later, where the storage cannot tell now.
    pub(super) async fn take_messages_if_readable(&mut self) -> Result<Option<Order>, ExecuteError> {
        match self.take_messages().await {
            Err(ExecuteError::Storage(error)) => {
                tracing::warn!(run = %self.id, %error, "messages cannot be read now: trying again");
                Ok(None)
            }
            taken => taken,
        }
    }

    /// Takes what others sent, in order.
    pub(super) async fn take_messages(&mut self) -> Result<Option<Order>, ExecuteError> {
        let mut order = None;
        loop {
            let messages = self.inner.storage.inbox(self.id, self.consumed, PAGE).await?;
            let more = messages.len() == PAGE;
            for InboxMessage { number, text } in messages {
                match serde_json::from_str(&text) {
                    Ok(message) => order = self.take(message).await?.or(order),
                    Err(error) => tracing::warn!(run = %self.id, number, %error, "a message cannot be read: left out"),
                }
                self.consumed = number;
                self.journal.consumed(number);
            }
            if !more {
                return Ok(order);
            }
        }
    }

    async fn take(&mut self, message: Message) -> Result<Option<Order>, ExecuteError> {
        match message {
            Message::Input { content } => self.journal.add_input(&content),
            Message::Pause => self.pause(None),
            Message::Resume => self.resume(),
            Message::Cancel { reason } => return Ok(Some(Order::Cancel(reason))),
            Message::Decided { approval } => self.look_at(approval).await?,
            Message::Settle { effect, settlement, by } => self.journal.settle(effect, settlement, by),
        }
        Ok(None)
    }

    /// Has the guest stand still; `reason` says why, where nobody asked for it.
    pub(super) fn pause(&mut self, reason: Option<String>) {
        if !std::mem::replace(&mut self.paused, true) {
            self.hold.on();
            self.pause_reason.clone_from(&reason);
            let paused = EventKind::Paused { reason };
            let state = self.detail().stopped(&paused);
            self.journal.tell(paused);
            self.journal.set_state(state);
        }
    }

    fn resume(&mut self) {
        if std::mem::replace(&mut self.paused, false) {
            self.pause_reason = None;
            let duration = std::mem::take(&mut self.idle);
            self.journal.tell(EventKind::Resumed { after: Interruption::Pause, duration, versions: None });
            self.journal.set_state(Some(self.detail().state(RunStatus::Running)));
            self.hold.off();
        }
    }
}
