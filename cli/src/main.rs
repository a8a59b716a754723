//! Casemate at the terminal.
fn main() {}
