//! Models: what answers a conversation. An embedder's own implement [`Model`].
//!
//! A model is asked by the Gate, after everything was decided. It knows no grants, rules or budgets, and keeps its
//! address and keys to itself.

mod estimate;
mod playground;
mod scripted;

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use casemate_host_bindings::{ChatRequest, ChatResponse};
use serde::Serialize;
use serde_json::Value;

use crate::json::Reader;
use crate::tool::is_name;

pub use playground::PlaygroundModel;
pub use scripted::{ScriptError, ScriptedModel};

/// What [`Model::chat`] answers with.
pub type ChatFuture = Pin<Box<dyn Future<Output = Result<ChatResponse, ModelError>> + Send>>;

/// Answers conversations. A closure that takes the same and gives a future is a model too.
///
/// ```
/// use casemate::{ChatContext, ChatRequest, ChatResponse, Message, Models, Role, StopReason, TokenUsage};
///
/// let echo = |request: ChatRequest, context: ChatContext| async move {
///     let said: String = request.messages.last().into_iter().flat_map(Message::texts).collect();
///     context.deltas.text(&said);
///     Ok(ChatResponse {
///         message: Message::text(Role::Assistant, said),
///         stop_reason: StopReason::End,
///         usage: TokenUsage::default(),
///         model: "echo-1".to_owned(),
///     })
/// };
/// let models = Models::new().with("echo", echo)?;
/// # Ok::<(), casemate::ModelsError>(())
/// ```
pub trait Model: Send + Sync {
    /// Has the model answer. `request.model` is the name under which it was asked.
    ///
    /// Waiting, asking again after a failure that may pass, and keeping what the provider remembers of a conversation
    /// are the model's own business. Dropping the future stops it: nobody wants the answer any more. A panic in it is
    /// a failure of this chat alone.
    fn chat(&self, request: ChatRequest, context: ChatContext) -> ChatFuture;
}

impl<F, A> Model for F
where
    F: Fn(ChatRequest, ChatContext) -> A + Send + Sync,
    A: Future<Output = Result<ChatResponse, ModelError>> + Send + 'static,
{
    fn chat(&self, request: ChatRequest, context: ChatContext) -> ChatFuture {
        Box::pin(self(request, context))
    }
}

/// What a model is given beside the request.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ChatContext {
    /// Where it says what it has of its answer, as it comes.
    pub deltas: Deltas,
    /// What tells this chat from all others, and stays the same where it is asked again after a crash: for providers
    /// that do not charge twice for one key. None where it would not be asked again.
    pub idempotency_key: Option<String>,
}

/// Where a model says what it has of its answer, before all of it is there. Whether anybody listens is not its concern.
///
/// What is said here counts for nothing: the answer is what [`Model::chat`] gives in the end. Clones are the same.
#[derive(Clone, Default)]
pub struct Deltas(Option<Arc<Hear>>);

type Hear = dyn Fn(DeltaPart) + Send + Sync;

/// A piece of an answer that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "text", rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeltaPart {
    /// Of what it says.
    Text(String),
    /// Of what it thinks.
    Thinking(String),
}

/// A piece of an answer that is under way, as those who listen to a call get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Delta {
    /// Which effect, as in the events of its chat.
    pub id: u64,
    /// The model, by the name it is granted under.
    pub model: Arc<str>,
    /// How deep in its tree of calls, from 1.
    pub depth: u32,
    /// What it is.
    #[serde(flatten)]
    pub part: DeltaPart,
}

/// Who listens to a call.
pub(crate) type Listener = Arc<dyn Fn(Delta) + Send + Sync>;

impl Deltas {
    /// Has `hear` called with each piece. It is called where the model works: hand pieces on, and do not block.
    pub fn new(hear: impl Fn(DeltaPart) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }

    /// More of what it says.
    pub fn text(&self, text: &str) {
        self.say(text, DeltaPart::Text);
    }

    /// More of what it thinks.
    pub fn thinking(&self, text: &str) {
        self.say(text, DeltaPart::Thinking);
    }

    fn say(&self, text: &str, part: impl FnOnce(String) -> DeltaPart) {
        let Some(hear) = self.0.as_ref().filter(|_| !text.is_empty()) else { return };
        // Whoever listens badly is no failure of the model.
        let heard = std::panic::catch_unwind(AssertUnwindSafe(|| hear(part(text.to_owned()))));
        if heard.is_err() {
            tracing::warn!("whoever listens to a model panicked");
        }
    }
}

impl fmt::Debug for Deltas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deltas").field(&self.0.as_ref().map(|_| "listened to")).finish()
    }
}

/// Why a model did not answer. All but `detail` is told to whoever asked, a guest included: no addresses and no keys
/// belong in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// It cannot take this request, and will not later.
    #[error("the model cannot take this: {message}")]
    InvalidRequest {
        /// Why not.
        message: String,
    },
    /// The conversation has more tokens than it takes.
    #[error("the conversation is too long for the model: {message}")]
    ContextTooLong {
        /// How long it may be, and what is known beside.
        message: String,
    },
    /// Its provider takes no more for now.
    #[error("the model takes no more for now{}", after(*retry_after))]
    RateLimited {
        /// When it is worth another try, where that is known.
        retry_after: Option<Duration>,
    },
    /// It cannot be reached, or refuses those who ask.
    #[error("the model cannot be reached")]
    Unavailable {
        /// What went wrong on the way, for those who watch only.
        detail: String,
    },
    /// It was reached, and failed.
    #[error("the model failed: {message}")]
    Failed {
        /// How.
        message: String,
    },
}

fn after(time: Option<Duration>) -> String {
    time.map(|time| format!(": try again after {time:?}")).unwrap_or_default()
}

/// What a model wrote as the input of a tool, as [`ToolCall`](crate::ToolCall) has it: the JSON that it is, or, where it
/// is none or a key stands there twice, a string of it.
pub fn tool_input(written: &str) -> Value {
    const MOST: usize = 64 << 20;
    // A tool without input is often called with nothing at all.
    let text = if written.trim().is_empty() { "{}" } else { written };
    Reader::new(MOST).read(text).unwrap_or_else(|_| written.into())
}

/// Models by the names that grants, rules and guests know them by. Cheap to clone.
///
/// ```
/// use casemate::{Models, PlaygroundModel};
///
/// let models = Models::new().with("playground", PlaygroundModel)?;
/// assert_eq!(models.default_name(), Some("playground"));
/// # Ok::<(), casemate::ModelsError>(())
/// ```
#[derive(Clone, Default)]
pub struct Models(Arc<[(String, Arc<dyn Model>)]>);

impl Models {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a model. The first one is the default, for whoever asks for none by name.
    ///
    /// Fails where there is one of that name, and for what cannot be a name: it takes 1 to 128 letters of ASCII, digits
    /// and `_-.:/@#`.
    pub fn with(self, name: impl Into<String>, model: impl Model + 'static) -> Result<Self, ModelsError> {
        let name = name.into();
        if !is_name(&name) {
            return Err(ModelsError::Name { name });
        }
        if self.get(&name).is_some() {
            return Err(ModelsError::Duplicate { name });
        }
        let model: Arc<dyn Model> = Arc::new(model);
        Ok(Self(self.0.iter().cloned().chain([(name, model)]).collect()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names, in the order they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The name of the default, where there is any.
    pub fn default_name(&self) -> Option<&str> {
        self.names().next()
    }

    /// The model of that name. Names are compared byte by byte.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Model>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, model)| model)
    }
}

impl fmt::Debug for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Why a set of models cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelsError {
    /// Two models would have one name.
    #[error("two models would be `{name}`")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Not a name for a model.
    #[error(
        "`{name}` cannot be the name of a model: it takes 1 to 128 of the letters A-Z and a-z, digits, and `_-.:/@#`"
    )]
    Name {
        /// The name.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_json_reaches_whoever_calls_the_tool() {
        assert_eq!(tool_input(r#"{"order": "A-1"}"#), json!({"order": "A-1"}));
        assert_eq!(tool_input(" "), json!({}));
        for broken in [r#"{"order": "#, r#"{"a": 1, "a": 2}"#, "A-1"] {
            assert_eq!(tool_input(broken), json!(broken));
        }
    }

    #[test]
    fn a_name_is_given_once() {
        let models =
            Models::new().with("fast", PlaygroundModel).unwrap().with("vendor/slow:1", PlaygroundModel).unwrap();
        assert_eq!(models.names().collect::<Vec<_>>(), ["fast", "vendor/slow:1"]);
        assert!(models.get("fast").is_some() && models.get("Fast").is_none());
        let again = models.with("fast", PlaygroundModel).unwrap_err();
        assert_eq!(again, ModelsError::Duplicate { name: "fast".into() });
        for name in ["", "f\u{430}st", "a b"] {
            assert_eq!(Models::new().with(name, PlaygroundModel).unwrap_err(), ModelsError::Name { name: name.into() });
        }
    }

    #[test]
    fn a_listener_that_panics_harms_nobody() {
        let deltas = Deltas::new(|_| panic!("deaf"));
        deltas.text("a");
        deltas.thinking("b");
    }
}
