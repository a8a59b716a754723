use wasmtime::ResourceLimiter;

use crate::limits::{LimitExceeded, LimitKind};

/// wasmtime counts tables in elements; each takes a pointer.
const TABLE_ELEMENT_BYTES: usize = 8;

/// What becomes of a guest that the system refuses memory which it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnRefusal {
    /// It is told, and goes on without.
    Tell,
    /// It ends: when it is replayed, the system may not refuse, so it must not know.
    End,
}

/// The system refused a guest memory which it may have.
#[derive(Debug, thiserror::Error)]
#[error("the system refused the sandbox memory")]
pub(crate) struct SystemRefused;

/// Adds up all memories and tables of a sandbox, since wasmtime limits each alone.
pub(crate) struct Meter {
    max: u64,
    on_refusal: OnRefusal,
    current: u64,
    peak: u64,
    refused: u64,
    refused_at: u64,
    /// The sum and the peak before the growth that is under way, where its own maximum does not forbid that.
    before: Option<(u64, u64)>,
}

impl Meter {
    pub(crate) fn new(max: u64, on_refusal: OnRefusal) -> Self {
        Self { max, on_refusal, current: 0, peak: 0, refused: 0, refused_at: 0, before: None }
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// What to say when a guest ended badly after it was refused memory.
    pub(crate) fn exceeded(&self) -> Option<LimitExceeded> {
        (self.refused > 0).then(|| LimitExceeded::new(LimitKind::Memory, self.refused_at, self.max))
    }

    fn change(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // Its own maximum forbids it, whatever is answered here.
            self.before = None;
            return true;
        }
        let [current, desired] = [current, desired].map(|bytes| bytes as u64);
        let wanted = self.current.saturating_sub(current).saturating_add(desired);
        if wanted > self.max {
            self.refused += 1;
            self.refused_at = wanted;
            return false;
        }
        self.before = Some((self.current, self.peak));
        self.current = wanted;
        self.peak = self.peak.max(wanted);
        true
    }

    /// What was allowed did not come about.
    fn failed(&mut self) -> wasmtime::Result<()> {
        let Some(before) = self.before.take() else { return Ok(()) };
        (self.current, self.peak) = before;
        match self.on_refusal {
            OnRefusal::Tell => Ok(()),
            OnRefusal::End => Err(SystemRefused.into()),
        }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.change(current, desired, maximum))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "a memory could not grow");
        self.failed()
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "a table could not grow");
        self.failed()
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = |elements: usize| elements.saturating_mul(TABLE_ELEMENT_BYTES);
        Ok(self.change(bytes(current), bytes(desired), maximum.map(bytes)))
    }

    // The component's own count of core instances is checked before it is instantiated; the pool bounds the rest.
    fn instances(&self) -> usize {
        usize::MAX
    }

    fn memories(&self) -> usize {
        usize::MAX
    }

    fn tables(&self) -> usize {
        usize::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn memories_and_tables_count_together() {
        let mut meter = Meter::new(3 << 20, OnRefusal::Tell);
        assert!(meter.change(0, MIB, None));
        assert!(meter.change(0, MIB, None));
        assert!(meter.change(MIB, 2 * MIB, None));
        assert!(!meter.change(MIB, 2 * MIB, None));
        let exceeded = meter.exceeded().expect("refused");
        assert_eq!((exceeded.used, exceeded.max, meter.peak()), (4 << 20, 3 << 20, 3 << 20));
    }

    #[test]
    fn what_the_system_refuses_is_not_counted_and_ends_whom_it_must() {
        for (on_refusal, ends) in [(OnRefusal::Tell, false), (OnRefusal::End, true)] {
            let mut meter = Meter::new(4 << 20, on_refusal);
            assert!(meter.change(0, MIB, None));
            assert!(meter.change(MIB, 2 * MIB, None));
            assert_eq!(meter.failed().is_err(), ends);
            assert_eq!((meter.current, meter.peak, meter.refused), (1 << 20, 1 << 20, 0));
            assert!(meter.change(MIB, 9 * MIB, Some(2 * MIB)));
            assert!(meter.failed().is_ok(), "its own maximum forbids it");
        }
    }

    #[test]
    fn what_its_own_maximum_forbids_is_not_counted() {
        let mut meter = Meter::new(4 << 20, OnRefusal::Tell);
        assert!(meter.change(0, MIB, Some(2 * MIB)));
        assert!(meter.change(MIB, 3 * MIB, Some(2 * MIB)));
        assert!(meter.change(MIB, 9 * MIB, Some(2 * MIB)));
        assert_eq!((meter.current, meter.peak, meter.refused), (1 << 20, 1 << 20, 0));
        assert!(meter.change(MIB, 2 * MIB, Some(2 * MIB)));
        assert_eq!((meter.current, meter.peak, meter.refused), (2 << 20, 2 << 20, 0));
    }
}
