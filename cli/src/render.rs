//! What people and programs see: errors, exit statuses, colours on terminals only.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use casemate::{ErrorKind, Rule, ToolSource};
use comfy_table::{Table, presets};

use crate::story;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// The status for usage errors, as clap has it.
const USAGE: u8 = 2;

/// The status where nothing could be done.
pub(crate) fn usage() -> ExitCode {
    ExitCode::from(USAGE)
}

/// Shows an error that is not the outcome of a call.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    let io = error.downcast_ref::<std::io::Error>();
    if io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        // Whoever read the output has read enough.
        return ExitCode::SUCCESS;
    }
    error_line(&reasons(error));
    usage()
}

/// An error and what caused it; a cause that is told already is not told again.
pub(crate) fn reasons(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// The columns of standard output; none where it is no terminal.
pub(crate) fn columns() -> Option<usize> {
    let terminal = console::Term::stdout();
    terminal.is_term().then(|| usize::from(terminal.size().1))
}

/// A table without lines, each row cut to the width of the terminal.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header).add_rows(rows);
    table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 2)));
    let width = columns();
    let lines = table.lines().map(|line| {
        let line = line.trim_end();
        width.map_or_else(|| line.to_owned(), |width| story::shorten(line, width))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// As much of the beginnings of ids as tells these from each other, and runs that began within the same second.
pub(crate) fn short_ids(ids: &[String]) -> Vec<String> {
    // Ids begin with the time, up to here.
    const FEWEST: usize = 13;
    let short = |length: usize| ids.iter().map(|id| id.chars().take(length).collect()).collect::<Vec<String>>();
    let longest = ids.iter().map(String::len).max().unwrap_or_default();
    let tells_apart = |length: &usize| short(*length).iter().collect::<BTreeSet<_>>().len() == ids.len();
    short((FEWEST..longest).find(tells_apart).unwrap_or(longest))
}

pub(crate) fn error_line(message: &str) {
    anstream::eprintln!("{BAD}error{BAD:#}: {}", plain(message));
}

pub(crate) fn warning_line(message: &str) {
    anstream::eprintln!("{WARN}warning{WARN:#}: {}", plain(message));
}

/// Names in a sentence: some, and how many more there are.
pub(crate) fn names<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const MOST: usize = 12;
    if names.len() == 0 {
        return "there is none".to_owned();
    }
    let more = names.len().saturating_sub(MOST);
    let shown: Vec<_> = names.take(MOST).map(|name| format!("`{name}`")).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("there is {}{more}", shown.join(", "))
}

/// A flag, quoted where a shell would take its value apart.
pub(crate) fn flag(name: &str, value: &str) -> String {
    format!("{name} {}", quoted(value))
}

/// A word, quoted where a shell would take it apart.
pub(crate) fn quoted(word: &str) -> String {
    let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./:@%+=,-#".contains(&byte));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// A rule, as people find it.
pub(crate) fn rule(rule: &Rule) -> String {
    let Rule { id, file, line } = rule;
    let place = format!("{file}:{line}");
    if *id == place { format!("the rule at {place}") } else { format!("rule `{id}` ({place})") }
}

/// Where a tool comes from, with as much of the component's hash as people compare.
pub(crate) fn tool_source(source: &ToolSource) -> String {
    const DIGITS: usize = 12;
    match source {
        ToolSource::Export { component, export } => {
            format!("{}#{}", component.get(..DIGITS).unwrap_or(component), plain(export))
        }
        other => other.to_string(),
    }
}

/// Text that a guest may have written, with everything that steers a terminal, reorders what it shows, or hides in it
/// made visible as `\u001b`. Only the ends of lines stay, and tabs. JSON stays JSON, with the same meaning.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a `String` does not fail.
                _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(character);
        }
    }
    shown.into()
}

fn steers(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        // Marks that reorder or do not show: the Arabic letter mark, zero widths, separators, embeddings, isolates,
        // the byte order mark, tags.
        '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}' => true,
        other => other.is_control(),
    }
}

/// Shows text in a style, where the stream is a terminal.
pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// The exit status for what became of a call.
pub(crate) fn status(kind: ErrorKind) -> ExitCode {
    ExitCode::from(match kind {
        ErrorKind::ToolError => 1,
        ErrorKind::LimitExceeded => 3,
        ErrorKind::Denied => 4,
        ErrorKind::Trap => 5,
        ErrorKind::Busy | ErrorKind::Internal => 6,
        ErrorKind::Cancelled => 130,
        _ => USAGE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_cause_is_told_once() {
        let cause = || Err::<(), _>(anyhow::anyhow!("it is a folder"));
        let told = |message: &'static str| reasons(&cause().context(message).unwrap_err());
        assert_eq!(told("cannot read `a`"), "cannot read `a`: it is a folder");
        assert_eq!(told("cannot read `a`: it is a folder"), "cannot read `a`: it is a folder");
    }

    #[test]
    fn short_ids_tell_each_from_all_others() {
        let short = |ids: [&str; 2]| short_ids(&ids.map(str::to_owned));
        assert_eq!(short(["01a2000c-15ed-74e9-af9a", "01a2000c-15ef-74e9-af9a"]), ["01a2000c-15ed", "01a2000c-15ef"]);
        assert_eq!(short(["01a2000c-15ed-7a", "01a2000c-15ed-7b"]), ["01a2000c-15ed-7a", "01a2000c-15ed-7b"]);
    }

    #[test]
    fn what_steers_a_terminal_is_shown_and_json_stays_json() {
        assert_eq!(plain("two\nlines, ü and \t"), "two\nlines, ü and \t");
        assert_eq!(plain("\u{1b}[31m\r\u{202e}"), r"\u001b[31m\u000d\u202e");
        let hostile = serde_json::json!("\u{9b}\u{7f}\u{e0041}\u{2066}");
        let shown = hostile.to_string();
        let shown = plain(&shown);
        assert!(shown.is_ascii(), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), hostile);
    }
}
