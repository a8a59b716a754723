//! What an agent of the command line is made of: kept with each run, so that any process can make it again.

use std::path::Path;

use anyhow::{Context as _, bail};
use casemate::{Agent, Engine, RunSummary};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::options::{AgentOptions, DataOptions};
use crate::source::CHAT;
use crate::{render, source};

/// The version of what is written by this one.
const FORMAT: u32 = 1;

/// What an agent is made of. It holds no value of a secret, and its paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recipe {
    format: u32,
    /// `chat`, or the file of a component.
    agent: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    flags: Vec<String>,
}

impl Recipe {
    pub(crate) fn new(agent: &str, system: Option<String>, options: &AgentOptions) -> anyhow::Result<Self> {
        let agent = match agent {
            CHAT => CHAT.to_owned(),
            file if Path::new(file).exists() => source::absolute(file)?,
            other => bail!("there is no agent `{other}`: give the file of a component, or `{CHAT}`"),
        };
        Ok(Self { format: FORMAT, agent, system, flags: options.written()? })
    }

    /// That of a run.
    pub(crate) fn of(run: &RunSummary) -> anyhow::Result<Self> {
        let id = run.id;
        match run.attachment.get("format").and_then(Value::as_u64) {
            None => bail!("run {id} was not started by `casemate run`, so nobody here knows its agent"),
            Some(format) if format > FORMAT.into() => {
                bail!("run {id} was started by a newer release of Casemate: use that one, or a newer one")
            }
            Some(_) => serde_json::from_value(run.attachment.clone())
                .with_context(|| format!("what is kept of the agent of run {id} cannot be read")),
        }
    }

    /// As the run keeps it.
    pub(crate) fn attachment(&self) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self)?)
    }

    /// The name under which runs of the agent are found.
    pub(crate) fn name(&self) -> &str {
        let stem = Path::new(&self.agent).file_stem();
        stem.and_then(|stem| stem.to_str()).unwrap_or(&self.agent)
    }

    pub(crate) fn options(&self) -> anyhow::Result<AgentOptions> {
        AgentOptions::read(&self.flags)
    }

    /// The command that starts another run of such an agent.
    pub(crate) fn command(&self) -> String {
        let flags = self.flags.iter().map(|flag| render::quoted(flag));
        let system = self.system.iter().map(|text| render::flag("--system", text));
        let words = [format!("casemate run {}", render::quoted(&self.agent))];
        words.into_iter().chain(flags).chain(system).collect::<Vec<_>>().join(" ")
    }

    /// The component as it is now.
    pub(crate) fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        Ok(source::bytes(&self.agent)?.into_owned())
    }

    /// The agent, of that component.
    pub(crate) async fn agent(&self, engine: &Engine, bytes: Vec<u8>, data: &DataOptions) -> anyhow::Result<Agent> {
        let agent = self.options()?.agent(engine, bytes, data).await?;
        Ok(self.system.iter().fold(agent, Agent::system_prompt))
    }
}
