//! What is recorded of a run, read from the storage a page at a time.

use casemate::{Event, Run};

/// How many events are read at once.
const PAGE: usize = 500;

/// Goes through all events that there are by now, in order.
pub(crate) async fn each_event(run: &Run, mut take: impl FnMut(Event) -> anyhow::Result<()>) -> anyhow::Result<()> {
    each_event_from(run, 1, &mut take).await
}

/// The same from that number on.
pub(crate) async fn each_event_from(
    run: &Run,
    from: u64,
    mut take: impl FnMut(Event) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut next = from;
    loop {
        let events = run.recorded(next, PAGE).await?;
        let Some(last) = events.last() else { return Ok(()) };
        next = last.sequence + 1;
        events.into_iter().try_for_each(&mut take)?;
    }
}
