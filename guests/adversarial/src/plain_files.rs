//! Reads, writes, lists and removes through the standard library, as an honest guest would.
//! Whatever is outside the granted folders, or not granted for writing, should be refused.

use std::fs;

pub(crate) fn read(path: &str) -> Result<String, String> {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|error| error.to_string())
}

pub(crate) fn write(path: &str, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| error.to_string())
}

pub(crate) fn list_dir(path: &str) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(path).map_err(|error| error.to_string())?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| error.to_string())?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

pub(crate) fn remove(path: &str) -> Result<(), String> {
    fs::remove_file(path).map_err(|error| error.to_string())
}
