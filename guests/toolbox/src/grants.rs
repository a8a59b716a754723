//! Which folders there are.

use std::path::{Path, PathBuf};

/// The granted folders, sorted.
#[cfg(target_os = "wasi")]
pub(crate) fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        wasip2::filesystem::preopens::get_directories().into_iter().map(|(_, path)| path.into()).collect();
    folders.sort();
    folders
}

/// On the host, where only the tests run, nothing is granted by name.
#[cfg(not(target_os = "wasi"))]
pub(crate) fn folders() -> Vec<PathBuf> {
    Vec::new()
}

/// Whether a path is in some granted folder.
///
/// The names of the folders are not compared: how a path finds its folder is
/// for the C library to know, and a look at what is above the path tells.
pub(crate) fn cover(path: &Path) -> bool {
    path.ancestors().any(|above| {
        let above = match above.as_os_str() {
            name if name.is_empty() => Path::new("."),
            _ => above,
        };
        above.symlink_metadata().is_ok()
    })
}

/// What to say of a path that no granted folder covers.
pub(crate) fn missing() -> String {
    let folders = folders();
    if folders.is_empty() {
        return "no folder is granted there".to_owned();
    }
    let names: Vec<String> = folders.iter().take(8).map(|folder| format!("`{}`", folder.display())).collect();
    format!("no folder is granted there, only {}", names.join(", "))
}
