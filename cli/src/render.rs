//! What people and programs see: errors, exit statuses, colours on terminals only.

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use casemate::ErrorKind;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// The status for usage errors, as clap has it.
const USAGE: u8 = 2;

/// Shows an error that is not the outcome of a call.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    let io = error.downcast_ref::<std::io::Error>();
    if io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        // Whoever read the output has read enough.
        return ExitCode::SUCCESS;
    }
    error_line(&format!("{error:#}"));
    ExitCode::from(USAGE)
}

pub(crate) fn error_line(message: &str) {
    anstream::eprintln!("{BAD}error{BAD:#}: {message}");
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
