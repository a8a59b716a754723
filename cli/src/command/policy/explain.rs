mod attempt;
mod granted;

use std::io::Write as _;
use std::process::ExitCode;
use std::str::FromStr as _;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use casemate::{Action, AddressClass, Decision, HostName, Policy as _, Query, RequestLine, ToolFacts, Verdict};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{Known, known};
use crate::input;
use crate::options::{CacheOptions, DataOptions, GrantOptions, KnownTools, PolicyOptions, PolicyTexts};
use crate::render::{self, BAD, BOLD, DIM, GOOD, WARN, styled};
use attempt::{Attempt, request_line};

/// Tell what rules decide about one call, request, use of a secret or chat, and which of them
///
/// It is decided by the code that decides when it happens. Where grants are given (`--allow-tool`, `--allow-model`,
/// `--allow-host`, `--secret`, `--grants` and so on), it is told what they say too, and both must say yes.
#[derive(Args)]
#[command(after_help = "\
Examples:
  casemate policy explain --policy rules.cedar --tool ledger.wasm \\
      --action call:refund --input '{\"order\":\"A-1\",\"amount\":101}'
  casemate policy explain --policy rules.cedar --tool ledger.wasm --allow-tool refund \\
      --action call:refund --input @input.json --time 2026-01-31T20:00:00Z --json
  casemate policy explain --policy rules.cedar --tools toolbox --ask-tool write-file \\
      --action call:write-file --input '{\"path\":\"/workspace/a.txt\",\"content\":\"\"}'
  casemate policy explain --policy rules.cedar --allow-host api.example.com \\
      --action fetch --request 'GET https://api.example.com/v1' --address private
  casemate policy explain --policy rules.cedar --secret KEY@api.example.com \\
      --action use:KEY --request 'POST https://api.example.com/v1'
  casemate policy explain --policy rules.cedar --allow-model fast \\
      --action chat:fast --input '{\"messages\":1,\"text\":\"Hello\",\"tools\":[]}'

Exit status: 0 whatever the verdict is, 2 where there is none.")]
pub(crate) struct Explain {
    /// What is tried: `call:` and a tool's own name, `fetch`, `use:` and the name of a secret, or `chat:` and the name of a model
    #[arg(long, value_name = "ACTION", value_parser = Attempt::from_str)]
    action: Attempt,
    /// The input of a call, or what rules see of a chat: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON", default_value = "{}")]
    input: String,
    /// The request, for `fetch` and `use:NAME`
    #[arg(long, value_name = "METHOD URL", value_parser = request_line)]
    request: Option<RequestLine>,
    /// The class of the address that the request goes to, such as private [default: that of the address in the URL, or else public]
    #[arg(long, value_name = "CLASS", value_parser = AddressClass::from_str)]
    address: Option<AddressClass>,
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

/// What becomes of it.
#[derive(Serialize)]
struct Explanation {
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<RequestLine>,
    /// The class of the address that the request goes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<AddressClass>,
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
    pub(super) async fn run(self, cache: &CacheOptions, data: &DataOptions) -> anyhow::Result<ExitCode> {
        let as_json = self.json;
        let explanation = self.explanation(cache, data).await?;
        let mut out = anstream::stdout().lock();
        if as_json {
            writeln!(out, "{}", serde_json::to_string(&explanation)?)?;
        } else {
            explanation.show(&mut out)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn explanation(self, cache: &CacheOptions, data: &DataOptions) -> anyhow::Result<Explanation> {
        let input = input::parse(&self.input)?;
        let texts = self.policy.read()?;
        let granting = match self.action {
            Attempt::Call(_) => self.grants.speak_of_tools() || !self.known.bundles.is_empty(),
            Attempt::Fetch | Attempt::Use(_) => self.grants.speak_of_requests(),
            Attempt::Chat(_) => self.grants.speak_of_models(),
        };
        if texts.is_none() && !granting {
            let flag = self.action.flag();
            bail!("there is nothing to explain: give rules with `--policy FILE`, or grants with `{flag}`");
        }
        let Known { facts, given } = known(&cache.engine().build()?, &self.known).await?;
        let action = self.action(&facts, &input)?;
        let query = Query {
            principal: &self.policy.principal,
            action,
            time: self.time.unwrap_or_else(SystemTime::now),
            depth: self.depth,
            calls: self.calls,
        };
        let policy = texts.map(|texts| decide(&texts, &facts, &query)).transpose()?;
        let names: Vec<_> = facts.iter().map(|tool| tool.identity.name.as_str()).collect();
        let grants = granting.then(|| self.grants.read_with(&names, &given, data)).transpose()?;
        let grants = grants.map(|(grants, secrets)| granted::verdict(&grants, &secrets, &action));
        let verdicts = grants.iter().chain(policy.as_ref().map(|decision| &decision.verdict));
        let verdict = verdicts.max_by_key(|verdict| strictness(verdict)).context("nothing was decided")?.clone();
        let (request, address) = match action {
            Action::Fetch { request, address } | Action::Use { request, address, .. } => {
                (Some(request.clone()), Some(address))
            }
            _ => (None, None),
        };
        let (action, principal) = (self.action.to_string(), self.policy.principal.id().to_owned());
        Ok(Explanation { action, request, address, principal, verdict, policy, grants })
    }

    fn action<'a>(&'a self, facts: &'a [ToolFacts], input: &'a Value) -> anyhow::Result<Action<'a>> {
        Ok(match &self.action {
            Attempt::Call(name) => Action::Call { tool: &find(facts, name)?.identity, input },
            Attempt::Fetch => {
                let (request, address) = self.request()?;
                Action::Fetch { request, address }
            }
            Attempt::Use(secret) => {
                let (request, address) = self.request()?;
                Action::Use { secret, request, address }
            }
            Attempt::Chat(model) => Action::Chat { model, input },
        })
    }

    /// The request, and where it goes.
    fn request(&self) -> anyhow::Result<(&RequestLine, AddressClass)> {
        let Some(request) = &self.request else {
            bail!(
                "`--action {}` is about a request: say which, as in `--request 'GET https://api.example.com/v1'`",
                self.action
            );
        };
        let written = match request.origin().host() {
            HostName::Address(address) => AddressClass::of(*address),
            HostName::Name(name) if name == "localhost" => AddressClass::Loopback,
            HostName::Name(_) => AddressClass::Public,
        };
        Ok((request, self.address.unwrap_or(written)))
    }
}

fn find<'a>(facts: &'a [ToolFacts], name: &str) -> anyhow::Result<&'a ToolFacts> {
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

fn strictness(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Allow => 0,
        Verdict::Ask { .. } => 1,
        Verdict::Deny { .. } => 2,
    }
}

impl Explanation {
    fn show(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        let Self { action, request, address, principal, verdict, policy, grants } = self;
        let action = styled(BOLD, render::plain(action));
        let request = request.as_ref().map_or_else(String::new, |request| format!(" {request}"));
        let address = address.map_or_else(String::new, |class| format!(" ({class} address)"));
        writeln!(out, "{}  {action}{request}{address} for {}", word(verdict), render::plain(principal))?;
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
