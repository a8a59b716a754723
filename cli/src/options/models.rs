//! Models on the command line: `--model NAME=SOURCE`.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use casemate::{Models, PlaygroundModel, ScriptedModel};
use clap::Args;

/// The models that are bound.
#[derive(Args)]
#[command(next_help_heading = "Models")]
pub(crate) struct ModelOptions {
    /// Bind a model; the first one is asked where the guest names none. Binding grants nothing, see `--allow-model`
    ///
    /// SOURCE is `scripted:FILE.toml`, which plays the conversation in a file, or `playground`, which needs no file
    /// and does what it is told, line by line: `call NAME JSON`, `say TEXT`, `think: TEXT`, `use the tools`.
    #[arg(long = "model", value_name = "NAME=SOURCE", value_parser = ModelFlag::from_str)]
    models: Vec<ModelFlag>,
}

impl ModelOptions {
    /// The models, by their names.
    pub(crate) fn read(&self) -> anyhow::Result<Models> {
        self.models.iter().try_fold(Models::new(), |models, flag| flag.add(models))
    }
}

/// A model's name, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ModelFlag {
    name: String,
    source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Scripted(PathBuf),
    Playground,
}

impl FromStr for ModelFlag {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let Some((name, source)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            bail!("`{text}` is not of the form NAME=SOURCE");
        };
        let source = match source.split_once(':') {
            None if source == "playground" => Source::Playground,
            Some(("scripted", file)) if !file.is_empty() => Source::Scripted(file.into()),
            _ => bail!("`{source}` is no source of a model: use `scripted:FILE.toml` or `playground`"),
        };
        Ok(Self { name: name.to_owned(), source })
    }
}

impl ModelFlag {
    fn add(&self, models: Models) -> anyhow::Result<Models> {
        let models = match &self.source {
            Source::Playground => models.with(&self.name, PlaygroundModel),
            Source::Scripted(file) => {
                let model = ScriptedModel::from_file(file);
                models.with(&self.name, model.with_context(|| format!("in the script `{}`", file.display()))?)
            }
        };
        Ok(models?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_has_a_name_and_a_source() {
        let flag = |text: &str| text.parse::<ModelFlag>().unwrap();
        let scripted = ModelFlag { name: "fast".into(), source: Source::Scripted("a=b:c.toml".into()) };
        assert_eq!(flag("fast=scripted:a=b:c.toml"), scripted);
        assert_eq!(flag("a/b:1=playground"), ModelFlag { name: "a/b:1".into(), source: Source::Playground });
        for text in ["fast", "=playground", "fast=", "fast=scripted:", "fast=scripted", "fast=gpt"] {
            assert!(text.parse::<ModelFlag>().is_err(), "{text}");
        }
    }
}
