//! What the macros say about functions that they cannot take. What they make is tested where it is used.

use crate::{agent, export, tool};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, parse_str};

#[track_caller]
fn check(expanded: Result<TokenStream, Error>, message: &str) {
    assert_eq!(expanded.map(|code| code.to_string()).map_err(|error| error.to_string()), Err(message.to_owned()));
}

#[track_caller]
fn check_agent(source: &str, message: &str) {
    check(parse_str(source).and_then(|item| agent::expand(TokenStream::new(), item)), message);
}

#[track_caller]
fn check_tool(source: &str, message: &str) {
    check(parse_str(source).and_then(|item| tool::expand(&tool::Options::default(), item)), message);
}

#[track_caller]
fn check_options(options: &str, message: &str) {
    check(parse_str::<tool::Options>(options).map(|_| TokenStream::new()), message);
}

#[test]
fn an_agent_is_a_plain_function() {
    check_agent("struct A;", "an agent is a function");
    check_agent("async fn a() {}", "an agent is not `async`: an effect waits by itself");
    check_agent("unsafe fn a() {}", "an agent is not `unsafe`");
    check_agent("extern \"C\" fn a() {}", "an agent has no ABI of its own");
    check_agent("fn a<T>(request: T) {}", "an agent is not generic: what it takes has to be known here");
    check_agent("fn a(&self) {}", "an agent is a function by itself, and not a method: it has no `self`");
    let message = "an agent takes nothing, a `Request`, or a `Request` and a `Context`";
    check_agent("fn a(request: Request, context: Context, more: u8) {}", message);
    let item = parse_str("fn a() {}").unwrap();
    check(agent::expand(quote!(name = "a"), item), "`#[agent]` takes no options");
}

#[test]
fn a_tool_is_a_plain_function() {
    check_tool("const A: u8 = 1;", "a tool is a function");
    check_tool("async fn a() {}", "a tool is not `async`: an effect waits by itself");
    check_tool("fn a<const N: usize>() {}", "a tool is not generic: what it takes has to be known here");
    check_tool("fn a() where u8: Copy {}", "a tool has no `where` clause");
    check_tool("fn a(self, x: u8) {}", "a tool is a function by itself, and not a method: it has no `self`");
    check_tool("fn a((x, y): (u8, u8)) {}", "a tool's parameter has a name, as its input has");
    check_tool("fn a(_: u8) {}", "a tool's parameter has a name, as its input has");
    check_tool("fn a(x: impl Copy) {}", "a tool's parameter has a type of its own, and not `impl Trait`");
    check_tool("fn a(x: &mut String) {}", "a tool cannot change its input: take it by value");
}

#[test]
fn a_tool_has_options_that_make_sense() {
    let name = "a tool's name takes 1 to 128 of the letters A-Z and a-z, digits, and `_-.:/@#`";
    check_options("name = \"\"", name);
    check_options("name = \"two words\"", name);
    check_options("name = \"grüezi\"", name);
    check_options("title = \"a\"", "a tool has the options `name` and `description`");
    check_options("name = a", "expected string literal");
}

#[test]
fn tools_to_export_are_named() {
    let parsed = parse_str::<export::Functions>("").map(|functions| export::expand(&functions));
    let message = "name the `#[tool]` functions to export, as `export_tools!(word_count, slugify)`";
    check(parsed, &format!("unexpected end of input, {message}"));
}
