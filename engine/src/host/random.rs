//! `wasi:random`, with a bound on what one call may ask for.

use wasmtime::component::HasData;
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::p2::bindings::random::{insecure, random};
use wasmtime_wasi::random::WasiRandomCtx;

use super::{Host, HostLimit};
use crate::limits::{LimitExceeded, LimitKind};

pub(crate) struct BoundedRandom;

pub(crate) struct BoundedRandomView<'a> {
    source: &'a mut WasiRandomCtx,
    max: u64,
}

impl HasData for BoundedRandom {
    type Data<'a> = BoundedRandomView<'a>;
}

impl BoundedRandom {
    pub(crate) fn view(host: &mut Host) -> BoundedRandomView<'_> {
        let max = host.random_limit;
        BoundedRandomView { source: host.ctx().ctx.random(), max }
    }
}

impl BoundedRandomView<'_> {
    fn check(&self, len: u64) -> wasmtime::Result<()> {
        if len > self.max {
            return Err(HostLimit(LimitExceeded::new(LimitKind::Random, len, self.max)).into());
        }
        Ok(())
    }
}

impl random::Host for BoundedRandomView<'_> {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.check(len)?;
        self.source.get_random_bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.source.get_random_u64()
    }
}

impl insecure::Host for BoundedRandomView<'_> {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.check(len)?;
        self.source.get_insecure_random_bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.source.get_insecure_random_u64()
    }
}
