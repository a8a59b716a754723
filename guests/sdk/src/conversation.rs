//! The loop of an agent: the model answers, its tools are called, and it answers again.
//!
//! A conversation knows its budget and the tools there are. It does not know
//! what it is about, and what becomes of its end is for the agent to say.

mod result;

use crate::chat::{Answer, Chat, StopReason};
use crate::effects::{self, Error};
use crate::message::{Content, Message, ToolCall, ToolResult};
use crate::run::{Allowance, Budget, Spent};
use crate::tool::Tool;
use serde_json::Value;

/// How long a tool's result may be, in characters, before its middle is left out.
const RESULT_LIMIT: usize = 16_000;

/// How often a model that failed is asked once more, before its failure is an error.
const RETRIES: u32 = 2;

/// A conversation that goes on by itself until the model has said what it had to say.
///
/// What the model thinks, and what it says beside tool calls, is told to those who watch. The tools
/// it asks for are called: those that were granted side by side, those of [`with`](Self::with) in
/// this component. A call that makes no sense is answered to the model and ends nothing. Of a result
/// that is too long the model sees head and tail. A model that fails is asked twice more.
///
/// ```
/// use casemate_sdk::testing::Host;
/// use casemate_sdk::{Chat, Error, json, tool};
///
/// #[tool]
/// fn double(number: i64) -> i64 {
///     number * 2
/// }
///
/// let host = Host::new().model_calls([("double", json!({"number": 21}))]).model_says("It is 42.");
/// let text = host.run(|| Chat::new().user("Double 21.").granted_tools().converse().with([DOUBLE]).answer())?;
/// assert_eq!(text, "It is 42.");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a conversation does nothing until it is run"]
pub struct Conversation {
    chat: Chat,
    tools: Vec<Tool>,
    budget: Budget,
    result_limit: usize,
    spent: Spent,
    last_turn: Spent,
}

impl Conversation {
    /// A conversation that goes on from a chat, within a budget of its own.
    pub fn new(chat: Chat, budget: Budget) -> Self {
        Self {
            chat,
            tools: Vec::new(),
            budget,
            result_limit: RESULT_LIMIT,
            spent: Spent::default(),
            last_turn: Spent::default(),
        }
    }

    /// With tools of this component too. One that has the name of another tool takes its place.
    pub fn with(mut self, tools: impl IntoIterator<Item = Tool>) -> Self {
        for tool in tools {
            self.tools.retain(|earlier| earlier.name() != tool.name());
            self.tools.push(tool);
            self.chat = self.chat.tools([tool]);
        }
        self
    }

    /// With another budget than the run's.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// With results of that many characters at most, instead of 16,000. Of a longer one the model
    /// sees head and tail, and what it can do about the rest.
    pub fn result_limit(mut self, characters: usize) -> Self {
        self.result_limit = characters;
        self
    }

    /// Goes on with text of whoever speaks to the agent.
    pub fn say(&mut self, text: impl Into<String>) {
        self.chat.messages.push(Message::user(text));
    }

    /// Goes on until the model has nothing more to ask for, or the budget is used up.
    ///
    /// A conversation that has ended can be run again, after something more was said.
    ///
    /// # Errors
    ///
    /// What [`Chat::send`] says, after two more tries where the model `Failed`. What was said until then stays.
    pub fn run(&mut self) -> Result<End, Error> {
        let mut left = Vec::new();
        loop {
            if let Some(allowance) = self.used_up() {
                return Ok(End::UsedUp { allowance, left });
            }
            let answer = self.turn()?;
            let calls: Vec<ToolCall> = answer.message.tool_calls().cloned().collect();
            report(&answer.message);
            if calls.is_empty() || answer.stop_reason == StopReason::Refused {
                return Ok(End::of(&answer));
            }
            let results = self.results(&calls, answer.stop_reason);
            self.chat.messages.push(Message::results(results));
            left = calls;
        }
    }

    /// Runs the conversation, for the text at its end.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); `LimitExceeded` where the budget was used up before the end, and
    /// `Failed` where the model declined.
    pub fn answer(mut self) -> Result<String, Error> {
        match self.run()? {
            End::Answered(text) | End::CutOff(text) => Ok(text),
            End::Refused(text) => Err(Error::Failed(format!("the model declined: {text}"))),
            End::UsedUp { allowance, .. } => Err(Error::LimitExceeded(allowance.to_string())),
        }
    }

    /// The chat as it is now: what was said, and the tools that there are.
    pub fn chat(&self) -> &Chat {
        &self.chat
    }

    /// What all turns took.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// What the last turn took; nothing where there was none.
    pub fn last_turn(&self) -> Spent {
        self.last_turn
    }

    fn used_up(&self) -> Option<Allowance> {
        self.budget.used_up_by(&self.spent)
    }

    fn turn(&mut self) -> Result<Answer, Error> {
        let answer = self.send()?;
        self.last_turn = Spent::turn(&answer.usage);
        self.spent = self.spent.and(self.last_turn);
        // A message that says nothing is nothing that a provider takes back.
        if !answer.message.content.iter().all(is_blank) {
            self.chat.messages.push(answer.message.clone());
        }
        Ok(answer)
    }

    fn send(&self) -> Result<Answer, Error> {
        let mut answer = self.chat.send();
        for _ in 0..RETRIES {
            if !matches!(answer, Err(Error::Failed(_))) {
                break;
            }
            answer = self.chat.send();
        }
        answer
    }

    /// The answers to calls, in their order.
    fn results(&self, calls: &[ToolCall], stop_reason: StopReason) -> Vec<ToolResult> {
        let routes: Vec<Route> = calls.iter().map(|call| self.route(call, stop_reason)).collect();
        let granted = calls.iter().zip(&routes).filter(|(_, route)| matches!(route, Route::Granted));
        let granted: Vec<ToolCall> = granted.map(|(call, _)| call.clone()).collect();
        let mut from_host = if granted.is_empty() { Vec::new() } else { effects::call_all(granted) }.into_iter();
        let mut outcome = |call: &ToolCall, route| match route {
            Route::Nowhere(error) => Err(error),
            Route::Local(tool) => tool.invoke(call.input.clone()),
            Route::Granted => from_host.next().unwrap_or_else(|| Err(Error::Failed("there was no result".into()))),
        };
        let answered = calls.iter().zip(routes).map(|(call, route)| (call, outcome(call, route)));
        answered.map(|(call, outcome)| self.shown(call, ToolResult::new(call, outcome))).collect()
    }

    fn route(&self, call: &ToolCall, stop_reason: StopReason) -> Route {
        if let Some(reason) = self.reason_against(call, stop_reason) {
            return Route::Nowhere(reason);
        }
        match self.tools.iter().find(|tool| tool.name() == call.name) {
            Some(tool) => Route::Local(*tool),
            None => Route::Granted,
        }
    }

    /// Why a call is not made at all.
    fn reason_against(&self, call: &ToolCall, stop_reason: StopReason) -> Option<Error> {
        if let Some(allowance) = self.used_up() {
            return Some(Error::LimitExceeded(format!("{allowance}, so this was not called")));
        }
        if stop_reason == StopReason::Length {
            let reason = "the answer broke off, so nothing was called; ask again, with less at once";
            return Some(Error::InvalidInput(reason.into()));
        }
        if !self.chat.tools.iter().any(|tool| tool.name == call.name) {
            return Some(Error::NotFound(format!("there is no tool `{}`; {}", call.name, self.names())));
        }
        match &call.input {
            Value::Object(_) => None,
            Value::String(text) => Some(Error::InvalidInput(not_an_object(text))),
            other => Some(Error::InvalidInput(format!("the input has to be a JSON object, and is `{other}`"))),
        }
    }

    fn names(&self) -> String {
        match self.chat.tools.as_slice() {
            [] => "there are none".to_owned(),
            tools => {
                let names: Vec<_> = tools.iter().map(|tool| format!("`{}`", tool.name)).collect();
                format!("there are {}", names.join(", "))
            }
        }
    }

    /// A result as the model sees it.
    fn shown(&self, call: &ToolCall, result: ToolResult) -> ToolResult {
        ToolResult { output: result::trimmed(result.output, &call.name, self.result_limit), ..result }
    }
}

/// How a conversation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The model said what it had to say. The text may be empty.
    Answered(String),
    /// The model reached the most that it may answer, with this text.
    CutOff(String),
    /// The model or its provider declined, with this text.
    Refused(String),
    /// The budget was used up before the model had said what it had to say.
    UsedUp {
        /// What is used up.
        allowance: Allowance,
        /// The calls that the model asked for at last, none of which was made.
        left: Vec<ToolCall>,
    },
}

impl End {
    fn of(answer: &Answer) -> Self {
        match answer.stop_reason {
            StopReason::End | StopReason::ToolCalls => Self::Answered(answer.text()),
            StopReason::Length => Self::CutOff(answer.text()),
            StopReason::Refused => Self::Refused(answer.text()),
        }
    }
}

/// Who answers a call.
enum Route {
    /// The host, where it was granted.
    Granted,
    /// A tool of this component.
    Local(Tool),
    /// Nobody, for this reason.
    Nowhere(Error),
}

/// Tells those who watch what the model is about: what it thinks, and what it says beside tool calls.
fn report(message: &Message) {
    let thoughts = message.thoughts().map(|thought| thought.text.as_str());
    let aside = message.texts().filter(|_| message.tool_calls().next().is_some());
    thoughts.chain(aside).filter(|text| !text.trim().is_empty()).for_each(effects::thinking);
}

fn is_blank(part: &Content) -> bool {
    matches!(part, Content::Text { text } if text.trim().is_empty())
}

/// What is wrong with an input that is but text.
fn not_an_object(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Err(error) => format!("the input is not JSON: {error}"),
        Ok(_) => "the input has to be a JSON object, and is a string".to_owned(),
    }
}
