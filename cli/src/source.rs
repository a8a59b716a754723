//! Where a component comes from: a file, or the name of a built-in one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use casemate::{Component, Engine, LoadError};
use indicatif::ProgressBar;

use crate::options;

/// The components that come with the binary, by their names.
const BUILT_IN: [(&str, &[u8]); 2] = [("toolbox", casemate::TOOLBOX), (CHAT, casemate_guests::CHAT)];

/// The name of the built-in agent.
pub(crate) const CHAT: &str = "chat";

/// The bytes of a built-in component.
fn built_in(name: &str) -> Option<&'static [u8]> {
    BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}

/// Loads `file`, which may be a built-in one. A compile that takes long shows itself on a terminal.
pub(crate) async fn load(engine: &Engine, file: &str) -> Result<Component, LoadError> {
    let spinner = ProgressBar::new_spinner().with_message(format!("loading {file}"));
    spinner.enable_steady_tick(Duration::from_millis(120));
    let component = match built_in(file) {
        Some(bytes) => engine.load_bytes(bytes).await,
        None => engine.load(file).await,
    };
    spinner.finish_and_clear();
    component
}

/// Components by their files, each loaded once.
pub(crate) struct Loader<'e> {
    engine: &'e Engine,
    loaded: HashMap<String, Component>,
}

impl<'e> Loader<'e> {
    pub(crate) fn new(engine: &'e Engine) -> Self {
        Self { engine, loaded: HashMap::new() }
    }

    /// The component in `file`, which may be a built-in one.
    pub(crate) async fn load(&mut self, file: &str) -> anyhow::Result<Component> {
        if let Some(component) = self.loaded.get(file) {
            return Ok(component.clone());
        }
        let component = load(self.engine, file).await.with_context(|| format!("cannot load `{file}`"))?;
        self.loaded.insert(file.to_owned(), component.clone());
        Ok(component)
    }
}

/// Splits `FILE#EXPORT`, or gives the whole as a file. A `#` may be part of a path, so what exists as a file counts
/// before what does not.
pub(crate) fn split_export(text: &str) -> (&str, Option<&str>) {
    let exists = |file: &str| built_in(file).is_some() || Path::new(file).is_file();
    if exists(text) {
        return (text, None);
    }
    let mut splits = text.match_indices('#').map(|(at, _)| text.split_at(at));
    let split = splits.clone().find(|(file, _)| exists(file)).or_else(|| splits.next());
    split.map_or((text, None), |(file, export)| (file, export.strip_prefix('#')))
}

/// The bytes of `file`, which may be a built-in one.
pub(crate) fn bytes(file: &str) -> anyhow::Result<Cow<'static, [u8]>> {
    built_in(file).map_or_else(|| Ok(read(Path::new(file))?.into()), |bytes| Ok(bytes.into()))
}

/// The same source in any folder.
pub(crate) fn absolute(file: &str) -> anyhow::Result<String> {
    if built_in(file).is_some() { Ok(file.to_owned()) } else { options::absolute(Path::new(file)) }
}

pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}

pub(crate) fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_file_is_an_export() {
        assert_eq!(split_export("toolbox"), ("toolbox", None));
        assert_eq!(split_export("toolbox#read-file"), ("toolbox", Some("read-file")));
        assert_eq!(split_export("no/such.wasm#files#read"), ("no/such.wasm", Some("files#read")));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c#.wasm").display().to_string();
        std::fs::write(&file, "").unwrap();
        assert_eq!(split_export(&file), (file.as_str(), None));
        assert_eq!(split_export(&format!("{file}#add")), (file.as_str(), Some("add")));
    }
}
