//! Gives a file another name, so that a check of the name alone would miss it.
//! A symlink should lead nowhere outside the folder that holds it, and no link or rename should carry a file from a folder granted for reading into one granted for writing.

use std::ffi::{CString, c_char, c_int};
use std::fs;
use std::io;

use crate::open_raw::{first_folder, name};

pub(crate) fn rename(old: &str, new: &str) -> Result<(), String> {
    fs::rename(old, new).map_err(|error| error.to_string())
}

pub(crate) fn hard_link(old: &str, new: &str) -> Result<(), String> {
    fs::hard_link(old, new).map_err(|error| error.to_string())
}

/// Through the C library, which leaves the target as it is; the standard library has no stable function for it.
pub(crate) fn make_symlink(target: &str, link: &str) -> Result<(), String> {
    let target = CString::new(target).map_err(|error| error.to_string())?;
    let link = CString::new(link).map_err(|error| error.to_string())?;
    // SAFETY: both pointers are to strings that end in NUL and live through the call.
    match unsafe { symlink(target.as_ptr(), link.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error().to_string()),
    }
}

pub(crate) fn read_link(path: &str) -> Result<String, String> {
    let folder = first_folder()?;
    folder.readlink_at(path).map_err(name)
}

unsafe extern "C" {
    fn symlink(target: *const c_char, link: *const c_char) -> c_int;
}
