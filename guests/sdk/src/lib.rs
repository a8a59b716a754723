#![doc = include_str!("../README.md")]

extern crate self as casemate_sdk;

mod chat;
mod conversation;
mod effects;
mod message;
mod request;
mod run;
mod tool;

mod host;
mod json;

#[cfg(not(target_family = "wasm"))]
pub mod testing;

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod expanded;

pub use casemate_sdk_macro::{agent, export_tools, tool};
pub use chat::{Answer, Chat, StopReason, Usage};
pub use conversation::{Conversation, End};
pub use effects::{Error, ask, available_tools, call_all, call_tool, chat, context, output, thinking};
pub use message::{Content, Image, Message, Outcome, Role, Thought, ToolCall, ToolDefinition, ToolResult};
pub use request::{IntoResponse, Request, Response};
pub use run::{Allowance, Budget, Context, ContextFile, Spent};
pub use tool::Tool;

pub use schemars::{self, JsonSchema};
pub use serde::{self, Deserialize, Serialize};
pub use serde_json::{self, Value, json};
