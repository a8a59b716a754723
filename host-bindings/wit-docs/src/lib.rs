//! Doc comments of WIT, carried inside a component.
//!
//! A tool is described to its caller by the doc comments of its WIT, and the
//! toolchains of today drop them when they build a component. [`embed`] puts
//! them back, as the custom section `package-docs` that WIT packages in binary
//! form have; [`PackageDocs`] reads that section from any component.
//!
//! The crate knows the container of a component and the text in that section.
//! It neither validates nor compiles, and knows nothing of what runs a
//! component; whoever reads docs of foreign components should expect to find
//! none, wrong ones, or ones that lie.
//!
//! ```no_run
//! use casemate_wit_docs::{PackageDocs, embed};
//! use std::path::Path;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let component = std::fs::read("forecast.wasm")?;
//! let documented = embed(&component, Path::new("wit"))?;
//!
//! let docs = PackageDocs::read(&documented)?.ok_or("the section is there now")?;
//! println!("{}", docs.function(None, "get-forecast").unwrap_or("no docs"));
//! # Ok(())
//! # }
//! ```

mod docs;
mod embed;
mod section;

pub use docs::{PackageDocs, ReadError};
pub use embed::{EmbedError, embed, strip};

/// The name of the custom section.
const SECTION_NAME: &str = "package-docs";

/// The largest section that is read or written.
///
/// All docs of `wasi:http` with what it needs are 60 KiB; a megabyte is room
/// for any package that a person wrote, and cheap to refuse beyond.
const MAX_SECTION_SIZE: usize = 1 << 20;
