mod files;
mod list;
mod prune;
mod show;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use casemate::{EventKind, ReplayEnd, Run, RunStatus, Settlement};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::live::{self, DIVERGED, Part};
use crate::options::{CacheOptions, DataOptions, OutputOptions};
use crate::record::each_event;
use crate::render::{BAD, DIM, GOOD, WARN, plain, styled};
use crate::store::Store;
use crate::story::{self, Story};
use crate::{input, person};

use super::run::ShowOptions;

/// Look after runs: find them, read what happened, steer them, and go on with them
///
/// Without a command they are listed. The id of a run may be shortened to its first characters, at least four.
#[derive(Args)]
#[command(after_help = "\
Examples:
  casemate runs list --status waiting --since 2h
  casemate runs show 019aa
  casemate runs events 019aa
  casemate runs resume 019aa
  casemate runs input 019aa 'the blue one'
  casemate runs settle 019aa 7 happened '{\"refunded\":true}'
  casemate runs fork 019aa --at 12
  casemate runs prune --older-than 30d

Exit status: 0 fine, 2 where there is no such run, or it is finished. `resume`, `watch` and `fork` end as `casemate run`
does, and `replay` with 7 where the run diverges.")]
pub(crate) struct Runs {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Subcommand)]
enum Command {
    List(list::List),
    /// Go on with a run, in this process: one that is paused, waits, or whose process is gone
    Resume(Follow),
    Fork(Fork),
    #[command(flatten)]
    Existing(Existing),
}

/// What is done with runs that are there, without executing their agents.
#[derive(Subcommand)]
enum Existing {
    Show(show::Show),
    /// Tell what happened, one line each
    Events {
        /// Which run
        id: String,
        /// Begin with the event of this number
        #[arg(long, value_name = "N", default_value_t = 1)]
        from: u64,
    },
    /// Follow a run that another process executes, until it is finished. Ctrl-C stops looking
    Watch(Follow),
    /// Have a run pause: its agent computes nothing more until it is resumed
    Pause {
        /// Which run
        id: String,
    },
    /// Stop a run for good
    Cancel {
        /// Which run
        id: String,
        /// Why
        #[arg(default_value = "somebody stopped it")]
        reason: String,
    },
    /// Give a run input: for what it asks, or will ask
    Input {
        /// Which run
        id: String,
        /// What it is told
        text: String,
    },
    Settle(Settle),
    /// Have the agent do all of it again, with every effect answered as it was recorded: nothing is done
    Replay {
        /// Which run
        id: String,
    },
    Files(files::Files),
    Prune(prune::Prune),
}

#[derive(Args)]
struct Follow {
    /// Which run
    id: String,
    /// Begin with the event of this number [default: 1, and the next one for `resume`]
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    #[command(flatten)]
    show: FollowOptions,
}

/// As [`ShowOptions`], whose `--json` all commands here have.
#[derive(Args)]
struct FollowOptions {
    /// What becomes of questions, where a grant or a rule has a person decide
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = crate::approval::Approve::Ask, help_heading = "Policy")]
    approve: crate::approval::Approve,
    /// Show inputs, results and diffs in full
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    verbose: bool,
}

impl FollowOptions {
    fn with(self, output: OutputOptions) -> ShowOptions {
        ShowOptions { approve: self.approve, json: output.json, verbose: self.verbose }
    }
}

/// Say what became of an effect in doubt, whose process was lost between its beginning and its end
#[derive(Args)]
struct Settle {
    /// Which run
    id: String,
    /// Which effect, by the number that `runs events` tells
    effect: u64,
    #[command(subcommand)]
    what: What,
    /// In whose name [default: the user's]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

#[derive(Subcommand)]
enum What {
    /// It happened, with this result
    Happened {
        /// The result, as the tool would have given it: JSON, @FILE, or - for standard input
        result: String,
    },
    /// It did not happen: it is done now
    DidNotHappen,
    /// Nobody knows: the run fails
    Fail {
        /// Why
        reason: String,
    },
}

/// Start a new run that did what this one did up to an event, and goes on from there by itself
///
/// It has the workspace of the first one, as it is now. Effects that had not ended by then are done anew.
#[derive(Args)]
struct Fork {
    /// Which run
    id: String,
    /// The last event that they have in common
    #[arg(long, value_name = "N")]
    at: u64,
    /// Input for what it asks next
    #[arg(long, value_name = "TEXT")]
    input: Option<String>,
    #[command(flatten)]
    show: FollowOptions,
}

impl Runs {
    pub(crate) async fn run(self, cache: &CacheOptions, data: &DataOptions) -> anyhow::Result<ExitCode> {
        let output = self.output;
        match self.command.unwrap_or(Command::List(list::List::default())) {
            Command::List(list) => match Store::find(cache, data)? {
                Some(store) => closing(&store, list.run(&store, output)).await,
                None => list::List::of_nothing(output),
            },
            Command::Resume(follow) => resume(follow, cache, data, output).await,
            Command::Fork(fork) => fork.run(cache, data, output).await,
            Command::Existing(command) => {
                let store = Store::existing(cache, data)?;
                Box::pin(closing(&store, command.run(&store, output))).await
            }
        }
    }
}

async fn closing(store: &Store, work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let done = work.await;
    store.close().await;
    done
}

impl Existing {
    async fn run(self, store: &Store, output: OutputOptions) -> anyhow::Result<ExitCode> {
        match self {
            Self::Show(show) => show.run(store, output).await,
            Self::Events { id, from } => events(&store.run(&id).await?, from, output).await,
            Self::Watch(Follow { id, from, show }) => {
                let run = store.run(&id).await?;
                let follow = show.with(output).follow(Part::Watch, from.unwrap_or(1), true);
                live::follow(store, run, follow).await
            }
            Self::Pause { id } => pause(store, &store.run(&id).await?, output).await,
            Self::Cancel { id, reason } => cancel(store, &store.run(&id).await?, reason, output).await,
            Self::Input { id, text } => {
                let run = store.run(&id).await?;
                run.send_input(text).await?;
                told(store, &run, "told", output)
            }
            Self::Settle(settle) => settle.run(store, output).await,
            Self::Replay { id } => replay(&store.run(&id).await?, output).await,
            Self::Files(files) => files.run(store, output).await,
            Self::Prune(prune) => prune.run(store, output).await,
        }
    }
}

async fn events(run: &Run, from: u64, output: OutputOptions) -> anyhow::Result<ExitCode> {
    let mut out = anstream::stdout().lock();
    let mut story = Story::default();
    let mut began = None;
    each_event(run, |event| {
        let began = *began.get_or_insert(event.at);
        let line = story.tell(&event);
        if event.sequence < from {
            return Ok(());
        }
        if output.json {
            return Ok(writeln!(out, "{}", serde_json::to_string(&event)?)?);
        }
        let after = story::time(event.at.duration_since(began).unwrap_or_default());
        let place = styled(DIM, format_args!("{:>4} {after:>9}", event.sequence));
        let hint = line.hint.map(|hint| styled(DIM, format_args!(" (allow it with {hint})")));
        let (mark, hint) = (styled(line.style, line.mark), hint.unwrap_or_default());
        Ok(writeln!(out, "{place}  {mark} {}{hint}", line.text)?)
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

async fn resume(
    follow: Follow,
    cache: &CacheOptions,
    data: &DataOptions,
    output: OutputOptions,
) -> anyhow::Result<ExitCode> {
    let Follow { id, from, show } = follow;
    let (store, run) = Store::executing(cache, data, &id).await?;
    let summary = run.summary().await?;
    if summary.status.is_finished() {
        store.close().await;
        let word = crate::view::standing(&summary).2;
        bail!("run {} is finished: it is {word}; `casemate runs fork` starts another one from it", summary.id);
    }
    let next = store.last_event(&run).await? + 1;
    // One that waits goes on by what it waits for.
    if summary.status != RunStatus::Waiting {
        run.resume().await?;
    }
    run.execute();
    let follow = show.with(output).follow(Part::Execute, from.unwrap_or(next), true);
    live::follow(&store, run, follow).await
}

async fn pause(store: &Store, run: &Run, output: OutputOptions) -> anyhow::Result<ExitCode> {
    let mut events = run.events(store.last_event(run).await? + 1);
    if run.summary().await?.status == RunStatus::Paused {
        return told(store, run, "paused", output);
    }
    store.prepare(run).await?;
    run.pause().await?;
    // Where nobody executes it, it is paused here.
    run.execute();
    while let Some(event) = events.next().await {
        match event?.kind {
            EventKind::Paused { .. } => return told(store, run, "paused", output),
            kind if kind.is_last() => break,
            _ => {}
        }
    }
    bail!("run {} came to its end before it paused", run.id())
}

async fn cancel(store: &Store, run: &Run, reason: String, output: OutputOptions) -> anyhow::Result<ExitCode> {
    store.prepare_to_stop(run).await?;
    run.cancel(reason).await?;
    // Where nobody executes it, it is stopped here.
    run.execute();
    match run.wait().await?.status {
        RunStatus::Cancelled => told(store, run, "cancelled", output),
        _ => bail!("run {} came to its end before it was cancelled", run.id()),
    }
}

/// Says what a run was told.
fn told(store: &Store, run: &Run, word: &str, output: OutputOptions) -> anyhow::Result<ExitCode> {
    let mut out = anstream::stdout().lock();
    let id = run.id();
    if output.json {
        writeln!(out, "{}", json!({ "run": id, "done": word }))?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{} {id}", styled(GOOD, word))?;
    let flag = store.flag();
    let hint = match word {
        "cancelled" => return Ok(ExitCode::SUCCESS),
        "paused" => format!("it goes on with: casemate runs resume {id}{flag}"),
        _ => format!("it goes on where it is executed; if it is nowhere: casemate runs resume {id}{flag}"),
    };
    anstream::eprintln!("{}", styled(DIM, hint));
    Ok(ExitCode::SUCCESS)
}

impl Settle {
    async fn run(self, store: &Store, output: OutputOptions) -> anyhow::Result<ExitCode> {
        let run = store.run(&self.id).await?;
        if !is_in_doubt(&run, self.effect).await? {
            bail!("effect {} of run {} is not in doubt", self.effect, run.id());
        }
        let settlement = match self.what {
            What::Happened { result } => Settlement::Happened { result: Arc::new(input::parse(&result)?) },
            What::DidNotHappen => Settlement::DidNotHappen,
            What::Fail { reason } => Settlement::Fail { reason },
        };
        run.settle(self.effect, settlement, self.by.unwrap_or_else(person::name)).await?;
        told(store, &run, "settled", output)
    }
}

async fn is_in_doubt(run: &Run, effect: u64) -> anyhow::Result<bool> {
    let mut doubt = false;
    each_event(run, |event| {
        match event.kind {
            EventKind::InDoubt { id, .. } if id == effect => doubt = true,
            EventKind::Settled { id, .. } if id == effect => doubt = false,
            _ => {}
        }
        Ok(())
    })
    .await?;
    Ok(doubt)
}

impl Fork {
    async fn run(self, cache: &CacheOptions, data: &DataOptions, output: OutputOptions) -> anyhow::Result<ExitCode> {
        let (store, run) = Store::executing(cache, data, &self.id).await?;
        let fork = run.fork(self.at, self.input).await?;
        let show = self.show.with(output);
        live::follow(&store, fork, show.follow(Part::Execute, 1, true)).await
    }
}

async fn replay(run: &Run, output: OutputOptions) -> anyhow::Result<ExitCode> {
    let replayed = run.replay().await?;
    let diverged = matches!(replayed.end, ReplayEnd::Diverged { .. });
    let mut out = anstream::stdout().lock();
    if output.json {
        writeln!(out, "{}", json!(replayed))?;
    } else {
        let effects = story::counted(replayed.effects, "effect");
        match &replayed.end {
            ReplayEnd::Reproduced { .. } => {
                writeln!(out, "{} {effects}, and the same end", styled(GOOD, "reproduced"))?;
            }
            ReplayEnd::UpToNow => writeln!(out, "{} {effects}, up to where it stands", styled(WARN, "reproduced"))?,
            ReplayEnd::Diverged { difference } => {
                writeln!(out, "{} after {effects}: {}", styled(BAD, "diverged"), plain(difference))?;
            }
            other => writeln!(out, "{}", json!(other))?,
        }
    }
    Ok(if diverged { ExitCode::from(DIVERGED) } else { ExitCode::SUCCESS })
}

/// One object, on one line.
fn print(object: &Value) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{object}")
}
