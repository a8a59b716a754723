//! For authors of components: their WIT as text, and doc comments put in.

use std::path::Path;

use super::LoadError;

pub use casemate_wit_docs::EmbedError as AddDocsError;

/// The component's imports and exports as WIT text, with every package that they are of.
pub fn wit_text(component: &[u8]) -> Result<String, LoadError> {
    let bytes = super::load::parse_text(component)?;
    super::preflight::check_magic(&bytes)?;
    // The decoder would look for documented interfaces in a package that a component does not name.
    let bytes = casemate_wit_docs::strip(&bytes).map_err(|error| LoadError::Wit { message: error.to_string() })?;
    let undecodable = |message: String| LoadError::Wit { message };
    let decoded = wit_component::decode(&bytes).map_err(|error| undecodable(format!("{error:#}")))?;
    let root = decoded.package();
    let others: Vec<_> = decoded.resolve().packages.iter().map(|(id, _)| id).filter(|id| *id != root).collect();
    let mut printer = wit_component::WitPrinter::default();
    printer.print(decoded.resolve(), root, &others).map_err(|error| undecodable(format!("{error:#}")))?;
    Ok(printer.output.to_string())
}

/// A copy of `component` that carries the doc comments of the WIT in `wit`, a file or a folder, so that its tools have
/// descriptions. Today's toolchains drop them.
pub fn add_docs(component: &[u8], wit: &Path) -> Result<Vec<u8>, AddDocsError> {
    casemate_wit_docs::embed(component, wit)
}
