//! What an agent is given at the command line.

use std::time::Duration;

use anyhow::Context as _;
use casemate::{Agent, ComponentTool, Engine, Gate, Limits, Tool};
use clap::{Args, Parser};

use super::budget::BudgetOptions;
use super::flags::Flags;
use super::{DataOptions, LimitOptions, Meter, SandboxOptions};
use crate::binding::Binding;
use crate::setup::Setup;
use crate::source::{self, Loader};

/// How long a person has to decide.
const APPROVAL_TIME: Duration = Duration::from_hours(7 * 24);

/// How long an agent may be at work where nothing is said: much of it is waiting for models and tools.
const WORKING_TIME: Duration = Duration::from_hours(1);

/// What an agent is given.
#[derive(Args)]
pub(crate) struct AgentOptions {
    #[command(flatten)]
    sandbox: SandboxOptions,
    /// Give it all tools of a component, such as `toolbox`: bound, and granted where `--ask-tool` says nothing else
    ///
    /// They reach what the agent is granted: its workspace, at `/workspace`, and the folders of `--dir`.
    #[arg(long = "tools", value_name = "SOURCE", help_heading = "Tools")]
    bundles: Vec<String>,
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    budget: BudgetOptions,
}

/// As they are read again.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Written {
    #[command(flatten)]
    options: AgentOptions,
}

impl AgentOptions {
    /// How guests are metered.
    pub(crate) fn meter(&self) -> Meter {
        self.limits.meter
    }

    /// The flags that say all of it, in any folder. No value of a secret is among them.
    pub(crate) fn written(&self) -> anyhow::Result<Vec<String>> {
        let mut flags = Flags::default();
        let SandboxOptions { grants, tools, models, policy } = &self.sandbox;
        models.write(&mut flags)?;
        for bundle in &self.bundles {
            flags.add("tools", source::absolute(bundle)?);
        }
        tools.write(&mut flags)?;
        grants.write(&mut flags)?;
        policy.write(&mut flags)?;
        self.limits.write(&mut flags);
        self.budget.write(&mut flags);
        Ok(flags.into_written())
    }

    /// Reads what [`written`](Self::written) wrote.
    pub(crate) fn read(written: &[String]) -> anyhow::Result<Self> {
        let read = Written::try_parse_from(written).map_err(|error| anyhow::anyhow!("{}", error.render()));
        Ok(read.context("what the run was started with cannot be read")?.options)
    }

    /// The agent that is this component, with all of it.
    pub(crate) async fn agent(self, engine: &Engine, bytes: Vec<u8>, data: &DataOptions) -> anyhow::Result<Agent> {
        let limits = self.limits.limits(engine)?;
        let agent = Agent::load(engine, bytes).await.context("the component of the agent cannot be loaded")?;
        let component = agent.component().clone();
        let mut loader = Loader::new(engine);
        let mut binding = Binding::new(&component, limits);
        let bundled = bind_all(&self.bundles, &mut binding, &mut loader, limits).await?;
        let setup = Setup::of(component, binding, &mut loader, self.sandbox, limits, data).await?;
        setup.warn_of_missing_secrets().await;
        let mut grants = setup.grants;
        for name in bundled {
            if grants.find_tool(&name).is_none() {
                grants = grants.tool(name)?;
            }
        }
        for name in setup.models.names() {
            if grants.find_model(name).is_none() {
                grants = grants.model(name)?;
            }
        }
        let gate = Gate::builder().approval_time(APPROVAL_TIME).secrets(setup.secrets);
        let gate = match setup.policy {
            Some(policy) => gate.policy(policy).build(),
            None => gate.build(),
        };
        Ok(agent
            .grants(grants)
            .tools(setup.binding.tools)
            .imports(setup.binding.imports)
            .models(setup.models)
            .gate(&gate)
            .principal(setup.principal)
            .budget(self.budget.budget())
            .limits(self.limits.limits_with(engine, WORKING_TIME)?))
    }
}

/// Binds all tools of these components, and answers with their names.
async fn bind_all(
    bundles: &[String],
    binding: &mut Binding,
    loader: &mut Loader<'_>,
    limits: Limits,
) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for bundle in bundles {
        let provider = loader.load(bundle).await?;
        for export in provider.description().tools.into_iter().filter(|tool| tool.callable) {
            let tool: ComponentTool = provider.tool(&export.name)?.inheriting().limits(limits);
            let tool = Tool::from(tool);
            names.push(tool.name().to_owned());
            binding.tools = binding.tools.clone().with(tool)?;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn written(flags: &[&str]) -> Vec<String> {
        let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let read = AgentOptions::read(&flags).unwrap_or_else(|error| panic!("{error:#}"));
        read.written().unwrap()
    }

    #[test]
    fn what_is_written_says_the_same_in_every_folder_and_no_values() {
        let first = written(&[
            "--model=fast=scripted:a.toml",
            "--model=playground",
            "--tools=toolbox",
            "--tool=refund=ledger.wasm#refund",
            "--dir=data::/data:rw",
            "--env=LANG=C=D",
            "--allow-tool=a*",
            "--ask-tool=refund=Pay, really?",
            "--allow-host=GET https://*.example.com/v1",
            "--secret=KEY=file:key.txt@api.example.com#header=X-Api-Key",
            "--secret=OTHER=env:OTHER",
            "--grants=grants.toml",
            "--policy=rules.cedar",
            "--principal=bot",
            "--timeout=90s",
            "--memory=64MiB",
            "--max-cost=0.25",
            "--meter=time",
        ]);
        let here = std::env::current_dir().unwrap();
        let here = here.display();
        assert!(
            first.contains(&format!("--secret=KEY=file:{here}/key.txt@api.example.com#header=X-Api-Key")),
            "{first:?}"
        );
        assert!(first.contains(&format!("--tool=refund={here}/ledger.wasm#refund")), "{first:?}");
        assert!(first.contains(&format!("--model=fast=scripted:{here}/a.toml")), "{first:?}");
        assert!(first.contains(&format!("--dir={here}/data::/data:rw")), "{first:?}");
        assert!(first.contains(&"--tools=toolbox".to_owned()), "{first:?}");
        let again: Vec<_> = first.iter().map(String::as_str).collect();
        assert_eq!(written(&again), first);
    }
}
