//! Two tools as a program of its own: an argument vector in, JSON out, and the process is gone.

use std::error::Error;
use std::path::Path;

use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match arguments.as_slice() {
        ["add", a, b] => json!(a.parse::<u32>()?.wrapping_add(b.parse()?)),
        ["list-dir", path] => list_dir(Path::new(path))?,
        _ => return Err("usage: native-tool add A B | native-tool list-dir PATH".into()),
    };
    println!("{answer}");
    Ok(())
}

/// What `list-dir` of the toolbox answers.
fn list_dir(path: &Path) -> Result<Value, Box<dyn Error>> {
    let mut names =
        std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<Vec<_>, _>>()?;
    names.sort();
    let entries = names
        .iter()
        .map(|name| {
            let metadata = path.join(name).symlink_metadata()?;
            let (kind, size) = match metadata.file_type() {
                kind if kind.is_file() => ("file", metadata.len()),
                kind if kind.is_dir() => ("directory", 0),
                kind if kind.is_symlink() => ("symlink", 0),
                _ => ("other", 0),
            };
            Ok(json!({"name": name.to_string_lossy(), "kind": kind, "size": size}))
        })
        .collect::<std::io::Result<Vec<_>>>()?;
    Ok(json!({"entries": entries, "truncated": false}))
}
