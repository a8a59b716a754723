//! Options that several subcommands share, and how their values are written.

mod agent;
mod budget;
mod flags;
mod models;
mod policy;
mod secrets;
mod tools;

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytesize::ByteSize;
use casemate::{
    Engine, EngineBuilder, Folder, GrantError, Grants, HostGrant, Limits, LimitsBuilder, Metering, Models, OnExcess,
    SecretFolder, Secrets,
};
use clap::{Args, ValueEnum};
use etcetera::BaseStrategy as _;

use crate::{render, source};
use flags::Flags;

pub(crate) use agent::AgentOptions;
pub(crate) use flags::absolute;
pub(crate) use models::ModelOptions;
pub(crate) use policy::{PolicyOptions, PolicyTexts};
pub(crate) use secrets::SecretFlag;
pub(crate) use tools::{KnownTools, ToolFlag, ToolOptions, all_tools};

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

    /// The arguments that say the same to another process.
    pub(crate) fn arguments(&self) -> Vec<std::ffi::OsString> {
        let folder = self.cache_dir.iter().flat_map(|folder| ["--cache-dir".into(), folder.into()]);
        folder.chain(self.no_cache.then(|| "--no-cache".into())).collect()
    }

    /// An engine builder that keeps compiled components where it may. Without a home folder it keeps none.
    pub(crate) fn engine(&self) -> EngineBuilder {
        match self.folder() {
            Ok(folder) if !self.no_cache => Engine::builder().cache(folder),
            _ => Engine::builder(),
        }
    }
}

/// Where data is kept.
#[derive(Args, Clone, Default)]
pub(crate) struct DataOptions {
    /// Keep data, which are runs and the values of secrets, in this folder [default: what `CASEMATE_DATA` says, or else casemate in the platform's data folder]
    #[arg(long = "data", global = true, value_name = "DIR", help_heading = "Data")]
    folder: Option<PathBuf>,
}

impl DataOptions {
    fn folder(&self) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.folder {
            return Ok(folder.clone());
        }
        if let Some(folder) = std::env::var_os("CASEMATE_DATA").filter(|folder| !folder.is_empty()) {
            return Ok(folder.into());
        }
        let base =
            etcetera::choose_base_strategy().context("no home folder, so no data folder: give one with `--data`")?;
        Ok(base.data_dir().join("casemate"))
    }

    /// Where the values of secrets are kept.
    pub(crate) fn secrets_path(&self) -> anyhow::Result<PathBuf> {
        Ok(self.folder()?.join("secrets"))
    }

    /// Where runs are kept.
    pub(crate) fn database_path(&self) -> anyhow::Result<PathBuf> {
        Ok(self.folder()?.join("casemate.db"))
    }

    /// Where runs have workspaces of their own.
    pub(crate) fn workspaces_path(&self) -> anyhow::Result<PathBuf> {
        Ok(self.folder()?.join("workspaces"))
    }

    /// The flag as it was given, with a space before it: for commands that people are told.
    pub(crate) fn flag(&self) -> String {
        let folder = self.folder.as_ref().map(|folder| render::flag("--data", &folder.display().to_string()));
        folder.map_or_else(String::new, |flag| format!(" {flag}"))
    }

    /// The values of secrets.
    pub(crate) fn secrets(&self) -> anyhow::Result<SecretFolder> {
        self.secrets_path().map(SecretFolder::new)
    }
}

/// How a command says what it has to say, and all of its subcommands.
#[derive(Args, Clone, Copy)]
pub(crate) struct OutputOptions {
    /// Print JSON
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
}

/// A time, such as 200ms, 5s or 30d.
pub(crate) fn time(text: &str) -> anyhow::Result<Duration> {
    humantime::parse_duration(text).ok().with_context(|| format!("`{text}` is no time, such as 200ms, 5s or 30d"))
}

/// What a sandbox is given.
#[derive(Args)]
pub(crate) struct SandboxOptions {
    #[command(flatten)]
    pub(crate) grants: GrantOptions,
    #[command(flatten)]
    pub(crate) tools: ToolOptions,
    #[command(flatten)]
    pub(crate) models: ModelOptions,
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
    /// Let the tool with that name be called; with `*` at its end, all tools bound here whose names begin so
    #[arg(long = "allow-tool", value_name = "NAME")]
    allowed_tools: Vec<String>,
    /// Let the tool with that name be called each time that a person says yes; see `--approve`
    #[arg(long = "ask-tool", value_name = "NAME[=QUESTION]")]
    asked_tools: Vec<String>,
    /// Let the model with that name be asked
    #[arg(long = "allow-model", value_name = "NAME")]
    allowed_models: Vec<String>,
    /// Let the model with that name be asked each time that a person says yes; see `--approve`
    #[arg(long = "ask-model", value_name = "NAME[=QUESTION]")]
    asked_models: Vec<String>,
    /// Let HTTP requests go to a host, such as `api.example.com` or `GET,HEAD https://*.example.com/v1`
    ///
    /// PATTERN is [METHOD,.. ][SCHEME://]HOST[:PORT][/PATH][=CLASS,..], where HOST is a name, an address, `*.NAME` for
    /// all names below one, or `*` for any. What is left out is https, its port, all paths and all methods. A name may
    /// lead to public addresses only, unless a CLASS is said: loopback, private, link-local, metadata, multicast,
    /// translated or reserved, as in `http://db.internal:8080=private`.
    #[arg(long = "allow-host", value_name = "PATTERN", value_parser = HostGrant::from_str)]
    hosts: Vec<HostGrant>,
    /// Have the value of a secret put into requests on their way out, such as `KEY=env:API_KEY@api.example.com`
    ///
    /// It is written NAME[=SOURCE][@HOST[#PLACE]]. The value is never told here, and the guest never sees it: it finds
    /// a placeholder in the variable NAME, and what comes back has the value masked.
    ///
    /// SOURCE is `env:VARIABLE`, an environment variable of this process, or `file:PATH`, or nothing, which is the
    /// value that `casemate secrets set NAME` keeps.
    ///
    /// HOST is written as for `--allow-host`, which has to let the request out too. Only requests that it covers get
    /// the secret; to give it to several hosts, repeat the flag. Without HOST only tools that name the secret use it.
    ///
    /// PLACE is where in the request it goes: `header=NAME`, `header=NAME:FORMAT` with `{}` for the value,
    /// `basic=USER` or `query=PARAMETER`. Without PLACE it is `header=Authorization:Bearer {}`.
    ///
    /// Examples: `KEY=env:API_KEY@api.example.com`, `KEY@api.example.com#query=api_key`,
    /// `KEY=file:key.txt@POST https://api.example.com/v1#header=X-Api-Key`, `PASSWORD@mail.example.com#basic=ann`
    #[arg(long = "secret", value_name = "NAME[=SOURCE][@HOST[#PLACE]]")]
    // Taken apart later: an error of the parser of arguments would repeat what may be a value.
    secrets: Vec<String>,
    /// Read grants from a TOML file; folders in it are relative to the file
    #[arg(long, value_name = "FILE")]
    grants: Option<PathBuf>,
}

impl GrantOptions {
    fn write(&self, flags: &mut Flags) -> anyhow::Result<()> {
        for folder in &self.folders {
            let folder = Folder::new(absolute(folder.host())?, folder.guest(), folder.access())?;
            flags.add("dir", folder);
        }
        for (name, value) in &self.variables {
            flags.add("env", format_args!("{name}={value}"));
        }
        flags.add_all("allow-tool", &self.allowed_tools);
        flags.add_all("ask-tool", &self.asked_tools);
        flags.add_all("allow-model", &self.allowed_models);
        flags.add_all("ask-model", &self.asked_models);
        flags.add_all("allow-host", &self.hosts);
        for secret in &self.secrets {
            flags.add("secret", SecretFlag::with_absolute_path(secret)?);
        }
        if let Some(file) = &self.grants {
            flags.add("grants", absolute(file)?);
        }
        Ok(())
    }

    /// Whether anything is said of tools.
    pub(crate) fn speak_of_tools(&self) -> bool {
        self.grants.is_some() || !self.allowed_tools.is_empty() || !self.asked_tools.is_empty()
    }

    /// Whether anything is said of models.
    pub(crate) fn speak_of_models(&self) -> bool {
        self.grants.is_some() || !self.allowed_models.is_empty() || !self.asked_models.is_empty()
    }

    /// Whether anything is said of requests and what goes into them.
    pub(crate) fn speak_of_requests(&self) -> bool {
        self.grants.is_some() || !self.hosts.is_empty() || !self.secrets.is_empty()
    }

    /// Whether all models are bound that a person is to be asked about.
    pub(crate) fn check_models(&self, models: &Models) -> anyhow::Result<()> {
        for (name, _) in wishes(&self.asked_models, &[]) {
            if !models.names().any(|bound| bound == name) {
                let names: Vec<_> = models.names().collect();
                bail!("`{name}` is the name of no model that is bound here: {}", render::names(names.into_iter()));
            }
        }
        Ok(())
    }

    /// The grants, and the secrets that are declared. `tools` are the names of those that are bound.
    pub(crate) fn read(&self, tools: &[&str], data: &DataOptions) -> anyhow::Result<(Grants, Secrets)> {
        let mut grants = self.table()?;
        for folder in &self.folders {
            grants = grants.folder(folder.clone())?;
        }
        for (name, value) in &self.variables {
            grants = grants.env(name, value)?;
        }
        grants = self.add_tools(grants, tools)?;
        for (name, wish) in wishes(&self.asked_models, &self.allowed_models) {
            grants = wish.add_model(grants, name)?;
        }
        grants = self.hosts.iter().cloned().fold(grants, Grants::host);
        let flags: Vec<SecretFlag> = self.secrets.iter().map(|text| text.parse()).collect::<anyhow::Result<_>>()?;
        let secrets = secrets::declared(&flags, data)?;
        for flag in flags.iter().filter(|flag| flag.binding.is_some()) {
            // A grant in a file may ask a person, and that stays.
            if grants.find_secret(&flag.name).is_none() {
                grants = grants.secret(&flag.name)?;
            }
        }
        Ok((grants, secrets))
    }

    /// The same, and the tools that are `given` where nothing else is said of them.
    pub(crate) fn read_with(
        &self,
        tools: &[&str],
        given: &[String],
        data: &DataOptions,
    ) -> anyhow::Result<(Grants, Secrets)> {
        let (mut grants, secrets) = self.read(tools, data)?;
        for name in given {
            if grants.find_tool(name).is_none() {
                grants = grants.tool(name)?;
            }
        }
        Ok((grants, secrets))
    }

    fn table(&self) -> anyhow::Result<Grants> {
        let Some(path) = &self.grants else { return Ok(Grants::none()) };
        let text = source::read_text(path)?;
        let grants = Grants::from_toml(&text).with_context(|| format!("in `{}`", path.display()))?;
        Ok(grants.relative_to(path.parent().unwrap_or(Path::new("."))))
    }

    /// What is named counts before what a `*` covers, and of that what asks before what does not.
    fn add_tools(&self, mut grants: Grants, tools: &[&str]) -> anyhow::Result<Grants> {
        let wishes = wishes(&self.asked_tools, &self.allowed_tools);
        let (patterns, named): (Vec<_>, Vec<_>) = wishes.partition(|(name, _)| name.ends_with('*'));
        for (name, wish) in named {
            if let Wish::Ask(_) = wish {
                is_bound(name, tools)?;
            }
            grants = wish.add_tool(grants, name)?;
        }
        for (pattern, wish) in patterns {
            for name in covered(pattern, tools)? {
                if grants.find_tool(name).is_none() {
                    grants = wish.add_tool(grants, name)?;
                }
            }
        }
        Ok(grants)
    }
}

/// What `NAME[=QUESTION]` and `NAME` wish for, by the names.
fn wishes<'a>(asked: &'a [String], allowed: &'a [String]) -> impl Iterator<Item = (&'a str, Wish<'a>)> {
    let asked = asked.iter().map(|text| match text.split_once('=') {
        Some((name, question)) => (name, Wish::Ask(Some(question))),
        None => (text.as_str(), Wish::Ask(None)),
    });
    asked.chain(allowed.iter().map(|name| (name.as_str(), Wish::Allow)))
}

/// How a tool or a model is to be granted.
#[derive(Clone, Copy)]
enum Wish<'a> {
    Allow,
    Ask(Option<&'a str>),
}

impl Wish<'_> {
    fn add_tool(self, grants: Grants, name: &str) -> Result<Grants, GrantError> {
        match self {
            Self::Allow => grants.tool(name),
            Self::Ask(Some(question)) => grants.tool_after_asking(name, question),
            Self::Ask(None) => grants.tool_after_asking(name, format!("May `{name}` be called?")),
        }
    }

    fn add_model(self, grants: Grants, name: &str) -> Result<Grants, GrantError> {
        match self {
            Self::Allow => grants.model(name),
            Self::Ask(Some(question)) => grants.model_after_asking(name, question),
            Self::Ask(None) => grants.model_after_asking(name, format!("May `{name}` be asked?")),
        }
    }
}

/// A question under a name with a mistake in it would leave what was meant granted without one.
fn is_bound(name: &str, tools: &[&str]) -> anyhow::Result<()> {
    if tools.contains(&name) {
        return Ok(());
    }
    bail!("`{name}` is the name of no tool that is bound here: {}", render::names(tools.iter().copied()))
}

/// The tools whose names begin as `pattern` does before its `*`.
fn covered<'a>(pattern: &'a str, tools: &'a [&'a str]) -> anyhow::Result<Vec<&'a str>> {
    let prefix = pattern.trim_end_matches('*');
    let covered: Vec<_> = tools.iter().copied().filter(|name| name.starts_with(prefix)).collect();
    if covered.is_empty() {
        bail!("`{pattern}` is the name of no tool that is bound here: {}", render::names(tools.iter().copied()));
    }
    Ok(covered)
}

/// How much the sandbox may use.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitOptions {
    /// Fuel, about one unit for each instruction [default: 1000000000]
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Time by the clock, such as 200ms or 5s [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = time)]
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
    fn write(&self, flags: &mut Flags) {
        flags.add_all("fuel", self.fuel);
        flags.add_all("timeout", self.timeout.map(humantime::format_duration));
        flags.add_all("memory", self.memory.map(|size| size.as_u64()));
        flags.add_all("max-output", self.max_output.map(|size| size.as_u64()));
        flags.add_all("cpus", self.cpus);
        if let Meter::Time = self.meter {
            flags.add("meter", "time");
        }
    }

    pub(crate) fn limits(&self, engine: &Engine) -> anyhow::Result<Limits> {
        self.build(engine.limits())
    }

    /// With that time where none is said.
    fn limits_with(&self, engine: &Engine, time: Duration) -> anyhow::Result<Limits> {
        self.build(engine.limits().wall_time(time)?)
    }

    fn build(&self, mut limits: LimitsBuilder) -> anyhow::Result<Limits> {
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
