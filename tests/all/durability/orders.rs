//! Whoever starts runs, speaks to them and decides, and is killed at it.

use std::path::Path;
use std::sync::Arc;

use casemate::storage::{RunFilter, SqliteStorage, Storage};
use casemate::{Agent, Answer, EventKind, RunId, RunRequest, RunStatus, Runs, WaitingOn};

use super::scene::{AT_STEP, Child, Deeds, Steps, agent, every_effect_happened, of_env, stepping};
use super::support::{
    Folder, all_events, is_reproduced, is_whole, onlooker, run as block_on, settled, until_waiting, worker,
};
use crate::support::engine;

const LINES: &str = "call once {\"key\": \"a\"}\nask ready?\ncall careful {\"key\": \"b\"}";

/// What makes starting it twice the same as once.
const KEY: &str = "the one";

/// Starts the run and speaks to it, or decides what it asks, whichever is next.
fn speak(folder: &Path) -> ! {
    block_on(async {
        let steps = Steps::of_env();
        let storage = stepping(SqliteStorage::open(folder.join("runs.db")).unwrap(), &steps);
        let agent = agent(folder, &Steps::none()).await;
        let runs = starter(Arc::new(storage), agent).await;
        let approvals = runs.approvals(None, 9).await.unwrap();
        if approvals.is_empty() {
            let run = runs.start("puppet", RunRequest::new(LINES).idempotency_key(KEY)).await.unwrap();
            run.send_input("yes").await.unwrap();
        }
        for approval in approvals {
            runs.decide(approval.request.id, Answer::Approve, "ada").await.unwrap();
        }
    });
    std::process::exit(0)
}

#[test]
fn a_kill_at_each_step_of_starting_and_speaking_and_deciding_loses_and_doubles_nothing() {
    const TEST: &str =
        "durability::orders::a_kill_at_each_step_of_starting_and_speaking_and_deciding_loses_and_doubles_nothing";
    if let Some(folder) = of_env() {
        speak(&folder);
    }
    block_on(async {
        for step in 1.. {
            let folder = Folder::new();
            let mut kills = usize::from(Child::of(TEST, folder.path()).dies(&[(AT_STEP, step)], folder.path()));
            let storage = folder.open();
            let id = started_once(&folder).await;
            let runs = worker(storage.clone(), agent(folder.path(), &Steps::none()).await);
            let run = runs.run(id);
            until_waiting(&run, WaitingOn::Approval).await;
            kills += usize::from(Child::of(TEST, folder.path()).dies(&[(AT_STEP, step)], folder.path()));
            for approval in runs.approvals(Some(id), 9).await.unwrap() {
                // Where it was decided, it is not listed any more.
                runs.decide(approval.request.id, Answer::Approve, "bob").await.unwrap();
            }
            let summary = settled(&run).await;
            assert_eq!(summary.status, RunStatus::Completed, "{:?}", summary.failure);
            let events = all_events(&run).await;
            let approved = events.iter().filter(|event| matches!(event.kind, EventKind::Approved { .. }));
            let inputs = events.iter().filter(|event| matches!(event.kind, EventKind::Input { .. }));
            assert_eq!((approved.count(), inputs.count()), (1, 1), "killed at step {step}: {events:#?}");
            every_effect_happened(&events, Deeds::of(folder.path()).counted());
            is_whole(storage.as_ref(), id).await;
            is_reproduced(&run).await;
            if kills == 0 {
                assert!(step > 4, "{step}");
                return;
            }
        }
    });
}

/// Somebody who starts runs and executes none.
async fn starter(storage: Arc<dyn Storage>, agent: Agent) -> Runs {
    let find = move |_| std::future::ready(Some(agent.clone()));
    let runs = Runs::builder(engine(), storage).find_agents(find).build();
    runs.shutdown().await;
    runs
}

/// What somebody who does not know how far it came does again.
async fn started_once(folder: &Folder) -> RunId {
    let runs = starter(folder.open(), agent(folder.path(), &Steps::none()).await).await;
    let run = runs.start("puppet", RunRequest::new(LINES).idempotency_key(KEY)).await.unwrap();
    if runs.storage().inbox(run.id(), 0, 9).await.unwrap().is_empty() {
        run.send_input("yes").await.unwrap();
    }
    let all = onlooker(folder.open()).list(RunFilter::default(), 9, None).await.unwrap();
    assert_eq!(all.items.len(), 1);
    run.id()
}
