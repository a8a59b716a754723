//! The file that refunds are written into.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

const FOLDER: &str = "/ledger";
const FILE: &str = "/ledger/refunds.log";

/// Adds a line, at the end whoever else adds one.
pub(crate) fn append(line: &str) -> Result<(), String> {
    require_folder()?;
    let file = OpenOptions::new().create(true).append(true).open(FILE);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => format!("cannot write `{FILE}`: the folder is read-only"),
        _ => explain("write", &error),
    })
}

pub(crate) fn lines() -> Result<Vec<String>, String> {
    require_folder()?;
    match fs::read_to_string(FILE) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(explain("read", &error)),
    }
}

fn require_folder() -> Result<(), String> {
    if Path::new(FOLDER).is_dir() {
        return Ok(());
    }
    Err(format!("there is no folder `{FOLDER}`; grant one with `--dir HOST::{FOLDER}:rw`"))
}

fn explain(attempt: &str, error: &io::Error) -> String {
    format!("cannot {attempt} `{FILE}`: {error}")
}
