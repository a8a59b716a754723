use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use casemate::{CedarPolicy, PolicyProblem, Presence, ToolInputs};
use clap::Args;

use super::known;
use crate::options::{CacheOptions, KnownTools, PolicyTexts};
use crate::render::{self, BOLD, DIM, styled};

/// Check rules against the tools that they are about
///
/// Problems go to standard error, all at once, each with its file, line and column. Without problems, standard output
/// tells what rules can see of each tool's input.
#[derive(Args)]
#[command(after_help = "\
Examples:
  casemate policy check rules.cedar --tool ledger.wasm
  casemate policy check rules.cedar --tool refund=ledger.wasm#refund --tool toolbox#read-file
  casemate policy check rules.cedar --tools toolbox

Exit status: 0 fine, though there may be warnings, 2 the rules cannot be used.")]
pub(crate) struct Check {
    /// Files of Cedar rules
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    known: KnownTools,
}

impl Check {
    pub(super) async fn run(self, cache: &CacheOptions) -> anyhow::Result<ExitCode> {
        let texts = PolicyTexts::read(&self.files)?;
        let facts = known(&cache.engine().build()?, &self.known).await?.facts;
        let policy = match texts.compile(&facts) {
            Ok(policy) => policy,
            Err(errors) => {
                errors.problems().iter().for_each(|problem| show_problem(problem, ""));
                hint(facts.is_empty());
                return Ok(render::usage());
            }
        };
        policy.warnings().iter().for_each(|problem| show_problem(problem, "warning: "));
        hint(facts.is_empty());
        show(&policy, texts.names().count())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn show_problem(problem: &PolicyProblem, severity: &str) {
    let PolicyProblem { place, fault, help } = problem;
    let place = place.as_ref().map_or_else(String::new, |place| format!("{place}: "));
    let help = help.as_ref().map_or_else(String::new, |help| format!(": {help}"));
    anstream::eprintln!("{}", render::plain(&format!("{place}{severity}{fault}{help}")));
}

fn hint(no_tools: bool) {
    if no_tools {
        anstream::eprintln!(
            "no tool is known, so nothing about inputs is; name tools with `--tool [NAME=]SOURCE` or `--tools SOURCE`"
        );
    }
}

fn show(policy: &CedarPolicy, files: usize) -> std::io::Result<()> {
    let mut out = anstream::stdout().lock();
    let inputs = policy.inputs();
    let (files, tools) = (count(files, "file"), count(inputs.len(), "tool"));
    writeln!(out, "{files} checked against {tools}{}", if inputs.is_empty() { "" } else { "; rules can see" })?;
    for tool in &inputs {
        show_inputs(&mut out, tool)?;
    }
    Ok(())
}

fn show_inputs(out: &mut impl std::io::Write, inputs: &ToolInputs) -> std::io::Result<()> {
    let ToolInputs { tool, visible, hidden } = inputs;
    writeln!(
        out,
        "\n{} {}",
        styled(BOLD, format!("call:{}", tool.name)),
        styled(DIM, render::tool_source(&tool.source))
    )?;
    let paths = visible.iter().map(|input| &input.path).chain(hidden.iter().map(|input| &input.path));
    let width = paths.map(|path| path.chars().count()).max().unwrap_or_default();
    for input in visible {
        let absent = if input.presence == Presence::Optional { ", may be absent" } else { "" };
        writeln!(out, "  {:width$}  {}{}", render::plain(&input.path), input.cedar_type, styled(DIM, absent))?;
    }
    for input in hidden {
        writeln!(
            out,
            "  {:width$}  {}",
            render::plain(&input.path),
            styled(DIM, format!("not visible: {}", input.why))
        )?;
    }
    if width == 0 {
        writeln!(out, "  {}", styled(DIM, "it has no input"))?;
    }
    Ok(())
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
