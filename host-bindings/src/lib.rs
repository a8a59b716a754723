//! Where component values meet plain Rust: types become [`Shape`]s, shapes become JSON Schema, and values go to JSON
//! and back. Conversations, which guests and models exchange, are plain types here.
//!
//! This crate may import wasmtime and nothing of Casemate's. It never touches a store: what it gets is a type or a
//! value, what it gives is data.
//!
//! | WIT | JSON |
//! | --- | --- |
//! | `bool`, `string` | boolean, string |
//! | `u8` … `u32`, `s8` … `s32` | number |
//! | `u64`, `s64` | number of full precision; also accepted as a decimal string |
//! | `f32`, `f64` | number, or `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | `char` | string of one character |
//! | `list<u8>` | base64 string |
//! | `list<T>`, `tuple<…>` | array |
//! | `record` | object, keyed by the WIT field names; a missing key is `none` for an option |
//! | `variant` | `"NAME"`, or `{"NAME": payload}` |
//! | `enum` | `"NAME"` |
//! | `flags` | array of names |
//! | `option<T>` | `null` or the value; an option inside an option is `{"some": …}` |
//! | `result<T, E>` | `{"ok": …}` or `{"err": …}` |

pub mod agent;
mod chat;
mod from_schema;
mod json;
mod message;
mod schema;
mod shape;
mod wit;

pub use chat::{ChatRequest, ChatResponse, StopReason, TokenUsage, ToolDefinition};
pub use from_schema::{NotWit, parameters_from_schema, shape_from_schema};
pub use json::{FromJsonError, InvalidValue, from_json, parameters_from_json, to_json};
pub use message::{Content, Image, Message, Role, Thought, ToolCall, ToolOutcome, ToolResult};
pub use schema::{parameters_schema, schema};
pub use shape::{Field, Shape, ShapeBuilder, Unsupported};
pub use wit::FunctionType;
