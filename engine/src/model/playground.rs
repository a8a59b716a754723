//! A model that does as it is told, offline.

use std::collections::HashMap;

use casemate_host_bindings::{
    ChatRequest, ChatResponse, Content, Message, Role, StopReason, Thought, ToolCall, ToolOutcome, ToolResult,
};

use super::{ChatContext, ChatFuture, Model, ModelError, estimate, tool_input};

/// A model without a mind: it follows instructions, line by line, and is the same each time. It needs no network and
/// costs nothing.
///
/// Of the last message, if it is a user's, it understands these lines:
///
/// | line | what it does |
/// | --- | --- |
/// | `call NAME JSON` | calls a tool; without JSON with `{}`; several lines are several calls |
/// | `say TEXT` | says it |
/// | `think: TEXT` | thinks it |
/// | `use the tools` | says which tools there are |
///
/// Where no line is one of these, it says what it was told and which tools there are. After results of tools it says
/// what they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaygroundModel;

const NAME: &str = "playground";

impl Model for PlaygroundModel {
    fn chat(&self, request: ChatRequest, context: ChatContext) -> ChatFuture {
        Box::pin(std::future::ready(answer(&request).inspect(|response| speak(&response.message, &context))))
    }
}

/// Tells the answer word by word.
fn speak(message: &Message, context: &ChatContext) {
    for part in &message.content {
        match part {
            Content::Thinking(thought) => words(&thought.text).for_each(|word| context.deltas.thinking(word)),
            Content::Text { text } => words(text).for_each(|word| context.deltas.text(word)),
            _ => {}
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

fn answer(request: &ChatRequest) -> Result<ChatResponse, ModelError> {
    let last = request.messages.last();
    let last = last.ok_or_else(|| ModelError::InvalidRequest { message: "there is no message".to_owned() })?;
    let mut reply = match last.role {
        Role::Tool => Reply { texts: results(&request.messages, last), ..Reply::default() },
        _ => told(request, last),
    };
    let cut = request.max_output_tokens.is_some_and(|most| reply.cut(most));
    let stop_reason = match reply {
        _ if cut => StopReason::Length,
        Reply { ref calls, .. } if !calls.is_empty() => StopReason::ToolCalls,
        _ => StopReason::End,
    };
    let message = reply.message();
    let usage = estimate::usage(request, &message);
    Ok(ChatResponse { message, stop_reason, usage, model: NAME.to_owned() })
}

#[derive(Default)]
struct Reply {
    thoughts: Vec<String>,
    texts: Vec<String>,
    calls: Vec<ToolCall>,
}

impl Reply {
    /// Cuts what is said after so many tokens; whether there was something to cut.
    fn cut(&mut self, most: u32) -> bool {
        let text = self.texts.join("\n");
        let most = usize::try_from(u64::from(most) * estimate::TOKEN).unwrap_or(usize::MAX);
        if text.len() <= most {
            return false;
        }
        let kept = text.get(..text.floor_char_boundary(most)).unwrap_or_default();
        self.texts = vec![kept.to_owned()];
        true
    }

    fn message(self) -> Message {
        let thought = |text| Content::Thinking(Thought { text, signature: None });
        let thoughts = (!self.thoughts.is_empty()).then(|| thought(self.thoughts.join("\n")));
        let text = self.texts.join("\n");
        let text = (!text.is_empty()).then_some(Content::Text { text });
        let calls = self.calls.into_iter().map(Content::ToolCall);
        Message { role: Role::Assistant, content: thoughts.into_iter().chain(text).chain(calls).collect() }
    }
}

/// Follows instructions, or says what else it was told.
fn told(request: &ChatRequest, message: &Message) -> Reply {
    let mut reply = Reply::default();
    let asked_before = request.messages.iter().flat_map(Message::tool_calls).count();
    for line in message.texts().flat_map(str::lines).map(str::trim) {
        if let Some(call) = line.strip_prefix("call ") {
            let (name, input) = call.trim().split_once(char::is_whitespace).unwrap_or((call.trim(), ""));
            let id = format!("call-{}", asked_before + reply.calls.len() + 1);
            reply.calls.push(ToolCall { id, name: name.to_owned(), input: tool_input(input.trim()) });
        } else if let Some(text) = line.strip_prefix("say ") {
            reply.texts.push(text.trim().to_owned());
        } else if let Some(text) = line.strip_prefix("think:") {
            reply.thoughts.push(text.trim().to_owned());
        } else if line == "use the tools" {
            reply.texts.push(tools(request));
        }
    }
    if reply.calls.is_empty() && reply.texts.is_empty() && reply.thoughts.is_empty() {
        let text = message.texts().collect::<Vec<_>>().join("\n");
        reply.texts = vec![format!("I was told: {}", shortened(&text)), tools(request)];
    }
    reply
}

fn tools(request: &ChatRequest) -> String {
    let names: Vec<_> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
    if names.is_empty() { "There are no tools.".to_owned() } else { format!("The tools are: {}.", names.join(", ")) }
}

/// What became of each call, by the names that they were asked for with.
fn results(messages: &[Message], last: &Message) -> Vec<String> {
    let calls = messages.iter().flat_map(Message::tool_calls);
    let names: HashMap<_, _> = calls.map(|call| (call.id.as_str(), call.name.as_str())).collect();
    let told = last.tool_results().map(|ToolResult { id, output, outcome }| {
        let name = names.get(id.as_str()).copied().unwrap_or("a tool");
        let verb = match outcome {
            ToolOutcome::Succeeded => "gave",
            ToolOutcome::Failed => "failed with",
        };
        format!("{name} {verb} {}", shortened(&output.to_string()))
    });
    told.collect()
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 400;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use casemate_host_bindings::ToolDefinition;
    use serde_json::{Value, json};

    use super::*;

    fn request(text: &str) -> ChatRequest {
        let tool = |name: &str| ToolDefinition {
            name: name.into(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
        };
        ChatRequest {
            messages: vec![Message::text(Role::User, text)],
            tools: vec![tool("lookup"), tool("refund")],
            ..ChatRequest::default()
        }
    }

    fn said(request: &ChatRequest) -> Value {
        serde_json::to_value(answer(request).unwrap().message.content).unwrap()
    }

    #[test]
    fn instructions_are_followed() {
        let text =
            "Please.\nthink: first look\n  call lookup {\"order\": \"A-1\"}\ncall refund\ncall refund {oops\nsay Done.";
        let request = request(text);
        assert_eq!(
            said(&request),
            json!([
                {"type": "thinking", "text": "first look", "signature": null},
                {"type": "text", "text": "Done."},
                {"type": "tool_call", "id": "call-1", "name": "lookup", "input": {"order": "A-1"}},
                {"type": "tool_call", "id": "call-2", "name": "refund", "input": {}},
                {"type": "tool_call", "id": "call-3", "name": "refund", "input": "{oops"},
            ])
        );
        assert_eq!(answer(&request).unwrap().stop_reason, StopReason::ToolCalls);
    }

    #[test]
    fn what_is_no_instruction_is_said_back() {
        let expected = "I was told: Hello\nThe tools are: lookup, refund.";
        assert_eq!(said(&request("Hello")), json!([{"type": "text", "text": expected}]));
        assert_eq!(
            said(&ChatRequest { tools: Vec::new(), ..request("use the tools") }),
            json!([{"type": "text", "text": "There are no tools."}])
        );
        assert!(matches!(answer(&ChatRequest::default()), Err(ModelError::InvalidRequest { .. })));
    }

    #[test]
    fn results_are_told_by_the_names_of_their_tools() {
        let mut request = request("call lookup");
        request.messages.push(answer(&request).unwrap().message);
        let result = |id: &str, output, outcome| Content::ToolResult(ToolResult { id: id.into(), output, outcome });
        request.messages.push(Message {
            role: Role::Tool,
            content: vec![
                result("call-1", json!({"total": 5}), ToolOutcome::Succeeded),
                result("call-9", json!("no"), ToolOutcome::Failed),
            ],
        });
        let expected = "lookup gave {\"total\":5}\na tool failed with \"no\"";
        assert_eq!(said(&request), json!([{"type": "text", "text": expected}]));
        // Numbers of calls go on.
        request.messages.push(Message::text(Role::User, "call refund"));
        assert_eq!(answer(&request).unwrap().message.tool_calls().next().unwrap().id, "call-2");
    }

    #[test]
    fn it_counts_four_bytes_a_token_and_keeps_to_the_most() {
        let usage = answer(&ChatRequest { tools: Vec::new(), ..request("say 12345") }).unwrap().usage;
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.cost), (3, 2, Some(0)));
        let short = ChatRequest { max_output_tokens: Some(1), ..request("say 12é45") };
        let response = answer(&short).unwrap();
        assert_eq!((response.stop_reason, response.message.texts().next()), (StopReason::Length, Some("12é")));
    }
}
