//! The clock of time-metered engines: one thread that advances their epoch while anything runs, and sleeps otherwise.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wasmtime::EngineWeak;

/// Guests give way once per tick.
const TICK: Duration = Duration::from_millis(5);

pub(crate) struct Ticker {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While one of these lives, the ticker ticks.
pub(crate) struct Running {
    shared: Arc<Shared>,
}

impl Ticker {
    pub(crate) fn start(engines: Vec<EngineWeak>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let ticking = shared.clone();
        std::thread::Builder::new().name("casemate-ticker".into()).spawn(move || tick(&ticking, &engines))?;
        Ok(Self { shared })
    }

    pub(crate) fn running(&self) -> Running {
        self.shared.state().running += 1;
        self.shared.changed.notify_one();
        Running { shared: self.shared.clone() }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_one();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.state().running -= 1;
    }
}

fn tick(shared: &Shared, engines: &[EngineWeak]) {
    let mut state = shared.state();
    while !state.closed {
        if state.running == 0 {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        drop(state);
        std::thread::sleep(TICK);
        for engine in engines.iter().filter_map(EngineWeak::upgrade) {
            engine.increment_epoch();
        }
        state = shared.state();
    }
}
