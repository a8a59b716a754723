//! A run's folder, and what tool calls change in it: found by looking at it before and after, since what a tool did is
//! not its to claim.
//!
//! Links are not followed. Of a folder with very many files nothing is told, and of large files or such that are no
//! text only that they changed.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cap_std::fs::{Dir, Metadata, MetadataExt as _};

use crate::event::FileChange;

/// Where tools see the workspace.
pub(crate) const WORKSPACE: &str = "/workspace";

/// Files of a folder that are looked at.
const MOST_FILES: usize = 20_000;

/// Bytes of a file whose changes are shown.
const MOST_SHOWN: u64 = 1 << 20;

/// Bytes of all files together that are kept to be compared.
const MOST_KEPT: u64 = 64 << 20;

/// Bytes of a difference that is shown.
const LONGEST_DIFF: usize = 64 << 10;

/// Bytes of all differences together that one call may have shown.
const LONGEST_DIFFS: usize = 1 << 20;

/// How long the smallest difference of a file is looked for, before a larger one will do.
const PATIENCE: Duration = Duration::from_millis(200);

/// The workspace of a run that is being executed. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(crate) struct Workspace(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    /// As it was looked at last.
    seen: Mutex<Option<Seen>>,
}

/// What a folder held at a moment; none of it where there is too much.
type Seen = Option<BTreeMap<String, File>>;

struct File {
    stamp: Stamp,
    /// What was in it, where that can be shown.
    text: Option<String>,
}

/// What tells a file that was not touched, without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

/// One file that changed.
pub(crate) struct FileEdit {
    /// As tools see it.
    pub(crate) path: String,
    pub(crate) change: FileChange,
    pub(crate) diff: Option<String>,
}

impl Workspace {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(Arc::new(Shared { folder, seen: Mutex::new(None) }))
    }

    /// Looks at it, unless it was looked at before.
    pub(crate) async fn look(&self) {
        self.off_executor(|shared| {
            let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.is_none() {
                *seen = Some(look_at(&shared.folder, None));
            }
            Vec::new()
        })
        .await;
    }

    /// What changed since it was looked at last.
    pub(crate) async fn changes(&self) -> Vec<FileEdit> {
        self.off_executor(|shared| {
            let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let before = seen.take().flatten();
            let now = look_at(&shared.folder, before.as_ref());
            let edits = match (&before, &now) {
                (Some(before), Some(now)) => compare(before, now),
                _ => Vec::new(),
            };
            *seen = Some(now);
            edits
        })
        .await
    }

    async fn off_executor(&self, work: impl FnOnce(&Shared) -> Vec<FileEdit> + Send + 'static) -> Vec<FileEdit> {
        let shared = self.0.clone();
        // A look that fails finds nothing.
        tokio::task::spawn_blocking(move || work(&shared)).await.unwrap_or_default()
    }
}

/// Everything in a folder; what did not change is not read again.
fn look_at(folder: &Path, before: Option<&BTreeMap<String, File>>) -> Seen {
    match try_look_at(folder, before) {
        Ok(seen) => seen,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "the workspace cannot be looked at");
            None
        }
    }
}

fn try_look_at(folder: &Path, before: Option<&BTreeMap<String, File>>) -> io::Result<Seen> {
    let (mut files, mut kept, mut folders) = (BTreeMap::new(), 0, 0);
    let root = Dir::open_ambient_dir(folder, cap_std::ambient_authority())?;
    // By their paths: opened, as many would be held as there are.
    let mut left = vec![String::new()];
    while let Some(above) = left.pop() {
        folders += 1;
        if folders > MOST_FILES {
            tracing::warn!("the workspace has too many folders: what changes in it is not told");
            return Ok(None);
        }
        let inner = if above.is_empty() { root.try_clone() } else { root.open_dir(&above) };
        let Ok(folder) = inner else { continue };
        for entry in folder.entries()? {
            let entry = entry?;
            let path = format!("{above}{}", entry.file_name().to_string_lossy());
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                left.push(format!("{path}/"));
                continue;
            }
            if !metadata.is_file() {
                continue;
            }
            if files.len() == MOST_FILES {
                tracing::warn!("the workspace has too many files: what changes in it is not told");
                return Ok(None);
            }
            let stamp = Stamp::of(&metadata);
            let known = before.and_then(|before| before.get(&path)).filter(|file| file.stamp == stamp);
            let text = match known {
                Some(file) => file.text.clone(),
                None if stamp.len <= MOST_SHOWN && kept + stamp.len <= MOST_KEPT => {
                    // It may grow while it is read.
                    entry.open().ok().and_then(|file| io::read_to_string(file.take(MOST_SHOWN)).ok())
                }
                None => None,
            };
            kept += text.as_ref().map_or(0, |text| text.len() as u64);
            files.insert(path, File { stamp, text });
        }
    }
    Ok(Some(files))
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { inode: metadata.ino(), len: metadata.len(), changed: (metadata.ctime(), metadata.ctime_nsec()) }
    }
}

fn compare(before: &BTreeMap<String, File>, now: &BTreeMap<String, File>) -> Vec<FileEdit> {
    let mut edits = Vec::new();
    for (path, file) in now {
        match before.get(path) {
            None => edits.push(edit(path, FileChange::Created, Some(""), file.text.as_deref())),
            Some(old) if old.stamp != file.stamp && (old.text.is_none() || old.text != file.text) => {
                edits.push(edit(path, FileChange::Modified, old.text.as_deref(), file.text.as_deref()));
            }
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|(path, _)| !now.contains_key(*path));
    edits.extend(gone.map(|(path, file)| edit(path, FileChange::Deleted, file.text.as_deref(), Some(""))));
    shorten(&mut edits);
    edits
}

/// Leaves out differences beyond what is shown of them all.
fn shorten(edits: &mut [FileEdit]) {
    let mut shown = 0;
    for edit in edits {
        shown += edit.diff.as_ref().map_or(0, String::len);
        edit.diff.take_if(|_| shown > LONGEST_DIFFS);
    }
}

fn edit(path: &str, change: FileChange, before: Option<&str>, now: Option<&str>) -> FileEdit {
    let diff = before.zip(now).map(|(before, now)| difference(path, change, before, now));
    FileEdit { path: format!("{WORKSPACE}/{path}"), change, diff: diff.filter(|diff| diff.len() <= LONGEST_DIFF) }
}

fn difference(path: &str, change: FileChange, before: &str, now: &str) -> String {
    let (old, new) = (quoted("a/", path), quoted("b/", path));
    let nothing = "/dev/null";
    let (old, new) = match change {
        FileChange::Created => (nothing, new.as_str()),
        FileChange::Modified => (old.as_str(), new.as_str()),
        FileChange::Deleted => (old.as_str(), nothing),
    };
    let diff = similar::TextDiff::configure().timeout(PATIENCE).diff_lines(before, now);
    diff.unified_diff().header(old, new).to_string()
}

/// A name in the header of a difference, where it could pass for something else in quotes, as others do it.
fn quoted(side: &str, path: &str) -> String {
    let name = format!("{side}{path}");
    if name.contains(|letter: char| letter.is_control() || letter == '"') { format!("{name:?}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> BTreeMap<String, File> {
        let file = |(inode, (path, text)): (u64, &(&str, &str))| {
            let stamp = Stamp { inode, len: text.len() as u64, changed: (text.len().try_into().unwrap(), 0) };
            ((*path).to_owned(), File { stamp, text: Some((*text).to_owned()) })
        };
        (0..).zip(files).map(file).collect()
    }

    #[test]
    fn what_changed_is_told_with_its_difference() {
        let before = files(&[("kept", "a\n"), ("edited", "one\ntwo\n"), ("gone", "x\n")]);
        let now = files(&[("kept", "a\n"), ("edited", "one\n2\ntwo\n"), ("new", "y\n")]);
        let edits = compare(&before, &now);
        let told: Vec<_> = edits.iter().map(|edit| (edit.path.as_str(), edit.change)).collect();
        assert_eq!(
            told,
            [
                ("/workspace/edited", FileChange::Modified),
                ("/workspace/new", FileChange::Created),
                ("/workspace/gone", FileChange::Deleted),
            ]
        );
        assert_eq!(edits[0].diff.as_deref(), Some("--- a/edited\n+++ b/edited\n@@ -1,2 +1,3 @@\n one\n+2\n two\n"));
        assert_eq!(edits[2].diff.as_deref(), Some("--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"));
    }

    #[test]
    fn a_name_cannot_pass_for_a_difference() {
        let edits = compare(&files(&[]), &files(&[("a\n+++ b/etc", "x\n")]));
        assert_eq!(edits[0].path, "/workspace/a\n+++ b/etc");
        assert!(edits[0].diff.as_deref().unwrap().starts_with("--- /dev/null\n+++ \"b/a\\n+++ b/etc\"\n@@"));
    }

    #[test]
    fn of_very_many_differences_the_first_are_shown() {
        let text = "line\n".repeat(10_000);
        let names: Vec<_> = (0..40).map(|n| format!("file-{n:02}")).collect();
        let all: Vec<_> = names.iter().map(|name| (name.as_str(), text.as_str())).collect();
        let shown = compare(&files(&[]), &files(&all)).iter().filter(|edit| edit.diff.is_some()).count();
        assert_eq!(shown, 17);
    }

    #[test]
    fn a_long_difference_is_left_out() {
        let long = "line\n".repeat(LONGEST_DIFF / 5);
        let edits = compare(&files(&[]), &files(&[("new", &long)]));
        assert!(edits[0].diff.is_none());
    }
}
