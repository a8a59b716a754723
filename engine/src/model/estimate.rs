//! What models without a tokenizer count: one token for each four bytes, begun ones included.

use casemate_host_bindings::{ChatRequest, Content, Message, TokenUsage, ToolDefinition};

use crate::json::text_len;

/// The bytes of a token.
pub(super) const TOKEN: u64 = 4;

/// What a chat took. It costs nothing.
pub(super) fn usage(request: &ChatRequest, answer: &Message) -> TokenUsage {
    let messages: u64 = request.messages.iter().map(size).sum();
    let tools: u64 = request.tools.iter().map(tool_size).sum();
    TokenUsage {
        input_tokens: tokens(messages + tools),
        cached_tokens: 0,
        output_tokens: tokens(size(answer)),
        cost: Some(0),
    }
}

fn tokens(bytes: u64) -> u64 {
    bytes.div_ceil(TOKEN)
}

fn size(message: &Message) -> u64 {
    message.content.iter().map(part_size).sum()
}

fn part_size(part: &Content) -> u64 {
    match part {
        Content::Text { text } => text.len() as u64,
        Content::Image(image) => image.location.len() as u64,
        Content::Thinking(thought) => thought.text.len() as u64,
        Content::ToolCall(call) => call.name.len() as u64 + text_len(&call.input),
        Content::ToolResult(result) => text_len(&result.output),
    }
}

fn tool_size(tool: &ToolDefinition) -> u64 {
    tool.name.len() as u64 + tool.description.len() as u64 + text_len(&tool.input_schema)
}
