//! Processes that are killed while they execute a run, at each step of an effect and at random moments.
//!
//! The tools of the run write each of their deeds down, so that it can be told afterwards what happened how often. A
//! process that was killed is followed by another one, until the run is finished; what is in doubt is settled by what
//! the tools wrote.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use casemate::storage::{SqliteStorage, Storage};
use casemate::{
    Agent, Annotations, Answer, EventKind, Gate, Models, PlaygroundModel, Run, RunId, RunRequest, RunStatus, Runs,
    Settlement, Tool, WaitingOn,
};
use futures_util::FutureExt as _;
use serde_json::{Value, json};

use super::support::{
    Folder, Hooked, all_events, builder, eventually, in_doubt, is_reproduced, is_whole, onlooker, puppet,
    run as block_on, worker,
};
use crate::support::{Anything, engine, granted, toolset};

/// Where a child has the storage and the deeds of its run.
const FOLDER: &str = "CASEMATE_CRASH_FOLDER";

/// At which of its steps a child kills itself, from 1.
const AT_STEP: &str = "CASEMATE_CRASH_AT_STEP";

/// After how many microseconds a child kills itself.
const AFTER: &str = "CASEMATE_CRASH_AFTER_US";

/// How many kills at random there are.
const ROUNDS: &str = "CASEMATE_CRASH_ROUNDS";

/// What decides the random moments.
const SEED: &str = "CASEMATE_CRASH_SEED";

/// One of each kind of effect.
const SHORT: &str = r#"think begin
list
call once {"key": "a"}
call read {"key": "b"}
call same {"key": "c"}
call-keys once d e f
chat say hello
call once {"key": "$now-$random"}
ask ready?
sleep 2
call careful {"key": "g"}
call wrong {"key": "h"}
call nowhere {}
now
random"#;

/// Some fifty effects.
fn long() -> String {
    let round = |n: usize| {
        format!(
            "think round {n}\ncall once {{\"key\": \"a{n}\"}}\ncall read {{\"key\": \"b{n}\"}}\n\
             call same {{\"key\": \"c{n}\"}}\ncall-keys once d{n} e{n} f{n}\n\
             call once {{\"key\": \"$now-$random-{n}\"}}\nchat say hello {n}"
        )
    };
    let rounds: Vec<_> = (0..5).map(round).collect();
    let [one, two, three, four, five] = rounds.as_slice() else { unreachable!() };
    let careful = "call careful {\"key\": \"g\"}";
    format!("list\n{one}\nask ready?\n{two}\nsleep 3\nnow\n{three}\n{careful}\n{four}\nrandom\nsleep 1\n{five}")
}

/// Writes down what tools did.
#[derive(Clone)]
struct Deeds(PathBuf);

impl Deeds {
    fn of(folder: &Path) -> Self {
        Self(folder.join("deeds"))
    }

    /// One line, durable.
    fn add(&self, tool: &str, key: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0).unwrap();
        file.write_all(format!("{tool} {key}\n").as_bytes()).unwrap();
        file.sync_data().unwrap();
    }

    /// How often each was done.
    fn counted(&self) -> BTreeMap<String, usize> {
        let mut counted = BTreeMap::new();
        for line in std::fs::read_to_string(&self.0).unwrap_or_default().lines() {
            *counted.entry(line.to_owned()).or_default() += 1;
        }
        counted
    }
}

/// Counts the steps of a child, which ends at one of them.
struct Steps {
    taken: AtomicU64,
    last: Option<u64>,
}

impl Steps {
    fn of_env() -> Arc<Self> {
        let last = std::env::var(AT_STEP).ok().map(|number| number.parse().unwrap());
        Arc::new(Self { taken: AtomicU64::new(0), last })
    }

    fn take(&self) {
        if Some(self.taken.fetch_add(1, Ordering::SeqCst) + 1) == self.last {
            die();
        }
    }
}

/// As whoever pulls the plug would have it.
fn die() -> ! {
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
fn tool(name: &'static str, deeds: &Deeds, steps: &Arc<Steps>) -> Tool {
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
fn result_of(key: &str) -> Value {
    json!({"done": key})
}

async fn agent(deeds: &Deeds, steps: &Arc<Steps>) -> Agent {
    let read_only = Annotations { read_only: true, ..Annotations::default() };
    let idempotent = Annotations { idempotent: true, ..Annotations::default() };
    let tools = [
        tool("once", deeds, steps),
        tool("wrong", deeds, steps),
        tool("careful", deeds, steps),
        tool("read", deeds, steps).annotations(read_only),
        tool("same", deeds, steps).annotations(idempotent),
    ];
    let grants = granted(&["once", "wrong", "read", "same"]);
    let grants = grants.tool_after_asking("careful", "May it?").unwrap().model("play").unwrap();
    let gate = Gate::builder().approval_time(Duration::from_secs(30)).build();
    let models = Models::new().with("play", PlaygroundModel).unwrap();
    puppet().await.tools(toolset(tools)).grants(grants).models(models).gate(&gate)
}

/// Executes the run until it is finished, or needs somebody.
fn play(folder: &Path) -> ! {
    block_on(async {
        let storage = SqliteStorage::open(folder.join("runs.db")).unwrap();
        let id: RunId = std::fs::read_to_string(folder.join("run")).unwrap().parse().unwrap();
        let (deeds, steps) = (Deeds::of(folder), Steps::of_env());
        let agent = agent(&deeds, &steps).await;
        let hooked = Hooked::new(storage, move |_| {
            let steps = steps.clone();
            async move { steps.take() }.boxed()
        });
        if let Ok(after) = std::env::var(AFTER) {
            die_after(Duration::from_micros(after.parse().unwrap()));
        }
        let runs = builder(engine(), Arc::new(hooked), agent).build();
        let run = runs.run(id);
        assert!(eventually(|| needs_somebody(&runs, &run)).await, "{:?}", run.summary().await);
    });
    std::process::exit(0)
}

/// Whether nothing becomes of it unless somebody does something, or ever.
async fn needs_somebody(runs: &Runs, run: &Run) -> bool {
    let summary = run.summary().await.unwrap();
    match (summary.status, summary.waiting_on) {
        (status, _) if status.is_finished() => true,
        (RunStatus::Waiting, Some(WaitingOn::InDoubt)) => true,
        (RunStatus::Waiting, Some(WaitingOn::Approval)) => !runs.approvals(Some(run.id()), 1).await.unwrap().is_empty(),
        _ => false,
    }
}

/// One run, and the processes that execute it one after the other.
struct Scene {
    folder: Folder,
    test: &'static str,
    run: RunId,
    kills: usize,
    settled: usize,
}

impl Scene {
    async fn new(test: &'static str, lines: &str) -> Self {
        let folder = Folder::new();
        let agent = agent(&Deeds::of(folder.path()), &Steps::of_env()).await;
        let runs = worker(folder.open(), agent);
        // What is started from now on is for others to execute.
        runs.shutdown().await;
        let run = runs.start("puppet", RunRequest::new(lines)).await.unwrap();
        run.send_input("yes").await.unwrap();
        std::fs::write(folder.path().join("run"), run.id().to_string()).unwrap();
        Self { folder, test, run: run.id(), kills: 0, settled: 0 }
    }

    /// A process, until it ends by itself or is killed.
    fn child(&mut self, kill: Option<(&str, u64)>) -> ExitStatus {
        self.folder.expire_all();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("durability::crashes::{}", self.test), "--nocapture"]);
        command.env(FOLDER, self.folder.path()).stdout(Stdio::null());
        let log = File::create(self.folder.path().join("log")).unwrap();
        command.env_remove(AT_STEP).env_remove(AFTER).stderr(log);
        if let Some((how, number)) = kill {
            command.env(how, number.to_string());
        }
        let status = command.status().unwrap();
        let is_killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
        if !is_killed {
            let said = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(status.success(), "{status}: {said}");
        }
        self.kills += usize::from(is_killed);
        status
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
            let settlement = match deeds.get(&format!("{tool} {key}")) {
                Some(_) => Settlement::Happened { result: Arc::new(result_of(&key)) },
                None => Settlement::DidNotHappen,
            };
            run.settle(id, settlement, "ada").await.unwrap();
            self.settled += 1;
        }
    }

    /// Has processes execute it until it is finished, those first ones killed that way.
    async fn finish(&mut self, kills: impl IntoIterator<Item = (&'static str, u64)>) {
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
    async fn check(&self) -> Story {
        let storage = self.folder.open();
        is_whole(storage.as_ref(), self.run).await;
        let effects = own_effects(storage.as_ref(), self.run).await;
        let runs = onlooker(storage);
        let run = runs.run(self.run);
        let summary = run.summary().await.unwrap();
        assert_eq!(summary.status, RunStatus::Completed, "{:?} {:#?}", summary.failure, all_events(&run).await);
        self.every_effect_happened(&run).await;
        is_reproduced(&run).await;
        runs.shutdown().await;
        Story { output: masked(&summary.output.unwrap()), effects }
    }

    /// What cannot be repeated happened once, all else at least once, and nothing that is not recorded.
    async fn every_effect_happened(&self, run: &Run) {
        let mut deeds = Deeds::of(self.folder.path()).counted();
        let mut called = BTreeMap::new();
        for event in all_events(run).await {
            if let EventKind::ToolCall { tool, input, .. } = event.kind {
                called.insert(format!("{tool} {}", input["key"].as_str().unwrap()), tool);
            }
        }
        for (deed, tool) in called {
            let times = deeds.remove(&deed).unwrap_or_default();
            let is_repeatable = ["read", "same"].contains(&tool.as_str());
            assert!(times == 1 || (is_repeatable && times > 1), "`{deed}` happened {times} times");
        }
        assert!(deeds.is_empty(), "what is recorded nowhere: {deeds:?}");
    }
}

/// What an agent did and said, without what differs from one run to another.
#[derive(Debug, PartialEq)]
struct Story {
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

fn of_env() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// What becomes of it where nobody is killed.
async fn undisturbed(test: &'static str, lines: &str) -> Story {
    let mut scene = Scene::new(test, lines).await;
    scene.finish([]).await;
    assert_eq!((scene.kills, scene.settled), (0, 0));
    scene.check().await
}

#[test]
fn a_kill_at_each_step_of_each_effect_loses_and_doubles_nothing() {
    const TEST: &str = "a_kill_at_each_step_of_each_effect_loses_and_doubles_nothing";
    if let Some(folder) = of_env() {
        play(&folder);
    }
    block_on(async {
        let expected = undisturbed(TEST, SHORT).await;
        let mut settled = 0;
        for step in 1.. {
            let mut scene = Scene::new(TEST, SHORT).await;
            // The one who goes on after a kill, or after a person answered, is killed too.
            scene.finish([(AT_STEP, step), (AT_STEP, step)]).await;
            assert_eq!(scene.check().await, expected, "killed at step {step}");
            settled += scene.settled;
            if scene.kills == 0 {
                println!("{} steps, {settled} effects in doubt", step - 1);
                assert!(step > 35 && settled > 10, "{step} {settled}");
                return;
            }
        }
    });
}

#[test]
fn kills_at_random_moments_lose_and_double_nothing() {
    const TEST: &str = "kills_at_random_moments_lose_and_double_nothing";
    if let Some(folder) = of_env() {
        play(&folder);
    }
    let number = |name: &str| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let rounds = number(ROUNDS).unwrap_or(200);
    let seed = number(SEED).unwrap_or_else(|| fastrand::u64(..));
    println!("{SEED}={seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    block_on(async {
        let text = long();
        let expected = undisturbed(TEST, &text).await;
        let (mut runs, mut kills, mut settled) = (0, 0, 0);
        while kills < rounds {
            let mut scene = Scene::new(TEST, &text).await;
            // Sooner or later there is one that comes to an end.
            let moments = std::iter::repeat_with(|| (AFTER, chance.u64(0..LONGEST_LIFE_US)));
            scene.finish(moments).await;
            assert_eq!(scene.check().await, expected, "{SEED}={seed}");
            (runs, kills, settled) = (runs + 1, kills + scene.kills as u64, settled + scene.settled);
        }
        println!("{runs} runs, {kills} kills, {settled} effects in doubt");
    });
}

/// After that much a process is killed at the latest.
const LONGEST_LIFE_US: u64 = 60_000;
