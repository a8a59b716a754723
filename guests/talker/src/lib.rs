//! A guest that asks models, in every way there is: what `wit/talker` says, and nothing else.

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]

    wit_bindgen::generate!({
        path: ["../../wit/agent", "../../wit/talker"],
        world: "casemate:talker/talker",
        generate_all,
    });

    export!(Talker with_types_in self);

    use super::Talker;
}

use bindings::casemate::agent::model::{self, ChatRequest, ChatResponse};
use bindings::casemate::agent::tools::{self, ToolCall, ToolDefinition};
use bindings::casemate::agent::types::{Content, Error, Message, Outcome, Role, ToolResult};
use bindings::exports::casemate::talker::talks;

struct Talker;

impl talks::Guest for Talker {
    fn chat(request: ChatRequest) -> Result<ChatResponse, Error> {
        model::chat(&request)
    }

    fn say(model: Option<String>, text: String) -> Result<String, String> {
        say(model, text)
    }

    fn try_say(model: Option<String>, text: String) -> String {
        told(say(model, text))
    }

    fn converse(things: Vec<String>) -> Vec<String> {
        let mut messages = Vec::new();
        let mut answers = Vec::new();
        for text in things {
            messages.push(said(Role::User, text));
            let answer = ask(messages.clone(), Vec::new()).map(|response| {
                messages.push(response.message.clone());
                texts(&response.message)
            });
            answers.push(told(answer));
        }
        answers
    }

    fn work(task: String) -> Result<String, String> {
        let mut messages = vec![said(Role::User, task)];
        loop {
            let answer = ask(messages.clone(), tools::available())?.message;
            let results: Vec<_> = calls(&answer).map(|call| Content::ToolResult(call_tool(call))).collect();
            if results.is_empty() {
                return Ok(texts(&answer));
            }
            messages.push(answer);
            messages.push(Message { role: Role::Tool, content: results });
        }
    }

    fn say_many(text: String, count: u32) -> (u32, u32) {
        (0..count).fold((0, 0), |(good, bad), _| match say(None, text.clone()) {
            Ok(_) => (good + 1, bad),
            Err(_) => (good, bad + 1),
        })
    }
}

fn say(model: Option<String>, text: String) -> Result<String, String> {
    let request = ChatRequest { model, ..request(vec![said(Role::User, text)], Vec::new()) };
    let response = model::chat(&request).map_err(reason)?;
    Ok(texts(&response.message))
}

fn ask(messages: Vec<Message>, tools: Vec<ToolDefinition>) -> Result<ChatResponse, String> {
    model::chat(&request(messages, tools)).map_err(reason)
}

fn request(messages: Vec<Message>, tools: Vec<ToolDefinition>) -> ChatRequest {
    ChatRequest { model: None, messages, tools, max_output_tokens: None, temperature: None }
}

fn said(role: Role, text: String) -> Message {
    Message { role, content: vec![Content::Text(text)] }
}

fn texts(message: &Message) -> String {
    let texts = message.content.iter().filter_map(|part| match part {
        Content::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn calls(message: &Message) -> impl Iterator<Item = &ToolCall> {
    message.content.iter().filter_map(|part| match part {
        Content::ToolCall(call) => Some(call),
        _ => None,
    })
}

fn call_tool(call: &ToolCall) -> ToolResult {
    let (output, outcome) = match tools::call(&call.name, &call.input) {
        Ok(output) => (output, Outcome::Succeeded),
        Err(error) => (quoted(&reason(error)), Outcome::Failed),
    };
    ToolResult { id: call.id.clone(), output, outcome }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    let mut json = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => json.extend(['\\', letter]),
            control if control < ' ' => json.push(' '),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

/// An error as our callers read it: its case, and what it says.
fn reason(error: Error) -> String {
    let (case, reason) = match error {
        Error::Denied(reason) => ("denied", reason),
        Error::NotFound(reason) => ("not-found", reason),
        Error::InvalidInput(reason) => ("invalid-input", reason),
        Error::LimitExceeded(reason) => ("limit-exceeded", reason),
        Error::Failed(reason) => ("failed", reason),
        Error::Cancelled => return "cancelled".to_owned(),
    };
    format!("{case}: {reason}")
}

fn told(result: Result<String, String>) -> String {
    result.map_or_else(|error| error, |text| format!("ok: {text}"))
}
