use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use casemate::{FileSecret, SecretSource as _};
use clap::Subcommand;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::options::{DataOptions, SecretFlag};
use crate::render::{self, GOOD, styled};

/// Keep the values of secrets, in files that only you can read
///
/// A secret that is kept here is given to guests and tools with `--secret NAME`, see `casemate call --help`. Values are
/// never arguments, and never shown.
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  casemate secrets set API_KEY
  casemate secrets set API_KEY --file key.txt
  pass show api | casemate secrets set API_KEY
  casemate call agent.wasm run --allow-host api.example.com --secret API_KEY@api.example.com")]
pub(crate) enum Secrets {
    /// Keep a value: typed at the terminal, where it does not show, or read from standard input or a file
    Set {
        /// The secret's name: letters, digits and `_`
        name: String,
        /// Read the value from this file; a line break at its end does not count
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// List the names that have a value
    List,
    /// Remove a value; status 1 if there is none
    Rm {
        /// The secret's name
        name: String,
    },
    /// Tell whether there is a value that can be used, and from where; status 1 if not
    Test {
        /// The secret's name, with its source where that is elsewhere: `KEY`, `KEY=env:API_KEY`, `KEY=file:key.txt`
        #[arg(value_name = "NAME[=SOURCE]")]
        secret: String,
    },
}

impl Secrets {
    pub(crate) async fn run(self, data: &DataOptions) -> anyhow::Result<ExitCode> {
        match self {
            Self::Set { name, file } => set(data, &name, file).await,
            Self::List => list(data),
            Self::Rm { name } => remove(data, &name),
            Self::Test { secret } => test(data, &secret).await,
        }
    }
}

async fn set(data: &DataOptions, name: &str, file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let folder = data.secrets()?;
    // Before anybody types a value for nothing.
    folder.secret(name)?;
    let value = match file {
        Some(path) => {
            let read = FileSecret::new(&path).read().await;
            let read = read.with_context(|| format!("cannot read `{}`", path.display()))?;
            read.with_context(|| format!("`{}` is not there", path.display()))?
        }
        None if std::io::stdin().is_terminal() => typed(name)?,
        None => piped()?,
    };
    folder.set(name, &value)?;
    anstream::println!("`{name}` is kept in {}", data.secrets_path()?.display());
    Ok(ExitCode::SUCCESS)
}

fn typed(name: &str) -> anyhow::Result<SecretString> {
    let value = rpassword::prompt_password(format!("value of `{name}`, which does not show: "));
    Ok(Zeroizing::new(value.context("cannot read from the terminal")?).as_str().into())
}

fn piped() -> anyhow::Result<SecretString> {
    /// More than any value, and of its final size from the start, since what grows leaves copies behind.
    const MOST: usize = 64 << 10;
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST));
    std::io::stdin().take(MOST as u64).read_to_end(&mut bytes).context("cannot read standard input")?;
    let text = std::str::from_utf8(&bytes).ok().context("the value on standard input is not UTF-8")?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}

fn list(data: &DataOptions) -> anyhow::Result<ExitCode> {
    let names = data.secrets()?.names()?;
    if names.is_empty() {
        anstream::eprintln!("nothing in {}", data.secrets_path()?.display());
    }
    for name in names {
        anstream::println!("{name}");
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(data: &DataOptions, name: &str) -> anyhow::Result<ExitCode> {
    if data.secrets()?.remove(name)? {
        anstream::println!("`{name}` is removed");
        return Ok(ExitCode::SUCCESS);
    }
    render::error_line(&format!("`{name}` has no value in {}", data.secrets_path()?.display()));
    Ok(ExitCode::FAILURE)
}

async fn test(data: &DataOptions, text: &str) -> anyhow::Result<ExitCode> {
    let SecretFlag { name, origin, binding } = text.parse()?;
    if binding.is_some() {
        bail!("only NAME[=SOURCE] is tested: leave out what begins with `@`");
    }
    let secret = origin.secret(&name, data)?;
    if let Err(error) = secret.check().await {
        render::error_line(&error.to_string());
        return Ok(ExitCode::FAILURE);
    }
    anstream::println!("{}: `{name}` has a value, from {}", styled(GOOD, "usable"), secret.source());
    Ok(ExitCode::SUCCESS)
}
