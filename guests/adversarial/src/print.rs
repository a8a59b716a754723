//! Prints a text: no attack, but what the capture of output is tested with.

use std::io::Write;

pub(crate) fn print(text: &str) {
    deliver(&mut std::io::stdout(), text);
}

pub(crate) fn warn(text: &str) {
    deliver(&mut std::io::stderr(), text);
}

fn deliver(sink: &mut impl Write, text: &str) {
    // A guest that prints does not care whether anyone listens.
    let _ = sink.write_all(text.as_bytes()).and_then(|()| sink.flush());
}
