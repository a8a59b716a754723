use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use casemate::{Action, Decision, Grants, Policy as _, Principal, Query, ToolFacts, Verdict};
use clap::Args;
use serde::Serialize;

use super::facts;
use crate::input;
use crate::options::{CacheOptions, GrantOptions, KnownTools, PolicyOptions, PolicyTexts};
use crate::render::{self, BAD, BOLD, DIM, GOOD, WARN, styled};

/// Tell what rules decide about one call, and which of them
///
/// It is decided by the code that decides calls. Where grants are given (`--allow-tool`, `--ask-tool`, `--grants`), it
/// is told what they say too, and both must say yes.
#[derive(Args)]
#[command(after_help = "\
Examples:
  casemate policy explain --policy rules.cedar --tool ledger.wasm \\
      --action call:refund --input '{\"order\":\"A-1\",\"amount\":101}'
  casemate policy explain --policy rules.cedar --tool ledger.wasm --allow-tool refund \\
      --action call:refund --input @input.json --time 2026-01-31T20:00:00Z --json

Exit status: 0 whatever the verdict is, 2 where there is none.")]
pub(crate) struct Explain {
    /// What is tried: `call:` and a tool's own name
    #[arg(long, value_name = "call:NAME")]
    action: String,
    /// The input: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON", default_value = "{}")]
    input: String,
    #[command(flatten)]
    known: KnownTools,
    #[command(flatten)]
    policy: PolicyOptions,
    #[command(flatten)]
    grants: GrantOptions,
    /// When it is tried, such as 2026-01-31T20:00:00Z [default: now]
    #[arg(long, value_parser = humantime::parse_rfc3339_weak, help_heading = "Circumstances")]
    time: Option<SystemTime>,
    /// How deep in a tree of calls: 1 for a call of the outermost component
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Circumstances")]
    depth: u32,
    /// How many calls of the tree were admitted before
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Circumstances")]
    calls: u64,
    /// Print one JSON object
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// What becomes of the call.
#[derive(Serialize)]
struct Explanation {
    action: String,
    principal: String,
    /// The stricter of what follows.
    #[serde(flatten)]
    verdict: Verdict,
    /// What the rules say, where there are any.
    policy: Option<Decision>,
    /// What the grants say, where they were given.
    grants: Option<Verdict>,
}

impl Explain {
    pub(super) async fn run(self, cache: &CacheOptions) -> anyhow::Result<ExitCode> {
        let as_json = self.json;
        let explanation = self.explanation(cache).await?;
        let mut out = anstream::stdout().lock();
        if as_json {
            writeln!(out, "{}", serde_json::to_string(&explanation)?)?;
        } else {
            explanation.show(&mut out)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn explanation(self, cache: &CacheOptions) -> anyhow::Result<Explanation> {
        let input = input::parse(&self.input)?;
        let texts = self.policy.read()?;
        if texts.is_none() && !self.grants.speak_of_tools() {
            bail!("there is nothing to explain: give rules with `--policy FILE`, or grants with `--allow-tool NAME`");
        }
        let facts = facts(&cache.engine().build()?, &self.known.tools).await?;
        let tool = find(&facts, &self.action)?;
        let query = Query {
            principal: &self.policy.principal,
            action: Action::Call { tool: &tool.identity, input: &input },
            time: self.time.unwrap_or_else(SystemTime::now),
            depth: self.depth,
            calls: self.calls,
        };
        let policy = texts.map(|texts| decide(&texts, &facts, &query)).transpose()?;
        let grants = self.grants.speak_of_tools().then(|| self.grants.grants()).transpose()?;
        let grants = grants.map(|grants| granted(&grants, &tool.identity.name));
        let verdicts = grants.iter().chain(policy.as_ref().map(|decision| &decision.verdict));
        let verdict = verdicts.max_by_key(|verdict| strictness(verdict)).context("nothing was decided")?.clone();
        Ok(Explanation { action: self.action, principal: id(&self.policy.principal), verdict, policy, grants })
    }
}

fn find<'a>(facts: &'a [ToolFacts], action: &str) -> anyhow::Result<&'a ToolFacts> {
    let Some(name) = action.strip_prefix("call:") else { bail!("`{action}` is not of the form call:NAME") };
    facts.iter().find(|tool| tool.identity.name == name).with_context(|| {
        let known: Vec<_> = facts.iter().map(|tool| format!("`{}`", tool.identity.name)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        format!("there is no tool `{name}` here, known are {known}: name it with `--tool {name}=SOURCE`")
    })
}

fn decide(texts: &PolicyTexts, facts: &[ToolFacts], query: &Query<'_>) -> anyhow::Result<Decision> {
    match texts.compile(facts) {
        Ok(policy) => Ok(policy.decide(query)),
        Err(errors) => bail!("the rules do not fit the tools that are known:\n{errors}"),
    }
}

fn granted(grants: &Grants, name: &str) -> Verdict {
    match grants.find_tool(name) {
        None => Verdict::Deny {
            reason: format!("the tool `{name}` is not granted"),
            remedy: Some(format!("--allow-tool {name}")),
        },
        Some(grant) => {
            grant.question().map_or(Verdict::Allow, |question| Verdict::Ask { question: question.to_owned() })
        }
    }
}

fn strictness(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Allow => 0,
        Verdict::Ask { .. } => 1,
        Verdict::Deny { .. } => 2,
    }
}

fn id(principal: &Principal) -> String {
    principal.id().to_owned()
}

impl Explanation {
    fn show(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        let Self { action, principal, verdict, policy, grants } = self;
        let action = styled(BOLD, render::plain(action));
        writeln!(out, "{}  {action} for {}", word(verdict), render::plain(principal))?;
        if let Some(Decision { verdict, rules }) = policy {
            show_verdict(out, "the rules", verdict)?;
            for rule in rules {
                writeln!(out, "    {}", render::plain(&render::rule(rule)))?;
            }
        }
        grants.iter().try_for_each(|verdict| show_verdict(out, "the grants", verdict))
    }
}

fn show_verdict(out: &mut impl std::io::Write, who: &str, verdict: &Verdict) -> std::io::Result<()> {
    match verdict {
        Verdict::Allow => writeln!(out, "  {who} allow it"),
        Verdict::Ask { question } => writeln!(out, "  {who} ask: {}", render::plain(question)),
        Verdict::Deny { reason, remedy } => {
            writeln!(out, "  {who} deny it: {}", render::plain(reason))?;
            let remedy = remedy.as_ref().map(|remedy| format!("    it would take `{remedy}`"));
            remedy.map_or(Ok(()), |remedy| writeln!(out, "{}", styled(DIM, render::plain(&remedy))))
        }
    }
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow => styled(GOOD, "allow"),
        Verdict::Ask { .. } => styled(WARN, "ask"),
        Verdict::Deny { .. } => styled(BAD, "deny"),
    }
}
