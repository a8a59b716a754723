//! Rules and grants, looked at before anything runs.

mod check;
mod explain;
mod show;

use std::process::ExitCode;

use casemate::{Component, Engine, Tool, ToolFacts};
use clap::Subcommand;

use crate::options::{CacheOptions, DataOptions, KnownTools, all_tools};
use crate::source::Loader;

/// Look at rules and grants before anything runs
#[derive(Subcommand)]
pub(crate) enum Policy {
    Check(check::Check),
    Explain(explain::Explain),
    Show(show::Show),
}

impl Policy {
    pub(crate) async fn run(self, cache: &CacheOptions, data: &DataOptions) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(check) => check.run(cache).await,
            Self::Explain(explain) => explain.run(cache, data).await,
            Self::Show(show) => show.run(cache, data).await,
        }
    }
}

/// What is known of tools.
struct Known {
    /// What rules can know of each.
    facts: Vec<ToolFacts>,
    /// Those that are granted by being named.
    given: Vec<String>,
}

async fn known(engine: &Engine, options: &KnownTools) -> anyhow::Result<Known> {
    let mut loader = Loader::new(engine);
    let mut facts = Vec::new();
    for bundle in &options.bundles {
        let provider = loader.load(bundle).await?;
        facts.extend(all_tools(&provider)?.into_iter().map(|tool| Tool::from(tool).facts().clone()));
    }
    let given = facts.iter().map(|tool| tool.identity.name.clone()).collect();
    for flag in &options.tools {
        if flag.is_declaration() {
            facts.extend(flag.http_tools()?.into_iter().map(|tool| Tool::from(tool).facts().clone()));
            continue;
        }
        let provider: Component = loader.load(flag.file()).await?;
        facts.extend(flag.tools(&provider)?.into_iter().map(|tool| Tool::from(tool).facts().clone()));
    }
    Ok(Known { facts, given })
}
