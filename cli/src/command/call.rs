use std::io::Write as _;
use std::process::ExitCode;

use casemate::{CallError, CallReport, Engine, ErrorKind, LoadError, Usage};
use clap::Args;
use serde_json::{Value, json};

use crate::approval::{Approve, Person};
use crate::events::{Denial, Show, Watcher};
use crate::input;
use crate::options::{CacheOptions, DataOptions, LimitOptions, SandboxOptions};
use crate::render;
use crate::setup::Setup;

/// Call a tool of a component, in a fresh sandbox
///
/// The result goes to standard output as JSON, alone; what the guest prints goes to standard error, and so do questions
/// and events.
#[derive(Args)]
#[command(after_help = "\
Examples:
  casemate call tool.wasm add '{\"a\":2,\"b\":3}'
  casemate call toolbox grep '{\"pattern\":\"fn main\",\"path\":\"/src\"}' --dir .::/src
  casemate call toolbox write-file @input.json --dir ./out::/out:rw
  casemate call tool.wasm spin --timeout 200ms --json

With tools:
  casemate call planner.wasm advise '{\"city\":\"Bern\"}' \\
      --tool acme:weather/forecast=weather.wasm --allow-tool 'acme:weather/forecast#get-forecast'
  casemate call agent.wasm flow '{\"order\":\"A-1\",\"amount\":5}' --dir ./ledger::/ledger:rw \\
      --tool lookup=ledger.wasm#lookup --allow-tool lookup \\
      --tool refund=ledger.wasm#refund --ask-tool 'refund=Pay it back?' --policy rules.cedar --events

With the web:
  casemate call agent.wasm run --allow-host api.example.com --secret KEY=env:API_KEY@api.example.com
  casemate call agent.wasm run --tool crm=crm.toml --allow-tool 'crm-*' --secret CRM_KEY=file:crm.key

With models:
  casemate call agent.wasm work '{\"task\":\"use the tools\"}' --model fast=playground --allow-model fast
  casemate call agent.wasm work '{\"task\":\"Refund A-1\"}' --model fast=scripted:refund.toml --allow-model fast \\
      --tool refund=ledger.wasm#refund --ask-tool refund --events

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
    sandbox: SandboxOptions,
    /// What becomes of questions, where a grant or a rule has a person decide
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Approve::Ask, help_heading = "Policy")]
    approve: Approve,
    #[command(flatten)]
    limits: LimitOptions,
    /// Print one JSON object: the result or error, what was used, denied and printed
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Print what passes the Gate to standard error as it happens, one JSON object a line
    #[arg(long, help_heading = "Output")]
    events: bool,
}

/// What the call came to, before it is shown.
enum Ending {
    Report {
        report: Box<CallReport>,
        denials: Vec<Denial>,
    },
    /// It did not come to a call.
    Failed {
        kind: ErrorKind,
        message: String,
    },
}

impl Call {
    pub(crate) async fn run(self, cache: &CacheOptions, data: &DataOptions) -> anyhow::Result<ExitCode> {
        let as_json = self.json;
        let ending = self.ending(cache, data).await;
        if as_json { show_json(&ending) } else { show(&ending) }
    }

    async fn ending(self, cache: &CacheOptions, data: &DataOptions) -> Ending {
        self.call(cache, data).await.unwrap_or_else(|error| {
            let invalid_component = error.is::<LoadError>();
            let kind = if invalid_component { ErrorKind::InvalidComponent } else { ErrorKind::InvalidInput };
            Ending::Failed { kind, message: format!("{error:#}") }
        })
    }

    async fn call(self, cache: &CacheOptions, data: &DataOptions) -> anyhow::Result<Ending> {
        let input = input::parse(&self.input)?;
        let engine: Engine = match cache.engine().metering(self.limits.meter.into()).build() {
            Ok(engine) => engine,
            Err(error) => return Ok(Ending::Failed { kind: ErrorKind::Internal, message: error.to_string() }),
        };
        let limits = self.limits.limits(&engine)?;
        let setup = Setup::load(&engine, &self.file, self.sandbox, limits, data).await?;
        setup.warn_of_missing_secrets().await;
        let person = Person::new(self.approve, input::is_stdin(&self.input));
        let (call, gate) = setup.call(self.function, input, person);
        let watcher = Watcher::start(&gate, if self.events { Show::Events } else { Show::Nothing });
        let report = call.until(interrupted()).report().await;
        Ok(Ending::Report { report: Box::new(report), denials: watcher.finish().await? })
    }
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn show_json(ending: &Ending) -> anyhow::Result<ExitCode> {
    let (object, status) = match ending {
        Ending::Report { report, denials } => {
            let mut object = match &report.result {
                Ok(value) => json!({"ok": value}),
                Err(error) => json!({"error": error.to_json()}),
            };
            if let Some(members) = object.as_object_mut() {
                members.extend(facts(report));
                members.insert("denials".to_owned(), serde_json::to_value(denials)?);
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
    let (report, denials) = match ending {
        Ending::Report { report, denials } => (report, denials),
        Ending::Failed { kind, message } => {
            render::error_line(message);
            return Ok(render::status(*kind));
        }
    };
    show_printed(report)?;
    match &report.result {
        Ok(value) => {
            writeln!(std::io::stdout().lock(), "{value:#}")?;
            show_denials(denials, &report.result);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            show_error(error);
            show_denials(denials, &report.result);
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
        CallError::Denied(denied) => {
            anstream::eprintln!("  the tool said: {}", render::plain(&denied.cause.to_string()));
        }
        CallError::Tool(tool) => {
            if let Some(hint) = tool.hint {
                anstream::eprintln!("  hint: {hint}");
            }
        }
        _ => {}
    }
}

/// What was denied on the way, whatever the guest made of it; of what the error tells already, only the rules.
fn show_denials(denials: &[Denial], result: &Result<Value, CallError>) {
    let told = match result {
        Err(CallError::Denied(denied)) => denied.refused.as_slice(),
        _ => &[],
    };
    for Denial { subject, reason, rules, allow } in denials {
        if !told.iter().any(|refused| refused.reason.as_ref() == Some(reason)) {
            let allow = allow.as_ref().map_or_else(String::new, |allow| format!(" (allow it with `{allow}`)"));
            note(&format!("`{}` was denied: {reason}{allow}", subject.name()));
        }
        for rule in rules {
            note(&format!("`{}` was denied by {}", subject.name(), render::rule(rule)));
        }
    }
}

fn note(text: &str) {
    anstream::eprintln!("  {}", render::plain(text));
}
