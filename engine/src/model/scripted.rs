//! A model that plays a conversation from a file.

mod script;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_host_bindings::{ChatRequest, ChatResponse, Message, Role};

use super::{ChatContext, ChatFuture, Model, ModelError, estimate};
use script::{Expectation, Line, Script};

/// A model that says what a file says, turn by turn.
///
/// Which turn it is, is the number of the model's own messages in the conversation: nothing is kept between two
/// chats, so one script serves any number of conversations at once, and one that is resumed goes on where it was.
///
/// ```
/// use casemate::ScriptedModel;
///
/// let model = ScriptedModel::from_toml(r#"
///     [[turns]]
///     text = "I look the order up."
///     tool_calls = [{ name = "lookup", input = { order = "A-1" } }]
///
///     [[turns]]
///     expect = { role = "tool", contains = "42" }
///     thinking = "That is all of it."
///     text = ["It came to ", "42."]                 # told piece by piece
///     usage = { input_tokens = 900, output_tokens = 12, cost = 300 }
///
///     [[turns]]
///     error = { kind = "rate-limited", retry_after = 2.5 }
/// "#)?;
/// # Ok::<(), casemate::ScriptError>(())
/// ```
#[derive(Clone)]
pub struct ScriptedModel(Arc<Script>);

impl ScriptedModel {
    /// Reads a script.
    ///
    /// | key of a turn | what it is |
    /// | --- | --- |
    /// | `expect` | `role`, and a text that the last message `contains`; the chat fails where it is another |
    /// | `thinking`, `text` | what it thinks and says: a text, or a list of the pieces in which it comes |
    /// | `tool_calls` | each with `name`, and maybe `input` and `id`; an input that is a text is one that is no JSON |
    /// | `stop_reason` | `end`, `tool-calls`, `length` or `refused`; without it, what the turn comes to |
    /// | `usage` | `input_tokens`, `cached_tokens`, `output_tokens`, `cost`; without it, four bytes count as a token |
    /// | `error` | what it fails with, in the place of an answer: `kind` and maybe `message` or `retry_after` in seconds |
    ///
    /// Kinds of errors are `invalid-request`, `context-too-long`, `rate-limited`, `unavailable` and `failed`. Beside
    /// the turns, `model` says what the model calls itself. Unknown keys and turns that say nothing are errors.
    pub fn from_toml(text: &str) -> Result<Self, ScriptError> {
        Script::from_toml(text).map(|script| Self(Arc::new(script)))
    }

    /// Reads the script in a file.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ScriptError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScriptError::Unreadable { path: path.to_owned(), source })?;
        Self::from_toml(&text)
    }
}

impl Model for ScriptedModel {
    fn chat(&self, request: ChatRequest, context: ChatContext) -> ChatFuture {
        Box::pin(std::future::ready(self.0.answer(&request, &context)))
    }
}

impl Script {
    fn answer(&self, request: &ChatRequest, context: &ChatContext) -> Result<ChatResponse, ModelError> {
        let played = request.messages.iter().filter(|message| message.role == Role::Assistant).count();
        let turn = self.turns.get(played).ok_or_else(|| failed(self.used_up()))?;
        if let Some(surprise) = turn.expects.surprise(request.messages.last()) {
            return Err(failed(format!("the script expects of turn {} {surprise}", played + 1)));
        }
        match &turn.line {
            Line::Fails(error) => Err(error.clone()),
            Line::Says { message, stop_reason, pieces, usage } => {
                for piece in pieces {
                    piece.tell(&context.deltas);
                }
                Ok(ChatResponse {
                    message: message.clone(),
                    stop_reason: *stop_reason,
                    usage: usage.unwrap_or_else(|| estimate::usage(request, message)),
                    model: self.model.clone(),
                })
            }
        }
    }

    fn used_up(&self) -> String {
        format!("the script is used up after {}", count(self.turns.len()))
    }
}

fn count(turns: usize) -> String {
    if turns == 1 { "1 turn".to_owned() } else { format!("{turns} turns") }
}

fn failed(message: String) -> ModelError {
    ModelError::Failed { message }
}

impl Expectation {
    /// What was expected and is not so.
    fn surprise(&self, last: Option<&Message>) -> Option<String> {
        if let Some(role) = self.role
            && last.map(|message| message.role) != Some(role)
        {
            return Some(format!("a last message of the role {role:?}").to_lowercase());
        }
        let contains = self.contains.as_deref()?;
        let text = last.map(written).unwrap_or_default();
        (!text.contains(contains))
            .then(|| format!("a last message with `{contains}`, and it is `{}`", shortened(&text)))
    }
}

/// All that can be expected of a message: its texts, and the outputs of its results.
fn written(message: &Message) -> String {
    let texts = message.texts().map(str::to_owned);
    let outputs = message.tool_results().map(|result| result.output.to_string());
    texts.chain(outputs).collect::<Vec<_>>().join("\n")
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 200;
    text.chars().take(SHOWN).collect()
}

impl fmt::Debug for ScriptedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedModel").field("turns", &self.0.turns.len()).finish_non_exhaustive()
    }
}

/// Why a script could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// There is no such file, or it cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What it says is no script.
    #[error("line {line}, column {column}: {message}")]
    Invalid {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use casemate_host_bindings::{Content, StopReason, TokenUsage, ToolOutcome, ToolResult};
    use serde_json::json;

    use super::super::{DeltaPart, Deltas};
    use super::*;

    const REFUND: &str = r#"
        model = "scripted-2"

        [[turns]]
        expect = { role = "user", contains = "A-1" }
        text = ["I look ", "it up."]
        usage = { input_tokens = 900, cached_tokens = 800, output_tokens = 12, cost = 300 }

        [[turns.tool_calls]]
        name = "lookup"
        input = { order = "A-1", lines = [1, 2.5] }

        [[turns.tool_calls]]
        id = "mine"
        name = "refund"
        input = "{oops"

        [[turns]]
        expect = { contains = "42" }
        thinking = "All of it."
        text = "Done."
        stop_reason = "refused"

        [[turns]]
        error = { kind = "rate-limited", retry_after = 2.5 }
    "#;

    fn play(text: &str, messages: Vec<Message>) -> Result<ChatResponse, ModelError> {
        let model = ScriptedModel::from_toml(text).unwrap();
        model.0.answer(&ChatRequest { messages, ..ChatRequest::default() }, &ChatContext::default())
    }

    fn user(text: &str) -> Message {
        Message::text(Role::User, text)
    }

    fn result(output: serde_json::Value) -> Message {
        let result = ToolResult { id: "call-1-1".into(), output, outcome: ToolOutcome::Succeeded };
        Message { role: Role::Tool, content: vec![Content::ToolResult(result)] }
    }

    #[test]
    fn a_conversation_is_played_turn_by_turn() {
        let first = play(REFUND, vec![user("Refund A-1.")]).unwrap();
        assert_eq!(
            json!(first),
            json!({
                "message": {"role": "assistant", "content": [
                    {"type": "text", "text": "I look it up."},
                    {"type": "tool_call", "id": "call-1-1", "name": "lookup",
                        "input": {"order": "A-1", "lines": [1, 2.5]}},
                    {"type": "tool_call", "id": "mine", "name": "refund", "input": "{oops"},
                ]},
                "stop_reason": "tool-calls",
                "usage": {"input_tokens": 900, "cached_tokens": 800, "output_tokens": 12, "cost": 300},
                "model": "scripted-2",
            })
        );
        let messages = vec![user("Refund A-1."), first.message, result(json!({"total": 42}))];
        let second = play(REFUND, messages.clone()).unwrap();
        assert_eq!(second.stop_reason, StopReason::Refused);
        assert!(matches!(&second.message.content[0], Content::Thinking(thought) if thought.text == "All of it."));
        let written: usize = "Refund A-1.I look it up.".len() + "lookup".len() + "refund".len();
        let json: usize =
            [r#"{"order":"A-1","lines":[1,2.5]}"#, r#""{oops""#, r#"{"total":42}"#].map(str::len).iter().sum();
        let counted = TokenUsage {
            input_tokens: (written + json).div_ceil(4) as u64,
            cached_tokens: 0,
            output_tokens: "All of it.Done.".len().div_ceil(4) as u64,
            cost: Some(0),
        };
        assert_eq!(second.usage, counted);
        let messages: Vec<_> = messages.into_iter().chain([second.message]).collect();
        let error = ModelError::RateLimited { retry_after: Some(Duration::from_millis(2_500)) };
        assert_eq!(play(REFUND, messages.clone()).unwrap_err(), error);
        let more = messages.into_iter().chain([Message::text(Role::Assistant, "?")]).collect();
        assert_eq!(
            play(REFUND, more).unwrap_err().to_string(),
            "the model failed: the script is used up after 3 turns"
        );
    }

    #[test]
    fn a_conversation_that_went_elsewhere_is_noticed() {
        assert_eq!(
            play(REFUND, vec![user("Refund B-2.")]).unwrap_err().to_string(),
            "the model failed: the script expects of turn 1 a last message with `A-1`, and it is `Refund B-2.`"
        );
        assert_eq!(
            play(REFUND, vec![Message::text(Role::System, "A-1")]).unwrap_err().to_string(),
            "the model failed: the script expects of turn 1 a last message of the role user"
        );
    }

    #[test]
    fn an_answer_comes_in_the_pieces_of_the_script() {
        let model = ScriptedModel::from_toml("[[turns]]\nthinking = ['hm', '…']\ntext = ['a', 'b']\n").unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hear = heard.clone();
        let deltas = Deltas::new(move |part| hear.lock().unwrap().push(part));
        let context = ChatContext { deltas, ..ChatContext::default() };
        model.0.answer(&ChatRequest { messages: vec![user("a")], ..ChatRequest::default() }, &context).unwrap();
        let (thought, text) =
            (|text: &str| DeltaPart::Thinking(text.into()), |text: &str| DeltaPart::Text(text.into()));
        assert_eq!(*heard.lock().unwrap(), [thought("hm"), thought("…"), text("a"), text("b")]);
    }

    #[test]
    fn every_error_can_be_played() {
        let error = |text: &str| play(&format!("[[turns]]\nerror = {{ {text} }}"), vec![user("a")]).unwrap_err();
        let message = || "no".to_owned();
        for (text, expected) in [
            ("kind = 'invalid-request', message = 'no'", ModelError::InvalidRequest { message: message() }),
            ("kind = 'context-too-long', message = 'no'", ModelError::ContextTooLong { message: message() }),
            ("kind = 'rate-limited'", ModelError::RateLimited { retry_after: None }),
            (
                "kind = 'rate-limited', retry_after = 2",
                ModelError::RateLimited { retry_after: Some(Duration::from_secs(2)) },
            ),
            ("kind = 'unavailable', message = 'no'", ModelError::Unavailable { detail: message() }),
            ("kind = 'failed', message = 'no'", ModelError::Failed { message: message() }),
        ] {
            assert_eq!(error(text), expected);
        }
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        assert_eq!(ScriptedModel::from_toml(text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn what_is_no_script_is_refused_with_its_place() {
        refused(
            "[[turns]]\nsay = 'a'\n",
            "line 2, column 1: unknown field `say`, expected one of `expect`, `thinking`, `text`, `tool_calls`, `stop_reason`, `usage`, `error`",
        );
        refused("[[turns]]\ntext = 3\n", "line 2, column 8: expected a text, or a list of texts");
        refused(
            "model = 'm'\n[[turns]]\nexpect = { contains = 'a' }\n",
            "line 2, column 1: a turn says something, calls a tool or fails",
        );
        refused(
            "[[turns]]\ntext = 'a'\nerror = { kind = 'failed' }\n",
            "line 1, column 1: a turn that fails says nothing and calls no tool",
        );
        refused(
            "[[turns]]\nerror = { kind = 'rate-limited', retry_after = -1.0 }\n",
            "line 2, column 9: -1 is no time to wait: cannot convert float seconds to Duration: value is negative",
        );
        refused("model = 'm'\n", "line 1, column 1: missing field `turns`");
        let error = ScriptedModel::from_file("no/such.toml").unwrap_err().to_string();
        assert!(error.starts_with("cannot read `no/such.toml`: "), "{error}");
    }
}
