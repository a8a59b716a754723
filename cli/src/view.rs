//! A run on the terminal while it goes: what its model says as it comes, and a line for everything else.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};

use anstyle::Style;
use casemate::{Content, Delta, DeltaPart, Event, EventKind, Message, RunStatus, RunSummary};

use crate::render::{BAD, BOLD, DIM, GOOD, WARN, plain, styled};
use crate::story::{self, Line, Story, shorten};

/// Lines of what is folded that are shown of an edit all the same.
const EDIT_LINES: usize = 12;

/// What a thought begins with, for those who see no colours.
const THOUGHT: &str = "· ";

/// How much of each event is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    Folded,
    Unfolded,
}

/// What a person may want to do next.
pub(crate) struct Next {
    pub(crate) says: &'static str,
    pub(crate) command: String,
}

/// What people see of one run, on standard error.
pub(crate) struct View {
    story: Story,
    detail: Detail,
    /// Columns; none where it is no terminal.
    columns: Option<usize>,
    /// The cursor stands behind something.
    midline: bool,
    /// The chat that began last.
    chat: Option<u64>,
    /// Pieces of an answer of which the events do not tell yet, since they are kept first; none where some are missing.
    early: Vec<Option<Delta>>,
    /// What was shown of the answer that is under way.
    streamed: Option<Streamed>,
    /// What a model said last, in its parts: agents often say it again.
    said: Vec<String>,
    /// What the agent itself said.
    output: String,
    /// The tool calls that have no result yet, and the event that was shown last was that of the last of them.
    calls: BTreeSet<u64>,
    call: Option<u64>,
}

/// What was shown of an answer as it came.
struct Streamed {
    effect: u64,
    text: String,
    thinking: bool,
    /// Pieces are missing.
    broken: bool,
}

impl View {
    pub(crate) fn new(detail: Detail) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let columns = is_terminal.then(|| usize::from(console::Term::stderr().size().1));
        Self {
            story: Story::default(),
            detail,
            columns,
            midline: false,
            chat: None,
            early: Vec::new(),
            streamed: None,
            said: Vec::new(),
            output: String::new(),
            calls: BTreeSet::new(),
            call: None,
        }
    }

    /// Whether pieces of answers are shown as they come.
    pub(crate) fn streams(&self) -> bool {
        self.columns.is_some()
    }

    /// What everything is about.
    pub(crate) fn header(&mut self, run: &RunSummary) {
        self.line(&format!("{} {} {}", styled(BOLD, "●"), styled(BOLD, plain(&run.agent)), styled(DIM, run.id)));
    }

    /// A sentence of ours.
    pub(crate) fn note(&mut self, style: Style, text: &str) {
        for line in plain(text).lines() {
            self.line(&styled(style, line));
        }
    }

    /// A question is shown by somebody else; the cursor stays behind it.
    pub(crate) fn question_follows(&mut self) {
        self.end_line();
        self.midline = true;
    }

    /// The terminal showed a `^C`.
    pub(crate) fn interrupted(&mut self) {
        self.midline |= self.columns.is_some();
    }

    /// Whoever was asked ended the line.
    pub(crate) fn answered(&mut self) {
        self.midline = false;
    }

    /// A piece of an answer; none where some are missing.
    pub(crate) fn piece(&mut self, piece: Option<Delta>) {
        match piece {
            Some(delta) if delta.depth != 1 => {}
            Some(delta) if self.early.is_empty() && self.chat == Some(delta.id) => self.delta(&delta),
            None if self.early.is_empty() => self.missed(),
            piece => self.early.push(piece),
        }
    }

    /// Shows what came early of the agent's own chat.
    fn chat(&mut self, id: u64, depth: u32) {
        if depth != 1 {
            return;
        }
        self.chat = Some(id);
        for piece in std::mem::take(&mut self.early) {
            match piece {
                Some(delta) => self.delta(&delta),
                None => self.missed(),
            }
        }
    }

    fn delta(&mut self, delta: &Delta) {
        if self.streamed.as_ref().is_none_or(|streamed| streamed.effect != delta.id) {
            self.end_line();
            self.streamed = Some(Streamed { effect: delta.id, text: String::new(), thinking: false, broken: false });
        }
        let (piece, thinking) = match &delta.part {
            DeltaPart::Text(text) => (text, false),
            DeltaPart::Thinking(text) => (text, true),
            _ => return,
        };
        let Some(streamed) = self.streamed.as_mut().filter(|streamed| !streamed.broken) else { return };
        let turns = std::mem::replace(&mut streamed.thinking, thinking) != thinking;
        if !thinking {
            streamed.text.push_str(piece);
        }
        if turns {
            self.end_line();
        }
        match thinking {
            true if turns => self.write(DIM, &format!("{THOUGHT}{piece}")),
            true => self.write(DIM, piece),
            false => self.write(Style::new(), piece),
        }
    }

    /// Pieces were missed: the rest is shown when it is there as a whole.
    fn missed(&mut self) {
        if let Some(streamed) = &mut self.streamed {
            streamed.broken = true;
        }
    }

    /// What happened.
    pub(crate) fn event(&mut self, event: &Event) {
        let line = self.story.tell(event);
        match &event.kind {
            // Told by the header, by what follows, or by the summary.
            EventKind::Created { .. } | EventKind::ToolsListed { .. } => {}
            EventKind::Chat { id, depth, .. } => self.chat(*id, *depth),
            kind if kind.is_last() => self.end_line(),
            EventKind::ChatResult { id, message, .. } => self.answer(*id, message),
            EventKind::Thinking { content } if !self.just_said(content) => self.thought(content),
            EventKind::Thinking { .. } => {}
            EventKind::Output { delta } => self.output(delta),
            EventKind::ToolCall { id, .. } => {
                self.show(&line);
                self.calls.insert(*id);
                self.call = Some(*id);
            }
            EventKind::ToolResult { id, tool, .. } => {
                self.calls.remove(id);
                let follows = self.call.take() == Some(*id) && self.calls.is_empty();
                let text = line.text.strip_prefix(tool.as_str()).and_then(|text| text.strip_prefix(": "));
                let text = text.filter(|_| follows).unwrap_or(&line.text).to_owned();
                self.show(&Line { text, ..line });
            }
            _ => {
                self.call = None;
                self.show(&line);
            }
        }
    }

    /// The whole of an answer, of which some was shown.
    fn answer(&mut self, effect: u64, message: &Message) {
        let text = story::message_text(message);
        let shown = self.streamed.take().filter(|streamed| streamed.effect == effect);
        let rest = match &shown {
            Some(streamed) => text.strip_prefix(streamed.text.as_str()),
            None => None,
        };
        if rest.is_none() {
            self.end_line();
            for part in &message.content {
                if let Content::Thinking(thought) = part {
                    self.thought(&thought.text);
                }
            }
        }
        self.write(Style::new(), rest.unwrap_or(&text));
        self.end_line();
        let thoughts = message.content.iter().filter_map(|part| match part {
            Content::Thinking(thought) => Some(thought.text.clone()),
            _ => None,
        });
        self.said = thoughts.chain([text]).collect();
    }

    fn thought(&mut self, text: &str) {
        self.note(DIM, &format!("{THOUGHT}{text}"));
    }

    fn just_said(&self, text: &str) -> bool {
        self.said.iter().any(|said| said.trim() == text.trim())
    }

    fn output(&mut self, delta: &str) {
        self.output.push_str(delta);
        // Whoever reads standard output elsewhere gets it whole, at the end.
        if self.columns.is_some() && !self.just_said(delta) {
            self.write(Style::new(), delta);
        }
    }

    fn show(&mut self, line: &Line) {
        let Line { mark, style, text, hint, more } = line;
        let text = match (self.columns, self.detail) {
            (Some(columns), Detail::Folded) => shorten(text, columns.saturating_sub(4)),
            _ => text.clone(),
        };
        self.line(&format!("  {} {}", styled(*style, mark), styled(*style, text)));
        if let Some(hint) = hint {
            self.line(&format!("    allow it with {}", styled(BOLD, hint)));
        }
        let shown = match self.detail {
            Detail::Unfolded => more.len(),
            Detail::Folded if *mark == "±" => EDIT_LINES,
            Detail::Folded => 0,
        };
        for (style, text) in more.iter().take(shown) {
            self.line(&format!("    {}", styled(*style, text)));
        }
        if shown > 0 && more.len() > shown {
            self.line(&format!("    {}", styled(DIM, format_args!("… {} lines more", more.len() - shown))));
        }
    }

    /// How it ended, or where it stands; the output goes to standard output.
    pub(crate) fn summary(&mut self, run: &RunSummary, files: &[String], next: &Next) -> std::io::Result<()> {
        self.end_line();
        if let Some(output) = &run.output {
            let is_shown = self.columns.is_some()
                && std::io::stdout().is_terminal()
                && (self.just_said(output) || output.trim() == self.output.trim());
            if !is_shown && !output.is_empty() {
                let mut stdout = std::io::stdout().lock();
                // A program gets it as it is.
                let text = if std::io::stdout().is_terminal() { plain(output) } else { output.into() };
                writeln!(stdout, "{}", text.trim_end_matches('\n'))?;
            }
        }
        let (mark, style, word) = standing(run);
        self.line(&format!(
            "{} {} {}",
            styled(style, mark),
            styled(style, word),
            styled(DIM, story::usage(&run.usage))
        ));
        if let Some(failure) = &run.failure {
            failure.message.lines().for_each(|line| self.note(style, &format!("  {line}")));
        }
        if !files.is_empty() {
            self.line(&format!("  {} {}", styled(DIM, "files:"), plain(&files.join(", "))));
        }
        self.line(&format!("  {} {}", styled(DIM, next.says), styled(BOLD, &next.command)));
        Ok(())
    }

    fn write(&mut self, style: Style, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut stderr = anstream::stderr().lock();
        // Whoever does not look any more does not miss it.
        _ = write!(stderr, "{}", styled(style, plain(text))).and_then(|()| stderr.flush());
        self.midline = !text.ends_with('\n');
    }

    fn line(&mut self, text: &str) {
        self.end_line();
        anstream::eprintln!("{text}");
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.midline) {
            anstream::eprintln!();
        }
    }
}

/// How a run stands, as `--status` has it.
pub(crate) fn status(run: &RunSummary) -> &'static str {
    match run.status {
        RunStatus::Waiting => "waiting",
        _ => standing(run).2,
    }
}

/// How a run stands, in a sign, a style and a few words.
pub(crate) fn standing(run: &RunSummary) -> (&'static str, Style, &'static str) {
    match run.status {
        RunStatus::Queued => ("·", DIM, "queued"),
        RunStatus::Running => ("▸", BOLD, "running"),
        RunStatus::Waiting => ("?", WARN, run.waiting_on.as_ref().map_or("waits", story::waits)),
        RunStatus::Paused => ("·", WARN, "paused"),
        RunStatus::Completed => ("✓", GOOD, "completed"),
        RunStatus::Cancelled => ("✗", WARN, "cancelled"),
        RunStatus::Diverged => ("✗", BAD, "diverged"),
        RunStatus::Failed => ("✗", BAD, "failed"),
        _ => ("·", DIM, "of a later version"),
    }
}
