//! Medians of samples that two sides take in turns.

use std::time::{Duration, Instant};

use crate::{Error, Result};

/// From here on one sample is long enough for twenty to tell.
const LONG: Duration = Duration::from_millis(50);
pub(crate) const SAMPLES_WHEN_LONG: usize = 20;
const SAMPLES: usize = 1_000;
/// Short samples are taken for about as long as this, up to ten times as many.
const ENOUGH: Duration = Duration::from_secs(2);

/// What one side took, each time.
pub(crate) struct Samples {
    sorted: Vec<Duration>,
}

impl Samples {
    fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { sorted: times }
    }

    pub(crate) fn count(&self) -> usize {
        self.sorted.len()
    }

    pub(crate) fn median(&self) -> Duration {
        self.sorted.get(self.count() / 2).copied().unwrap_or_default()
    }

    pub(crate) fn worst(&self) -> Duration {
        self.sorted.last().copied().unwrap_or_default()
    }
}

/// Samples both sides in turns: one of ours, one of theirs, and again.
pub(crate) async fn interleave(
    wanted: Option<usize>,
    mut ours: impl AsyncFnMut() -> Result<Duration>,
    mut bare: impl AsyncFnMut() -> Result<Duration>,
) -> Result<(Samples, Samples)> {
    // The first call links the component and maps its code; the second tells how long one takes.
    ours().await?;
    bare().await?;
    let count = wanted.unwrap_or(enough(ours().await?.max(bare().await?)));
    for _ in 0..count / 20 {
        ours().await?;
        bare().await?;
    }
    let (mut our_times, mut bare_times) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        our_times.push(ours().await?);
        bare_times.push(bare().await?);
    }
    Ok((Samples::new(our_times), Samples::new(bare_times)))
}

fn enough(one: Duration) -> usize {
    if one > LONG {
        return SAMPLES_WHEN_LONG;
    }
    let fit = ENOUGH.as_nanos() / one.as_nanos().max(1) / 2;
    usize::try_from(fit).unwrap_or(usize::MAX).clamp(SAMPLES, 10 * SAMPLES)
}

/// How long `work` takes; dropping what it gives does not count.
pub(crate) async fn timed<T, E: Into<Error>>(work: impl AsyncFnOnce() -> Result<T, E>) -> Result<Duration> {
    let started = Instant::now();
    let value = work().await;
    let time = started.elapsed();
    value.map_err(Into::into)?;
    Ok(time)
}
