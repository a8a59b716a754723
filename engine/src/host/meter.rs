use wasmtime::ResourceLimiter;

use crate::limits::{LimitExceeded, LimitKind};

/// wasmtime counts tables in elements; each takes a pointer.
const TABLE_ELEMENT_BYTES: usize = 8;

/// Adds up all memories and tables of a sandbox, since wasmtime limits each alone.
pub(crate) struct Meter {
    max: u64,
    current: u64,
    peak: u64,
    refused: u64,
    refused_at: u64,
}

impl Meter {
    pub(crate) fn new(max: u64) -> Self {
        Self { max, current: 0, peak: 0, refused: 0, refused_at: 0 }
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
            return true;
        }
        let [current, desired] = [current, desired].map(|bytes| bytes as u64);
        let wanted = self.current.saturating_sub(current).saturating_add(desired);
        if wanted > self.max {
            self.refused += 1;
            self.refused_at = wanted;
            return false;
        }
        self.current = wanted;
        self.peak = self.peak.max(wanted);
        true
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.change(current, desired, maximum))
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
        let mut meter = Meter::new(3 << 20);
        assert!(meter.change(0, MIB, None));
        assert!(meter.change(0, MIB, None));
        assert!(meter.change(MIB, 2 * MIB, None));
        assert!(!meter.change(MIB, 2 * MIB, None));
        let exceeded = meter.exceeded().expect("refused");
        assert_eq!((exceeded.used, exceeded.max, meter.peak()), (4 << 20, 3 << 20, 3 << 20));
    }

    #[test]
    fn what_its_own_maximum_forbids_is_not_counted() {
        let mut meter = Meter::new(4 << 20);
        assert!(meter.change(0, MIB, Some(2 * MIB)));
        assert!(meter.change(MIB, 3 * MIB, Some(2 * MIB)));
        assert!(meter.change(MIB, 9 * MIB, Some(2 * MIB)));
        assert_eq!((meter.current, meter.peak, meter.refused), (1 << 20, 1 << 20, 0));
        assert!(meter.change(MIB, 2 * MIB, Some(2 * MIB)));
        assert_eq!((meter.current, meter.peak, meter.refused), (2 << 20, 2 << 20, 0));
    }
}
