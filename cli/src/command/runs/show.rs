use std::io::Write as _;
use std::process::ExitCode;

use casemate::{Content, Event, EventKind, Message, Role, Run, Settlement, Subject, ToolOutcome};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::print;
use crate::options::OutputOptions;
use crate::recipe::Recipe;
use crate::record::each_event;
use crate::render::{self, BAD, BOLD, DIM, plain, styled};
use crate::store::Store;
use crate::{live, story, view};

/// Show a run: what was said, what it did, what it took, and how it stands
#[derive(Args)]
pub(crate) struct Show {
    /// Which run
    id: String,
}

/// The call of a tool, and what became of it.
#[derive(Serialize)]
struct Call {
    /// Its effect.
    id: u64,
    tool: String,
    input: Value,
    #[serde(flatten)]
    end: End,
}

/// What became of a call.
#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
enum End {
    Open,
    InDoubt,
    Succeeded { output: Value },
    Failed { message: String },
    Denied { reason: String },
}

impl Show {
    pub(super) async fn run(self, store: &Store, output: OutputOptions) -> anyhow::Result<ExitCode> {
        let run = store.run(&self.id).await?;
        let summary = run.summary().await?;
        let messages = run.messages().await?;
        let files = live::changed_files(store, &run).await?;
        let calls = calls(&run).await?;
        let command = Recipe::of(&summary).ok().map(|recipe| recipe.command());
        if output.json {
            let mut object = live::as_json(&summary);
            if let Some(members) = object.as_object_mut() {
                members.insert("messages".to_owned(), json!(messages));
                members.insert("tool_calls".to_owned(), json!(calls));
                members.insert("files".to_owned(), json!(files));
                members.insert("command".to_owned(), json!(command));
            }
            print(&object)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut out = anstream::stdout().lock();
        let (mark, style, word) = view::standing(&summary);
        writeln!(out, "{} {} {}", styled(style, mark), styled(BOLD, plain(&summary.agent)), styled(DIM, summary.id))?;
        let status = match &summary.failure {
            Some(failure) => format!("{word}: {}", failure.message),
            None => word.to_owned(),
        };
        let fields = [
            ("status", Some(status)),
            ("started", Some(humantime::format_rfc3339_seconds(summary.created).to_string())),
            ("changed", Some(humantime::format_rfc3339_seconds(summary.updated).to_string())),
            ("took", Some(story::usage(&summary.usage))),
            ("files", Some(files.join(", ")).filter(|files| !files.is_empty())),
            ("command", command),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                writeln!(out, "  {} {}", styled(DIM, format_args!("{name:<8}")), plain(&value))?;
            }
        }
        for message in &messages {
            show_message(&mut out, message)?;
        }
        // Where the model made them, the conversation told of them.
        let told = messages.iter().any(|message| message.tool_calls().next().is_some());
        if !told && !calls.is_empty() {
            writeln!(out, "\n{}", styled(BOLD, "calls"))?;
            calls.iter().try_for_each(|call| call.show(&mut out))?;
        }
        let last = messages.last().map(story::message_text);
        if let Some(text) = summary.output.as_ref().filter(|output| last.as_ref() != Some(output)) {
            writeln!(out, "\n{}\n{}", styled(BOLD, "output"), plain(text))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show_message(out: &mut impl std::io::Write, message: &Message) -> std::io::Result<()> {
    let role = match message.role {
        Role::System => "instructions",
        Role::User => "user",
        Role::Assistant => "model",
        Role::Tool => "tools",
    };
    writeln!(out, "\n{}", styled(BOLD, role))?;
    for part in &message.content {
        match part {
            Content::Text { text } => writeln!(out, "{}", plain(text))?,
            Content::Thinking(thought) => writeln!(out, "{}", styled(DIM, plain(&thought.text)))?,
            Content::Image(image) => writeln!(out, "  [{} at {}]", plain(&image.media_type), plain(&image.location))?,
            Content::ToolCall(call) => {
                writeln!(out, "{}", line(&format!("  ▸ {} {}", call.name, story::brief(&call.input))))?;
            }
            Content::ToolResult(result) => {
                let style = if result.outcome == ToolOutcome::Failed { BAD } else { DIM };
                let text = format!("  ◂ {}", story::result(&result.output));
                writeln!(out, "{}", styled(style, line(&text)))?;
            }
        }
    }
    Ok(())
}

impl Call {
    fn show(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        writeln!(out, "{}", line(&format!("  ▸ {} {}", self.tool, story::brief(&self.input))))?;
        let (style, text) = match &self.end {
            End::Open => (DIM, "no result yet".to_owned()),
            End::InDoubt => (BAD, "nobody knows whether it happened".to_owned()),
            End::Succeeded { output } => (DIM, story::result(output)),
            End::Failed { message } => (BAD, format!("failed: {message}")),
            End::Denied { reason } => (BAD, format!("denied: {reason}")),
        };
        writeln!(out, "{}", styled(style, line(&format!("  ◂ {text}"))))
    }
}

/// Text on one line, as much as has room on the terminal.
fn line(text: &str) -> String {
    let indent = text.len() - text.trim_start().len();
    let text = format!("{:indent$}{}", "", story::on_one_line(text));
    render::columns().map_or_else(|| text.clone(), |columns| story::shorten(&text, columns))
}

/// What was asked of tools, in order.
async fn calls(run: &Run) -> anyhow::Result<Vec<Call>> {
    let mut calls = Vec::new();
    each_event(run, |event| {
        note(&mut calls, event);
        Ok(())
    })
    .await?;
    Ok(calls)
}

fn note(calls: &mut Vec<Call>, event: Event) {
    let (id, end) = match event.kind {
        EventKind::ToolCall { id, tool, input, .. }
        | EventKind::ApprovalRequired { id, subject: Subject::Tool(tool), input, .. } => {
            begin(calls, id, tool, &input);
            return;
        }
        EventKind::Denied { id, subject: Subject::Tool(tool), input, reason, .. } => {
            begin(calls, id, tool, &input);
            (id, End::Denied { reason })
        }
        EventKind::Rejected { id, reason, .. } => (id, End::Denied { reason }),
        EventKind::ToolResult { id, output, .. } => (id, End::Succeeded { output: output.as_ref().clone() }),
        EventKind::Error { id, message, .. } => (id, End::Failed { message }),
        EventKind::InDoubt { id, .. } => (id, End::InDoubt),
        EventKind::Settled { id, settlement: Settlement::Happened { result }, .. } => {
            (id, End::Succeeded { output: result.as_ref().clone() })
        }
        _ => return,
    };
    if let Some(call) = calls.iter_mut().find(|call| call.id == id) {
        call.end = end;
    }
}

/// Begins a call, or what it was asked about becomes one.
fn begin(calls: &mut Vec<Call>, id: u64, tool: String, input: &Value) {
    calls.retain(|call| call.id != id);
    calls.push(Call { id, tool, input: input.clone(), end: End::Open });
}
