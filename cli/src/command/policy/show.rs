mod secrets;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use casemate::{Access, ContentHash, Grants, HostGrant, Limits, Policy, Tool, ToolSource};
use clap::Args;
use serde::Serialize;

use secrets::SecretView;

use crate::options::{CacheOptions, DataOptions, SandboxOptions};
use crate::render::{self, BAD, BOLD, DIM, GOOD, WARN, styled};
use crate::setup::Setup;

/// Show what the sandbox of a component may do, with the flags about it that `call` and `run` take
///
/// Nothing is called. Of variables only the names are shown. An agent is granted the models that are bound, as it is by
/// `run`; its workspace, which its tools have at `/workspace`, is not shown.
#[derive(Args)]
#[command(after_help = "\
Examples:
  casemate policy show toolbox --dir .::/src
  casemate policy show agent.wasm --tool refund=ledger.wasm#refund --allow-tool refund --policy rules.cedar
  casemate policy show chat --model playground --tools toolbox --ask-tool write-file
  casemate policy show planner.wasm --json")]
pub(crate) struct Show {
    /// A component, or `toolbox` or `chat` for the built-in ones
    file: String,
    #[command(flatten)]
    sandbox: SandboxOptions,
    /// Print one JSON object
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// What a sandbox may do.
#[derive(Serialize)]
struct View {
    component: ContentHash,
    principal: String,
    folders: Vec<FolderView>,
    variables: Vec<String>,
    arguments: Vec<String>,
    stdin_bytes: usize,
    /// By the names under which the guest sees them.
    tools: BTreeMap<String, ToolView>,
    /// What serves each imported function; nothing where it is `null`.
    imports: BTreeMap<String, Option<ToolView>>,
    /// By the names that grants and rules know them by, the default first.
    models: Vec<ModelView>,
    /// The HTTP requests that may leave.
    hosts: Vec<HostView>,
    /// By name: those that are granted or declared.
    secrets: BTreeMap<String, SecretView>,
    /// The version of the rules, where there are any.
    policy: Option<String>,
}

#[derive(Serialize)]
struct FolderView {
    guest: String,
    host: String,
    access: &'static str,
}

#[derive(Serialize)]
struct ToolView {
    /// Its own name, which grants and rules write.
    name: String,
    source: ToolSource,
    #[serde(flatten)]
    standing: Standing,
}

#[derive(Serialize)]
struct ModelView {
    name: String,
    #[serde(flatten)]
    standing: Standing,
}

/// How far a tool can be called, or a model asked, at all.
#[derive(Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
enum Standing {
    Granted,
    /// A person is asked each time.
    Asks {
        question: String,
    },
    NotGranted {
        allow: String,
    },
    /// It is granted, and the rules deny it whatever its input.
    Forbidden,
}

/// Requests that may leave.
#[derive(Serialize)]
struct HostView {
    /// As `--allow-host` has them.
    requests: String,
    /// What a person is asked each time; `null` where nobody is.
    question: Option<String>,
}

impl HostView {
    fn of(grant: &HostGrant) -> Self {
        Self { requests: grant.to_string(), question: grant.question().map(str::to_owned) }
    }

    fn text(&self) -> String {
        let Self { requests, question } = self;
        let standing = match question {
            None => styled(GOOD, "granted"),
            Some(question) => format!("{} {}", styled(WARN, "asks:"), render::plain(question)),
        };
        format!("{requests:<12}  {standing}")
    }
}

impl Show {
    pub(super) async fn run(self, cache: &CacheOptions, data: &DataOptions) -> anyhow::Result<ExitCode> {
        let engine = cache.engine().build()?;
        let setup = Setup::load(&engine, &self.file, self.sandbox, Limits::default(), data).await?;
        let exports = setup.component.description().exports;
        let is_agent = exports.iter().any(|export| export.starts_with("casemate:agent/handler@"));
        let setup = if is_agent { setup.granting_models()? } else { setup };
        let view = View::of(&setup);
        let mut out = anstream::stdout().lock();
        if self.json {
            writeln!(out, "{:#}", serde_json::to_value(&view)?)?;
        } else {
            view.show(&mut out, &self.file)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl View {
    fn of(setup: &Setup) -> Self {
        let Setup { component, grants, secrets, binding, models, policy, principal, .. } = setup;
        let folders = grants.folders().iter().map(|folder| FolderView {
            guest: folder.guest().to_owned(),
            host: folder.host().display().to_string(),
            access: match folder.access() {
                Access::ReadOnly => "read-only",
                Access::ReadWrite => "read-write",
            },
        });
        let tool = |tool: &Tool| ToolView {
            name: tool.name().to_owned(),
            source: tool.identity().source.clone(),
            standing: Standing::of(tool, grants, policy.as_ref()),
        };
        Self {
            component: component.hash(),
            principal: principal.id().to_owned(),
            folders: folders.collect(),
            variables: grants.variables().iter().map(|(name, _)| name.clone()).collect(),
            arguments: grants.arguments().to_vec(),
            stdin_bytes: grants.input().len(),
            tools: binding.tools.tools().map(|(name, bound)| (name.to_owned(), tool(bound))).collect(),
            imports: binding.imports.functions().map(|(name, server)| (name, server.map(tool))).collect(),
            models: models.names().map(|name| ModelView::of(name, grants)).collect(),
            hosts: grants.hosts().iter().map(HostView::of).collect(),
            secrets: secrets::views(grants, secrets),
            policy: policy.as_ref().map(|policy| policy.version().to_owned()),
        }
    }
}

impl ModelView {
    fn of(name: &str, grants: &Grants) -> Self {
        let standing = match grants.find_model(name) {
            Some(grant) => Standing::granted(grant.question()),
            None => Standing::NotGranted { allow: render::flag("--allow-model", name) },
        };
        Self { name: name.to_owned(), standing }
    }
}

impl Standing {
    fn granted(question: Option<&str>) -> Self {
        question.map_or(Self::Granted, |question| Self::Asks { question: question.to_owned() })
    }

    fn of(tool: &Tool, grants: &Grants, policy: Option<&impl Policy>) -> Self {
        let Some(grant) = grants.find_tool(tool.name()) else {
            return Self::NotGranted { allow: render::flag("--allow-tool", tool.name()) };
        };
        if policy.is_some_and(|policy| !policy.could_allow(tool.identity())) {
            return Self::Forbidden;
        }
        Self::granted(grant.question())
    }

    fn text(&self) -> String {
        match self {
            Self::Granted => styled(GOOD, "granted"),
            Self::Asks { question } => format!("{} {}", styled(WARN, "asks:"), render::plain(question)),
            Self::NotGranted { allow } => {
                format!("{}, allow it with `{}`", styled(BAD, "not granted"), render::plain(allow))
            }
            Self::Forbidden => format!("{} whatever its input", styled(BAD, "denied by the rules")),
        }
    }
}

impl View {
    fn show(&self, out: &mut impl std::io::Write, file: &str) -> std::io::Result<()> {
        writeln!(out, "{} {}", styled(BOLD, render::plain(file)), styled(DIM, self.component))?;
        writeln!(out, "on behalf of {}", render::plain(&self.principal))?;
        section(
            out,
            "Folders",
            self.folders.iter().map(|folder| {
                let FolderView { guest, host, access } = folder;
                format!("{}  {access}, from {}", render::plain(guest), render::plain(host))
            }),
        )?;
        section(out, "Variables", self.variables.iter().map(|name| render::plain(name).into_owned()))?;
        if !self.arguments.is_empty() {
            section(out, "Arguments", self.arguments.iter().map(|argument| render::plain(argument).into_owned()))?;
        }
        if self.stdin_bytes > 0 {
            section(out, "Standard input", [format!("{} bytes", self.stdin_bytes)].into_iter())?;
        }
        section(out, "Tools", self.tools.iter().map(|(name, tool)| tool.text(name)))?;
        section(
            out,
            "Imports",
            self.imports.iter().map(|(name, tool)| match tool {
                Some(tool) => format!("{name}\n    served by {}", tool.text(&tool.name)),
                None => format!("{name}\n    nothing serves it, bind it with `--tool {name}=SOURCE`"),
            }),
        )?;
        section(
            out,
            "Models",
            self.models.iter().map(|ModelView { name, standing }| format!("{name:<12}  {}", standing.text())),
        )?;
        section(out, "Hosts", self.hosts.iter().map(HostView::text))?;
        section(out, "Secrets", self.secrets.iter().map(|(name, secret)| secret.text(name)))?;
        match &self.policy {
            Some(version) => section(out, "Rules", [format!("version {version}")].into_iter()),
            None => section(out, "Rules", std::iter::once("none: the grants alone decide".to_owned())),
        }
    }
}

impl ToolView {
    fn text(&self, shown: &str) -> String {
        let own = if shown == self.name { String::new() } else { format!(" (as {})", self.name) };
        format!("{shown:<12}{own}  {}  {}", self.standing.text(), styled(DIM, render::tool_source(&self.source)))
    }
}

fn section(out: &mut impl std::io::Write, title: &str, lines: impl Iterator<Item = String>) -> std::io::Result<()> {
    writeln!(out, "\n{}", styled(BOLD, title))?;
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return writeln!(out, "  none");
    }
    lines.try_for_each(|line| writeln!(out, "  {line}"))
}
