//! Changes a file without ever asking for the right to write.
//! A folder granted for reading should refuse each of these, and the file should stay as it was.

use wasip2::filesystem::types::{DescriptorFlags, NewTimestamp, OpenFlags, PathFlags};

use crate::open_raw::{first_folder, name, open};

pub(crate) fn truncate(path: &str) -> Result<(), String> {
    let folder = first_folder()?;
    open(&folder, path, OpenFlags::TRUNCATE, DescriptorFlags::READ).map_err(name)?;
    Ok(())
}

pub(crate) fn set_size(path: &str) -> Result<(), String> {
    let folder = first_folder()?;
    let file = open(&folder, path, OpenFlags::empty(), DescriptorFlags::READ).map_err(name)?;
    file.set_size(0).map_err(name)
}

pub(crate) fn touch(path: &str) -> Result<(), String> {
    first_folder()?.set_times_at(PathFlags::SYMLINK_FOLLOW, path, NewTimestamp::Now, NewTimestamp::Now).map_err(name)
}
