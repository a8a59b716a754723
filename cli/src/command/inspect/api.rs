//! The tools of an HTTP API, as `inspect` shows them.

use std::io::Write;

use casemate::{Tool, ToolSource};
use serde::Serialize;
use serde_json::Value;

use super::parameters;
use crate::declared::Declared;
use crate::render::{self, BOLD, DIM, styled};

/// What a declaration makes.
#[derive(Serialize)]
pub(super) struct Api {
    tools: Vec<ApiTool>,
    left_out: Vec<LeftOut>,
}

#[derive(Serialize)]
struct ApiTool {
    name: String,
    source: ToolSource,
    description: String,
    input_schema: Value,
    output_schema: Value,
}

/// An operation that cannot be a tool.
#[derive(Serialize)]
struct LeftOut {
    operation: String,
    reason: String,
}

impl Api {
    pub(super) fn of(declared: Declared) -> Self {
        let tools = declared.tools.into_iter().map(|tool| ApiTool::of(&tool.into()));
        let left_out = declared.left_out.into_iter().map(|(operation, reason)| LeftOut { operation, reason });
        Self { tools: tools.collect(), left_out: left_out.collect() }
    }

    pub(super) fn show(&self, out: &mut impl Write, file: &str) -> std::io::Result<()> {
        writeln!(out, "{}", styled(BOLD, file))?;
        writeln!(out, "\n{}", styled(BOLD, "Tools"))?;
        for tool in &self.tools {
            let ApiTool { name, source, description, input_schema, .. } = tool;
            let parameters = render::plain(&parameters(input_schema)).into_owned();
            let source = styled(DIM, render::plain(&source.to_string()));
            writeln!(out, "  {}({parameters})  {source}", styled(BOLD, render::plain(name)))?;
            for line in render::plain(description).lines() {
                writeln!(out, "      {line}")?;
            }
        }
        if self.tools.is_empty() {
            writeln!(out, "  none")?;
        }
        if !self.left_out.is_empty() {
            writeln!(out, "\n{}", styled(BOLD, "Left out"))?;
        }
        for LeftOut { operation, reason } in &self.left_out {
            writeln!(out, "  {}  {}", render::plain(operation), styled(DIM, render::plain(reason)))?;
        }
        Ok(())
    }
}

impl ApiTool {
    fn of(tool: &Tool) -> Self {
        Self {
            name: tool.name().to_owned(),
            source: tool.identity().source.clone(),
            description: tool.about().to_owned(),
            input_schema: tool.input_schema().clone(),
            output_schema: tool.output_schema().clone(),
        }
    }
}
