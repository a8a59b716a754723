use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use casemate::{CallError, CallReport, Engine, ErrorKind, Usage};
use clap::Args;
use serde_json::{Value, json};

use crate::options::{CacheOptions, GrantOptions, LimitOptions};
use crate::render;
use crate::source;

/// Call a tool of a component, in a fresh sandbox
///
/// The result goes to standard output as JSON, alone; what the guest prints goes to standard error.
#[derive(Args)]
#[command(after_help = "\
Examples:
  casemate call tool.wasm add '{\"a\":2,\"b\":3}'
  casemate call toolbox grep '{\"pattern\":\"fn main\",\"path\":\"/src\"}' --dir .::/src
  casemate call toolbox write-file @input.json --dir ./out::/out:rw
  casemate call tool.wasm spin --timeout 200ms --json

Exit status: 0 fine, 1 the tool's own error, 2 invalid input or usage, 3 a limit was reached,
4 denied, 5 trap, 6 busy or internal, 130 cancelled.")]
pub(crate) struct Call {
    /// A component, or `toolbox` for the built-in one
    file: String,
    /// The tool's name, as `casemate inspect` lists it
    function: String,
    /// The input: JSON, @FILE, or - for standard input
    #[arg(default_value = "{}", hide_default_value = true)]
    input: String,
    #[command(flatten)]
    grants: GrantOptions,
    #[command(flatten)]
    limits: LimitOptions,
    /// Print one JSON object: the result or error, what was used, and what was printed
    #[arg(long)]
    json: bool,
}

/// What the call came to, before it is shown.
enum Ending {
    Report(CallReport),
    /// It did not come to a call.
    Failed {
        kind: ErrorKind,
        message: String,
    },
}

impl Call {
    pub(crate) async fn run(self, cache: &CacheOptions) -> anyhow::Result<ExitCode> {
        let as_json = self.json;
        let ending = self.ending(cache).await;
        if as_json { show_json(&ending) } else { show(&ending) }
    }

    async fn ending(self, cache: &CacheOptions) -> Ending {
        match self.call(cache).await {
            Ok(report) => Ending::Report(report),
            Err((kind, error)) => Ending::Failed { kind, message: format!("{error:#}") },
        }
    }

    async fn call(self, cache: &CacheOptions) -> Result<CallReport, (ErrorKind, anyhow::Error)> {
        let usage = |error: anyhow::Error| (ErrorKind::InvalidInput, error);
        let input = parse_input(&self.input).map_err(usage)?;
        let grants = self.grants.grants().map_err(usage)?;
        let engine: Engine = cache
            .engine()
            .metering(self.limits.meter.into())
            .build()
            .map_err(|error| (ErrorKind::Internal, error.into()))?;
        let limits = self.limits.limits(&engine).map_err(usage)?;
        let component = source::load(&engine, &self.file).await.map_err(|error| {
            let context = format!("cannot load `{}`", self.file);
            (ErrorKind::InvalidComponent, anyhow::Error::from(error).context(context))
        })?;
        let interrupted = async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        Ok(component.call(self.function, input).grants(grants).limits(limits).until(interrupted).report().await)
    }
}

fn parse_input(text: &str) -> anyhow::Result<Value> {
    let (text, place) = match text.strip_prefix('@') {
        Some(path) => (std::fs::read_to_string(path).with_context(|| format!("cannot read `{path}`"))?, path),
        None if text == "-" => {
            let mut input = String::new();
            std::io::stdin().read_to_string(&mut input).context("cannot read standard input")?;
            (input, "standard input")
        }
        None => (text.to_owned(), "the argument"),
    };
    serde_json::from_str(&text).with_context(|| format!("the input in {place} is not JSON"))
}

fn show_json(ending: &Ending) -> anyhow::Result<ExitCode> {
    let (object, status) = match ending {
        Ending::Report(report) => {
            let mut object = match &report.result {
                Ok(value) => json!({"ok": value}),
                Err(error) => json!({"error": error.to_json()}),
            };
            if let Some(members) = object.as_object_mut() {
                members.extend(facts(report));
            }
            (object, report.result.as_ref().map_or_else(|error| render::status(error.kind()), |_| ExitCode::SUCCESS))
        }
        Ending::Failed { kind, message } => {
            (json!({"error": {"kind": kind, "message": message}, "usage": Usage::default()}), render::status(*kind))
        }
    };
    writeln!(std::io::stdout().lock(), "{object}")?;
    Ok(status)
}

fn facts(report: &CallReport) -> impl Iterator<Item = (String, Value)> {
    let output = &report.output;
    [
        ("usage", json!(report.usage)),
        ("stdout", String::from_utf8_lossy(&output.stdout).into()),
        ("stderr", String::from_utf8_lossy(&output.stderr).into()),
        ("stdout_truncated", output.stdout_truncated.into()),
        ("stderr_truncated", output.stderr_truncated.into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
}

fn show(ending: &Ending) -> anyhow::Result<ExitCode> {
    let report = match ending {
        Ending::Report(report) => report,
        Ending::Failed { kind, message } => {
            render::error_line(message);
            return Ok(render::status(*kind));
        }
    };
    show_printed(report)?;
    match &report.result {
        Ok(value) => {
            writeln!(std::io::stdout().lock(), "{value:#}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            show_error(error);
            Ok(render::status(error.kind()))
        }
    }
}

fn show_printed(report: &CallReport) -> std::io::Result<()> {
    let mut stderr = std::io::stderr().lock();
    let output = &report.output;
    for (bytes, truncated, name) in [
        (&output.stdout, output.stdout_truncated, "standard output"),
        (&output.stderr, output.stderr_truncated, "standard error"),
    ] {
        stderr.write_all(bytes)?;
        if !bytes.is_empty() && !bytes.ends_with(b"\n") {
            writeln!(stderr)?;
        }
        if truncated {
            writeln!(stderr, "[the guest's {name} was cut here]")?;
        }
    }
    Ok(())
}

fn show_error(error: &CallError) {
    render::error_line(&error.to_string());
    match error {
        CallError::Denied(denied) => anstream::eprintln!("  the tool said: {}", denied.cause),
        CallError::Tool(tool) => {
            if let Some(hint) = tool.hint {
                anstream::eprintln!("  hint: {hint}");
            }
        }
        _ => {}
    }
}
