//! Tools of HTTP endpoints, as files declare them.

use std::path::Path;

use anyhow::{Context as _, bail};
use casemate::{Declaration, HttpTool, OpenApiTools};

use crate::{render, source};

/// What a declaration makes.
pub(crate) struct Declared {
    pub(crate) tools: Vec<HttpTool>,
    /// Operations of its document that are no tools, each with the reason.
    pub(crate) left_out: Vec<(String, String)>,
    prefix: String,
}

/// Whether a file is a declaration rather than a component.
pub(crate) fn is_declaration(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

impl Declared {
    /// Reads a declaration, and the document that it is about. The one tool has that name, and those of a document have
    /// it before their own; without a name all are called as the declaration says.
    pub(crate) fn read(file: &str, name: Option<&str>) -> anyhow::Result<Self> {
        Self::of(Path::new(file), name).with_context(|| format!("in `{file}`"))
    }

    fn of(file: &Path, name: Option<&str>) -> anyhow::Result<Self> {
        let declaration = Declaration::from_toml(&source::read_text(file)?)?;
        let Some(document) = declaration.document() else {
            let tool = declaration.tool(name)?;
            return Ok(Self { tools: vec![tool], left_out: Vec::new(), prefix: String::new() });
        };
        let document = file.with_file_name("").join(document);
        let found = declaration.tools(&source::read_text(&document)?);
        let OpenApiTools { tools, left_out, .. } = found.with_context(|| format!("in `{}`", document.display()))?;
        let own = declaration.prefix();
        let prefix = name.map_or_else(|| own.to_owned(), |name| format!("{name}-"));
        let named = |tool: HttpTool| {
            let operation = tool.name().strip_prefix(own).unwrap_or(tool.name());
            let name = format!("{prefix}{operation}");
            tool.named(name)
        };
        Ok(Self { tools: tools.into_iter().map(named).collect(), left_out, prefix })
    }

    /// The tool of one operation.
    pub(crate) fn only(self, operation: &str) -> anyhow::Result<HttpTool> {
        let Self { tools, left_out, prefix } = self;
        if let Some(tool) = tools.iter().find(|tool| tool.name().strip_prefix(&prefix) == Some(operation)) {
            return Ok(tool.clone());
        }
        if let Some((_, why)) = left_out.iter().find(|(name, _)| name == operation) {
            bail!("the operation `{operation}` cannot be a tool: {why}");
        }
        let known = tools.iter().map(|tool| tool.name().strip_prefix(&prefix).unwrap_or_default());
        bail!("there is no operation `{operation}`: {}", render::names(known))
    }

    /// Every tool; tells what is left out.
    pub(crate) fn all(self, file: &str) -> Vec<HttpTool> {
        match self.left_out.as_slice() {
            [] => {}
            [(operation, why)] => {
                render::warning_line(&format!("in `{file}` the operation `{operation}` cannot be a tool: {why}"));
            }
            [(operation, why), ..] => {
                let count = self.left_out.len();
                render::warning_line(&format!(
                    "in `{file}` {count} operations cannot be tools, such as `{operation}`: {why}; \
                     `casemate inspect {file}` tells them all"
                ));
            }
        }
        self.tools
    }
}
