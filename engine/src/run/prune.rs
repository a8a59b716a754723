//! Folders of runs that are not there any more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::request::Spec;
use super::start::off_executor;
use crate::life::RunId;
use crate::storage::{RunFilter, Storage, StorageError};

/// A workspace is there a little before its run.
const GRACE: Duration = Duration::from_hours(1);

/// Removes those of these workspaces that no run needs which the storage knows. What is named otherwise, or was changed
/// lately, is left alone.
pub(super) async fn remove_left_over(workspaces: &Path, storage: &dyn Storage) -> Result<(), StorageError> {
    let folder = workspaces.to_owned();
    let Ok(folders) = off_executor(move || list(&folder)).await else { return Ok(()) };
    let mut left = Vec::new();
    for (id, folder) in folders {
        if storage.run(id).await?.is_none() {
            left.push(folder);
        }
    }
    let needed = if left.is_empty() { BTreeSet::new() } else { workspaces_of_all(storage).await? };
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

/// The folders that are named by a run, and of which nothing is new.
fn list(workspaces: &Path) -> std::io::Result<Vec<(RunId, PathBuf)>> {
    let entries = std::fs::read_dir(workspaces)?.filter_map(|entry| {
        let entry = entry.ok()?;
        let id = entry.file_name().to_str()?.parse().ok()?;
        let changed = entry.metadata().ok()?.modified().ok()?;
        SystemTime::now().duration_since(changed).is_ok_and(|since| since > GRACE).then_some(())?;
        Some((id, entry.path()))
    });
    Ok(entries.collect())
}
