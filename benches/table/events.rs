//! Does somebody who watches a Gate without haste hold up the calls that pass it?
//!
//! Here both columns are ours. Beside the slow ones, `bare` is the same call watched by somebody who takes events at
//! once; what watching costs at all is `events/taken`, where `bare` is watched by nobody.

use std::time::Duration;

use casemate::{Component, Gate};
use tokio::runtime::{Builder, Runtime};

use crate::Result;
use crate::gate::{Setting, take_all};
use crate::guests::Guests;
use crate::measure::timed;
use crate::table::{Goal, Table};

const GOAL: Goal = Goal::Times(1.05);

/// Effects of a call, each of which is two events.
const EFFECTS: [u32; 2] = [1, 10];

/// Less than the events of a call.
const SMALL: usize = 1;
/// More than the events of 10 ms.
const LARGE: usize = 100_000;

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    for effects in EFFECTS {
        let names = ["taken", "never-taken", "taken-slowly"].map(|name| format!("events/{name}/{effects}"));
        if names.iter().any(|name| table.wants(name)) {
            let caller = &guests.caller().await?.ours;
            rows_of_calls(table, &names, async |setting| call(setting, caller, effects).await).await?;
        }
    }
    Ok(())
}

async fn rows_of_calls(
    table: &Table,
    [taken, never_taken, taken_slowly]: &[String; 3],
    call: impl AsyncFn(&Setting) -> Result<Duration>,
) -> Result<()> {
    let (ours, bare) = (Setting::granted(1)?, Setting::granted(1)?);
    let at_once = async |setting: &Setting| {
        let mut watcher = setting.gate.subscribe(LARGE);
        let time = call(setting).await;
        take_all(&mut watcher)?;
        time
    };
    let never = async |setting: &Setting| {
        let _watcher = setting.gate.subscribe(SMALL);
        call(setting).await
    };
    table.compare(taken, Goal::None, async || at_once(&ours).await, async || call(&bare).await).await?;
    table.compare(never_taken, GOAL, async || never(&ours).await, async || at_once(&bare).await).await?;
    if table.wants(taken_slowly) {
        let slow = slow_watcher(ours.gate.clone())?;
        table.compare(taken_slowly, GOAL, async || call(&ours).await, async || at_once(&bare).await).await?;
        slow.shutdown_background();
    }
    Ok(())
}

async fn call(setting: &Setting, caller: &Component, effects: u32) -> Result<Duration> {
    timed(async || setting.call(caller, effects).await).await
}

/// Looks every 10 ms what there is, on a thread of its own.
fn slow_watcher(gate: Gate) -> Result<Runtime> {
    let thread = Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
    thread.spawn(async move {
        loop {
            // A machine that is busy elsewhere may keep it from looking for so long that it is closed.
            let mut watcher = gate.subscribe(LARGE);
            while take_all(&mut watcher).is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    Ok(thread)
}
