use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use casemate::RunRequest;
use clap::Args;

use crate::approval::Approve;
use crate::input;
use crate::live::{self, Follow, Part, Show};
use crate::options::{AgentOptions, CacheOptions, DataOptions};
use crate::recipe::Recipe;
use crate::store::Store;
use crate::view::Detail;
use crate::{setup, source};

/// Run an agent: it is given a message, and all that it does is recorded, so that it survives this process
///
/// What it does is shown on standard error as it goes; what it says in the end goes to standard output, alone. Ctrl-C
/// pauses it, twice cancels it. A run that was paused, waits, or lost its process goes on with `casemate runs resume`,
/// without doing anything twice.
#[derive(Args)]
#[command(after_help = "\
Examples:
  casemate run chat 'use the tools' --model playground --tools toolbox --workspace .
  casemate run chat 'Which files mention TODO?' --model scripted:talk.toml --tools toolbox --workspace .
  casemate run agent.wasm @task.md --model fast=scripted:talk.toml \\
      --tool refund=ledger.wasm#refund --ask-tool 'refund=Pay it back?' --dir ./ledger::/ledger:rw
  echo 'Summarise notes.md' | casemate run chat --model scripted:talk.toml --workspace . --file notes.md --json

Where nobody can be asked, a run that needs a decision or input waits for `casemate approvals` or `casemate runs input`.
Models and the tools of `--tools` are granted; other tools are not, see `--allow-tool` and `--ask-tool`. Without
`--timeout` an agent may be at work for an hour, and each call of a tool for 30 seconds.

Exit status: 0 completed, 1 the agent's own error, 2 invalid input or usage, 3 a limit was reached, 4 denied, 5 trap,
6 busy or internal, 7 diverged, 8 left as it waits or is paused, 130 cancelled.")]
pub(crate) struct Run {
    /// A component that exports `casemate:agent/handler`, or `chat` for the built-in agent, which needs a model
    agent: String,
    /// What it is asked: text, @FILE, or - for standard input, which is read too where nothing is said
    message: Option<String>,
    /// Instructions for its model: text, or @FILE
    #[arg(long, value_name = "TEXT", help_heading = "Message")]
    system: Option<String>,
    /// Show it a file of its workspace before anything else; read when the run begins
    #[arg(long = "file", value_name = "PATH", help_heading = "Message")]
    context: Vec<PathBuf>,
    /// Have it go on with the conversation of another run
    #[arg(long, value_name = "RUN", help_heading = "Message")]
    history: Option<String>,
    /// The folder that its tools see at `/workspace`, and may change [default: one of its own, with the data]
    #[arg(long, value_name = "DIR", help_heading = "Grants")]
    workspace: Option<PathBuf>,
    #[command(flatten)]
    options: AgentOptions,
    #[command(flatten)]
    show: ShowOptions,
}

/// How a run is shown, and who is asked.
#[derive(Args)]
pub(crate) struct ShowOptions {
    /// What becomes of questions, where a grant or a rule has a person decide
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Approve::Ask, help_heading = "Policy")]
    pub(crate) approve: Approve,
    /// Print each event as it happens, one JSON object a line, and then the run as one more
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
    /// Show inputs, results and diffs in full
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub(crate) verbose: bool,
}

impl ShowOptions {
    /// Following a run from that event on. `may_ask`: standard input is read for nothing else.
    pub(crate) fn follow(&self, part: Part, from: u64, may_ask: bool) -> Follow {
        let detail = if self.verbose { Detail::Unfolded } else { Detail::Folded };
        let show = if self.json { Show::Json } else { Show::Text(detail) };
        Follow { part, show, approve: self.approve, from, may_ask }
    }
}

impl Run {
    pub(crate) async fn run(self, cache: &CacheOptions, data: &DataOptions) -> anyhow::Result<ExitCode> {
        let reads_stdin = self.message.as_deref().is_none_or(input::is_stdin);
        let message = message(self.message.as_deref())?;
        let system = self.system.as_deref().map(text).transpose()?;
        let recipe = Recipe::new(&self.agent, system, &self.options)?;
        let mut request = RunRequest::new(message).attachment(recipe.attachment()?);
        if let Some(workspace) = &self.workspace {
            if !workspace.is_dir() {
                bail!("the workspace `{}` is no folder that is there", workspace.display());
            }
            setup::check_folder(workspace, data)?;
            request = request.workspace(workspace);
        }
        for file in &self.context {
            request = request.file(within(file, self.workspace.as_deref())?);
        }
        let store = Store::open(cache, data, self.options.meter().into())?;
        if let Some(other) = &self.history {
            request = request.history(store.run(other).await?.messages().await?);
        }
        store.make(&recipe).await?;
        let run = store.runs().start(recipe.name(), request).await?;
        live::follow(&store, run, self.show.follow(Part::Execute, 1, !reads_stdin)).await
    }
}

fn message(argument: Option<&str>) -> anyhow::Result<String> {
    let text = match argument {
        Some(argument) if !input::is_stdin(argument) => text(argument)?,
        None if std::io::stdin().is_terminal() => bail!("say what the agent is asked: casemate run AGENT MESSAGE"),
        _ => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            text
        }
    };
    if text.trim().is_empty() {
        bail!("the message is empty: say what the agent is asked");
    }
    Ok(text)
}

/// Text, or what is in `@FILE`.
fn text(argument: &str) -> anyhow::Result<String> {
    argument.strip_prefix('@').map_or_else(|| Ok(argument.to_owned()), |file| source::read_text(Path::new(file)))
}

/// The path of a file in the workspace.
fn within(file: &Path, workspace: Option<&Path>) -> anyhow::Result<String> {
    let shown = file.display();
    let Some(workspace) = workspace else {
        bail!("`--file {shown}` is a file of the workspace: give the folder that it is in, as `--workspace .`");
    };
    let found = |path: &Path| path.canonicalize().with_context(|| format!("cannot find `{}`", path.display()));
    let folder = found(workspace)?;
    // As it reads from here, or else from the workspace.
    let file = if file.exists() { found(file)? } else { found(&workspace.join(file))? };
    let inside = file.strip_prefix(&folder).ok().and_then(Path::to_str);
    let outside = || format!("`{shown}` is not in the workspace `{}`", workspace.display());
    inside.map(str::to_owned).with_context(outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_one_of_the_workspace() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("src/a.txt"), "").unwrap();
        let workspace = Some(folder.path());
        assert_eq!(within(Path::new("src/a.txt"), workspace).unwrap(), "src/a.txt");
        assert_eq!(within(&folder.path().join("src/a.txt"), workspace).unwrap(), "src/a.txt");
        assert!(within(Path::new("/etc/hosts"), workspace).is_err());
        assert!(within(Path::new("src/b.txt"), workspace).is_err());
        assert!(within(Path::new("src/a.txt"), None).unwrap_err().to_string().contains("--workspace ."));
    }
}
