//! The toolbox: tools for files, in a component that holds no authority.
//!
//! The contract is `wit/toolbox/toolbox.wit`, whose doc comments are what a
//! caller of these tools gets to read; each function of it has a module here.
//! The modules use `std::fs` alone, so they are tested on the host; which
//! folders there are is decided by whoever instantiates the component.
//!
//! Two rules hold everywhere. Nothing is read or returned without a bound, so
//! that a large file or folder costs the caller no more than a small one. And
//! an error is a sentence for a reader who cannot look at the disk: it names
//! the path, the reason and the way out.

mod bindings;

mod edit;
mod glob;
mod grep;
mod list;
mod read;
mod write;

mod diff;
mod failure;
mod grants;
mod path_glob;
mod text;
mod walk;

use bindings::exports::casemate::toolbox::files;
use std::path::Path;

/// What the component exports.
pub struct Toolbox;

impl files::Guest for Toolbox {
    fn read_file(path: String, start_line: Option<u32>, end_line: Option<u32>) -> Result<files::FileText, String> {
        read::read(Path::new(&path), &read::Lines::new(start_line, end_line)?)
    }

    fn write_file(path: String, content: String) -> Result<files::Written, String> {
        write::write(Path::new(&path), content.as_bytes())
    }

    fn edit_file(path: String, old: String, new: String, all: Option<bool>) -> Result<files::Edited, String> {
        let edit = edit::Edit {
            old: &old,
            new: &new,
            scope: match all {
                Some(true) => edit::Scope::All,
                Some(false) | None => edit::Scope::One,
            },
        };
        edit::edit(Path::new(&path), &edit)
    }

    fn grep(
        pattern: String,
        path: String,
        glob: Option<String>,
        ignore_case: Option<bool>,
        context: Option<u32>,
        max_matches: Option<u32>,
    ) -> Result<files::GrepResult, String> {
        let case = match ignore_case {
            Some(true) => grep::Case::Ignored,
            Some(false) | None => grep::Case::Minded,
        };
        let search =
            grep::Search::new(&pattern, case)?.within(glob.as_deref())?.with_context(context).at_most(max_matches);
        search.run(Path::new(&path))
    }

    fn glob(pattern: String, path: Option<String>) -> Result<files::GlobResult, String> {
        match path {
            Some(path) => glob::glob(&pattern, &[path.into()]),
            None => glob::glob(&pattern, &grants::folders()),
        }
    }

    fn list_dir(path: String) -> Result<files::Listing, String> {
        list::list(Path::new(&path))
    }
}

// Only there: the names of these exports are more than a linker of the host takes.
#[cfg(target_os = "wasi")]
bindings::export!(Toolbox with_types_in bindings);
