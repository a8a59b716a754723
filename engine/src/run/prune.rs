//! Folders of runs that are not there any more.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::request::Spec;
use super::start::off_executor;
use crate::life::RunId;
use crate::storage::{RunFilter, Storage, StorageError};

/// A workspace is there a little before its run.
const GRACE: Duration = Duration::from_hours(1);

/// The workspaces that are named by runs, and whose runs the storage knew.
pub(super) struct Workspaces<'a> {
    folder: &'a Path,
    storage: &'a dyn Storage,
    known: HashSet<RunId>,
}

impl<'a> Workspaces<'a> {
    /// As they are before runs are pruned.
    pub(super) async fn before(folder: &'a Path, storage: &'a dyn Storage) -> Result<Self, StorageError> {
        let mut known = HashSet::new();
        for Named { id, .. } in named(folder).await {
            if storage.run(id).await?.is_some() {
                known.insert(id);
            }
        }
        Ok(Self { folder, storage, known })
    }

    /// Removes those that no run needs which the storage knows. What was changed lately is left alone, unless its run was
    /// known.
    pub(super) async fn remove_left_over(self) -> Result<(), StorageError> {
        let mut left = Vec::new();
        for Named { id, folder, changed } in named(self.folder).await {
            let is_old = SystemTime::now().duration_since(changed).is_ok_and(|since| since > GRACE);
            if (is_old || self.known.contains(&id)) && self.storage.run(id).await?.is_none() {
                left.push(folder);
            }
        }
        let needed = if left.is_empty() { BTreeSet::new() } else { workspaces_of_all(self.storage).await? };
        for folder in left {
            if folder.canonicalize().is_ok_and(|folder| needed.contains(&folder)) {
                continue;
            }
            let shown = folder.display().to_string();
            if let Err(error) = off_executor(move || std::fs::remove_dir_all(folder)).await {
                tracing::warn!(folder = shown, %error, "the workspace of a run that is gone cannot be removed");
            }
        }
        Ok(())
    }
}

/// The workspaces of all runs there are: forks and retries have that of the run that they come from.
async fn workspaces_of_all(storage: &dyn Storage) -> Result<BTreeSet<PathBuf>, StorageError> {
    const PAGE: usize = 500;
    let (mut workspaces, mut cursor) = (BTreeSet::new(), None);
    loop {
        let page = storage.list(RunFilter::default(), PAGE, cursor).await?;
        let specs = page.items.iter().filter_map(|run| serde_json::from_str::<Spec>(&run.spec).ok());
        workspaces.extend(specs.filter_map(|spec| spec.workspace));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(workspaces);
        }
    }
}

/// A folder that is named by a run.
struct Named {
    id: RunId,
    folder: PathBuf,
    changed: SystemTime,
}

/// All of them; none where that cannot be said.
async fn named(workspaces: &Path) -> Vec<Named> {
    let folder = workspaces.to_owned();
    off_executor(move || list(&folder)).await.unwrap_or_default()
}

fn list(workspaces: &Path) -> std::io::Result<Vec<Named>> {
    let entries = std::fs::read_dir(workspaces)?.filter_map(|entry| {
        let entry = entry.ok()?;
        let id = entry.file_name().to_str()?.parse().ok()?;
        let changed = entry.metadata().ok()?.modified().ok()?;
        Some(Named { id, folder: entry.path(), changed })
    });
    Ok(entries.collect())
}
