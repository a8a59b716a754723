//! A run, and the processes that execute it one after the other, each killed at a moment of its own.
//!
//! The tools of the run, and the server that it speaks to, write each of their deeds down, so that it can be told
//! afterwards what happened how often. A process that was killed is followed by another one, until the run is finished;
//! what is in doubt is settled by what was written down.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use casemate::storage::{SqliteStorage, Storage};
use casemate::{
    Agent, Annotations, Answer, ErrorKind, Event, EventKind, Gate, Models, PlaygroundModel, Run, RunId, RunRequest,
    RunStatus, Runs, Settlement, Tool, WaitingOn,
};
use futures_util::FutureExt as _;
use serde_json::{Value, json};

use super::support::{
    Folder, Hooked, all_events, builder, eventually, in_doubt, is_numbered, is_reproduced, is_whole, onlooker, puppet,
    run as block_on, worker,
};
use crate::server::{Reply, Server};
use crate::support::{Anything, engine, granted, toolset};

/// Where a child has the storage and the deeds of its run.
pub(super) const FOLDER: &str = "CASEMATE_CRASH_FOLDER";

/// At which of its steps a child kills itself, from 1.
pub(super) const AT_STEP: &str = "CASEMATE_CRASH_AT_STEP";

/// After how many microseconds a child kills itself.
pub(super) const AFTER: &str = "CASEMATE_CRASH_AFTER_US";

/// At which of its steps the server kills the child that speaks to it, from 1.
pub(super) const AT_SERVER: &str = "at the server";

/// Writes down what was done.
#[derive(Clone)]
pub(super) struct Deeds(PathBuf);

impl Deeds {
    pub(super) fn of(folder: &Path) -> Self {
        Self(folder.join("deeds"))
    }

    /// One line, durable.
    pub(super) fn add(&self, tool: &str, key: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0).unwrap();
        file.write_all(format!("{tool} {key}\n").as_bytes()).unwrap();
        file.sync_data().unwrap();
    }

    /// How often each was done.
    pub(super) fn counted(&self) -> BTreeMap<String, usize> {
        let mut counted = BTreeMap::new();
        for line in std::fs::read_to_string(&self.0).unwrap_or_default().lines() {
            *counted.entry(line.to_owned()).or_default() += 1;
        }
        counted
    }
}

/// Counts the steps of a child, which ends at one of them.
pub(super) struct Steps {
    taken: AtomicU64,
    last: Option<u64>,
}

impl Steps {
    pub(super) fn of_env() -> Arc<Self> {
        let last = std::env::var(AT_STEP).ok().map(|number| number.parse().unwrap());
        Arc::new(Self { taken: AtomicU64::new(0), last })
    }

    /// None of them kills.
    pub(super) fn none() -> Arc<Self> {
        Arc::new(Self { taken: AtomicU64::new(0), last: None })
    }

    pub(super) fn take(&self) {
        if Some(self.taken.fetch_add(1, Ordering::SeqCst) + 1) == self.last {
            die();
        }
    }
}

/// As whoever pulls the plug would have it.
pub(super) fn die() -> ! {
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
    loop {
        std::thread::park();
    }
}

fn die_after(time: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(time);
        die();
    });
}

/// A tool that writes down what it does, and can be killed before and after.
pub(super) fn tool(name: &'static str, deeds: &Deeds, steps: &Arc<Steps>) -> Tool {
    let (deeds, steps) = (deeds.clone(), steps.clone());
    Tool::new(name, move |input: Anything| {
        let (deeds, steps) = (deeds.clone(), steps.clone());
        async move {
            let key = input.members["key"].as_str().unwrap().to_owned();
            steps.take();
            deeds.add(name, &key);
            steps.take();
            if name == "wrong" { Err("it went wrong".to_owned()) } else { Ok(result_of(&key)) }
        }
    })
}

/// What every tool answers, so that whoever settles can say the same.
pub(super) fn result_of(key: &str) -> Value {
    json!({"done": key})
}

/// The agent of the run that has its things in that folder.
pub(super) async fn agent(folder: &Path, steps: &Arc<Steps>) -> Agent {
    let deeds = &Deeds::of(folder);
    let read_only = Annotations { read_only: true, ..Annotations::default() };
    let idempotent = Annotations { idempotent: true, ..Annotations::default() };
    let tools = [
        tool("once", deeds, steps),
        tool("wrong", deeds, steps),
        tool("careful", deeds, steps),
        tool("read", deeds, steps).annotations(read_only),
        tool("same", deeds, steps).annotations(idempotent),
        Tool::new("deadly", |_: Anything| async { if true { die() } else { Ok::<_, String>(Value::Null) } })
            .annotations(idempotent),
    ];
    let grants = granted(&["once", "wrong", "read", "same", "deadly"]);
    let grants = grants.tool_after_asking("careful", "May it?").unwrap().model("play").unwrap();
    let grants = match std::fs::read_to_string(folder.join(SERVER)) {
        Ok(server) => grants.host(server.parse().unwrap()),
        Err(_) => grants,
    };
    let gate = Gate::builder().approval_time(Duration::from_secs(30)).build();
    let models = Models::new().with("play", PlaygroundModel).unwrap();
    puppet().await.tools(toolset(tools)).grants(grants).models(models).gate(&gate)
}

/// The name of the file that says where the server is.
const SERVER: &str = "server";

/// A server that writes down what it is asked for, and can kill whoever asks.
struct Outside {
    server: Server,
    victim: Arc<Victim>,
}

#[derive(Default)]
struct Victim {
    pid: AtomicI32,
    steps_left: AtomicU64,
}

impl Victim {
    fn step(&self) {
        let left = self.steps_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left == Ok(1) {
            let pid = rustix::process::Pid::from_raw(self.pid.load(Ordering::SeqCst)).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
}

impl Outside {
    fn start(folder: &Path) -> Self {
        let (deeds, victim) = (Deeds::of(folder), Arc::<Victim>::default());
        let own = victim.clone();
        let server = Server::start(move |request| {
            let deed = format!("{} {}", request.method, request.target);
            own.step();
            deeds.add(&request.method, &request.target);
            own.step();
            if request.target == "/never" {
                // Until whoever asked is gone.
                return Reply::by(|stream| {
                    stream.read(&mut [0]).and(Err(std::io::ErrorKind::ConnectionAborted.into()))
                });
            }
            let victim = own.clone();
            Reply::by(move |stream| {
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n")?;
                victim.step();
                write!(stream, "content-length: {}\r\n\r\n", deed.len())?;
                victim.step();
                let (one, other) = deed.split_at(3);
                stream.write_all(one.as_bytes())?;
                victim.step();
                stream.write_all(other.as_bytes())
            })
        });
        std::fs::write(folder.join(SERVER), server.url("")).unwrap();
        Self { server, victim }
    }

    /// Kills that process at that step, from 1; at none where it is 0.
    fn kill_at(&self, step: u64, process: &std::process::Child) {
        self.victim.steps_left.store(0, Ordering::SeqCst);
        self.victim.pid.store(i32::try_from(process.id()).unwrap(), Ordering::SeqCst);
        self.victim.steps_left.store(step, Ordering::SeqCst);
    }
}

/// Executes the run until it is finished, or needs somebody.
pub(super) fn play(folder: &Path) -> ! {
    block_on(async {
        let storage = SqliteStorage::open(folder.join("runs.db")).unwrap();
        let id: RunId = std::fs::read_to_string(folder.join("run")).unwrap().parse().unwrap();
        let steps = Steps::of_env();
        let agent = agent(folder, &steps).await;
        let hooked = stepping(storage, &steps);
        if let Ok(after) = std::env::var(AFTER) {
            die_after(Duration::from_micros(after.parse().unwrap()));
        }
        let runs = builder(engine(), Arc::new(hooked), agent).build();
        let run = runs.run(id);
        assert!(eventually(|| needs_somebody(&runs, &run)).await, "{:?}", run.summary().await);
    });
    std::process::exit(0)
}

/// A storage that can be killed before and after each change.
pub(super) fn stepping<S: Storage>(storage: S, steps: &Arc<Steps>) -> Hooked<S> {
    let steps = steps.clone();
    Hooked::new(storage, move |_| {
        let steps = steps.clone();
        async move { steps.take() }.boxed()
    })
}

/// Whether nothing becomes of it unless somebody does something, or ever.
async fn needs_somebody(runs: &Runs, run: &Run) -> bool {
    let summary = run.summary().await.unwrap();
    match (summary.status, summary.waiting_on) {
        (status, _) if status.is_finished() => true,
        (RunStatus::Paused, _) | (RunStatus::Waiting, Some(WaitingOn::InDoubt)) => true,
        (RunStatus::Waiting, Some(WaitingOn::Approval)) => !runs.approvals(Some(run.id()), 1).await.unwrap().is_empty(),
        _ => false,
    }
}

/// This test once more, in a process of its own.
pub(super) struct Child(Command);

impl Child {
    pub(super) fn of(test: &str, folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--include-ignored"]);
        command.env(FOLDER, folder).env_remove(AT_STEP).env_remove(AFTER).stdout(Stdio::null());
        command.stderr(File::create(folder.join("log")).unwrap());
        Self(command)
    }

    /// One that is to be killed then.
    pub(super) fn spawn(mut self, kill: &[(&str, u64)]) -> std::process::Child {
        self.0.envs(kill.iter().map(|(how, number)| (how, number.to_string())));
        self.0.spawn().unwrap()
    }

    /// Whether it was killed, and did not come to its end before.
    pub(super) fn dies(self, kill: &[(&str, u64)], folder: &Path) -> bool {
        has_died(self.spawn(kill).wait().unwrap(), folder)
    }
}

/// Whether it was killed; otherwise it ended well.
fn has_died(status: ExitStatus, folder: &Path) -> bool {
    if std::os::unix::process::ExitStatusExt::signal(&status) == Some(9) {
        return true;
    }
    let said = std::fs::read_to_string(folder.join("log")).unwrap();
    assert!(status.success(), "{status}: {said}");
    false
}

/// One run, and the processes that execute it one after the other.
pub(super) struct Scene {
    pub(super) folder: Folder,
    outside: Outside,
    test: &'static str,
    pub(super) run: RunId,
    pub(super) kills: usize,
    pub(super) settled: usize,
}

impl Scene {
    /// In the lines `{url}` stands for where the server is.
    pub(super) async fn new(test: &'static str, lines: &str) -> Self {
        let folder = Folder::new();
        let outside = Outside::start(folder.path());
        let agent = agent(folder.path(), &Steps::of_env()).await;
        let runs = worker(folder.open(), agent);
        // What is started from now on is for others to execute.
        runs.shutdown().await;
        let run = runs.start("puppet", RunRequest::new(lines.replace("{url}", &outside.server.url("")))).await.unwrap();
        run.send_input("yes").await.unwrap();
        std::fs::write(folder.path().join("run"), run.id().to_string()).unwrap();
        Self { folder, outside, test, run: run.id(), kills: 0, settled: 0 }
    }

    /// A process, until it ends by itself or is killed.
    pub(super) fn child(&mut self, kill: Option<(&str, u64)>) {
        self.folder.expire_all();
        let (at_server, other) = match kill {
            Some((AT_SERVER, step)) => (step, None),
            other => (0, other),
        };
        let mut child = Child::of(self.test, self.folder.path()).spawn(other.as_slice());
        self.outside.kill_at(at_server, &child);
        self.kills += usize::from(has_died(child.wait().unwrap(), self.folder.path()));
    }

    /// Does what a person would do, and answers whether the run is finished.
    async fn help(&mut self) -> bool {
        let runs = onlooker(self.folder.open());
        let run = runs.run(self.run);
        let summary = run.summary().await.unwrap();
        for approval in runs.approvals(Some(self.run), 9).await.unwrap() {
            runs.decide(approval.request.id, Answer::Approve, "ada").await.unwrap();
        }
        if summary.waiting_on == Some(WaitingOn::InDoubt) {
            self.settle(&run).await;
        }
        runs.shutdown().await;
        summary.status.is_finished()
    }

    /// Says of everything in doubt what the tools wrote down of it.
    async fn settle(&mut self, run: &Run) {
        let deeds = Deeds::of(self.folder.path()).counted();
        for (id, tool, key) in in_doubt(run).await {
            let deed = format!("{tool} {key}");
            let result = if key.starts_with('/') { json!({"status": 200, "body": deed}) } else { result_of(&key) };
            let settlement = match deeds.get(&deed) {
                Some(_) => Settlement::Happened { result: Arc::new(result) },
                None => Settlement::DidNotHappen,
            };
            run.settle(id, settlement, "ada").await.unwrap();
            self.settled += 1;
        }
    }

    /// Has processes execute it until it is finished, those first ones killed that way.
    pub(super) async fn finish(&mut self, kills: impl IntoIterator<Item = (&'static str, u64)>) {
        let mut kills = kills.into_iter();
        for _ in 0..10_000 {
            let kill = kills.next();
            self.child(kill);
            if self.help().await {
                return;
            }
        }
        panic!("it does not come to its end");
    }

    /// Everything that has to be true in the end; answers with what the agent did and said.
    pub(super) async fn check(&self) -> Story {
        let storage = self.folder.open();
        is_whole(storage.as_ref(), self.run).await;
        let server = self.outside.server.url("");
        let effects = own_effects(storage.as_ref(), self.run).await;
        let effects = effects.into_iter().map(|effect| effect.replace(&server, "")).collect();
        let output = self.output().await;
        Story { output: masked(&output), effects }
    }

    /// What has to be true also where it is left to time which effects there are; answers with what the agent said.
    pub(super) async fn output(&self) -> String {
        let runs = onlooker(self.folder.open());
        let run = runs.run(self.run);
        let (summary, events) = (run.summary().await.unwrap(), all_events(&run).await);
        assert_eq!(summary.status, RunStatus::Completed, "{:?} {events:#?}", summary.failure);
        is_numbered(&events);
        every_effect_happened(&events, Deeds::of(self.folder.path()).counted());
        is_reproduced(&run).await;
        runs.shutdown().await;
        summary.output.unwrap()
    }
}

/// What cannot be repeated happened once, all else at least once, and nothing that is not recorded. What was given up may
/// not have happened.
pub(super) fn every_effect_happened(events: &[Event], mut deeds: BTreeMap<String, usize>) {
    let mut begun = BTreeMap::new();
    for event in events {
        match &event.kind {
            EventKind::ToolCall { id, tool, input, .. } => {
                let is_repeatable = ["read", "same"].contains(&tool.as_str());
                begun.insert(*id, (format!("{tool} {}", input["key"].as_str().unwrap()), is_repeatable, true));
            }
            EventKind::Fetch { id, request, .. } => {
                let is_repeatable = request.method() != "POST";
                begun.insert(*id, (format!("{} {}", request.method(), request.path()), is_repeatable, true));
            }
            EventKind::Error { id, kind: ErrorKind::Cancelled, .. } => {
                begun.entry(*id).and_modify(|(_, _, was_wanted)| *was_wanted = false);
            }
            _ => {}
        }
    }
    for (deed, is_repeatable, was_wanted) in begun.into_values() {
        let times = deeds.remove(&deed).unwrap_or_default();
        assert!(times <= 1 || is_repeatable, "`{deed}` happened {times} times");
        assert!(times > 0 || !was_wanted, "`{deed}` did not happen");
    }
    assert!(deeds.is_empty(), "what is recorded nowhere: {deeds:?}");
}

/// What an agent did and said, without what differs from one run to another.
#[derive(Debug, PartialEq)]
pub(super) struct Story {
    output: String,
    effects: Vec<String>,
}

/// The agent's own effects in the order of its program, which is about that in which they began.
async fn own_effects(storage: &dyn Storage, run: RunId) -> Vec<String> {
    const AT_ONCE: usize = 3;
    let entries = storage.read(run, 1, usize::MAX >> 1).await.unwrap();
    let traces = entries.iter().map(|entry| serde_json::from_str::<Value>(&entry.text).unwrap()["trace"].clone());
    let began: Vec<_> = traces.filter_map(|trace| Some((trace["position"].as_u64()?, trace["deed"].clone()))).collect();
    for ((position, deed), number) in began.iter().zip(1_usize..) {
        let position = usize::try_from(*position).unwrap();
        assert!(position.abs_diff(number) < AT_ONCE, "effect {position} began as number {number}: {deed}");
    }
    let in_order: BTreeMap<_, _> = began.into_iter().collect();
    in_order.into_values().map(|deed| format!("{} {}", deed["kind"], deed["name"])).collect()
}

/// What is said, without times and random numbers, and as whoever settled would have had it.
fn masked(output: &str) -> String {
    let mut masked = String::new();
    let mut digits = 0;
    for letter in output.chars() {
        digits = if letter.is_ascii_digit() { digits + 1 } else { 0 };
        masked.push(letter);
        if digits == LONG_NUMBER {
            masked.truncate(masked.len() - LONG_NUMBER);
            masked.push('#');
        } else if digits > LONG_NUMBER {
            masked.pop();
        }
    }
    masked.replace("failed: it went wrong", r#"{"done":"h"}"#)
}

/// Digits of the shortest number that is a time or random.
const LONG_NUMBER: usize = 8;

/// What decides random moments.
pub(super) const SEED: &str = "CASEMATE_CRASH_SEED";

pub(super) fn number_of(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().unwrap())
}

pub(super) fn of_env() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}
