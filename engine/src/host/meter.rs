use wasmtime::ResourceLimiter;

use crate::limits::{DEFAULT_MEMORY_GROWTH, DEFAULT_MEMORY_START, LimitExceeded, LimitKind};

/// wasmtime counts tables in elements; each takes a pointer.
const TABLE_ELEMENT_BYTES: usize = 8;

/// Adds up all memories and tables of a sandbox, since wasmtime limits each alone.
pub(crate) struct Meter {
    limit: Option<u64>,
    /// What the component starts with: the sizes at which memories and tables were created.
    start: u64,
    current: u64,
    peak: u64,
    refused: u64,
    refused_at: u64,
}

impl Meter {
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self { limit, start: 0, current: 0, peak: 0, refused: 0, refused_at: 0 }
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// What to say when a guest ended badly after it was refused memory.
    pub(crate) fn exceeded(&self) -> Option<LimitExceeded> {
        (self.refused > 0).then(|| LimitExceeded::new(LimitKind::Memory, self.refused_at, self.max()))
    }

    fn max(&self) -> u64 {
        self.limit.unwrap_or_else(|| self.start.min(DEFAULT_MEMORY_START) + DEFAULT_MEMORY_GROWTH)
    }

    fn change(&mut self, current: usize, desired: usize) -> bool {
        let [current, desired] = [current, desired].map(|bytes| bytes as u64);
        if current == 0 {
            self.start = self.start.saturating_add(desired);
        }
        let wanted = self.current.saturating_sub(current).saturating_add(desired);
        if wanted > self.max() {
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
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.change(current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = |elements: usize| elements.saturating_mul(TABLE_ELEMENT_BYTES);
        Ok(self.change(bytes(current), bytes(desired)))
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
        let mut meter = Meter::new(Some(3 << 20));
        assert!(meter.change(0, MIB));
        assert!(meter.change(0, MIB));
        assert!(meter.change(MIB, 2 * MIB));
        assert!(!meter.change(MIB, 2 * MIB));
        let exceeded = meter.exceeded().expect("refused");
        assert_eq!((exceeded.used, exceeded.max, meter.peak()), (4 << 20, 3 << 20, 3 << 20));
    }

    #[test]
    fn by_default_the_start_is_free_up_to_a_bound() {
        let mut meter = Meter::new(None);
        assert!(meter.change(0, 200 * MIB));
        assert!(meter.change(200 * MIB, 264 * MIB));
        assert!(!meter.change(264 * MIB, 265 * MIB));
        assert!(!Meter::new(None).change(0, 4096 * MIB - 1));
    }
}
