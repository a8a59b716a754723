//! `wasi:clocks` and `wasi:io/poll`: those of WASI, or, within a run, those of its journal.
//!
//! What the agent of a run can observe is fixed by order and never by timing, so that it observes the same on replay.
//! Its time is that of what it knows to have happened, and goes on a little with each reading, so that a loop that waits
//! for the clock ends. A timer is over when that time has come; where nothing but a timer can let the agent go on, the
//! run waits, and what it waits for is recorded.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock, WasiClocksView as _};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::bindings::wasi::io::poll;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};

use super::Host;
use crate::journal::{Exchange, Journal, to_micros};

/// The timers of a run's agent, by the handle of their pollable.
#[derive(Default)]
pub(super) struct Timers(HashMap<u32, SystemTime>);

/// The HTTP exchanges of a run's agent, by the handles by which it waits for them.
#[derive(Default)]
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only with HTTP there are exchanges"))]
pub(super) struct Exchanges {
    by_future: HashMap<u32, Exchange>,
    by_pollable: HashMap<u32, Exchange>,
}

#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only with HTTP there are exchanges"))]
impl Exchanges {
    fn of_pollable(&self, pollable: u32) -> Option<&Exchange> {
        self.by_pollable.get(&pollable)
    }

    fn forget_pollable(&mut self, pollable: u32) {
        self.by_pollable.remove(&pollable);
    }

    /// The response of this exchange is to come from there.
    pub(super) fn begun(&mut self, future: u32, exchange: Exchange) {
        self.by_future.insert(future, exchange);
    }

    /// The agent does not want that response any more, or has it.
    pub(super) fn dropped(&mut self, future: u32) {
        if let Some(exchange) = self.by_future.remove(&future) {
            exchange.give_up();
        }
    }

    /// That response is waited for there.
    pub(super) fn watched(&mut self, future: u32, pollable: u32) {
        if let Some(exchange) = self.by_future.get(&future) {
            self.by_pollable.insert(pollable, exchange.clone());
        }
    }
}

/// The clocks of a run.
pub(super) struct RunClock(pub(super) Journal);

impl HostWallClock for RunClock {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        self.0.read_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

impl HostMonotonicClock for RunClock {
    fn resolution(&self) -> u64 {
        1_000
    }

    fn now(&self) -> u64 {
        nanos(self.0.read_elapsed())
    }
}

/// The host, as a place of timers and pollables.
pub(crate) struct Timing;

pub(crate) struct TimingView<'a>(&'a mut Host);

impl HasData for Timing {
    type Data<'a> = TimingView<'a>;
}

impl Timing {
    pub(crate) fn view(host: &mut Host) -> TimingView<'_> {
        host.serving();
        TimingView(host)
    }
}

impl monotonic_clock::Host for TimingView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.0.clocks().now()
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        self.0.clocks().resolution()
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match self.0.scope.own_journal().map(Journal::created) {
            Some(created) => self.add_timer(created.checked_add(Duration::from_nanos(when))),
            None => self.0.clocks().subscribe_instant(when),
        }
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match self.0.scope.own_journal().map(Journal::read_clock) {
            Some(now) => self.add_timer(now.checked_add(Duration::from_nanos(duration))),
            None => self.0.clocks().subscribe_duration(duration),
        }
    }
}

impl TimingView<'_> {
    fn add_timer(&mut self, until: Option<SystemTime>) -> wasmtime::Result<Resource<DynPollable>> {
        let timer = self.0.table.push(RunTimer)?;
        let pollable = subscribe(&mut self.0.table, timer)?;
        let until = until.map_or(SystemTime::UNIX_EPOCH + FOREVER, to_micros_up);
        self.0.timers.0.insert(pollable.rep(), until);
        Ok(pollable)
    }

    /// Which of these can go on: timers that are over, exchanges of whose end the agent knows, and all else, since that
    /// is there at once.
    fn ready(&self, journal: &Journal, pollables: &[Resource<DynPollable>]) -> Vec<u32> {
        let now = journal.clock_now();
        let is_ready = |pollable: &Resource<DynPollable>| match (self.until(pollable), self.exchange(pollable)) {
            (Some(until), _) => until <= now,
            (None, Some(exchange)) => exchange.is_delivered(),
            (None, None) => true,
        };
        (0..).zip(pollables).filter(|(_, pollable)| is_ready(pollable)).map(|(index, _)| index).collect()
    }

    fn exchange(&self, pollable: &Resource<DynPollable>) -> Option<&Exchange> {
        self.0.exchanges.of_pollable(pollable.rep())
    }

    /// Waits until WASI itself says that this can go on.
    async fn block_on(&mut self, pollable: &Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::HostPollable::block(&mut self.0.table, Resource::new_borrow(pollable.rep())).await
    }

    fn until(&self, pollable: &Resource<DynPollable>) -> Option<SystemTime> {
        self.0.timers.0.get(&pollable.rep()).copied()
    }
}

/// Some thousand years: for timers beyond all time.
const FOREVER: Duration = Duration::from_secs(100_000_000_000);

impl poll::Host for TimingView<'_> {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        let Some(journal) = self.0.scope.own_journal().cloned().filter(|_| !pollables.is_empty()) else {
            return poll::Host::poll(&mut self.0.table, pollables).await;
        };
        for pollable in &pollables {
            // A handle that is none is refused as everywhere.
            self.0.table.get(pollable)?;
            if self.until(pollable).is_none() && self.exchange(pollable).is_none() {
                self.block_on(pollable).await?;
            }
        }
        let first = pollables.iter().filter_map(|pollable| self.until(pollable)).min();
        if first.is_some() {
            journal.read_clock();
        }
        loop {
            let ready = self.ready(&journal, &pollables);
            if !ready.is_empty() {
                return Ok(ready);
            }
            let exchanges = pollables.iter().filter_map(|pollable| self.exchange(pollable).cloned()).collect();
            let waiting = self.0.handover.run(self.0.scope.wait(first, exchanges));
            let Some(Some(exchange)) = waiting.await else { continue };
            exchange.ended().await;
            exchange.deliver(&journal);
            for pollable in &pollables {
                if self.exchange(pollable).is_some_and(Exchange::is_delivered) {
                    self.block_on(pollable).await?;
                }
            }
        }
    }
}

impl poll::HostPollable for TimingView<'_> {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        if self.until(&pollable).is_none() && self.exchange(&pollable).is_none() {
            return poll::HostPollable::block(&mut self.0.table, pollable).await;
        }
        poll::Host::poll(self, vec![pollable]).await.map(drop)
    }

    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        if let Some(exchange) = self.exchange(&pollable) {
            return Ok(exchange.is_delivered());
        }
        match self.until(&pollable).zip(self.0.scope.own_journal()) {
            Some((until, journal)) => Ok(until <= journal.read_clock()),
            None => poll::HostPollable::ready(&mut self.0.table, pollable).await,
        }
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.0.timers.0.remove(&pollable.rep());
        self.0.exchanges.forget_pollable(pollable.rep());
        poll::HostPollable::drop(&mut self.0.table, pollable)
    }
}

/// What stands in WASI's table for a timer of a run; whether it is over is not asked there.
struct RunTimer;

#[async_trait]
impl Pollable for RunTimer {
    async fn ready(&mut self) {}
}

/// The next whole microsecond: moments are recorded in such.
fn to_micros_up(moment: SystemTime) -> SystemTime {
    const ALMOST_ONE: Duration = Duration::from_nanos(999);
    moment.checked_add(ALMOST_ONE).map_or(moment, to_micros)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
