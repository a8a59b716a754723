//! Prints far more than anyone wants to keep.
//! The output limit should cut it and say so, or end the guest; what the host keeps must not grow with it.

use std::io::Write;

const LINE: &[u8; 64] = b"all work and no play makes a guest print what nobody will read.\n";

/// How many bytes were accepted, at most `bytes`; stops at the first error.
pub(crate) fn flood(sink: &mut impl Write, bytes: u64) -> u64 {
    let chunk = LINE.repeat(64);
    let mut accepted = 0;
    while accepted < bytes {
        let left = usize::try_from(bytes - accepted).unwrap_or(usize::MAX);
        let part = chunk.get(..left).unwrap_or(&chunk);
        if sink.write_all(part).and_then(|()| sink.flush()).is_err() {
            break;
        }
        accepted += part.len() as u64;
    }
    accepted
}

pub(crate) fn flood_forever() {
    let mut sink = std::io::stdout();
    loop {
        flood(&mut sink, u64::MAX);
    }
}
