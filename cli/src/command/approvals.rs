use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use casemate::{Answer, Approval};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::options::{CacheOptions, DataOptions, OutputOptions};
use crate::render::{self, BOLD, DIM, GOOD, plain, styled};
use crate::store::Store;
use crate::{input, person, story};

/// How many are shown.
const MOST: usize = 1_000;

/// Decide what runs ask: whether exactly this call, with exactly these arguments, may be
///
/// A run that asks waits, in its process or in none, and of several answers the first counts. Without a command the
/// questions are listed. An id may be shortened to its first characters, at least four.
#[derive(Args)]
#[command(after_help = "\
Examples:
  casemate approvals
  casemate approvals show 019aa
  casemate approvals approve 019aa
  casemate approvals approve 019aa --edit '{\"order\":\"A-1\",\"amount\":5}'
  casemate approvals reject 019aa 'too much'

Exit status: 0 fine, 2 where there is no such question, or somebody else decided it.")]
pub(crate) struct Approvals {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Subcommand)]
enum Command {
    /// List the questions that wait, oldest first
    List,
    /// Show one, with everything that is decided about
    Show {
        /// Which approval
        id: String,
    },
    /// Say yes
    Approve {
        /// Which approval
        id: String,
        /// Yes, but with this input instead: JSON, @FILE, or - for standard input
        #[arg(long, value_name = "JSON")]
        edit: Option<String>,
        /// In whose name [default: the user's]
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
    /// Say no
    Reject {
        /// Which approval
        id: String,
        /// Why, in words that the agent is told
        reason: Option<String>,
        /// In whose name [default: the user's]
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
}

impl Approvals {
    pub(crate) async fn run(self, cache: &CacheOptions, data: &DataOptions) -> anyhow::Result<ExitCode> {
        let json = self.output.json;
        let command = self.command.unwrap_or(Command::List);
        if let (Command::List, None) = (&command, Store::find(cache, data)?) {
            return list(&[], json);
        }
        let store = Store::existing(cache, data)?;
        let done = command.run(&store, json).await;
        store.close().await;
        done
    }
}

impl Command {
    async fn run(self, store: &Store, json: bool) -> anyhow::Result<ExitCode> {
        match self {
            Self::List => list(&store.runs().approvals(None, MOST).await?, json),
            Self::Show { id } => show(&store.approval(&id).await?, json),
            Self::Approve { id, edit, by } => {
                let answer = match edit {
                    Some(text) => Answer::ApproveEdited(input::parse(&text)?),
                    None => Answer::Approve,
                };
                decide(store, &id, answer, by, json).await
            }
            Self::Reject { id, reason, by } => {
                let reason = reason.unwrap_or_else(|| "a person said no".to_owned());
                decide(store, &id, Answer::Reject { reason }, by, json).await
            }
        }
    }
}

fn list(approvals: &[Approval], json: bool) -> anyhow::Result<ExitCode> {
    if json {
        writeln!(std::io::stdout().lock(), "{}", json!({ "approvals": approvals }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if approvals.is_empty() {
        anstream::eprintln!("nobody is asked anything");
        return Ok(ExitCode::SUCCESS);
    }
    let ids: Vec<_> = approvals.iter().map(|approval| approval.request.id.to_string()).collect();
    let rows = render::short_ids(&ids).into_iter().zip(approvals).map(|(id, Approval { run, request, .. })| {
        let left = request.expires.duration_since(SystemTime::now()).ok();
        let about = format!("{} {}", request.subject.name(), story::compact(&request.input));
        [
            id,
            render::short_ids(&[run.to_string()]).concat(),
            left.map_or_else(|| "too late".to_owned(), |left| format!("in {}", story::roughly(left))),
            story::shorten(&story::on_one_line(&request.question), 40),
            story::on_one_line(&about),
        ]
    });
    let table = render::table(["APPROVAL", "RUN", "EXPIRES", "QUESTION", "ABOUT"], rows);
    writeln!(anstream::stdout().lock(), "{table}")?;
    Ok(ExitCode::SUCCESS)
}

fn show(approval: &Approval, json: bool) -> anyhow::Result<ExitCode> {
    let mut out = anstream::stdout().lock();
    if json {
        writeln!(out, "{}", json!(approval))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Approval { run, request, decision, .. } = approval;
    writeln!(out, "{} {}", styled(BOLD, plain(&request.question)), styled(DIM, request.id))?;
    let rules: Vec<_> = request.rules.iter().map(render::rule).collect();
    let asked_by = if rules.is_empty() { "the grants".to_owned() } else { rules.join(", ") };
    let decided = decision.as_ref().map(|decision| {
        let answer = match &decision.answer {
            Answer::Approve => "approved".to_owned(),
            Answer::ApproveEdited(_) => "approved, with another input".to_owned(),
            Answer::Reject { reason } => format!("rejected: {reason}"),
            _ => "decided".to_owned(),
        };
        format!("{answer}, by {}", decision.by)
    });
    let fields = [
        ("about", Some(request.subject.to_string())),
        ("tool", request.source.as_ref().map(render::tool_source)),
        ("run", Some(run.to_string())),
        ("caller", Some(request.principal.clone())),
        ("asked by", Some(asked_by)),
        ("expires", Some(humantime::format_rfc3339_seconds(request.expires).to_string())),
        ("decided", decided),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            writeln!(out, "  {} {}", styled(DIM, format_args!("{name:<9}")), plain(&value))?;
        }
    }
    writeln!(out, "  {}", styled(DIM, "input"))?;
    for line in plain(&format!("{:#}", request.input)).lines() {
        writeln!(out, "    {line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn decide(store: &Store, id: &str, answer: Answer, by: Option<String>, json: bool) -> anyhow::Result<ExitCode> {
    let approval = store.approval(id).await?;
    let (id, run) = (approval.request.id, approval.run);
    let word = if let Answer::Reject { .. } = answer { "rejected" } else { "approved" };
    let by = by.unwrap_or_else(person::name);
    store.runs().decide(id, answer, &by).await?;
    let mut out = anstream::stdout().lock();
    if json {
        let decided: Value = json!({ "approval": id, "run": run, "decided": word, "by": by });
        writeln!(out, "{decided}")?;
    } else {
        let what = plain(approval.request.subject.name());
        writeln!(out, "{} {what} in run {run}", styled(GOOD, word))?;
        anstream::eprintln!(
            "{}",
            styled(
                DIM,
                format_args!(
                    "it goes on where it is executed; if it is nowhere: casemate runs resume {run}{}",
                    store.flag()
                )
            )
        );
    }
    Ok(ExitCode::SUCCESS)
}
