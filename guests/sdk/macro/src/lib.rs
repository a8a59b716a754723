//! The macros of `casemate-sdk`, which documents them by what they are used for.
//!
//! A macro writes down what only the source knows — names, comments, parameters — and leaves all
//! that is done with it to `casemate_sdk::expanded`.

mod agent;
mod export;
mod function;
mod tool;

#[cfg(test)]
mod tests;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Makes a function the agent that this component is.
///
/// It takes nothing, a `Request`, or a `Request` and a `Context`. It returns `()`, `String`,
/// `&'static str`, `Response`, or a `Result` of one of these whose error is `Display`. The function
/// stays as it is, for tests and for whoever else calls it. A component has one agent.
///
/// ```
/// use casemate_sdk::{Request, agent};
///
/// #[agent]
/// fn greet(request: Request) -> String {
///     format!("You said: {}", request.text())
/// }
/// ```
#[proc_macro_attribute]
pub fn agent(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::Item);
    agent::expand(options.into(), item).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a tool of a function, as a constant beside it: `fn word_count` has the `Tool` `WORD_COUNT`.
///
/// The tool's name is the function's with `-` for `_`, its description the doc comment, its input an
/// object with a member for each parameter; doc comments of parameters describe these. A parameter
/// is of any type that is `Deserialize` and `JsonSchema`, or a reference to one, and may have
/// attributes of `serde` and `schemars`; one that is an `Option` can be left out. What is returned is
/// `Serialize`, or a `Result` of that whose error is `Display`.
///
/// `#[tool(name = "…", description = "…")]` says otherwise.
///
/// ```
/// use casemate_sdk::tool;
///
/// /// Counts the words of a text.
/// #[tool]
/// fn word_count(
///     /// The text, in any language that has spaces.
///     text: &str,
/// ) -> usize {
///     text.split_whitespace().count()
/// }
/// ```
#[proc_macro_attribute]
pub fn tool(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as tool::Options);
    let item = parse_macro_input!(item as syn::Item);
    tool::expand(&options, item).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes this component one that provides tools: those of the `#[tool]` functions that are named.
///
/// ```
/// use casemate_sdk::{export_tools, tool};
///
/// export_tools!(word_count, lines::line_count);
///
/// /// Counts the words of a text.
/// #[tool]
/// fn word_count(text: &str) -> usize {
///     text.split_whitespace().count()
/// }
///
/// mod lines {
///     /// Counts the lines of a text.
///     #[casemate_sdk::tool]
///     pub fn line_count(text: &str) -> usize {
///         text.lines().count()
///     }
/// }
/// ```
#[proc_macro]
pub fn export_tools(functions: TokenStream) -> TokenStream {
    let functions = parse_macro_input!(functions as export::Functions);
    export::expand(&functions).into()
}
