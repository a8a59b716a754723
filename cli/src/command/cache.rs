use std::process::ExitCode;
use std::time::SystemTime;

use bytesize::ByteSize;
use casemate::{CacheEntry, CacheFolder, EntryHealth};
use clap::Subcommand;
use comfy_table::{Table, presets};

use crate::options::CacheOptions;
use crate::render::{BAD, GOOD, styled};

/// Look after the compiled components on disk
#[derive(Subcommand)]
pub(crate) enum Cache {
    /// List them
    List,
    /// Read each as a whole and compare its checksum; status 1 if one is damaged
    Verify,
    /// Remove them all
    Clear,
}

impl Cache {
    pub(crate) fn run(self, options: &CacheOptions) -> anyhow::Result<ExitCode> {
        let folder = CacheFolder::new(options.folder()?);
        match self {
            Self::List => list(&folder),
            Self::Verify => verify(&folder),
            Self::Clear => {
                let removed = folder.clear()?;
                let size: u64 = removed.iter().map(|entry| entry.size).sum();
                anstream::println!("removed {} entries, {}", removed.len(), ByteSize(size));
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn list(folder: &CacheFolder) -> anyhow::Result<ExitCode> {
    let entries = folder.entries()?;
    if entries.is_empty() {
        anstream::println!("nothing in {}", folder.path().display());
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["ENTRY", "SIZE", "AGE"]);
    for entry in &entries {
        table.add_row([name(entry), ByteSize(entry.size).to_string(), age(entry)]);
    }
    anstream::println!("{}\n{table}", folder.path().display());
    Ok(ExitCode::SUCCESS)
}

fn verify(folder: &CacheFolder) -> anyhow::Result<ExitCode> {
    let checked = folder.verify()?;
    let mut damaged = 0;
    for (entry, health) in &checked {
        match health {
            EntryHealth::Damaged(error) => {
                damaged += 1;
                anstream::println!("{} {error}", styled(BAD, "damaged"));
            }
            _ => anstream::println!("{} {}", styled(GOOD, "sound"), name(entry)),
        }
    }
    anstream::println!("{} entries, {damaged} damaged", checked.len());
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn name(entry: &CacheEntry) -> String {
    entry.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn age(entry: &CacheEntry) -> String {
    let age = entry.written.and_then(|written| SystemTime::now().duration_since(written).ok());
    age.map_or_else(String::new, |age| {
        humantime::format_duration(std::time::Duration::from_secs(age.as_secs())).to_string()
    })
}
