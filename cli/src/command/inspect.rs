mod api;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use casemate::{Description, Placement, ToolDescription};
use clap::Args;
use serde_json::Value;

use api::Api;

use crate::declared::{self, Declared};
use crate::options::CacheOptions;
use crate::render::{self, BOLD, DIM, styled};
use crate::source;

/// Show what a component offers and what it wants, or which tools a declaration of an HTTP API makes
#[derive(Args)]
#[command(after_help = "\
Examples:
  casemate inspect toolbox
  casemate inspect tool.wasm --json
  casemate inspect tool.wasm --wit
  casemate inspect crm.toml")]
pub(crate) struct Inspect {
    /// A component, `toolbox` for the built-in one, or FILE.toml
    file: String,
    /// Print the description as JSON, with JSON Schemas
    #[arg(long)]
    json: bool,
    /// Print the imports and exports as WIT
    #[arg(long, conflicts_with = "json")]
    wit: bool,
}

impl Inspect {
    pub(crate) async fn run(self, cache: &CacheOptions) -> anyhow::Result<ExitCode> {
        let mut stdout = anstream::stdout().lock();
        if declared::is_declaration(&self.file) {
            if self.wit {
                bail!("`{}` declares an HTTP API, and has no WIT", self.file);
            }
            let api = Api::of(Declared::read(&self.file, None)?);
            if self.json {
                writeln!(stdout, "{:#}", serde_json::to_value(&api)?)?;
            } else {
                api.show(&mut stdout, &self.file)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        if self.wit {
            write!(stdout, "{}", casemate::wit_text(&source::bytes(&self.file)?)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let engine = cache.engine().build()?;
        let description = match source::load(&engine, &self.file).await {
            Ok(component) => component.description(),
            Err(error) => {
                render::error_line(&format!("cannot load `{}`: {error}", self.file));
                return Ok(render::status(casemate::ErrorKind::InvalidComponent));
            }
        };
        if self.json {
            writeln!(stdout, "{:#}", serde_json::to_value(&description)?)?;
        } else {
            show(&mut stdout, &self.file, &description)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(out: &mut impl std::io::Write, file: &str, description: &Description) -> std::io::Result<()> {
    writeln!(out, "{} {}", styled(BOLD, file), styled(DIM, description.hash))?;
    let placement = match description.placement {
        Placement::Pooled => "in a slot of the pool",
        Placement::OnDemand => "allocated on demand: it fits no slot of the pool, so it starts more slowly",
    };
    writeln!(out, "sandboxes: {placement}")?;
    writeln!(out, "\n{}", styled(BOLD, "Imports"))?;
    for import in &description.imports {
        match import.grant {
            Some(grant) => writeln!(out, "  {}  {}", import.name, styled(DIM, grant))?,
            None => writeln!(out, "  {}", import.name)?,
        }
    }
    if description.imports.is_empty() {
        writeln!(out, "  nothing")?;
    }
    writeln!(out, "\n{}", styled(BOLD, "Tools"))?;
    for tool in &description.tools {
        show_tool(out, tool)?;
    }
    if description.tools.is_empty() {
        writeln!(out, "  none")?;
    }
    Ok(())
}

fn show_tool(out: &mut impl std::io::Write, tool: &ToolDescription) -> std::io::Result<()> {
    match &tool.reason {
        None => {
            let parameters = parameters(&tool.input_schema);
            writeln!(out, "  {}({})", styled(BOLD, &tool.name), render::plain(&parameters))?;
        }
        Some(reason) => writeln!(out, "  {}  {}", tool.name, styled(DIM, format!("not callable: {reason}")))?,
    }
    for line in tool.description.iter().flat_map(|text| text.lines()) {
        writeln!(out, "      {}", render::plain(line))?;
    }
    Ok(())
}

/// `path, start-line?`: the parameters, those that may be left out with a question mark.
fn parameters(schema: &Value) -> String {
    let required = |name: &str| {
        schema.get("required").and_then(Value::as_array).is_some_and(|names| names.iter().any(|other| other == name))
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let names = properties.into_iter().flat_map(|properties| properties.keys());
    let shown = names.map(|name| if required(name) { name.clone() } else { format!("{name}?") });
    shown.collect::<Vec<_>>().join(", ")
}
