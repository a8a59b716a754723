//! Opens the same folder again and again and closes nothing: each one is a file descriptor of the host's process.
//! The limit on resources should stop it.

use std::mem::forget;

use wasip2::filesystem::types::{DescriptorFlags, OpenFlags};

use crate::open_raw::{first_folder, name, open};

pub(crate) fn hoard(count: u32) -> Result<u32, String> {
    let folder = first_folder()?;
    for _ in 0..count {
        forget(open(&folder, ".", OpenFlags::DIRECTORY, DescriptorFlags::READ).map_err(name)?);
    }
    Ok(count)
}
