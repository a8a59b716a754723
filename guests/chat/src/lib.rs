//! The agent that most agents are: a model, the tools that were granted, and the loop between them.
//!
//! What it is to do comes with the run: instructions, model, files, history, and a budget. It answers with what the
//! model says at last. Where the budget ends first, it answers with where things stand, and a tenth of the budget and
//! the last turn are kept for that. It tells what was asked of tools; what these did, the host knows.

mod account;
mod prompt;

use account::account;
use casemate_sdk::{Budget, Context, Conversation, End, Error, Message, Request, ToolCall, agent, output};

/// Said to a model that said nothing.
const NUDGE: &str = "You said nothing. Answer now, or call a tool.";

/// Said to a model whose budget is at its end.
const WRAP_UP: &str = "The budget of this run is used up, and no tool is called any more. Say in a few sentences what \
                       was done, what was found, and what is left to do.";

#[agent]
fn chat(request: Request, context: Context) -> Result<String, String> {
    if context.model.is_none() {
        return Err("this run has no model: it has to be started with one".into());
    }
    let chat = prompt::chat(request.message, &context);
    let said_before = chat.messages.len();
    let conversation = chat.converse().budget(for_work(context.budget));
    let answer = Work { conversation, said_before, budget: context.budget }.done()?;
    output(&answer);
    Ok(answer)
}

/// What is left of a budget when enough is kept to say where things stand.
fn for_work(budget: Budget) -> Budget {
    Budget {
        turns: budget.turns.map(|turns| turns.saturating_sub(1).max(turns.min(1))),
        tokens: budget.tokens.map(|tokens| tokens - tokens / 10),
        cost: budget.cost.map(|cost| cost - cost / 10),
    }
}

/// A conversation, and what has to be known about it to say how it ended.
struct Work {
    conversation: Conversation,
    /// How many messages were there before the model was first asked.
    said_before: usize,
    budget: Budget,
}

impl Work {
    /// Does the work, for what is said at its end.
    fn done(mut self) -> Result<String, String> {
        match self.carried_out() {
            Ok(End::Answered(text)) if is_blank(&text) => Err(self.with_account("the model gave no answer", &[])),
            Ok(End::CutOff(text)) if is_blank(&text) => {
                Err(self.with_account("the model reached the most that it may answer before it said anything", &[]))
            }
            Ok(End::Answered(text)) => Ok(text),
            Ok(End::CutOff(text)) => {
                Ok(format!("{text}\n\n[The answer breaks off here: the model reached the most that it may answer.]"))
            }
            Ok(End::Refused(text)) => Err(self.with_account(&format!("the model declined to answer: {text}"), &[])),
            Ok(End::UsedUp { allowance, left }) => self.stopped(&allowance.to_string(), &left),
            Err(Error::LimitExceeded(reason)) => self.stopped(&reason, &[]),
            Err(error) => Err(self.with_account(&reason(error), &[])),
        }
    }

    /// Runs the conversation to its end. A model that said nothing is told so, once.
    fn carried_out(&mut self) -> Result<End, Error> {
        match self.conversation.run()? {
            End::Answered(text) if is_blank(&text) => {
                self.conversation.say(NUDGE);
                self.conversation.run()
            }
            end => Ok(end),
        }
    }

    /// What is said where the budget ended first. Without any turn nothing was handled.
    fn stopped(&self, reason: &str, left: &[ToolCall]) -> Result<String, String> {
        if self.conversation.spent().turns == 0 {
            return Err(reason.to_owned());
        }
        let standing = self.summary().unwrap_or_else(|| account(self.messages(), left));
        Ok(format!("Stopped before the end: {reason}.\n\n{standing}"))
    }

    /// Where things stand in the words of the model, if the budget has room for one more turn like the last one.
    ///
    /// Whatever goes wrong, there is the account of the facts.
    fn summary(&self) -> Option<String> {
        let more = self.conversation.spent().and(self.conversation.last_turn());
        if !self.budget.covers(&more) {
            return None;
        }
        let answer = self.conversation.chat().clone().user(WRAP_UP).send().ok()?;
        Some(answer.text()).filter(|text| !is_blank(text))
    }

    fn with_account(&self, reason: &str, left: &[ToolCall]) -> String {
        match self.messages() {
            [] => reason.to_owned(),
            messages => format!("{reason}\n\n{}", account(messages, left)),
        }
    }

    /// What was said since the model was first asked.
    fn messages(&self) -> &[Message] {
        self.conversation.chat().messages.get(self.said_before..).unwrap_or_default()
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// Why a model gave no answer, for people.
fn reason(error: Error) -> String {
    match error {
        Error::Denied(reason) => format!("the model may not be used: {reason}"),
        Error::NotFound(reason) => format!("there is no such model: {reason}"),
        Error::InvalidInput(reason) => format!("the model cannot take this conversation: {reason}"),
        Error::LimitExceeded(reason) => format!("a limit was reached: {reason}"),
        Error::Failed(reason) => format!("the model failed again and again, at last with: {reason}"),
        Error::Cancelled => "the model was stopped before it answered".to_owned(),
    }
}

#[cfg(test)]
mod tests;
