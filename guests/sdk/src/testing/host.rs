//! Effects as the current [`Host`] of a test performs them.

use super::Host;
use crate::chat::{Answer, Chat};
use crate::effects::Error;
use crate::message::{ToolCall, ToolDefinition};
use crate::run::Context;
use scoped_tls::scoped_thread_local;
use serde_json::Value;

scoped_thread_local!(static CURRENT: Host);

/// Makes a host the current one while some code runs, also where that ends in a panic.
pub(super) fn enter<T>(host: &Host, code: impl FnOnce() -> T) -> T {
    CURRENT.set(host, code)
}

fn current<T>(code: impl FnOnce(&Host) -> T) -> T {
    assert!(CURRENT.is_set(), "no host is there for this effect: wrap the test in `casemate_sdk::testing::Host::run`");
    CURRENT.with(code)
}

pub(crate) fn context() -> Context {
    current(|host| host.context.clone())
}

pub(crate) fn available_tools() -> Vec<ToolDefinition> {
    current(|host| host.tools.values().map(|(definition, _)| definition.clone()).collect())
}

pub(crate) fn call_tool(name: &str, input: &Value) -> Result<Value, Error> {
    let call = ToolCall::new(name, input.clone());
    current(|host| {
        host.record.borrow_mut().calls.push(vec![call.clone()]);
        host.perform(&call)
    })
}

pub(crate) fn call_all(calls: &[ToolCall]) -> Vec<Result<Value, Error>> {
    current(|host| {
        host.record.borrow_mut().calls.push(calls.to_vec());
        calls.iter().map(|call| host.perform(call)).collect()
    })
}

#[allow(clippy::panic, reason = "the agent of a test cannot go on where its script ends")]
pub(crate) fn chat(chat: &Chat) -> Result<Answer, Error> {
    current(|host| {
        host.record.borrow_mut().chats.push(chat.clone());
        let answer = host.script.borrow_mut().pop_front();
        let number = host.record.borrow().chats.len();
        answer.unwrap_or_else(|| panic!("the script of this test has no answer for chat number {number}"))
    })
}

pub(crate) fn thinking(text: &str) {
    current(|host| host.record.borrow_mut().thinking.push(text.to_owned()));
}

pub(crate) fn output(text: &str) {
    current(|host| host.record.borrow_mut().output.push_str(text));
}

pub(crate) fn ask(question: &str) -> Result<String, Error> {
    current(|host| {
        host.record.borrow_mut().questions.push(question.to_owned());
        let answer = host.answers.borrow_mut().pop_front();
        answer.ok_or_else(|| Error::Failed("nobody is there to answer".into()))
    })
}

impl Host {
    fn perform(&self, call: &ToolCall) -> Result<Value, Error> {
        let tool = self.tools.get(&call.name);
        let (_, perform) = tool.ok_or_else(|| Error::NotFound(format!("there is no tool `{}`", call.name)))?;
        perform(call.input.clone())
    }
}
