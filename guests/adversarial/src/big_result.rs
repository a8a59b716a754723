//! Returns more than a host should copy out: one string, one list, many small parts.
//! The result limit should stop each of them before it is copied, and the limit on bytes for one host call behind it.

use crate::Leaf;

pub(crate) fn string(bytes: u32) -> String {
    "r".repeat(length(bytes))
}

pub(crate) fn list(count: u32) -> Vec<u8> {
    vec![0xA5; length(count)]
}

pub(crate) fn nested(width: u32) -> Vec<Vec<Leaf>> {
    (0..width).map(|row| (0..width).map(|column| leaf(row, column)).collect()).collect()
}

fn leaf(row: u32, column: u32) -> Leaf {
    Leaf { name: format!("{row:08x}{column:08x}"), numbers: vec![row, column, row ^ column, u32::MAX] }
}

fn length(wanted: u32) -> usize {
    usize::try_from(wanted).unwrap_or(usize::MAX)
}
