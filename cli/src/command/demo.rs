mod keys;
mod mending;
mod refunds;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use casemate::{
    Access, CallError, CallReport, Component, Engine, Folder, Grants, InvalidLimit, Limits, LimitsBuilder, OnExcess,
};
use clap::Args;
use serde_json::{Value, json};

use crate::options::CacheOptions;
use crate::render::{BAD, BOLD, DIM, GOOD, styled};
use crate::source;

/// See Casemate work: an agent that mends a bug and survives its process, tools with rules, a key that nobody sees, and hostile guests that try their tricks
///
/// At a terminal it asks one question. Needs no arguments and no network, and leaves nothing behind but compiled components in the cache.
#[derive(Args)]
pub(crate) struct Demo {}

/// What a hostile guest tries.
struct Trick {
    says: &'static str,
    function: &'static str,
    input: Value,
    limits: fn(LimitsBuilder) -> Result<LimitsBuilder, InvalidLimit>,
    stopped_if: fn(&CallReport) -> bool,
}

impl Demo {
    pub(crate) async fn run(self, cache: &CacheOptions) -> anyhow::Result<ExitCode> {
        let engine = cache.engine().build()?;
        let place = tempfile::tempdir().context("the demo needs a temporary folder")?;
        let project = place.path().join("project");
        std::fs::create_dir(&project)?;
        std::fs::write(place.path().join("secret.txt"), "the neighbour's secret")?;
        std::fs::write(
            project.join("notes.md"),
            "# Notes\n\nA casemate is a vaulted chamber.\nIt has few openings.\n",
        )?;
        #[cfg(unix)]
        std::os::unix::fs::symlink("../secret.txt", project.join("shortcut"))?;

        anstream::println!("{}", styled(BOLD, "1. An agent that mends a bug, and survives its process"));
        let mended = mending::show(&engine, cache, place.path()).await?;

        anstream::println!("{}", styled(BOLD, "2. A useful tool, in a sandbox that sees one folder"));
        let toolbox = source::load(&engine, "toolbox").await?;
        show_tools(&toolbox, &project).await?;

        anstream::println!(
            "\n{}",
            styled(BOLD, "3. An agent that calls tools: granted, denied by a rule, and asked about")
        );
        let ledger = place.path().join("ledger");
        std::fs::create_dir(&ledger)?;
        let governed = refunds::show(&engine, &ledger).await?;

        anstream::println!("\n{}", styled(BOLD, "4. A tool on the web, with a key that the agent never sees"));
        let kept = keys::show(&engine).await?;

        anstream::println!("\n{}", styled(BOLD, "5. Hostile guests, one sandbox each"));
        let hostile = engine.load_bytes(casemate_guests::ADVERSARIAL).await?;
        let grants = Grants::none().folder(Folder::new(&project, "/project", Access::ReadOnly)?)?;
        let tricks = tricks();
        let mut stopped = 0;
        for trick in &tricks {
            stopped += usize::from(show_trick(&engine, &hostile, trick, &grants).await?);
        }
        let nothing_kept = show_forgetting(&hostile).await;
        let contained = summary(stopped + usize::from(nothing_kept), tricks.len() + 1);
        Ok(if mended && contained && governed && kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

async fn show_tools(toolbox: &Component, project: &Path) -> anyhow::Result<()> {
    let folder = Folder::new(project, "/project", Access::ReadWrite)?;
    let calls = [
        ("list-dir", json!({"path": "/project"})),
        ("grep", json!({"pattern": "openings?", "path": "/project"})),
        ("edit-file", json!({"path": "/project/notes.md", "old": "few openings", "new": "a few narrow openings"})),
        ("read-file", json!({"path": "/project/notes.md"})),
    ];
    for (tool, input) in calls {
        let grants = Grants::none().folder(folder.clone())?;
        let report = toolbox.call(tool, input.clone()).grants(grants).report().await;
        let value = report.result?;
        let shown = value.get("diff").and_then(Value::as_str).map_or_else(|| shorten(&value), indent);
        anstream::println!("   {} {}", styled(GOOD, tool), styled(DIM, &input));
        anstream::println!("     {shown}  {}", styled(DIM, millis(report.usage.wall_time)));
    }
    Ok(())
}

fn tricks() -> Vec<Trick> {
    let limit = |report: &CallReport| matches!(report.result, Err(CallError::LimitExceeded(_)));
    let denied = |report: &CallReport| matches!(report.result, Err(CallError::Denied(_)));
    let trick = |says, function, input, stopped_if: fn(&CallReport) -> bool| Trick {
        says,
        function,
        input,
        limits: Ok,
        stopped_if,
    };
    vec![
        Trick {
            limits: |limits| limits.wall_time(Duration::from_millis(200)),
            ..trick("compute for ever", "spin", json!({}), limit)
        },
        Trick { limits: |limits| limits.fuel(10_000_000), ..trick("burn all fuel", "spin", json!({}), limit) },
        Trick {
            limits: |limits| limits.wall_time(Duration::from_millis(100)),
            ..trick("sleep for an hour", "sleep-an-hour", json!({}), limit)
        },
        trick("recurse without end", "recurse", json!({}), limit),
        trick("take all memory", "allocate-without-end", json!({}), limit),
        Trick {
            limits: |limits| limits.output(64 << 10, OnExcess::Fail),
            ..trick("flood the terminal", "flood-forever", json!({}), limit)
        },
        trick("drain the random source", "random-bytes", json!({"len": 1_u64 << 30}), limit),
        trick("hoard a million handles", "hoard-resources", json!({"count": 1_000_000}), limit),
        trick("read the neighbour's file", "open-raw", json!({"path": "../secret.txt"}), denied),
        #[cfg(unix)]
        trick("follow a symlink out", "open-raw", json!({"path": "shortcut"}), denied),
        trick("read an absolute path", "open-raw", json!({"path": "/etc/passwd"}), denied),
        trick("change a read-only file", "truncate-raw", json!({"path": "notes.md"}), denied),
        trick("connect to the machine", "connect", json!({"host": "127.0.0.1", "port": 22}), denied),
        trick("look up a name", "resolve", json!({"name": "example.com"}), denied),
        trick("send an HTTP request", "http-get", json!({"url": "http://example.com/"}), denied),
        trick("read the environment", "environment", json!({}), |report| {
            report.result.as_ref().is_ok_and(|seen| *seen == json!([]))
        }),
        trick("crash the process", "trap", json!({}), |report| matches!(report.result, Err(CallError::Trap(_)))),
    ]
}

async fn show_trick(engine: &Engine, hostile: &Component, trick: &Trick, grants: &Grants) -> anyhow::Result<bool> {
    let limits: Limits = (trick.limits)(engine.limits())?.build();
    let call = hostile.call(trick.function, trick.input.clone()).grants(grants.clone()).limits(limits);
    let report = call.report().await;
    let stopped = (trick.stopped_if)(&report);
    show_row(trick.says, stopped, &how(&report), report.usage.wall_time);
    Ok(stopped)
}

/// A guest counts its calls in its own memory, and always finds that it is the first.
async fn show_forgetting(hostile: &Component) -> bool {
    let first = hostile.call("counter-next", json!({})).report().await;
    let second = hostile.call("counter-next", json!({})).report().await;
    let forgotten = [&first, &second].iter().all(|report| report.result.as_ref().is_ok_and(|count| *count == json!(1)));
    show_row("leave something behind", forgotten, "the next call starts afresh", second.usage.wall_time);
    forgotten
}

fn show_row(says: &str, stopped: bool, how: &str, time: Duration) {
    let mark = if stopped { styled(GOOD, "contained") } else { styled(BAD, "NOT CONTAINED") };
    anstream::println!("   {says:<28} {mark}  {how}  {}", styled(DIM, millis(time)));
}

fn how(report: &CallReport) -> String {
    match &report.result {
        Err(CallError::LimitExceeded(limit)) => format!("limit {}: at most {}", limit.limit, limit.max),
        Err(CallError::Denied(denied)) => match denied.refused.first() {
            Some(refused) => format!("refused: {} {}", refused.what, refused.target),
            None => "refused".to_owned(),
        },
        Err(CallError::Trap(_)) => "the guest trapped; the process did not notice".to_owned(),
        Err(error) => error.to_string(),
        Ok(value) if *value == json!([]) => "it is empty".to_owned(),
        Ok(value) => format!("it got {value}"),
    }
}

/// Whether all was contained.
fn summary(contained: usize, tried: usize) -> bool {
    anstream::println!("\n{}", styled(BOLD, format!("{contained} of {tried} tricks were contained.")));
    anstream::println!(
        "Each ran as native code inside this very process, in a sandbox of its own that was made for one call and\n\
         thrown away: no container, no virtual machine, no server. A sandbox sees the folders, variables and arguments\n\
         that you grant, and nothing else.\n\n\
         Next: {}   an agent on this very folder\n      {}   what a component offers and wants\n      {}   how to call one",
        styled(BOLD, "casemate run chat --help"),
        styled(BOLD, "casemate inspect toolbox"),
        styled(BOLD, "casemate call --help    "),
    );
    contained == tried
}

fn shorten(value: &Value) -> String {
    const WIDTH: usize = 100;
    let text = value.to_string();
    if text.chars().count() <= WIDTH { text } else { text.chars().take(WIDTH - 1).chain(['…']).collect() }
}

fn indent(text: &str) -> String {
    text.trim_end().replace('\n', "\n     ")
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
