//! Many agents in a process that is killed again and again, while somebody tells them this and that.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate::storage::{RunFilter, SqliteStorage};
use casemate::{Answer, Run, RunRequest, RunStatus, Runs, Settlement, WaitingOn};

use super::scene::{Child, Deeds, SEED, Steps, agent, every_effect_happened, number_of, of_env, result_of};
use super::support::{
    Folder, all_events, builder, eventually, in_doubt, is_numbered, is_reproduced, onlooker, run as block_on, worker,
};
use crate::support::engine;

/// How many agents there are.
const AGENTS: usize = 20;

/// How long processes are killed.
const KILLING: Duration = Duration::from_secs(15);

fn lines(agent: usize) -> String {
    let call = |tool: &str, key: &str| format!("call {tool} {{\"key\": \"{agent}-{key}\"}}");
    let [one, two, three, four, five] =
        [call("once", "a"), call("read", "b"), call("careful", "c"), call("once", "$random"), call("same", "e")];
    format!(
        "think begin\n{one}\nask one?\nhttp POST http://tools.internal/once {{\"key\": \"{agent}-f\"}}\n{two}\nsleep 5\n\
         {three}\ncall-keys once {agent}-g {agent}-h\nask two?\n{four}\nchat hello\n{five}\nnow\nrandom"
    )
}

/// Executes all of them until it is killed.
fn play_all(folder: &Path) -> ! {
    block_on(async {
        let storage = Arc::new(SqliteStorage::open(folder.join("runs.db")).unwrap());
        let agent = agent(folder, &Steps::none()).await;
        let _runs = builder(engine(), storage, agent).build();
        std::future::pending::<()>().await;
    });
    std::process::exit(0)
}

/// Tells a run something, whether it makes sense or not.
async fn tell(runs: &Runs, run: &Run, deeds: &Deeds, chance: &mut fastrand::Rng) {
    let summary = run.summary().await.unwrap();
    if summary.status.is_finished() {
        return;
    }
    // It may come to its end at any moment, and then takes nothing.
    let _ = match chance.u32(0..100) {
        0..15 => run.pause().await,
        15..40 => run.resume().await,
        40..60 => run.send_input("yes").await,
        60 => run.cancel("enough").await,
        _ if summary.waiting_on == Some(WaitingOn::InDoubt) => {
            settle(run, deeds).await;
            Ok(())
        }
        _ => {
            for approval in runs.approvals(Some(run.id()), 9).await.unwrap() {
                let answer = match chance.u32(0..4) {
                    0 => Answer::Reject { reason: "no".to_owned() },
                    _ => Answer::Approve,
                };
                let _ = runs.decide(approval.request.id, answer, "ada").await;
            }
            Ok(())
        }
    };
}

/// Says of everything in doubt what was written down of it. An effect that is under way is in doubt no more, so nothing
/// is said of one of which nothing is known yet.
async fn settle(run: &Run, deeds: &Deeds) {
    let counted = deeds.counted();
    for (id, tool, key) in in_doubt(run).await {
        let settlement = match counted.get(&format!("{tool} {key}")) {
            Some(_) => Settlement::Happened { result: Arc::new(result_of(&key)) },
            None => Settlement::DidNotHappen,
        };
        let _ = run.settle(id, settlement, "ada").await;
    }
}

async fn is_over(run: &Run, runs: &Runs, deeds: &Deeds) -> bool {
    let summary = run.summary().await.unwrap();
    match (summary.status, summary.waiting_on) {
        (status, _) if status.is_finished() => return true,
        (RunStatus::Paused, _) => drop(run.resume().await),
        (_, Some(WaitingOn::Input)) => drop(run.send_input("yes").await),
        (_, Some(WaitingOn::InDoubt)) => settle(run, deeds).await,
        (_, Some(WaitingOn::Approval)) => {
            for approval in runs.approvals(Some(run.id()), 9).await.unwrap() {
                let _ = runs.decide(approval.request.id, Answer::Approve, "ada").await;
            }
        }
        _ => {}
    }
    false
}

#[test]
fn twenty_agents_in_a_process_that_is_killed_survive_whoever_tells_them_this_and_that() {
    const TEST: &str =
        "durability::crowds::twenty_agents_in_a_process_that_is_killed_survive_whoever_tells_them_this_and_that";
    if let Some(folder) = of_env() {
        play_all(&folder);
    }
    let seed = number_of(SEED).unwrap_or_else(|| fastrand::u64(..));
    println!("{SEED}={seed}");
    block_on(async {
        let (folder, mut chance) = (Folder::new(), fastrand::Rng::with_seed(seed));
        let (storage, deeds) = (folder.open(), Deeds::of(folder.path()));
        let agent = agent(folder.path(), &Steps::none()).await;
        let starter = worker(storage.clone(), agent.clone());
        starter.shutdown().await;
        let mut ids = Vec::new();
        for number in 0..AGENTS {
            ids.push(starter.start("puppet", RunRequest::new(lines(number))).await.unwrap().id());
        }
        let runs = onlooker(storage.clone());
        let all: Vec<_> = ids.iter().map(|id| runs.run(*id)).collect();
        let (began, mut kills) = (Instant::now(), 0);
        while began.elapsed() < KILLING {
            folder.expire_all();
            let mut child = Child::of(TEST, folder.path()).spawn(&[]);
            let until = Instant::now() + Duration::from_millis(chance.u64(20..1_200));
            while Instant::now() < until {
                tell(&runs, &all[chance.usize(0..AGENTS)], &deeds, &mut chance).await;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        folder.expire_all();
        let last = worker(storage.clone(), agent);
        for run in &all {
            let over = eventually(|| is_over(run, &runs, &deeds)).await;
            assert!(over, "{:?} {:#?}", run.summary().await, all_events(run).await);
        }
        last.shutdown().await;
        let ended = check(&all, &deeds).await;
        println!("{kills} kills, {ended:?}");
        assert_eq!(runs.list(RunFilter::default(), 99, None).await.unwrap().items.len(), AGENTS);
        assert!(kills > 5, "{kills}");
    });
}

/// Each ended once, with a whole journal, and is reproduced; answers how many ended how.
async fn check(all: &[Run], deeds: &Deeds) -> BTreeMap<String, usize> {
    let (mut ended, counted) = (BTreeMap::<_, usize>::new(), deeds.counted());
    for (number, run) in all.iter().enumerate() {
        let (summary, own) = (run.summary().await.unwrap(), all_events(run).await);
        is_numbered(&own);
        *ended.entry(format!("{:?}", summary.status)).or_default() += 1;
        let own_deeds = counted
            .iter()
            .filter(|(deed, _)| deed.split_once(' ').is_some_and(|(_, key)| key.starts_with(&format!("{number}-"))));
        let own_deeds = own_deeds.map(|(deed, count)| (deed.clone(), *count)).collect();
        match summary.status {
            RunStatus::Completed => {
                every_effect_happened(&own, own_deeds);
                is_reproduced(run).await;
            }
            RunStatus::Cancelled => {}
            status => panic!("{status:?}: {:?} {own:#?}", summary.failure),
        }
    }
    ended
}
