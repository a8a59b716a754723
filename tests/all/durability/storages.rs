//! Storages that fail under a run: what is lost, and what is not.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use casemate::storage::{MemoryStorage, Storage};
use casemate::testing::ManualClock;
use casemate::testing::storage::{Fault, Faults, FaultyStorage, Operation, limit_sqlite_pages};
use casemate::{Annotations, EventKind, Run, RunStatus, Settlement, Tool, WaitingOn};
use serde_json::json;

use super::support::{
    Barrier, Folder, Held, all_events, eventually, eventually_within, in_doubt, is_reproduced, is_whole, kinds,
    onlooker, puppet_with, run, settled, start, until_event, until_status, until_waiting, worker,
};
use crate::support::{Anything, counting};

/// What tools did, by key.
#[derive(Clone, Default)]
struct Deeds(Arc<Mutex<BTreeMap<String, usize>>>);

impl Deeds {
    fn tool(&self, name: &str) -> Tool {
        let deeds = self.clone();
        Tool::new(name, move |input: Anything| {
            let key = input.members["key"].as_str().unwrap().to_owned();
            *deeds.0.lock().unwrap().entry(key.clone()).or_default() += 1;
            async move { Ok::<_, String>(json!({"done": key})) }
        })
    }

    fn count(&self, key: &str) -> usize {
        self.0.lock().unwrap().get(key).copied().unwrap_or_default()
    }

    fn counted(&self) -> BTreeMap<String, usize> {
        self.0.lock().unwrap().clone()
    }

    /// Says of what is in doubt what is known here.
    async fn settle(&self, run: &Run) {
        for (id, _, key) in in_doubt(run).await {
            let settlement = match self.count(&key) {
                0 => Settlement::DidNotHappen,
                _ => Settlement::Happened { result: Arc::new(json!({"done": key})) },
            };
            run.settle(id, settlement, "ada").await.unwrap();
        }
    }
}

#[test]
fn a_full_disk_stops_a_run_and_loses_nothing() {
    run(async {
        let (folder, deeds) = (Folder::new(), Deeds::default());
        let padding = "x".repeat(2_000);
        let lines = (0..40).map(|n| format!("call once {{\"key\": \"k{n}\", \"padding\": \"{padding}\"}}"));
        let text = lines.collect::<Vec<_>>().join("\n");
        let id = {
            let storage = folder.open();
            let runs = worker(storage.clone(), puppet_with([deeds.tool("once")]).await);
            let started = start(&runs, &format!("ask now?\n{text}")).await;
            until_waiting(&started, WaitingOn::Input).await;
            let pages: u32 = sole(&folder, "PRAGMA page_count");
            limit_sqlite_pages(&storage, pages + 25).await.unwrap();
            started.send_input("go").await.unwrap();
            let stopped = || async { !deeds.counted().is_empty() && runs.deltas(started.id()).is_none() };
            assert!(eventually(stopped).await, "{:?}", started.summary().await);
            assert!(!started.summary().await.unwrap().status.is_finished());
            assert!(deeds.counted().len() < 40);
            runs.shutdown().await;
            started.id()
        };
        // A person made room.
        folder.expire_all();
        let storage = folder.open();
        let runs = worker(storage.clone(), puppet_with([deeds.tool("once")]).await);
        let again = runs.run(id);
        finish(&again, &deeds).await;
        assert_eq!(deeds.counted().into_values().collect::<Vec<_>>(), [1; 40]);
        is_whole(storage.as_ref(), id).await;
        is_reproduced(&again).await;
    });
}

/// Lets it go on until it is finished; what is in doubt is settled.
async fn finish(run: &Run, deeds: &Deeds) {
    loop {
        let summary = run.summary().await.unwrap();
        if summary.status.is_finished() {
            assert_eq!(summary.status, RunStatus::Completed, "{:?}", summary.failure);
            return;
        }
        if summary.waiting_on == Some(WaitingOn::InDoubt) {
            deeds.settle(run).await;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

async fn next_of(storage: &dyn Storage, run: &Run) -> u64 {
    storage.head(run.id()).await.unwrap().unwrap().next
}

fn sole<T: rusqlite::types::FromSql>(folder: &Folder, sql: &str) -> T {
    rusqlite::Connection::open(folder.file()).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_torn_last_page_is_the_end_of_the_past_and_the_run_goes_on_from_there() {
    run(async {
        let (folder, deeds) = (Folder::new(), Deeds::default());
        let storage = folder.open();
        let runs = worker(storage.clone(), puppet_with([deeds.tool("once")]).await);
        let keys =
            |name: &str| (0..9).map(|n| format!("call once {{\"key\": \"{name}{n}\"}}")).collect::<Vec<_>>().join("\n");
        let started = start(&runs, &format!("{}\nask on?\n{}", keys("a"), keys("b"))).await;
        until_waiting(&started, WaitingOn::Input).await;
        let whole = storage.read(started.id(), 1, 1_000).await.unwrap();
        let log = std::fs::read(folder.file().with_extension("db-wal")).unwrap();
        let mut kept = Vec::new();
        for torn in [1, 4_100, 30_000] {
            let copy = Folder::new();
            std::fs::copy(folder.file(), copy.file()).unwrap();
            std::fs::write(copy.file().with_extension("db-wal"), &log[..log.len() - torn]).unwrap();
            let storage = copy.open();
            let left = storage.read(started.id(), 1, 1_000).await.unwrap();
            assert_eq!(left, whole[..left.len()], "what is left is the beginning");
            kept.push(left.len());
            copy.expire_all();
            let deeds = Deeds::default();
            let runs = worker(storage.clone(), puppet_with([deeds.tool("once")]).await);
            let again = runs.run(started.id());
            again.send_input("yes").await.unwrap();
            finish(&again, &deeds).await;
            is_whole(storage.as_ref(), again.id()).await;
            is_reproduced(&again).await;
            assert!((0..9).all(|n| deeds.count(&format!("b{n}")) == 1));
            runs.shutdown().await;
        }
        assert!(kept.is_sorted_by(|more, less| more >= less) && kept[2] < whole.len() && kept[2] > 1, "{kept:?}");
    });
}

/// Every operation of a worker.
const OPERATIONS: &[Operation] = &[
    Operation::Append,
    Operation::Release,
    Operation::Claim,
    Operation::Register,
    Operation::Renew,
    Operation::Inbox,
    Operation::Read,
    Operation::Head,
    Operation::Due,
];

/// Has twenty runs go on, with workers that are lost whenever nothing happens any more, until all are finished.
async fn twenty_runs(seed: u64, faults: &[Fault]) {
    let (clock, deeds) = (ManualClock::default(), Deeds::default());
    let storage = MemoryStorage::with_clock(clock.clone());
    let tools = || {
        let idempotent = Annotations { idempotent: true, ..Annotations::default() };
        [deeds.tool("once"), deeds.tool("same").annotations(idempotent)]
    };
    let runs = worker(Arc::new(storage.clone()), puppet_with(tools()).await);
    runs.shutdown().await;
    let mut all = Vec::new();
    for n in 0..20 {
        let text = format!(
            "think\ncall once {{\"key\": \"a{n}\"}}\ncall same {{\"key\": \"s{n}\"}}\nask what?\n\
             call-keys once b{n} c{n} d{n}\nnow\ncall once {{\"key\": \"e{n}\"}}\nask more?\nrandom"
        );
        let started = start(&runs, &text).await;
        started.send_input("this").await.unwrap();
        started.send_input("that").await.unwrap();
        all.push(started);
    }
    let mut round = 0;
    while !all_finished(&all).await {
        round += 1;
        assert!(round < 2_000, "seed {seed}: they do not end");
        let chance = Faults::from_seed(seed * 10_000 + round).sometimes(OPERATIONS, faults, 25);
        let failing = FaultyStorage::new(storage.clone(), chance);
        let runs = worker(Arc::new(failing), puppet_with(tools()).await);
        until_nothing_happens(&storage, &all).await;
        runs.shutdown().await;
        // Its lease is over, whether it could give it up or not.
        clock.advance(Duration::from_hours(1));
        for run in &all {
            if run.summary().await.unwrap().waiting_on == Some(WaitingOn::InDoubt) {
                deeds.settle(run).await;
            }
        }
    }
    for (n, run) in all.iter().enumerate() {
        let summary = run.summary().await.unwrap();
        assert_eq!(summary.status, RunStatus::Completed, "seed {seed}: {:?}", summary.failure);
        is_whole(&storage, run.id()).await;
        is_reproduced(run).await;
        for key in ["a", "b", "c", "d", "e"] {
            assert_eq!(deeds.count(&format!("{key}{n}")), 1, "seed {seed}: {key}{n}");
        }
        assert!(deeds.count(&format!("s{n}")) >= 1);
    }
}

async fn all_finished(runs: &[Run]) -> bool {
    let mut summaries = Vec::new();
    for run in runs {
        summaries.push(run.summary().await.unwrap().status.is_finished());
    }
    summaries.into_iter().all(|is_finished| is_finished)
}

/// A worker that failed is not told from one that waits, so it has a while to go on.
async fn until_nothing_happens(storage: &MemoryStorage, runs: &[Run]) {
    let mut before = Vec::new();
    loop {
        tokio::time::sleep(Duration::from_millis(60)).await;
        let mut now = Vec::new();
        for run in runs {
            now.push((next_of(storage, run).await, run.summary().await.unwrap().status));
        }
        if now == before {
            return;
        }
        before = now;
    }
}

#[test]
fn twenty_runs_survive_a_storage_that_refuses_forgets_to_answer_and_fences() {
    run(async {
        for seed in 1..=3 {
            let faults = [Fault::Refused, Fault::DoneButUnknown, Fault::NotDoneButUnknown, Fault::Fenced];
            twenty_runs(seed, &faults).await;
        }
    });
}

#[test]
fn a_run_whose_storage_lost_what_it_had_acknowledged_does_nothing_more() {
    run(async {
        let faults = Faults::none();
        let (tool, count) = counting("refund");
        let storage = FaultyStorage::new(MemoryStorage::new(), faults.clone());
        let runs = worker(Arc::new(storage), puppet_with([tool]).await);
        let started = start(&runs, "call refund {}\nask go?\ncall refund {}").await;
        until_waiting(&started, WaitingOn::Input).await;
        faults.plan(Operation::Append, 1, Fault::WentBack);
        started.send_input("go").await.unwrap();
        let summary = settled(&started).await;
        assert_eq!(summary.status, RunStatus::Diverged);
        assert!(summary.failure.unwrap().message.starts_with("the storage lost entries"));
        assert_eq!(kinds(&all_events(&started).await).last().unwrap(), "diverged");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn twenty_runs_survive_a_storage_that_says_the_numbers_are_taken() {
    run(async { twenty_runs(4, &[Fault::Conflict]).await });
}

#[test]
fn a_run_goes_on_after_the_storage_refused_once() {
    run(async {
        let faults = Faults::none();
        let (tool, count) = counting("lookup");
        let storage = FaultyStorage::new(MemoryStorage::new(), faults.clone());
        let runs = worker(Arc::new(storage), puppet_with([tool]).await);
        let started = start(&runs, "ask go?\ncall lookup {}").await;
        until_waiting(&started, WaitingOn::Input).await;
        faults.plan(Operation::Append, 1, Fault::Refused);
        started.send_input("go").await.unwrap();
        let goes_on = eventually_within(Duration::from_secs(8), || async {
            started.summary().await.unwrap().status.is_finished()
        });
        assert!(goes_on.await, "{:?}", started.summary().await);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_run_goes_on_after_it_could_not_be_given_back_once() {
    run(async {
        for fault in [Fault::Refused, Fault::NotDoneButUnknown, Fault::DoneButUnknown] {
            let faults = Faults::none();
            let storage = FaultyStorage::new(MemoryStorage::new(), faults.clone());
            let runs = worker(Arc::new(storage), puppet_with([]).await);
            faults.plan(Operation::Release, 1, fault);
            let started = start(&runs, "nothing").await;
            let is_finished = eventually_within(Duration::from_secs(8), || async {
                started.summary().await.unwrap().status.is_finished()
            });
            assert!(is_finished.await, "{fault:?}: {:?}", started.summary().await);
        }
    });
}

#[test]
fn a_run_goes_on_after_its_inbox_could_not_be_read_once() {
    run(async {
        let faults = Faults::none();
        let held = Held::default();
        let storage = FaultyStorage::new(MemoryStorage::new(), faults.clone());
        let runs = worker(Arc::new(storage), puppet_with([held.tool("slow")]).await);
        let started = start(&runs, "call slow {}").await;
        held.until_called(1).await;
        faults.plan(Operation::Inbox, 1, Fault::Refused);
        started.send_input("whatever").await.unwrap();
        assert!(eventually_within(Duration::from_secs(8), || async { faults.to_come() == 0 }).await);
        held.answer();
        let goes_on = eventually_within(Duration::from_secs(8), || async {
            started.summary().await.unwrap().status.is_finished()
        });
        assert!(goes_on.await, "{:?}", started.summary().await);
    });
}

#[test]
fn a_run_is_cancelled_while_the_storage_is_slow() {
    run(async {
        let barrier = Barrier::default();
        let storage = Arc::new(barrier.before(MemoryStorage::new()));
        let runs = worker(storage.clone(), puppet_with([]).await);
        barrier.close();
        let started = start(&runs, "think begin\nspin").await;
        barrier.until_somebody_waits().await;
        started.cancel("enough").await.unwrap();
        barrier.open();
        let is_cancelled = eventually_within(Duration::from_secs(8), || async {
            started.summary().await.unwrap().status == RunStatus::Cancelled
        });
        assert!(is_cancelled.await, "{:?}", started.summary().await);
        is_whole(storage.as_ref(), started.id()).await;
    });
}

#[test]
fn an_effect_whose_number_is_said_to_be_taken_does_not_happen() {
    run(async {
        let (deeds, faults) = (Deeds::default(), Faults::none());
        let storage = FaultyStorage::new(MemoryStorage::new(), faults.clone());
        let runs = worker(Arc::new(storage.clone()), puppet_with([deeds.tool("once")]).await);
        faults.plan(Operation::Append, 1, Fault::Conflict);
        let started = start(&runs, "call once {\"key\": \"a\"}").await;
        assert!(eventually_within(Duration::from_secs(20), || async { faults.to_come() == 0 }).await);
        runs.shutdown().await;
        let runs = worker(Arc::new(storage), puppet_with([deeds.tool("once")]).await);
        finish(&runs.run(started.id()), &deeds).await;
        assert_eq!(deeds.count("a"), 1);
    });
}

#[test]
fn an_effect_whose_intent_is_not_kept_does_not_happen() {
    run(async {
        let (deeds, barrier) = (Deeds::default(), Barrier::default());
        let storage = barrier.before(MemoryStorage::new());
        let runs = worker(Arc::new(storage), puppet_with([deeds.tool("once")]).await);
        barrier.close();
        start(&runs, "call once {\"key\": \"a\"}").await;
        barrier.until_somebody_waits().await;
        assert_eq!(deeds.count("a"), 0);
        runs.shutdown().await;
        assert_eq!(deeds.count("a"), 0);
    });
}

#[test]
fn a_tool_result_that_is_changed_in_the_database_is_what_the_agent_is_told() {
    run(async {
        let (folder, deeds) = (Folder::new(), Deeds::default());
        let runs = worker(folder.open(), puppet_with([deeds.tool("once")]).await);
        let started = start(&runs, "call once {\"key\": \"a\"}\nask what?").await;
        until_waiting(&started, WaitingOn::Input).await;
        runs.shutdown().await;
        let changed = folder.change(
            "UPDATE entries SET text = replace(text, '{\"done\":\"a\"}', '{\"done\":\"b\"}') WHERE text LIKE '%tool_result%'",
            &[],
        );
        assert_eq!(changed, 1);
        let runs = worker(folder.open(), puppet_with([deeds.tool("once")]).await);
        let again = runs.run(started.id());
        again.send_input("this").await.unwrap();
        let summary = settled(&again).await;
        assert_eq!(summary.output.as_deref(), Some("{\"done\":\"b\"}\nthis"));
        assert_eq!(deeds.count("a"), 1);
        is_reproduced(&again).await;
    });
}

#[test]
fn an_effect_that_is_changed_in_the_database_is_a_divergence_with_both_sides() {
    run(async {
        let rows = [
            ("\"name\":\"once\"", "\"name\":\"other\"", "call `other`"),
            ("\"kind\":\"call\"", "\"kind\":\"chat\"", "chat `once`"),
        ];
        for (before, after, recorded_now) in rows {
            let (folder, deeds) = (Folder::new(), Deeds::default());
            let runs = worker(folder.open(), puppet_with([deeds.tool("once")]).await);
            let text = "think hm\ncall once {\"key\": \"a\"}\nask what?\ncall once {\"key\": \"b\"}";
            let started = start(&runs, text).await;
            until_waiting(&started, WaitingOn::Input).await;
            runs.shutdown().await;
            let sql = "UPDATE entries SET text = replace(text, ?1, ?2) WHERE text LIKE '%\"tool_call\"%'";
            assert_eq!(folder.change(sql, &[&before, &after]), 1);
            let runs = worker(folder.open(), puppet_with([deeds.tool("once")]).await);
            let again = runs.run(started.id());
            again.send_input("this").await.unwrap();
            let summary = settled(&again).await;
            assert_eq!(summary.status, RunStatus::Diverged);
            let events = all_events(&again).await;
            let Some(EventKind::Diverged { position, recorded, attempted }) = events.last().map(|event| &event.kind)
            else {
                panic!("{events:#?}");
            };
            assert_eq!(*position, 2);
            assert!(recorded.as_deref().unwrap().starts_with(recorded_now), "{recorded:?}");
            assert!(attempted.as_deref().unwrap().starts_with("call `once`"), "{attempted:?}");
            assert_eq!((deeds.count("a"), deeds.count("b")), (1, 0));
        }
    });
}

#[test]
fn an_effect_that_is_missing_in_the_database_is_a_divergence() {
    run(async {
        let (folder, deeds) = (Folder::new(), Deeds::default());
        let runs = worker(folder.open(), puppet_with([deeds.tool("once")]).await);
        let started = start(&runs, "call once {\"key\": \"a\"}\nask what?").await;
        until_waiting(&started, WaitingOn::Input).await;
        runs.shutdown().await;
        // Its second effect is one that the agent will never come to.
        let sql = "UPDATE entries SET text = replace(text, '\"position\":2', '\"position\":7')";
        folder.change(sql, &[]);
        let runs = worker(folder.open(), puppet_with([deeds.tool("once")]).await);
        let again = runs.run(started.id());
        again.send_input("this").await.unwrap();
        let summary = settled(&again).await;
        assert_eq!(summary.status, RunStatus::Diverged, "{summary:?}");
        assert_eq!(deeds.count("a"), 1);
    });
}

#[test]
fn a_run_whose_journal_cannot_be_read_says_so() {
    run(async {
        let folder = Folder::new();
        let runs = worker(folder.open(), puppet_with([]).await);
        let started = start(&runs, "think hm\nask what?").await;
        until_waiting(&started, WaitingOn::Input).await;
        runs.shutdown().await;
        folder.change("CREATE TABLE kept AS SELECT text FROM entries WHERE sequence = 2", &[]);
        assert_eq!(folder.change("UPDATE entries SET text = '{' WHERE sequence = 2", &[]), 1);
        let runs = worker(folder.open(), puppet_with([]).await);
        let again = runs.run(started.id());
        again.send_input("this").await.unwrap();
        until_status(&again, RunStatus::Paused).await;
        let failure = again.summary().await.unwrap().failure.unwrap();
        assert!(failure.message.starts_with("entry 2 of the journal cannot be read"), "{failure}");
        // Whoever can read it goes on with it.
        assert_eq!(folder.change("UPDATE entries SET text = (SELECT text FROM kept) WHERE sequence = 2", &[]), 1);
        again.resume().await.unwrap();
        let summary = settled(&again).await;
        assert_eq!((summary.output.as_deref(), summary.failure), (Some("this"), None));
    });
}

#[test]
fn a_message_that_came_before_a_crash_is_taken_once() {
    run(async {
        let folder = Folder::new();
        let runs = worker(folder.open(), puppet_with([]).await);
        let started = start(&runs, "ask one?\nask two?").await;
        until_event(&started, "input_required").await;
        started.send_input("first").await.unwrap();
        until_event(&started, "input").await;
        runs.shutdown().await;
        let other = onlooker(folder.open());
        other.run(started.id()).send_input("second").await.unwrap();
        let runs = worker(folder.open(), puppet_with([]).await);
        let summary = settled(&runs.run(started.id())).await;
        assert_eq!(summary.output.as_deref(), Some("first\nsecond"));
    });
}
