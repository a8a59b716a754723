//! Bytes to text, within bounds.

/// The longest start of `bytes` that has at most `max` bytes and ends no character halfway.
pub(crate) fn cut(bytes: &[u8], max: usize) -> &[u8] {
    let Some((head, rest)) = bytes.split_at_checked(max) else {
        return bytes;
    };
    if rest.is_empty() {
        return bytes;
    }
    match std::str::from_utf8(head) {
        // No length: it is not wrong, it goes on.
        Err(error) if error.error_len().is_none() => head.get(..error.valid_up_to()).unwrap_or(head),
        _ => head,
    }
}

/// Whether bytes at the start of a file say that it is no text.
///
/// A zero byte is what `grep` and `git` go by, and how far they look.
pub(crate) fn is_binary(start: &[u8]) -> bool {
    start.iter().take(8 << 10).any(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_characters_whole() {
        assert_eq!(cut("año".as_bytes(), 2), b"a");
        assert_eq!(cut("año".as_bytes(), 3), "añ".as_bytes());
        assert_eq!(cut("año".as_bytes(), 4), "año".as_bytes());
        assert_eq!(cut("año".as_bytes(), 9), "año".as_bytes());
        assert_eq!(cut(b"\xff\xff\xff", 2), b"\xff\xff");
    }
}
