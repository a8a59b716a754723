//! A host for tests of agents and tools, which run as any other code does.
//!
//! Where a crate is not compiled to WebAssembly, all effects go to the [`Host`] whose
//! [`run`](Host::run) they happen in: it has a script of what the model answers, closures as
//! tools, and a record of what was done.
//!
//! ```
//! use casemate_sdk::testing::Host;
//! use casemate_sdk::{Error, Request, agent, ask, chat, output};
//!
//! #[agent]
//! fn poet(request: Request) -> Result<(), Error> {
//!     let style = ask("In which style?")?;
//!     output(chat(format!("A poem, {style}, about: {}", request.text()))?);
//!     Ok(())
//! }
//!
//! let host = Host::new().person_says("as a haiku").model_says("Old pond.");
//! host.run(|| poet(Request::new("a frog")))?;
//!
//! assert_eq!(host.output(), "Old pond.");
//! assert_eq!(host.questions(), ["In which style?"]);
//! assert_eq!(host.chats()[0].messages[0].text(), "A poem, as a haiku, about: a frog");
//! # Ok::<(), Error>(())
//! ```

pub(crate) mod host;

use crate::chat::{Answer, Chat, StopReason, Usage};
use crate::effects::Error;
use crate::message::{Content, Message, Role, ToolCall, ToolDefinition};
use crate::run::Context;
use crate::tool::Tool;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

/// A host that does what its test says.
///
/// A host belongs to its thread, and one test does not see another's.
#[must_use = "a host does nothing until something runs in it"]
pub struct Host {
    context: Context,
    tools: BTreeMap<String, (ToolDefinition, Performer)>,
    script: RefCell<VecDeque<Result<Answer, Error>>>,
    answers: RefCell<VecDeque<String>>,
    record: RefCell<Record>,
}

/// What a tool does.
type Performer = Box<dyn Fn(Value) -> Result<Value, Error>>;

/// What was done.
#[derive(Default)]
struct Record {
    chats: Vec<Chat>,
    calls: Vec<Vec<ToolCall>>,
    thinking: Vec<String>,
    output: String,
    questions: Vec<String>,
}

impl Host {
    /// A host without tools, whose model and person say nothing.
    ///
    /// The context names the agent and the model `test`, and sets no budget.
    pub fn new() -> Self {
        let test = || "test".to_owned();
        Self {
            context: Context { id: test(), agent: test(), model: Some(test()), ..Context::default() },
            tools: BTreeMap::new(),
            script: RefCell::default(),
            answers: RefCell::default(),
            record: RefCell::default(),
        }
    }

    /// What the run was started with.
    pub fn context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// Grants a tool that a closure is. It takes any object.
    pub fn tool(self, name: &str, perform: impl Fn(Value) -> Result<Value, Error> + 'static) -> Self {
        let input_schema = json!({"type": "object"});
        self.granted(ToolDefinition { name: name.into(), description: String::new(), input_schema }, Box::new(perform))
    }

    /// Grants a tool of a `#[tool]` function.
    pub fn grant(self, tool: Tool) -> Self {
        self.granted(tool.into(), Box::new(move |input| tool.invoke(input)))
    }

    fn granted(mut self, definition: ToolDefinition, perform: Performer) -> Self {
        self.tools.insert(definition.name.clone(), (definition, perform));
        self
    }

    /// Has the model's next answer be that text, and the end of what it has to say. Each answer that is not given in
    /// full takes 10 tokens in and 5 out.
    pub fn model_says(self, text: &str) -> Self {
        self.model_answers(answer([Content::text(text)], StopReason::End))
    }

    /// Has the model's next answer ask for tools, by name and input. Their ids are `call-1` and so on.
    pub fn model_calls<N: Into<String>>(self, calls: impl IntoIterator<Item = (N, Value)>) -> Self {
        let calls = calls.into_iter().zip(1..);
        let calls = calls.map(|((name, input), number)| ToolCall::new(name, input).with_id(format!("call-{number}")));
        self.model_answers(answer(calls.map(Content::ToolCall), StopReason::ToolCalls))
    }

    /// Has the model give that answer next.
    pub fn model_answers(self, answer: Answer) -> Self {
        self.script.borrow_mut().push_back(Ok(answer));
        self
    }

    /// Has the model fail next.
    pub fn model_fails(self, error: Error) -> Self {
        self.script.borrow_mut().push_back(Err(error));
        self
    }

    /// Has whoever is asked next answer that.
    pub fn person_says(self, answer: &str) -> Self {
        self.answers.borrow_mut().push_back(answer.into());
        self
    }

    /// Runs code whose effects go to this host.
    ///
    /// # Panics
    ///
    /// Where a model is asked more often than the script has answers: then the script is wrong, or the agent.
    pub fn run<T>(&self, code: impl FnOnce() -> T) -> T {
        host::enter(self, code)
    }

    /// What the model was asked, in order.
    pub fn chats(&self) -> Vec<Chat> {
        self.record.borrow().chats.clone()
    }

    /// The calls of granted tools, in order; those that were made side by side are together.
    pub fn calls(&self) -> Vec<Vec<ToolCall>> {
        self.record.borrow().calls.clone()
    }

    /// What those who watch were told the agent is about, in order.
    pub fn thinking(&self) -> Vec<String> {
        self.record.borrow().thinking.clone()
    }

    /// The output of the run.
    pub fn output(&self) -> String {
        self.record.borrow().output.clone()
    }

    /// What was asked, in order.
    pub fn questions(&self) -> Vec<String> {
        self.record.borrow().questions.clone()
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

fn answer(content: impl IntoIterator<Item = Content>, stop_reason: StopReason) -> Answer {
    let usage = Usage { input_tokens: 10, cached_tokens: 0, output_tokens: 5, cost: None };
    Answer { message: Message::new(Role::Assistant, content), stop_reason, usage, model: "test".to_owned() }
}
