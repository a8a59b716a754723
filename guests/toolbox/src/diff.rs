//! What an edit changed, as a unified diff.
//!
//! `similar` formats such diffs too, but its formatter brings every algorithm
//! that it has, half a megabyte of component.

use crate::text::cut;
use similar::algorithms::{Capture, Replace, myers};
use similar::udiff::UnifiedHunkHeader;
use similar::{DiffOp, DiffTag, group_diff_ops};

/// How many unchanged lines are shown around a change.
const CONTEXT: usize = 3;

/// How much of a diff is returned.
const MAX_DIFF: usize = 64 << 10;

/// The most steps that finding a diff may take.
///
/// The algorithm takes lines times changed lines. Measured in the component, a
/// step is some thirty instructions, so this is an eighth of a call's default fuel.
const MAX_STEPS: usize = 4_000_000;

/// Shows how `old` became `new`, by changing at most that many lines.
pub(crate) fn unified(path: &str, old: &str, new: &str, changed_lines: usize) -> String {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    if differing(&old, &new).saturating_mul(changed_lines) > MAX_STEPS {
        return "the change is too large for a diff\n".to_owned();
    }
    let mut diff = format!("--- {path}\n+++ {path}\n");
    for hunk in group_diff_ops(operations(&old, &new), CONTEXT) {
        if diff.len() > MAX_DIFF {
            break;
        }
        push_hunk(&mut diff, &hunk, &old, &new);
    }
    if diff.len() > MAX_DIFF {
        let kept = cut(diff.as_bytes(), MAX_DIFF).len();
        diff.truncate(kept);
        diff.push_str("\nthe rest of the diff is cut off\n");
    }
    diff
}

/// How many lines are between the first and the last one that differ, on both sides.
fn differing(old: &[&str], new: &[&str]) -> usize {
    let same = |pair: &(&&str, &&str)| pair.0 == pair.1;
    let before = old.iter().zip(new).take_while(same).count();
    let old = old.get(before..).unwrap_or_default();
    let new = new.get(before..).unwrap_or_default();
    let after = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
    old.len() + new.len() - 2 * after
}

fn operations(old: &[&str], new: &[&str]) -> Vec<DiffOp> {
    let mut capture = Replace::new(Capture::new());
    let Ok(()) = myers::diff(&mut capture, old, 0..old.len(), new, 0..new.len());
    capture.into_inner().into_ops()
}

fn push_hunk(diff: &mut String, operations: &[DiffOp], old: &[&str], new: &[&str]) {
    if operations.is_empty() {
        return;
    }
    diff.push_str(&UnifiedHunkHeader::new(operations).to_string());
    diff.push('\n');
    for operation in operations {
        let removed = old.get(operation.old_range()).unwrap_or_default();
        let added = new.get(operation.new_range()).unwrap_or_default();
        match operation.tag() {
            DiffTag::Equal => push_lines(diff, ' ', removed),
            DiffTag::Delete => push_lines(diff, '-', removed),
            DiffTag::Insert => push_lines(diff, '+', added),
            DiffTag::Replace => {
                push_lines(diff, '-', removed);
                push_lines(diff, '+', added);
            }
        }
    }
}

fn push_lines(diff: &mut String, mark: char, lines: &[&str]) {
    for line in lines {
        diff.push(mark);
        diff.push_str(line);
        if !line.ends_with('\n') {
            diff.push_str("\n\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(old: &str, new: &str, hunks: &str) {
        assert_eq!(unified("f", old, new, 1), format!("--- f\n+++ f\n{hunks}"));
    }

    #[test]
    fn a_change_stands_among_unchanged_lines() {
        check(
            "1\n2\n3\n4\n5\n6\n7\n8\n9\n",
            "1\n2\n3\n4\nfive\n6\n7\n8\n9\n",
            "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n",
        );
        check("a\nb\n", "a\n", "@@ -1,2 +1 @@\n a\n-b\n");
    }

    #[test]
    fn changes_far_apart_are_hunks_of_their_own() {
        let old = "a\n1\n2\n3\n4\n5\n6\n7\nb\n";
        check(
            old,
            &old.replace('a', "x").replace('b', "y"),
            "@@ -1,4 +1,4 @@\n-a\n+x\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-b\n+y\n",
        );
    }

    #[test]
    fn a_missing_newline_is_marked() {
        check("a", "a\n", "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
    }

    #[test]
    fn a_long_diff_is_cut() {
        let diff = unified("f", "old line\n", &"new line\n".repeat(20_000), 1);
        assert!(diff.len() < MAX_DIFF + 64, "{}", diff.len());
        assert!(diff.ends_with("\nthe rest of the diff is cut off\n"));
    }

    #[test]
    fn a_diff_that_takes_too_long_is_left_out() {
        assert_eq!(unified("f", &"a\n".repeat(5_000), "", 5_000), "the change is too large for a diff\n");
    }
}
