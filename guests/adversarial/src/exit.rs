//! Leaves through `wasi:cli/exit` in the middle of a call, without returning a value.
//! The outcome should be an exit with this status: 0 a normal end, others an error of the tool.

pub(crate) fn exit(status: u8) {
    wasip2::cli::exit::exit_with_code(status);
}
