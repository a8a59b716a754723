//! Flags written down, so that another process reads them again, wherever it stands.

use std::fmt::Display;
use std::path::Path;

use anyhow::Context as _;

/// Flags, each with its value.
#[derive(Default)]
pub(super) struct Flags(Vec<String>);

impl Flags {
    pub(super) fn add(&mut self, name: &str, value: impl Display) {
        self.0.push(format!("--{name}={value}"));
    }

    /// The flag once for each value.
    pub(super) fn add_all<V: Display>(&mut self, name: &str, values: impl IntoIterator<Item = V>) {
        for value in values {
            self.add(name, value);
        }
    }

    pub(super) fn into_written(self) -> Vec<String> {
        self.0
    }
}

/// A path that means the same in every folder.
pub(crate) fn absolute(path: &Path) -> anyhow::Result<String> {
    let absolute = std::path::absolute(path).with_context(|| format!("cannot find `{}`", path.display()))?;
    let text = absolute.into_os_string().into_string();
    text.ok().with_context(|| format!("the path `{}` is not UTF-8, so it cannot be kept with a run", path.display()))
}
