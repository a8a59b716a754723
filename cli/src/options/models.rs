//! Models on the command line: `--model NAME=SOURCE`.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use casemate::{Models, PlaygroundModel, ScriptedModel};
use clap::Args;

use super::flags::{Flags, absolute};

/// The models that are bound.
#[derive(Args)]
#[command(next_help_heading = "Models")]
pub(crate) struct ModelOptions {
    /// Bind a model; the first one is asked where the guest names none. For `call` that grants nothing, see `--allow-model`
    ///
    /// SOURCE is `scripted:FILE.toml`, which plays the conversation in a file, or `playground`, which needs no file
    /// and does what it is told, line by line: `call NAME JSON`, `say TEXT`, `think: TEXT`, `use the tools`. Without
    /// `NAME=`, the model is called by the sort of its source.
    #[arg(long = "model", value_name = "[NAME=]SOURCE", value_parser = ModelFlag::from_str)]
    models: Vec<ModelFlag>,
}

impl ModelOptions {
    /// The models, by their names.
    pub(crate) fn read(&self) -> anyhow::Result<Models> {
        self.models.iter().try_fold(Models::new(), |models, flag| flag.add(models))
    }

    pub(super) fn write(&self, flags: &mut Flags) -> anyhow::Result<()> {
        for ModelFlag { name, source } in &self.models {
            let name = if name == source.sort() { String::new() } else { format!("{name}=") };
            match source {
                Source::Playground => flags.add("model", format_args!("{name}playground")),
                Source::Scripted(file) => flags.add("model", format_args!("{name}scripted:{}", absolute(file)?)),
            }
        }
        Ok(())
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
        let bare = text.parse::<Source>();
        match (bare, text.split_once('=')) {
            (Ok(source), _) => Ok(Self { name: source.sort().to_owned(), source }),
            (Err(_), Some((name, source))) if !name.is_empty() => {
                Ok(Self { name: name.to_owned(), source: source.parse()? })
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl FromStr for Source {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.split_once(':') {
            None if text == "playground" => Ok(Self::Playground),
            Some(("scripted", file)) if !file.is_empty() => Ok(Self::Scripted(file.into())),
            _ => bail!("`{text}` is no source of a model: use `scripted:FILE.toml` or `playground`"),
        }
    }
}

impl Source {
    /// What a model from here is called where nobody says how.
    fn sort(&self) -> &'static str {
        match self {
            Self::Scripted(_) => "scripted",
            Self::Playground => "playground",
        }
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
        assert_eq!(flag("playground"), ModelFlag { name: "playground".into(), source: Source::Playground });
        let bare = ModelFlag { name: "scripted".into(), source: Source::Scripted("a=b.toml".into()) };
        assert_eq!(flag("scripted:a=b.toml"), bare);
        assert_eq!(flag("a/b:1=playground"), ModelFlag { name: "a/b:1".into(), source: Source::Playground });
        for text in ["fast", "=playground", "fast=", "fast=scripted:", "fast=scripted", "fast=gpt"] {
            assert!(text.parse::<ModelFlag>().is_err(), "{text}");
        }
    }
}
