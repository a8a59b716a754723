//! A system that is short of memory, which is no agent's doing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use casemate::{Agent, RunStatus, WaitingOn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::scene::{Child, of_env};
use super::support::{
    Folder, all_events, builder, count_of, eventually_within, is_reproduced, memory, puppet_with, run, settled, start,
    until_waiting, worker,
};
use crate::support::{builder as engine_builder, counting, engine, granted, toolset};

const MIB: u64 = 1 << 20;

#[test]
fn a_system_that_refuses_memory_in_the_middle_of_a_replay_is_tried_again() {
    const TEST: &str = "durability::scarcity::a_system_that_refuses_memory_in_the_middle_of_a_replay_is_tried_again";
    if of_env().is_some() {
        goes_on_once_there_is_memory();
        return;
    }
    // What is set for a process concerns all that it does.
    let folder = Folder::new();
    assert!(!Child::of(TEST, folder.path()).dies(&[], folder.path()));
}

fn goes_on_once_there_is_memory() {
    run(async {
        let (storage, (tool, count)) = (memory(), counting("once"));
        let limits = engine().limits().memory(60 * MIB).unwrap().build();
        let runs = worker(storage.clone(), puppet_with([tool.clone()]).await.limits(limits));
        let started = start(&runs, "call once {}\nfill 40\nask on?\ncall once {}").await;
        until_waiting(&started, WaitingOn::Input).await;
        runs.shutdown().await;
        // One whose memory nobody had yet.
        let other = engine_builder().max_sandboxes(1).build().unwrap();
        let agent = Agent::load(&other, casemate_guests::PUPPET).await.unwrap();
        let agent = agent.tools(toolset([tool])).grants(granted(&["once"]));
        let scarcity = Scarcity::begin(20 * MIB);
        let runs = builder(&other, storage, agent).build();
        let run = runs.run(started.id());
        run.send_input("yes").await.unwrap();
        // Each time that it is tried it says so.
        let is_tried = || async { count_of(&all_events(&run).await, "resumed") >= 3 };
        assert!(eventually_within(Duration::from_secs(30), is_tried).await, "{:?}", run.summary().await);
        drop(scarcity);
        let summary = settled(&run).await;
        assert_eq!(summary.status, RunStatus::Completed, "{:?}", summary.failure);
        assert_eq!(count.load(Ordering::SeqCst), 2);
        is_reproduced(&run).await;
    });
}

/// While it lives, this process gets no more than so many bytes beyond what it has.
struct Scarcity(Rlimit);

impl Scarcity {
    fn begin(bytes: u64) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let data = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
        let has = data.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10;
        let before = getrlimit(Resource::Data);
        setrlimit(Resource::Data, Rlimit { current: Some(has + bytes), ..before }).unwrap();
        Self(before)
    }
}

impl Drop for Scarcity {
    fn drop(&mut self) {
        setrlimit(Resource::Data, self.0).unwrap();
    }
}
