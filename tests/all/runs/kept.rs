//! Journals that earlier versions wrote: each later one has to go on with them.
//!
//! `tests/kept/journal-1.db` was written by format 1. A new format gets a new file, made by
//! `CASEMATE_KEEP_JOURNAL=tests/kept/journal-N.db cargo test -p casemate-tests --test all runs::kept`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use casemate::storage::{RunFilter, SqliteStorage};
use casemate::{Agent, Models, PlaygroundModel, ReplayEnd, Run, RunRequest, RunStatus, Runs, WaitingOn};

use super::run;
use super::support::settled;
use crate::support::{counting, engine, toolset};

const TEXT: &str = "list\nthink about it\ncall lookup {\"order\": \"A-1\"}\ncall-all lookup {\"order\": \"A-2\"}\n\
    call nothing {}\nchat say hello\nsleep 5\nnow\nrandom\nsay and so on\nask which?\ncall lookup {\"order\": \"A-3\"}\nnow";

fn agent() -> (Agent, Arc<std::sync::atomic::AtomicUsize>) {
    agent_of(casemate_guests::PUPPET.to_vec())
}

/// Blanks the names of files of whoever built it.
fn without_paths(component: &[u8]) -> Vec<u8> {
    let (mut bytes, needle) = (component.to_vec(), b"/.cargo/registry/src/");
    let found: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    for at in found {
        let begin = bytes[..at].iter().rposition(|byte| *byte == b'/').unwrap_or(at);
        let folder = at + needle.len();
        let end = folder + bytes[folder..].iter().position(|byte| *byte == b'/').unwrap_or(0);
        bytes[begin..end].fill(b'_');
    }
    bytes
}

fn agent_of(puppet: Vec<u8>) -> (Agent, Arc<std::sync::atomic::AtomicUsize>) {
    let (tool, count) = counting("lookup");
    let grants = casemate::Grants::none().tool("lookup").unwrap().model("play").unwrap();
    let models = Models::new().with("play", PlaygroundModel).unwrap();
    let agent =
        engine().block_on(Agent::load(engine(), puppet)).unwrap().tools(toolset([tool])).models(models).grants(grants);
    (agent, count)
}

fn runs(file: &Path, agent: Agent) -> Runs {
    let storage = SqliteStorage::open(file).unwrap();
    Runs::builder(engine(), Arc::new(storage)).agent("puppet", agent).grace(Duration::ZERO).build()
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kept");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "db"));
    assert!(!files.is_empty());
    files
}

async fn waiting(runs: &Runs) -> Run {
    tokio::time::timeout(Duration::from_secs(20), found(runs)).await.expect("it waits")
}

async fn found(runs: &Runs) -> Run {
    loop {
        let filter = RunFilter { statuses: vec![RunStatus::Waiting], ..RunFilter::default() };
        let page = runs.list(filter, 10, None).await.unwrap();
        if let Some(run) = page.items.iter().find(|run| run.waiting_on == Some(WaitingOn::Input)) {
            return runs.run(run.id);
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn what_earlier_versions_wrote_is_gone_on_with() {
    let (agent, count) = agent();
    for file in files() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("runs.db");
        std::fs::copy(&file, &copy).unwrap();
        let agent = agent.clone();
        let before = count.load(Ordering::SeqCst);
        run(async {
            let runs = runs(&copy, agent);
            let run = waiting(&runs).await;
            assert_eq!(run.replay().await.unwrap().end, ReplayEnd::UpToNow);
            run.send_input("this one").await.unwrap();
            let summary = settled(&run).await;
            assert_eq!(summary.status, RunStatus::Completed, "{}: {:?}", file.display(), summary.failure);
            assert_eq!(run.replay().await.unwrap().end, ReplayEnd::Reproduced { output: summary.output });
            runs.shutdown().await;
        });
        assert_eq!(count.load(Ordering::SeqCst) - before, 1);
    }
}

#[test]
fn a_journal_is_kept_where_somebody_wants_one() {
    let Some(file) = std::env::var_os("CASEMATE_KEEP_JOURNAL") else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let (agent, _) = agent_of(without_paths(casemate_guests::PUPPET));
    run(async {
        let runs = runs(&file, agent);
        runs.start("puppet", RunRequest::new(TEXT)).await.unwrap();
        waiting(&runs).await;
        runs.shutdown().await;
    });
    // All of it is in the file once the last connection is closed.
    while file.with_extension("db-wal").exists() {
        std::thread::yield_now();
    }
}
