//! What an agent is given at the command line.

use std::time::Duration;

use anyhow::Context as _;
use casemate::{Agent, Engine, Gate};
use clap::{Args, Parser};

use super::budget::BudgetOptions;
use super::flags::Flags;
use super::{DataOptions, LimitOptions, Meter, SandboxOptions};
use crate::setup::Setup;
use crate::source::Loader;

/// How long a person has to decide.
const APPROVAL_TIME: Duration = Duration::from_hours(7 * 24);

/// How long an agent may be at work where nothing is said: much of it is waiting for models and tools.
const WORKING_TIME: Duration = Duration::from_hours(1);

/// What an agent is given.
#[derive(Args)]
pub(crate) struct AgentOptions {
    #[command(flatten)]
    sandbox: SandboxOptions,
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
        let setup = Setup::of(component, &mut loader, self.sandbox, limits, data).await?.granting_models()?;
        setup.warn_of_missing_secrets().await;
        let gate = Gate::builder().approval_time(APPROVAL_TIME).secrets(setup.secrets);
        let gate = match setup.policy {
            Some(policy) => gate.policy(policy).build(),
            None => gate.build(),
        };
        Ok(agent
            .grants(setup.grants)
            .tools(setup.binding.tools)
            .imports(setup.binding.imports)
            .models(setup.models)
            .gate(&gate)
            .principal(setup.principal)
            .budget(self.budget.budget())
            .limits(self.limits.limits_with(engine, WORKING_TIME)?))
    }
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
