//! How late does a timer fire on a runtime of one thread, beside a guest that never gives way by itself?

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::guests::Guests;
use crate::measure::Samples;
use crate::table::{Amount, Goal, Row, Table, print_row};
use crate::{Result, bare};

const WAIT: Duration = Duration::from_millis(10);
const MEDIAN: (&str, Goal) = ("timer/median", Goal::Reach(Amount::Time(Duration::from_millis(10))));
const WORST: (&str, Goal) = ("timer/worst", Goal::Reach(Amount::Time(Duration::from_millis(20))));

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    if !table.wants(MEDIAN.0) && !table.wants(WORST.0) {
        return Ok(());
    }
    let pair = guests.worker().await?;
    let (ours, bare) =
        table.sample(async || beside_ours(&pair.ours).await, async || beside_bare(&pair.bare).await).await?;
    for ((name, goal), pick) in [(MEDIAN, Samples::median as fn(&Samples) -> Duration), (WORST, Samples::worst)] {
        let [casemate, bare] = [&ours, &bare].map(|side| Amount::Time(pick(side)));
        print_row(&Row { name, casemate, bare, goal, samples: ours.count() });
    }
    Ok(())
}

async fn beside_ours(guest: &casemate::Component) -> Result<Duration> {
    let call = guest.call("spin", json!({}));
    beside(async { drop(call.await) }).await
}

async fn beside_bare(guest: &bare::Guest) -> Result<Duration> {
    let export = guest.export(None, "spin")?;
    let guest = guest.clone();
    beside(async move { drop(guest.call::<(), ()>(export, (), None).await) }).await
}

/// How late a timer is that starts when the guest has begun.
async fn beside(spin: impl Future<Output = ()> + Send + 'static) -> Result<Duration> {
    let guest = tokio::spawn(spin);
    tokio::task::yield_now().await;
    let started = Instant::now();
    sleep(WAIT).await;
    let late = started.elapsed().saturating_sub(WAIT);
    if guest.is_finished() {
        return Err("the guest did not spin".into());
    }
    guest.abort();
    // A cancelled task is what was asked for.
    guest.await.map_or_else(|ended| if ended.is_cancelled() { Ok(()) } else { Err(ended) }, Ok)?;
    Ok(late)
}
