//! Processes that are killed while they execute a run: at each step of an effect, at each step of an exchange, at random
//! moments, and each time anew.

use casemate::RunStatus;

use super::scene::{AFTER, AT_SERVER, AT_STEP, SEED, Scene, Story, number_of, of_env, play};
use super::support::{onlooker, run as block_on};

/// How many kills at random there are.
const ROUNDS: &str = "CASEMATE_CRASH_ROUNDS";

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

/// What becomes of it where nobody is killed.
async fn undisturbed(test: &'static str, lines: &str) -> Story {
    let mut scene = Scene::new(test, lines).await;
    scene.finish([]).await;
    assert_eq!((scene.kills, scene.settled), (0, 0));
    scene.check().await
}

#[test]
fn a_kill_at_each_step_of_each_effect_loses_and_doubles_nothing() {
    const TEST: &str = "durability::crashes::a_kill_at_each_step_of_each_effect_loses_and_doubles_nothing";
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
    const TEST: &str = "durability::crashes::kills_at_random_moments_lose_and_double_nothing";
    if let Some(folder) = of_env() {
        play(&folder);
    }
    let rounds = number_of(ROUNDS).unwrap_or(200);
    let seed = number_of(SEED).unwrap_or_else(|| fastrand::u64(..));
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

/// Tools that are called over HTTP, and a server that is spoken to.
const OVER_HTTP: &str = r#"think begin
http POST http://tools.internal/once {"key": "a"}
http POST http://tools.internal/read {"key": "b"}
http POST {url}/c body
http GET {url}/d
http-around {url}/e call once {"key": "f"}
ask ready?
http POST http://tools.internal/careful {"key": "g"}
http PUT {url}/h body
http POST http://tools.internal/nowhere {}
now
random"#;

#[test]
fn a_kill_at_each_step_of_each_exchange_loses_and_doubles_nothing() {
    const TEST: &str = "durability::crashes::a_kill_at_each_step_of_each_exchange_loses_and_doubles_nothing";
    if let Some(folder) = of_env() {
        play(&folder);
    }
    block_on(async {
        let expected = undisturbed(TEST, OVER_HTTP).await;
        for (how, least) in [(AT_SERVER, 15), (AT_STEP, 25)] {
            let mut settled = 0;
            for step in 1.. {
                let mut scene = Scene::new(TEST, OVER_HTTP).await;
                scene.finish([(how, step), (how, step)]).await;
                assert_eq!(scene.check().await, expected, "killed {how} {step}");
                settled += scene.settled;
                if scene.kills == 0 {
                    println!("{how}: {} steps, {settled} effects in doubt", step - 1);
                    assert!(step > least && settled > 3, "{how} {step} {settled}");
                    break;
                }
            }
        }
    });
}

#[test]
fn a_kill_at_each_step_of_an_exchange_beside_a_timer_loses_and_doubles_nothing() {
    const TEST: &str =
        "durability::crashes::a_kill_at_each_step_of_an_exchange_beside_a_timer_loses_and_doubles_nothing";
    const LINES: &str = "http-within 60000 {url}/a body\nhttp-within 30 {url}/never body\nhttp-within 60000 {url}/b\n\
                         ask ready?\nnow";
    if let Some(folder) = of_env() {
        play(&folder);
    }
    block_on(async {
        for how in [AT_SERVER, AT_STEP] {
            for step in 1.. {
                let mut scene = Scene::new(TEST, LINES).await;
                scene.finish([(how, step), (how, step)]).await;
                let output = scene.output().await;
                let lines: Vec<_> = output.lines().collect();
                assert_eq!(lines[0], "200 POST /a", "killed {how} {step}");
                // Whoever settles it says that it came back, if it is in doubt before the timer is over.
                assert!(["too late", "200 POST /never"].contains(&lines[1]), "killed {how} {step}: {output}");
                assert_eq!(lines[2], "200 GET /b", "killed {how} {step}");
                if scene.kills == 0 {
                    assert!(step > 10, "{how} {step}");
                    break;
                }
            }
        }
    });
}

#[test]
fn a_run_that_kills_each_process_that_executes_it_is_paused_and_says_so() {
    const TEST: &str = "durability::crashes::a_run_that_kills_each_process_that_executes_it_is_paused_and_says_so";
    const MOST: usize = 11;
    if let Some(folder) = of_env() {
        play(&folder);
    }
    block_on(async {
        // One before anything is recorded, one after something was.
        for lines in ["call deadly {\"key\": \"a\"}", "call once {\"key\": \"a\"}\ncall deadly {\"key\": \"b\"}"] {
            let mut scene = Scene::new(TEST, lines).await;
            for _ in 0..MOST + 2 {
                scene.child(None);
            }
            let runs = onlooker(scene.folder.open());
            let summary = runs.run(scene.run).summary().await.unwrap();
            assert_eq!(summary.status, RunStatus::Paused, "{} processes died of it", scene.kills);
            assert_eq!(scene.kills, MOST);
        }
    });
}
