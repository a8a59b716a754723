//! Hands paths to `wasi:filesystem` as they are written; the C library would have resolved `..` and absolute paths first.
//! The host should refuse each path that leaves the folder, by `..`, from the root, or through a symlink.

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

/// More than any file that a test would leave to be found.
const ENOUGH: u64 = 1 << 20;

pub(crate) fn read(path: &str) -> Result<String, String> {
    let folder = first_folder()?;
    let file = open(&folder, path, OpenFlags::empty(), DescriptorFlags::READ).map_err(name)?;
    let (bytes, _at_end) = file.read(ENOUGH, 0).map_err(name)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(crate) fn write(path: &str) -> Result<(), String> {
    let folder = first_folder()?;
    let file = open(&folder, path, OpenFlags::CREATE, DescriptorFlags::WRITE).map_err(name)?;
    file.write(b"the guest was here\n", 0).map_err(name)?;
    Ok(())
}

pub(crate) fn create_dir(path: &str) -> Result<(), String> {
    first_folder()?.create_directory_at(path).map_err(name)
}

/// Symlinks are followed, so that the host has to watch where they lead.
pub(crate) fn open(
    folder: &Descriptor,
    path: &str,
    how: OpenFlags,
    rights: DescriptorFlags,
) -> Result<Descriptor, ErrorCode> {
    folder.open_at(PathFlags::SYMLINK_FOLLOW, path, how, rights)
}

pub(crate) fn first_folder() -> Result<Descriptor, String> {
    let folders = get_directories();
    let (folder, _guest_path) = folders.into_iter().next().ok_or("no folder was granted")?;
    Ok(folder)
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(crate) fn name(code: ErrorCode) -> String {
    code.name().to_owned()
}
