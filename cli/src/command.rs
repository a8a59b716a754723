//! The subcommands, one file each.

mod approvals;
mod cache;
mod call;
mod component;
mod demo;
mod inspect;
mod policy;
mod run;
mod runs;
mod secrets;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::options::{CacheOptions, DataOptions};

/// Run WebAssembly components that nobody vouches for, each call in a fresh sandbox.
#[derive(Parser)]
#[command(
    name = "casemate",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  casemate demo                                     see it work, with no arguments and no network
  casemate inspect toolbox                          what the built-in toolbox offers and wants
  casemate call toolbox list-dir '{\"path\":\"/src\"}' --dir .::/src
  casemate call tool.wasm add '{\"a\":2,\"b\":3}' --fuel 1000000 --json
  casemate run chat 'Which files mention TODO?' --model scripted:talk.toml --tools toolbox --workspace .
  casemate runs list
  casemate call agent.wasm run --allow-host api.example.com --secret KEY=env:API_KEY@api.example.com
  casemate policy check rules.cedar --tool refund=ledger.wasm#refund"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cache: CacheOptions,
    #[command(flatten)]
    data: DataOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Inspect(inspect::Inspect),
    Call(call::Call),
    Run(Box<run::Run>),
    Runs(runs::Runs),
    Approvals(approvals::Approvals),
    #[command(subcommand)]
    Policy(policy::Policy),
    #[command(subcommand)]
    Secrets(secrets::Secrets),
    #[command(subcommand)]
    Component(component::Component),
    #[command(subcommand)]
    Cache(cache::Cache),
    Demo(demo::Demo),
    /// Print a completion script for a shell
    ///
    /// For bash: casemate completions bash > ~/.local/share/bash-completion/completions/casemate
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Arguments {
    /// Does what was asked, and tells with which status the process ends.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Inspect(inspect) => inspect.run(&self.cache).await,
            Command::Call(call) => call.run(&self.cache, &self.data).await,
            Command::Run(run) => run.run(&self.cache, &self.data).await,
            Command::Runs(runs) => Box::pin(runs.run(&self.cache, &self.data)).await,
            Command::Approvals(approvals) => approvals.run(&self.cache, &self.data).await,
            Command::Policy(policy) => policy.run(&self.cache, &self.data).await,
            Command::Secrets(secrets) => secrets.run(&self.data).await,
            Command::Component(component) => component.run().await,
            Command::Cache(cache) => cache.run(&self.cache),
            Command::Demo(demo) => demo.run(&self.cache).await,
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "casemate", &mut std::io::stdout());
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_can_be_parsed() {
        Arguments::command().debug_assert();
    }
}
