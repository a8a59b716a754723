//! The events of a run as people read them: one line each, and what stands behind it.
//!
//! Everything that a guest, a model or a tool said is escaped here, so that no line steers the terminal.

use std::time::Duration;

use anstyle::Style;
use casemate::{
    Event, EventKind, FileChange, Interruption, Message, RunUsage, Settlement, Subject, TokenUsage, WaitingOn,
};
use console::measure_text_width;
use serde_json::Value;

use crate::render::{self, BAD, BOLD, DIM, GOOD, WARN, plain};

/// One event.
pub(crate) struct Line {
    /// A sign for what sort of event it is.
    pub(crate) mark: &'static str,
    pub(crate) style: Style,
    /// On one line, of whatever length.
    pub(crate) text: String,
    /// What a person could do about it.
    pub(crate) hint: Option<String>,
    /// What is folded away.
    pub(crate) more: Vec<(Style, String)>,
}

impl Line {
    fn new(mark: &'static str, style: Style, text: impl AsRef<str>) -> Self {
        Self { mark, style, text: on_one_line(text.as_ref()), hint: None, more: Vec::new() }
    }

    fn unfolding(self, value: &Value) -> Self {
        let text = value.as_str().map_or_else(|| format!("{value:#}"), str::to_owned);
        let more = plain(&text).lines().map(|line| (DIM, line.to_owned())).collect();
        Self { more, ..self }
    }

    fn hint(self, hint: Option<&str>) -> Self {
        Self { hint: hint.map(|hint| plain(hint).into_owned()), ..self }
    }
}

/// What has to be remembered of earlier events to tell the later ones.
#[derive(Default)]
pub(crate) struct Story {
    /// It has the beginning of another run, and has not gone on by itself yet.
    is_fork: bool,
}

impl Story {
    /// Tells an event.
    pub(crate) fn tell(&mut self, event: &Event) -> Line {
        let life = |text: &str| Line::new("·", DIM, text);
        match &event.kind {
            EventKind::Created { agent, message, forked_from, .. } => {
                self.is_fork = forked_from.is_some();
                let origin = forked_from.map(|from| format!(", from event {} of run {} on", from.at, from.run));
                let said = message_text(message);
                Line::new("●", BOLD, format!("{agent} was asked: {said}{}", origin.unwrap_or_default()))
            }
            EventKind::Resumed { .. } if std::mem::take(&mut self.is_fork) => life("goes on by itself from here"),
            EventKind::Resumed { after, duration, versions, .. } => {
                let now = versions.as_ref().map(|now| format!(", now with Casemate {}", now.casemate));
                life(&format!("{}{}", resumed(*after, *duration), now.unwrap_or_default()))
            }
            EventKind::Paused { reason: None } => life("paused"),
            EventKind::Paused { reason: Some(reason) } => life(&format!("paused: {reason}")),
            EventKind::Waiting { on } => life(waits(on)),
            EventKind::Thinking { content } => Line::new("·", DIM, format!("thinks: {content}")),
            EventKind::Output { delta } => Line::new("»", Style::new(), format!("says: {delta}")),
            EventKind::ToolsListed { tools, .. } if tools.is_empty() => life("has no tools"),
            EventKind::ToolsListed { tools, .. } => life(&format!("has the tools {}", tools.join(", "))),
            EventKind::InputRequired { question, .. } => Line::new("?", WARN, format!("asks: {question}")),
            EventKind::Input { content } => Line::new("‹", Style::new(), format!("is told: {content}")),
            EventKind::Sleeping { until, .. } => {
                life(&format!("sleeps until {}", humantime::format_rfc3339_seconds(*until)))
            }
            EventKind::Woke { .. } => life("wakes"),
            EventKind::FileEdit { path, change, diff, .. } => {
                let more = diff.iter().flat_map(|diff| diff.lines()).map(diff_line).collect();
                Line { more, ..Line::new("±", WARN, format!("{path} {}", changed(*change))) }
            }
            EventKind::InDoubt { id, subject } => {
                let what = "its process was lost between its beginning and its end";
                Line::new("!", BAD, format!("nobody knows whether {subject} (effect {id}) happened: {what}"))
            }
            EventKind::Settled { id, settlement, by } => {
                Line::new("!", WARN, format!("{by} says that effect {id} {}", settled(settlement)))
            }
            EventKind::Diverged { recorded: None, attempted: None, .. } => {
                Line::new("✗", BAD, "diverged: the storage lost what was kept of it")
            }
            EventKind::Diverged { position, recorded, attempted } => {
                let end = "its end";
                let (before, now) = (recorded.as_deref().unwrap_or(end), attempted.as_deref().unwrap_or(end));
                let text = format!("diverged at effect {position}: before it was {before}, and now {now}");
                Line::new("✗", BAD, text)
            }
            EventKind::Cancelled { reason } => Line::new("✗", WARN, format!("cancelled: {reason}")),
            EventKind::Failed { message, .. } => Line::new("✗", BAD, format!("failed: {message}")),
            EventKind::Complete { output, .. } => Line::new("✓", GOOD, format!("completed: {output}")),
            EventKind::ApprovalRequired { subject, input, question, rules, .. } => {
                let rules: Vec<_> = rules.iter().map(render::rule).collect();
                let asked_by = if rules.is_empty() { String::new() } else { format!(" [{}]", rules.join(", ")) };
                let text = format!("{question} {} {}{asked_by}", subject.name(), compact(input));
                Line::new("?", WARN, text).unfolding(input)
            }
            EventKind::Approved { subject, edited, by, .. } => {
                let edited = edited.as_ref().map(|input| format!(", as {}", compact(input)));
                let text =
                    format!("{} was approved{}{}", subject.name(), named(by.as_deref()), edited.unwrap_or_default());
                Line::new("✓", GOOD, text)
            }
            EventKind::Rejected { subject, reason, by, .. } => {
                Line::new("✗", BAD, format!("{} was rejected{}: {reason}", subject.name(), named(by.as_deref())))
            }
            other => effect(other),
        }
    }
}

/// Of what an agent did to the world.
fn effect(kind: &EventKind) -> Line {
    match kind {
        EventKind::ToolCall { tool, input, .. } => {
            Line::new("▸", Style::new(), format!("{tool} {}", brief(input))).unfolding(input)
        }
        EventKind::ToolResult { tool, output, duration, .. } => {
            let text = format!("{tool}: {}, {}", result(output), time(*duration));
            Line::new("◂", DIM, text).unfolding(output)
        }
        EventKind::Denied { subject, reason, rules, allow, .. } => {
            let rules: Vec<_> = rules.iter().map(render::rule).collect();
            let rules = if rules.is_empty() { String::new() } else { format!(" [{}]", rules.join(", ")) };
            Line::new("✗", BAD, format!("{} was denied: {reason}{rules}", subject.name())).hint(allow.as_deref())
        }
        EventKind::Fetch { request, .. } => Line::new("▸", Style::new(), request.to_string()),
        EventKind::Fetched { host, status, received, duration, .. } => {
            let size = bytesize::ByteSize(*received);
            Line::new("◂", DIM, format!("{host}: status {status}, {size}, {}", time(*duration)))
        }
        EventKind::SecretUsed { secret, request, .. } => {
            Line::new("·", DIM, format!("the secret {secret} goes into {request}"))
        }
        EventKind::Chat { model, kept, messages, .. } => {
            let count = *kept + messages.len() as u64;
            Line::new("▸", DIM, format!("asks the model {model}, with {}", counted(count, "message")))
        }
        EventKind::ChatResult { model, message, usage, duration, .. } => {
            let calls: Vec<_> = message.tool_calls().map(|call| call.name.as_str()).collect();
            let calls = if calls.is_empty() { String::new() } else { format!(" [wants {}]", calls.join(", ")) };
            let text = message_text(message);
            let text = if text.is_empty() { String::new() } else { format!(" {text}") };
            let took = format!("{}, {}", tokens(usage), time(*duration));
            Line::new("◂", DIM, format!("{model}:{text}{calls} ({took})"))
        }
        EventKind::Error { subject, message, .. } => {
            Line::new("✗", BAD, format!("{} failed: {message}", name(subject)))
        }
        // Of a later version.
        other => Line::new("·", DIM, serde_json::to_string(other).unwrap_or_default()),
    }
}

fn name(subject: &Subject) -> &str {
    subject.name()
}

fn named(by: Option<&str>) -> String {
    by.map_or_else(String::new, |by| format!(" by {by}"))
}

fn resumed(after: Interruption, duration: Duration) -> String {
    let long = time(duration);
    match after {
        Interruption::Wait => format!("goes on after it waited for {long}"),
        Interruption::Pause => "goes on after a pause".to_owned(),
        Interruption::Handover => format!("goes on after nobody executed it for {long}"),
        Interruption::Loss => format!("goes on: its process was gone for {long}"),
        _ => format!("goes on after {long}"),
    }
}

/// What a waiting run waits for, in a sentence about it.
pub(crate) fn waits(on: &WaitingOn) -> &'static str {
    match on {
        WaitingOn::Approval => "waits for a person's decision",
        WaitingOn::Input => "waits for input",
        WaitingOn::Timer => "waits for a moment in time",
        WaitingOn::InDoubt => "waits for a person who knows what became of an effect",
        _ => "waits",
    }
}

fn changed(change: FileChange) -> &'static str {
    match change {
        FileChange::Created => "created",
        FileChange::Deleted => "deleted",
        _ => "modified",
    }
}

fn settled(settlement: &Settlement) -> String {
    match settlement {
        Settlement::Happened { result } => format!("happened: {}", compact(result)),
        Settlement::DidNotHappen => "did not happen".to_owned(),
        Settlement::Fail { reason } => format!("is to fail the run: {reason}"),
        _ => "is settled".to_owned(),
    }
}

/// A line of a diff, in the colour of what it does.
pub(crate) fn diff_line(line: &str) -> (Style, String) {
    let style = match line.as_bytes() {
        [b'+', ..] if !line.starts_with("+++") => GOOD,
        [b'-', ..] if !line.starts_with("---") => BAD,
        _ => DIM,
    };
    (style, plain(line).into_owned())
}

/// The texts of a message.
pub(crate) fn message_text(message: &Message) -> String {
    message.texts().collect::<Vec<_>>().join("\n")
}

/// JSON on one line.
pub(crate) fn compact(value: &Value) -> String {
    // It is data without keys that are no text.
    serde_json::to_string(value).unwrap_or_default()
}

/// What a result comes to, in a few words.
pub(crate) fn result(value: &Value) -> String {
    match value {
        Value::Null => "done".to_owned(),
        Value::Object(members) if members.is_empty() => "done".to_owned(),
        other => brief(other),
    }
}

/// A value in a few words: its members, each with what it is or how much of it there is.
pub(crate) fn brief(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{name}: {}", brief_member(value)));
            members.collect::<Vec<_>>().join(", ")
        }
        other => brief_member(other),
    }
}

fn brief_member(value: &Value) -> String {
    /// How much of a text is shown.
    const COLUMNS: usize = 60;
    match value {
        Value::Array(items) => counted(items.len() as u64, "item"),
        Value::String(text) if text.lines().count() > 1 => counted(text.lines().count() as u64, "line"),
        other => shorten(&compact(other), COLUMNS),
    }
}

/// A number of things.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

fn tokens(usage: &TokenUsage) -> String {
    format!("{} + {} tokens", usage.input_tokens, usage.output_tokens)
}

/// What a run cost in money and time.
pub(crate) fn spent(usage: &RunUsage) -> String {
    let cost = (usage.cost > 0).then(|| dollars(usage.cost));
    let active = (usage.active_ms > 0).then(|| time(Duration::from_millis(usage.active_ms)));
    cost.into_iter().chain(active).collect::<Vec<_>>().join(", ")
}

/// What a run took.
pub(crate) fn usage(usage: &RunUsage) -> String {
    let mut parts = Vec::new();
    if usage.turns > 0 {
        parts.push(counted(usage.turns, "turn"));
    }
    if usage.calls > 0 {
        parts.push(counted(usage.calls, "call"));
    }
    if usage.input_tokens + usage.output_tokens > 0 {
        parts.push(format!("{} + {} tokens", usage.input_tokens, usage.output_tokens));
    }
    if usage.cost > 0 {
        parts.push(dollars(usage.cost));
    }
    if usage.active_ms > 0 {
        parts.push(time(Duration::from_millis(usage.active_ms)));
    }
    parts.join(", ")
}

/// Millionths of a dollar, as dollars.
pub(crate) fn dollars(micro: u64) -> String {
    let text = format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let part = part.trim_end_matches('0');
    format!("${whole}.{part:0<2}")
}

/// A time, as exact as people want it.
pub(crate) fn time(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..1_000 => format!("{micros} µs"),
        micros @ 1_000..1_000_000 => format!("{} ms", micros / 1_000),
        micros @ 1_000_000..60_000_000 => format!("{}.{} s", micros / 1_000_000, micros / 100_000 % 10),
        _ => humantime::format_duration(Duration::from_secs(time.as_secs())).to_string(),
    }
}

/// A time, in its greatest unit.
pub(crate) fn roughly(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m", seconds / 60),
        seconds @ 3_600..86_400 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Text on one line, escaped.
pub(crate) fn on_one_line(text: &str) -> String {
    plain(&text.split_whitespace().collect::<Vec<_>>().join(" ")).into_owned()
}

/// As much of a line as has room in so many columns.
pub(crate) fn shorten(text: &str, columns: usize) -> String {
    if measure_text_width(text) <= columns {
        text.to_owned()
    } else {
        console::truncate_str(text, columns, "…").into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn told(kind: &Value) -> Line {
        let mut event = json!({"sequence": 1, "at": "2026-01-31T12:00:00.000000Z"});
        for (name, value) in kind.as_object().unwrap() {
            event[name] = value.clone();
        }
        let event: Event = serde_json::from_value(event).unwrap();
        Story::default().tell(&event)
    }

    #[test]
    fn a_result_is_told_in_a_few_words() {
        for (value, words) in [
            (json!(null), "done"),
            (json!([1]), "1 item"),
            (json!({}), "done"),
            (json!({"matches": [1, 2, 3], "truncated": false}), "matches: 3 items, truncated: false"),
            (json!({"path": "a.rs", "text": "one\ntwo\n"}), "path: \"a.rs\", text: 2 lines"),
            (json!("one\ntwo"), "2 lines"),
            (json!("one"), "\"one\""),
            (json!({"order": {"id": "A-1"}}), "order: {\"id\":\"A-1\"}"),
        ] {
            assert_eq!(result(&value), words);
        }
    }

    #[test]
    fn times_and_amounts_are_short() {
        for (micros, text) in [(12, "12 µs"), (2_400, "2 ms"), (1_250_000, "1.2 s"), (3_661_000_000, "1h 1m 1s")] {
            assert_eq!(time(Duration::from_micros(micros)), text);
        }
        for (micro, text) in [(0, "$0.00"), (1_200, "$0.0012"), (2_500_000, "$2.50"), (1, "$0.000001")] {
            assert_eq!(dollars(micro), text);
        }
    }

    #[test]
    fn how_long_ago_it_was_is_told_in_one_unit() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m"), (7_199, "1h"), (86_400 * 40, "40d")] {
            assert_eq!(roughly(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_denial_says_what_would_allow_it() {
        let line = told(&json!({"type": "denied", "data": {
            "id": 1, "tool": "refund", "input": {}, "principal": "bot", "reason": "it is not granted", "rules": [],
            "policy": null, "allow": "--allow-tool refund",
        }}));
        assert_eq!(line.text, "refund was denied: it is not granted");
        assert_eq!(line.hint.as_deref(), Some("--allow-tool refund"));
    }

    #[test]
    fn an_edit_unfolds_to_its_diff() {
        let line = told(&json!({"type": "file_edit", "data": {
            "id": 1, "path": "/workspace/a.txt", "change": "modified", "diff": "--- a\n+++ b\n@@ -1 +1 @@\n-one\n+two\n",
        }}));
        assert_eq!(line.text, "/workspace/a.txt modified");
        let styles: Vec<_> = line.more.iter().map(|(style, _)| *style).collect();
        assert_eq!(styles, [DIM, DIM, DIM, BAD, GOOD]);
    }

    #[test]
    fn what_is_said_stays_on_its_line_and_steers_nothing() {
        let line = told(&json!({"type": "thinking", "data": {"content": "a\n\u{1b}[2J\r\u{202e}b"}}));
        assert_eq!(line.text, r"thinks: a \u001b[2J \u202eb");
        let line = told(&json!({"type": "tool_result", "data": {
            "id": 1, "tool": "t", "output": "\u{9b}31m\nx", "duration_us": 5,
        }}));
        assert!(line.more.iter().all(|(_, text)| !text.contains('\u{9b}')), "{:?}", line.more);
    }

    #[test]
    fn a_long_line_is_cut() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
        assert_eq!(shorten("漢字漢字", 5), "漢字…");
    }
}
