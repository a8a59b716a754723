use std::io::Write as _;
use std::process::ExitCode;

use casemate::{Content, EventKind, Message, Role, Run, ToolOutcome};
use clap::Args;
use serde_json::json;

use super::{Output, PAGE, print};
use crate::recipe::Recipe;
use crate::render::{BAD, BOLD, DIM, plain, styled};
use crate::store::Store;
use crate::{live, story, view};

/// Show a run: what was said, what it did, what it took, and how it stands
#[derive(Args)]
pub(crate) struct Show {
    /// Which run
    id: String,
}

/// The call of a tool, and what became of it.
struct Call {
    id: u64,
    text: String,
    became: String,
}

impl Show {
    pub(super) async fn run(self, store: &Store, output: Output) -> anyhow::Result<ExitCode> {
        let run = store.run(&self.id).await?;
        let summary = run.summary().await?;
        let messages = run.messages().await?;
        let files = live::changed_files(store, &run).await?;
        let command = Recipe::of(&summary).ok().map(|recipe| recipe.command());
        if output.json {
            let mut object = live::as_json(&summary);
            if let Some(members) = object.as_object_mut() {
                members.insert("messages".to_owned(), json!(messages));
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
        let calls = calls(&run).await?;
        if !calls.is_empty() {
            writeln!(out, "\n{}", styled(BOLD, "calls"))?;
        }
        for Call { text, became, .. } in calls {
            writeln!(out, "  ▸ {}", story::shorten(&text, 100))?;
            writeln!(out, "    {}", styled(DIM, story::shorten(&became, 100)))?;
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
                let text = format!("{} {}", call.name, story::compact(&call.input));
                writeln!(out, "  ▸ {}", story::shorten(&plain(&text), 100))?;
            }
            Content::ToolResult(result) => {
                let style = if result.outcome == ToolOutcome::Failed { BAD } else { DIM };
                let text = story::shorten(&plain(&story::compact(&result.output)), 100);
                writeln!(out, "  {}", styled(style, format_args!("◂ {text}")))?;
            }
        }
    }
    Ok(())
}

/// What was asked of tools, in order.
async fn calls(run: &Run) -> anyhow::Result<Vec<Call>> {
    let (mut calls, mut next) = (Vec::<Call>::new(), 1);
    let mut story = story::Story::default();
    loop {
        let events = run.recorded(next, PAGE).await?;
        let Some(last) = events.last() else { return Ok(calls) };
        next = last.sequence + 1;
        for event in &events {
            let line = story.tell(event);
            match &event.kind {
                EventKind::ToolCall { id, .. } => {
                    calls.push(Call { id: *id, text: line.text, became: "no result yet".to_owned() });
                }
                EventKind::ToolResult { id, .. } | EventKind::Error { id, .. } | EventKind::InDoubt { id, .. } => {
                    if let Some(call) = calls.iter_mut().find(|call| call.id == *id) {
                        call.became = line.text;
                    }
                }
                EventKind::Denied { id, subject, input, .. } => {
                    let text = story::on_one_line(&format!("{} {}", subject.name(), story::compact(input)));
                    calls.push(Call { id: *id, text, became: line.text });
                }
                _ => {}
            }
        }
    }
}
