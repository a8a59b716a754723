//! Options that several subcommands share, and how their values are written.

mod policy;
mod tools;

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytesize::ByteSize;
use casemate::{Engine, EngineBuilder, Folder, Grants, Limits, Metering, OnExcess};
use clap::{Args, ValueEnum};
use etcetera::BaseStrategy as _;

use crate::source;

pub(crate) use policy::{PolicyOptions, PolicyTexts};
pub(crate) use tools::{KnownTools, ToolFlag, ToolOptions};

/// Where compiled components are kept.
#[derive(Args)]
pub(crate) struct CacheOptions {
    /// Keep compiled components in this folder [default: casemate in the platform's cache folder]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Cache")]
    cache_dir: Option<PathBuf>,
    /// Neither read nor write compiled components on disk
    #[arg(long, global = true, conflicts_with = "cache_dir", help_heading = "Cache")]
    no_cache: bool,
}

impl CacheOptions {
    /// The folder to look after.
    pub(crate) fn folder(&self) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.cache_dir {
            return Ok(folder.clone());
        }
        let base = etcetera::choose_base_strategy()
            .context("no home folder, so no cache folder: give one with `--cache-dir`")?;
        Ok(base.cache_dir().join("casemate"))
    }

    /// An engine builder that keeps compiled components where it may. Without a home folder it keeps none.
    pub(crate) fn engine(&self) -> EngineBuilder {
        match self.folder() {
            Ok(folder) if !self.no_cache => Engine::builder().cache(folder),
            _ => Engine::builder(),
        }
    }
}

/// What a sandbox is given.
#[derive(Args)]
pub(crate) struct SandboxOptions {
    #[command(flatten)]
    pub(crate) grants: GrantOptions,
    #[command(flatten)]
    pub(crate) tools: ToolOptions,
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
}

/// What the sandbox reaches.
#[derive(Args)]
#[command(next_help_heading = "Grants")]
pub(crate) struct GrantOptions {
    /// Let the guest see the folder HOST as GUEST, read-only unless `:rw` is said
    #[arg(long = "dir", value_name = "HOST::GUEST[:ro|:rw]", value_parser = Folder::from_str)]
    folders: Vec<Folder>,
    /// Set an environment variable of the guest
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<(String, String)>,
    /// Let the tool with that name be called
    #[arg(long = "allow-tool", value_name = "NAME")]
    allowed_tools: Vec<String>,
    /// Let the tool with that name be called each time that a person says yes; see `--approve`
    #[arg(long = "ask-tool", value_name = "NAME[=QUESTION]")]
    asked_tools: Vec<String>,
    /// Read grants from a TOML file; folders in it are relative to the file
    #[arg(long, value_name = "FILE")]
    grants: Option<PathBuf>,
}

impl GrantOptions {
    /// Whether anything is said of tools.
    pub(crate) fn speak_of_tools(&self) -> bool {
        self.grants.is_some() || !self.allowed_tools.is_empty() || !self.asked_tools.is_empty()
    }

    pub(crate) fn grants(self) -> anyhow::Result<Grants> {
        let mut grants = match &self.grants {
            None => Grants::none(),
            Some(path) => {
                let text = source::read_text(path)?;
                let grants = Grants::from_toml(&text).with_context(|| format!("in `{}`", path.display()))?;
                grants.relative_to(path.parent().unwrap_or(Path::new(".")))
            }
        };
        for folder in self.folders {
            grants = grants.folder(folder)?;
        }
        for (name, value) in &self.variables {
            grants = grants.env(name, value)?;
        }
        for name in self.allowed_tools {
            grants = grants.tool(name)?;
        }
        for text in self.asked_tools {
            grants = match text.split_once('=') {
                Some((name, question)) => grants.tool_after_asking(name, question)?,
                None => grants.tool_after_asking(&text, format!("May `{text}` be called?"))?,
            };
        }
        Ok(grants)
    }
}

/// How much the sandbox may use.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitOptions {
    /// Fuel, about one unit for each instruction [default: 1000000000]
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Time by the clock, such as 200ms or 5s [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Memory in all, such as 64MiB [default: 64 MiB beyond what the component starts with]
    #[arg(long, value_name = "SIZE", value_parser = ByteSize::from_str)]
    memory: Option<ByteSize>,
    /// Stop the guest when it prints more than this [default: cut what is beyond 1 MiB]
    #[arg(long, value_name = "SIZE", value_parser = ByteSize::from_str)]
    max_output: Option<ByteSize>,
    /// The share of one processor, such as 0.5 [default: no throttle]
    #[arg(long, value_name = "SHARE")]
    cpus: Option<f64>,
    /// Meter by fuel, which is exact, or by time only, which is faster
    #[arg(long, value_enum, default_value_t = Meter::Fuel)]
    pub(crate) meter: Meter,
}

/// How guests are metered.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Meter {
    Fuel,
    Time,
}

impl From<Meter> for Metering {
    fn from(meter: Meter) -> Self {
        match meter {
            Meter::Fuel => Self::Fuel,
            Meter::Time => Self::Time,
        }
    }
}

impl LimitOptions {
    pub(crate) fn limits(&self, engine: &Engine) -> anyhow::Result<Limits> {
        let mut limits = engine.limits();
        if let Some(fuel) = self.fuel {
            limits = limits.fuel(fuel)?;
        }
        if let Some(time) = self.timeout {
            limits = limits.wall_time(time)?;
        }
        if let Some(memory) = self.memory {
            limits = limits.memory(memory.as_u64())?;
        }
        if let Some(output) = self.max_output {
            limits = limits.output(output.as_u64(), OnExcess::Fail)?;
        }
        if let Some(share) = self.cpus {
            limits = limits.cpus(share)?;
        }
        Ok(limits.build())
    }
}

fn variable(text: &str) -> anyhow::Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bail!("`{text}` is not of the form NAME=VALUE"),
    }
}
