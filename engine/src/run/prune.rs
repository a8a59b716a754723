//! Folders of runs that are not there any more.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::start::off_executor;
use crate::life::RunId;
use crate::storage::{Storage, StorageError};

/// A workspace is there a little before its run.
const GRACE: Duration = Duration::from_hours(1);

/// Removes those of these workspaces whose runs the storage does not know. What is named otherwise, or was changed
/// lately, is left alone.
pub(super) async fn remove_left_over(workspaces: &Path, storage: &dyn Storage) -> Result<(), StorageError> {
    let folder = workspaces.to_owned();
    let Ok(folders) = off_executor(move || list(&folder)).await else { return Ok(()) };
    for (id, folder) in folders {
        if storage.run(id).await?.is_some() {
            continue;
        }
        let shown = folder.display().to_string();
        if let Err(error) = off_executor(move || std::fs::remove_dir_all(folder)).await {
            tracing::warn!(folder = shown, %error, "the workspace of a run that is gone cannot be removed");
        }
    }
    Ok(())
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
