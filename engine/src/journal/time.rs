//! Time as an agent sees it: that of what it knows of, and a little more at each reading.

use std::time::{Duration, SystemTime};

use super::Journal;

/// The agent's own time.
pub(super) struct VirtualTime {
    /// The number of the last entry that it knows of.
    horizon: u64,
    now: SystemTime,
}

impl VirtualTime {
    const READING: Duration = Duration::from_micros(1);

    /// Begins at `now`.
    pub(super) fn new(now: SystemTime) -> Self {
        Self { horizon: 0, now }
    }

    pub(super) fn observe(&mut self, sequence: u64, at: SystemTime) {
        if sequence > self.horizon {
            self.horizon = sequence;
            self.now = self.now.max(at);
        }
    }

    pub(super) fn read(&mut self) -> SystemTime {
        self.now += Self::READING;
        self.now
    }
}

impl Journal {
    /// The agent learns of an entry, and its time goes on to there.
    pub(super) fn observe_at(&self, sequence: u64, at: SystemTime) {
        self.state().time.observe(sequence, at);
    }

    /// The time as the agent sees it; it goes on with each reading.
    pub(crate) fn read_clock(&self) -> SystemTime {
        self.state().time.read()
    }

    /// The same, without a reading.
    pub(crate) fn clock_now(&self) -> SystemTime {
        self.state().time.now
    }

    /// When the run was created: where its agent's time begins.
    pub(crate) fn created(&self) -> SystemTime {
        self.state().past.created
    }

    /// How long the run is there, as the agent sees it; it goes on with each reading.
    pub(crate) fn read_elapsed(&self) -> Duration {
        let mut state = self.state();
        let created = state.past.created;
        state.time.read().duration_since(created).unwrap_or_default()
    }
}
