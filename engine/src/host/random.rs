//! `wasi:random`, with a bound on what one call may ask for.

use wasmtime::component::HasData;
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::p2::bindings::random::{insecure, random};
use wasmtime_wasi::random::WasiRandomCtx;

use super::{Host, HostLimit};
use crate::journal::Journal;
use crate::limits::{LimitExceeded, LimitKind};

pub(crate) struct BoundedRandom;

pub(crate) struct BoundedRandomView<'a> {
    source: Source<'a>,
    max: u64,
}

/// Where random bytes come from.
enum Source<'a> {
    System(&'a mut WasiRandomCtx),
    /// The same on replay.
    Run(Journal),
}

impl HasData for BoundedRandom {
    type Data<'a> = BoundedRandomView<'a>;
}

impl BoundedRandom {
    pub(crate) fn view(host: &mut Host) -> BoundedRandomView<'_> {
        let max = host.random_limit;
        let source = match host.scope.own_journal().cloned() {
            Some(journal) => Source::Run(journal),
            None => Source::System(host.ctx().ctx.random()),
        };
        BoundedRandomView { source, max }
    }
}

impl BoundedRandomView<'_> {
    fn check(&self, len: u64) -> wasmtime::Result<usize> {
        if len > self.max {
            return Err(HostLimit(LimitExceeded::new(LimitKind::Random, len, self.max)).into());
        }
        Ok(usize::try_from(len)?)
    }
}

fn bytes_of_run(journal: &Journal, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    journal.fill_random(&mut bytes);
    bytes
}

fn u64_of_run(journal: &Journal) -> u64 {
    let mut bytes = [0; 8];
    journal.fill_random(&mut bytes);
    u64::from_le_bytes(bytes)
}

impl random::Host for BoundedRandomView<'_> {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        let count = self.check(len)?;
        match &mut self.source {
            Source::System(source) => source.get_random_bytes(len),
            Source::Run(journal) => Ok(bytes_of_run(journal, count)),
        }
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        match &mut self.source {
            Source::System(source) => source.get_random_u64(),
            Source::Run(journal) => Ok(u64_of_run(journal)),
        }
    }
}

impl insecure::Host for BoundedRandomView<'_> {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        let count = self.check(len)?;
        match &mut self.source {
            Source::System(source) => source.get_insecure_random_bytes(len),
            Source::Run(journal) => Ok(bytes_of_run(journal, count)),
        }
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        match &mut self.source {
            Source::System(source) => source.get_insecure_random_u64(),
            Source::Run(journal) => Ok(u64_of_run(journal)),
        }
    }
}
