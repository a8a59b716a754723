//! Where a component comes from: a file, or the name of a built-in one.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use casemate::{Component, Engine, LoadError};
use indicatif::ProgressBar;

const TOOLBOX: &str = "toolbox";

/// Loads `file`, which may be `toolbox`. A compile that takes long shows itself on a terminal.
pub(crate) async fn load(engine: &Engine, file: &str) -> Result<Component, LoadError> {
    let spinner = ProgressBar::new_spinner().with_message(format!("loading {file}"));
    spinner.enable_steady_tick(Duration::from_millis(120));
    let component = match file {
        TOOLBOX => engine.load_bytes(casemate::TOOLBOX).await,
        path => engine.load(path).await,
    };
    spinner.finish_and_clear();
    component
}

/// The bytes of `file`, which may be `toolbox`.
pub(crate) fn bytes(file: &str) -> anyhow::Result<Cow<'static, [u8]>> {
    match file {
        TOOLBOX => Ok(casemate::TOOLBOX.into()),
        path => Ok(read(Path::new(path))?.into()),
    }
}

pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}
