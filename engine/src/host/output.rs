//! What a guest prints: captured or handed on, counted, and cut or stopped at the limit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::HostLimit;
use crate::call::CapturedOutput;
use crate::limits::{LimitExceeded, LimitKind, Limits, OnExcess};

/// The most a guest may write at once. Zeroes that it asks for are allocated by the host up to this.
const WRITE_PERMIT: usize = 64 << 10;

/// One of the two streams that a guest prints to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// An embedder's own place for what is printed.
pub(crate) type Callback = Box<dyn FnMut(Stream, &[u8]) + Send>;

/// Where printed bytes go.
pub(crate) enum Sink {
    Capture,
    Callback(Callback),
}

/// Both streams of a sandbox, with one limit on the two; clones share them.
#[derive(Clone)]
pub(crate) struct Output(Arc<Mutex<State>>);

struct State {
    sink: Sink,
    left: u64,
    max: u64,
    on_excess: OnExcess,
    stdout: Printed,
    stderr: Printed,
}

/// What came over one stream.
#[derive(Debug, Default)]
pub(crate) struct Printed {
    pub(crate) captured: Vec<u8>,
    pub(crate) bytes: u64,
    pub(crate) truncated: bool,
}

impl From<(Printed, Printed)> for CapturedOutput {
    fn from((stdout, stderr): (Printed, Printed)) -> Self {
        Self {
            stdout: stdout.captured,
            stderr: stderr.captured,
            stdout_truncated: stdout.truncated,
            stderr_truncated: stderr.truncated,
        }
    }
}

/// An embedder's output callback panicked: its call fails, the process does not.
#[derive(Debug, thiserror::Error)]
#[error("the output callback panicked")]
pub(crate) struct CallbackPanicked;

impl Output {
    pub(crate) fn new(limits: &Limits, sink: Sink) -> Self {
        Self(Arc::new(Mutex::new(State {
            sink,
            left: limits.output,
            max: limits.output,
            on_excess: limits.on_excess,
            stdout: Printed::default(),
            stderr: Printed::default(),
        })))
    }

    pub(crate) fn stream(&self, stream: Stream) -> GuestStream {
        GuestStream { output: self.clone(), stream }
    }

    /// What was printed to standard output and standard error; nothing is left behind.
    pub(crate) fn take(&self) -> (Printed, Printed) {
        let mut state = self.state();
        (std::mem::take(&mut state.stdout), std::mem::take(&mut state.stderr))
    }

    /// How many bytes came over standard output and standard error so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.stdout.bytes, state.stderr.bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> StreamResult<()> {
        let allowed = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (kept, cut) = bytes.split_at(allowed);
        self.left -= allowed as u64;
        let printed = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        printed.bytes += bytes.len() as u64;
        printed.truncated |= !cut.is_empty();
        match &mut self.sink {
            Sink::Capture => printed.captured.extend_from_slice(kept),
            Sink::Callback(_) if kept.is_empty() => {}
            Sink::Callback(callback) => catch_unwind(AssertUnwindSafe(|| callback(stream, kept)))
                .map_err(|_| StreamError::Trap(CallbackPanicked.into()))?,
        }
        if !cut.is_empty() && self.on_excess == OnExcess::Fail {
            let used = self.stdout.bytes + self.stderr.bytes;
            return Err(StreamError::Trap(HostLimit(LimitExceeded::new(LimitKind::Output, used, self.max)).into()));
        }
        Ok(())
    }
}

/// One of the two streams, as WASI sees it. Writing never blocks.
#[derive(Clone)]
pub(crate) struct GuestStream {
    output: Output,
    stream: Stream,
}

impl IsTerminal for GuestStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // WASI 0.3 asks for this one, and no component of that version is loaded.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for GuestStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > WRITE_PERMIT {
            return Err(StreamError::trap("the guest wrote more than it was permitted"));
        }
        self.output.state().write(self.stream, &bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_PERMIT)
    }

    fn write_zeroes(&mut self, count: usize) -> StreamResult<()> {
        if count > WRITE_PERMIT {
            return Err(StreamError::trap("the guest wrote more than it was permitted"));
        }
        self.write(Bytes::from(vec![0; count]))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestStream {
    async fn ready(&mut self) {}
}
