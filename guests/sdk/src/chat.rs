//! One turn of a conversation with a model.

use crate::conversation::Conversation;
use crate::effects::{self, Error};
use crate::host;
use crate::message::{Message, ToolDefinition};

/// One turn of a conversation, as a model is asked for it.
///
/// ```
/// use casemate_sdk::testing::Host;
/// use casemate_sdk::{Chat, Error};
///
/// let host = Host::new().model_says("Water.");
/// let answer = host.run(|| Chat::new().system("Answer in one word.").user("What is H2O?").send())?;
/// assert_eq!(answer.text(), "Water.");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a chat does nothing until it is sent"]
pub struct Chat {
    /// The model's name; none for the one that the context names.
    pub model: Option<String>,
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// The tools that the model may ask for.
    pub tools: Vec<ToolDefinition>,
    /// The most that it may answer, in tokens; none for the model's own limit.
    pub max_output_tokens: Option<u32>,
    /// How freely it chooses its words, from 0 on; none for the model's own habit.
    pub temperature: Option<f32>,
}

impl Chat {
    /// A chat with the model of the run, in which nothing was said yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With that model instead of the one of the run.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(name.into());
        self
    }

    /// Goes on with instructions for the model.
    pub fn system(self, text: impl Into<String>) -> Self {
        self.message(Message::system(text))
    }

    /// Goes on with text of whoever speaks to the agent.
    pub fn user(self, text: impl Into<String>) -> Self {
        self.message(Message::user(text))
    }

    /// Goes on with a message.
    pub fn message(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    /// Goes on with what was said before.
    pub fn history(mut self, messages: impl IntoIterator<Item = Message>) -> Self {
        self.messages.extend(messages);
        self
    }

    /// Lets the model ask for these tools too. One that has the name of an earlier one takes its place.
    pub fn tools<T: Into<ToolDefinition>>(mut self, tools: impl IntoIterator<Item = T>) -> Self {
        for tool in tools {
            let tool = tool.into();
            self.tools.retain(|earlier| earlier.name != tool.name);
            self.tools.push(tool);
        }
        self
    }

    /// Lets the model ask for all tools that were granted.
    pub fn granted_tools(self) -> Self {
        self.tools(effects::available_tools())
    }

    /// Lets the model answer no more than so many tokens.
    pub fn max_output_tokens(mut self, most: u32) -> Self {
        self.max_output_tokens = Some(most);
        self
    }

    /// How freely the model chooses its words, from 0 on.
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Has the model answer once. What tools it then wants called is up to the caller.
    ///
    /// # Errors
    ///
    /// `Denied` where the model is not granted or forbidden with this conversation, `NotFound` where
    /// there is none of that name, `InvalidInput` where it cannot take the request, `LimitExceeded`
    /// where a budget is spent, and `Failed` for whatever goes wrong at its provider's.
    pub fn send(&self) -> Result<Answer, Error> {
        host::chat(self)
    }

    /// A conversation that goes on from here by itself, within the budget of the run.
    pub fn converse(self) -> Conversation {
        Conversation::new(self, effects::context().budget)
    }
}

/// What a model answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The message, to be put at the end of the conversation.
    pub message: Message,
    /// Why it ends there.
    pub stop_reason: StopReason,
    /// What it took.
    pub usage: Usage,
    /// The model that answered, by its provider's name.
    pub model: String,
}

impl Answer {
    /// All text of the message.
    pub fn text(&self) -> String {
        self.message.text()
    }
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It said what it had to say.
    End,
    /// It wants tools called, and their results.
    ToolCalls,
    /// It reached the most that it may answer.
    Length,
    /// It, or its provider, declined.
    Refused,
}

/// What a chat took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the conversation.
    pub input_tokens: u64,
    /// Of these, tokens that the provider still had.
    pub cached_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// What it cost, in millionths of a US dollar; none where nobody knows.
    pub cost: Option<u64>,
}
