//! Writes to a stream without asking `check-write` how much it would take.
//! The host should answer with an error or a trap, and should neither keep nor allocate what was not permitted.

use wasip2::cli::stdout::get_stdout;
use wasip2::io::streams::StreamError;

pub(crate) fn write(bytes: u32) -> Result<(), String> {
    let contents = vec![b'u'; usize::try_from(bytes).unwrap_or(usize::MAX)];
    get_stdout().write(&contents).map_err(describe)
}

/// Zeroes cost the guest nothing, and a careless host a buffer of that length.
pub(crate) fn write_zeroes(bytes: u64) -> Result<(), String> {
    get_stdout().write_zeroes(bytes).map_err(describe)
}

fn describe(error: StreamError) -> String {
    match error {
        StreamError::Closed => "closed".to_owned(),
        StreamError::LastOperationFailed(cause) => cause.to_debug_string(),
    }
}
