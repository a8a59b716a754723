use std::io::Write as _;

use bytes::{Buf as _, Bytes};
use flate2::write::MultiGzDecoder;

use super::error::EgressError;

/// Undoes gzip in small steps: a few bytes can become a thousand times as many.
pub(super) struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    /// What is still to be decoded.
    input: Bytes,
    begun: bool,
}

/// Bytes that are decoded in one step: at most a MiB comes of them.
const STEP: usize = 1 << 10;
/// Enough to hand on.
const PIECE: usize = 64 << 10;

impl Gunzip {
    pub(super) fn new() -> Self {
        Self { decoder: MultiGzDecoder::new(Vec::new()), input: Bytes::new(), begun: false }
    }

    pub(super) fn push(&mut self, input: Bytes) {
        self.begun |= !input.is_empty();
        self.input = input;
    }

    /// The next piece of what was pushed; `None` once there is none.
    pub(super) fn pull(&mut self) -> Result<Option<Bytes>, EgressError> {
        while self.decoder.get_ref().len() < PIECE && !self.input.is_empty() {
            let step = self.input.slice(..self.input.len().min(STEP));
            self.decoder.write_all(&step).map_err(|error| broken(&error))?;
            self.input.advance(step.len());
        }
        self.decoder.flush().map_err(|error| broken(&error))?;
        let decoded = std::mem::take(self.decoder.get_mut());
        Ok((!decoded.is_empty()).then(|| decoded.into()))
    }

    /// Whether what was pushed was whole; nothing at all is.
    pub(super) fn finish(&mut self) -> Result<(), EgressError> {
        if !self.begun {
            return Ok(());
        }
        self.decoder.try_finish().map_err(|error| broken(&error))
    }
}

fn broken(error: &std::io::Error) -> EgressError {
    EgressError::Protocol { why: format!("its gzip is broken: {error}") }
}
