//! Rules on the command line, and on whose behalf they are asked.

use std::path::PathBuf;

use anyhow::Context as _;
use casemate::{CedarPolicy, PolicyErrors, PolicySource, Principal, ToolFacts};
use clap::Args;

use super::flags::{Flags, absolute};
use crate::source;

/// On whose behalf, where nobody is named.
const ANONYMOUS: &str = "anonymous";

/// Rules, and a principal.
#[derive(Args)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyOptions {
    /// Decide calls of tools, chats, requests and uses of secrets by the Cedar rules in this file too. Rules take away from what is granted, or ask
    #[arg(long = "policy", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// On whose behalf it acts, for rules: an id, or JSON such as '{"id":"bot","parents":[{"group":"support"}]}'
    #[arg(long, value_name = "ID", default_value = ANONYMOUS, value_parser = principal)]
    pub(crate) principal: Principal,
}

impl PolicyOptions {
    pub(super) fn write(&self, flags: &mut Flags) -> anyhow::Result<()> {
        for file in &self.files {
            flags.add("policy", absolute(file)?);
        }
        if self.principal != Principal::new(ANONYMOUS) {
            flags.add("principal", serde_json::to_string(&self.principal)?);
        }
        Ok(())
    }

    /// What the files say; `None` where there are none.
    pub(crate) fn read(&self) -> anyhow::Result<Option<PolicyTexts>> {
        if self.files.is_empty() { Ok(None) } else { PolicyTexts::read(&self.files).map(Some) }
    }
}

/// Rules that are not yet made for tools.
pub(crate) struct PolicyTexts(Vec<(String, String)>);

impl PolicyTexts {
    pub(crate) fn read(files: &[PathBuf]) -> anyhow::Result<Self> {
        let named = files.iter().map(|path| Ok((path.display().to_string(), source::read_text(path)?)));
        named.collect::<anyhow::Result<_>>().map(Self)
    }

    /// The names of the files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The rules, made for these tools.
    pub(crate) fn compile(&self, tools: &[ToolFacts]) -> Result<CedarPolicy, PolicyErrors> {
        let sources: Vec<_> = self.0.iter().map(|(name, text)| PolicySource { name, text }).collect();
        CedarPolicy::compile(&sources, tools)
    }
}

fn principal(text: &str) -> anyhow::Result<Principal> {
    if text.starts_with('{') {
        return serde_json::from_str(text).context("this is not a principal");
    }
    Ok(Principal::new(text))
}
