//! A guest that asks models, in every way there is: what `wit/talker` says, and nothing else.

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]

    wit_bindgen::generate!({
        path: ["../../wit/agent", "../../wit/talker"],
        world: "casemate:talker/talker",
        with: { "casemate:agent/types@0.1.0": casemate_wording::types },
        generate_all,
    });

    export!(Talker with_types_in self);

    use super::Talker;
}

use bindings::casemate::agent::model::{self, ChatRequest, ChatResponse};
use bindings::casemate::agent::tools::{self, ToolCall, ToolDefinition};
use bindings::exports::casemate::talker::talks;
use casemate_wording::types::{Content, Error, Message, Outcome, Role, ToolResult};
use casemate_wording::{quoted, reason, tally, told};

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
        tally((0..count).map(|_| say(None, text.clone())))
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
