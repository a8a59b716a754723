//! Tools on the command line: `--tool NAME=SOURCE`.

use anyhow::{Context as _, bail};
use casemate::{Component, ComponentTool, HttpTool, Limits};
use clap::Args;

use super::flags::Flags;
use crate::declared::{self, Declared};
use crate::source;

/// The tools that are bound.
#[derive(Args)]
#[command(next_help_heading = "Tools")]
pub(crate) struct ToolOptions {
    /// Bind a tool: the export of a component, or an HTTP API. Binding grants nothing, see `--allow-tool`
    ///
    /// SOURCE may be a declaration of an HTTP API, FILE.toml: of a whole base URL or one operation, which is the tool
    /// NAME, or of an `OpenAPI` document, whose operations are the tools NAME-OPERATION. With `#OPERATION` behind it, that
    /// one is the tool NAME. Without `NAME=`, tools are called as the declaration says.
    ///
    /// Or SOURCE is a component, or `toolbox`, with `#EXPORT` behind it unless it has only one export. Where the called
    /// component imports a function of that name (`get-forecast`, `acme:weather/forecast#get-forecast`), the tool
    /// serves the import, and where it imports an interface of that name (`acme:weather/forecast`), the exports of
    /// SOURCE do. Otherwise the guest sees the tool under NAME. Each call of it runs in a fresh sandbox, which reaches
    /// what the call is granted (`--dir`, `--env`, and the tools) and has the limits of the call.
    #[arg(long = "tool", value_name = "NAME=SOURCE", value_parser = ToolFlag::named)]
    pub(crate) tools: Vec<ToolFlag>,
    /// Give it all tools of a component, such as `toolbox`: bound, and granted where `--ask-tool` says nothing else
    ///
    /// They reach what it is granted itself: the folders of `--dir`, and an agent's workspace, at `/workspace`.
    #[arg(long = "tools", value_name = "SOURCE")]
    pub(crate) bundles: Vec<String>,
}

impl ToolOptions {
    pub(super) fn write(&self, flags: &mut Flags) -> anyhow::Result<()> {
        for bundle in &self.bundles {
            flags.add("tools", source::absolute(bundle)?);
        }
        for flag in &self.tools {
            let export = flag.export().map_or_else(String::new, |export| format!("#{export}"));
            let source = format!("{}{export}", source::absolute(flag.file())?);
            match flag.name() {
                Some(name) => flags.add("tool", format_args!("{name}={source}")),
                None => flags.add("tool", source),
            }
        }
        Ok(())
    }
}

/// The tools that rules are checked against.
#[derive(Args)]
#[command(next_help_heading = "Tools")]
pub(crate) struct KnownTools {
    /// Know a tool: the export of a component, `FILE#EXPORT`; without `#EXPORT` and NAME, all of its exports; or what
    /// FILE.toml declares
    #[arg(long = "tool", value_name = "[NAME=]SOURCE", value_parser = ToolFlag::perhaps_named)]
    pub(crate) tools: Vec<ToolFlag>,
    /// Know all tools of a component, such as `toolbox`, and that they are granted where `--ask-tool` says nothing else
    #[arg(long = "tools", value_name = "SOURCE")]
    pub(crate) bundles: Vec<String>,
}

/// A tool's own name, and where it comes from.
#[derive(Clone)]
pub(crate) struct ToolFlag {
    name: Option<String>,
    source: String,
}

impl ToolFlag {
    fn named(text: &str) -> anyhow::Result<Self> {
        let flag = Self::perhaps_named(text)?;
        if flag.name.is_none() && !flag.is_declaration() {
            bail!("`{text}` is not of the form NAME=SOURCE");
        }
        Ok(flag)
    }

    fn perhaps_named(text: &str) -> anyhow::Result<Self> {
        match text.split_once('=') {
            Some(("", _) | (_, "")) => bail!("`{text}` is not of the form NAME=SOURCE"),
            Some((name, source)) => Ok(Self { name: Some(name.to_owned()), source: source.to_owned() }),
            None => Ok(Self { name: None, source: text.to_owned() }),
        }
    }

    /// Whether it is about an HTTP API.
    pub(crate) fn is_declaration(&self) -> bool {
        declared::is_declaration(self.file())
    }

    /// The tools of its HTTP API.
    pub(crate) fn http_tools(&self) -> anyhow::Result<Vec<HttpTool>> {
        let file = self.file();
        let declared = Declared::read(file, self.name())?;
        match self.export() {
            None => Ok(declared.all(file)),
            Some(operation) => {
                let tool = declared.only(operation).with_context(|| format!("in `{file}`"))?;
                Ok(vec![self.name.iter().fold(tool, HttpTool::named)])
            }
        }
    }

    /// The own name that is asked for.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The file of the component or the declaration.
    pub(crate) fn file(&self) -> &str {
        source::split_export(&self.source).0
    }

    /// The export or the operation, where one is said.
    pub(crate) fn export(&self) -> Option<&str> {
        source::split_export(&self.source).1
    }

    /// The one tool that is meant.
    pub(crate) fn tool(&self, provider: &Component, limits: Limits) -> anyhow::Result<ComponentTool> {
        let export = match self.export() {
            Some(export) => export.to_owned(),
            None => self.only_export(provider)?,
        };
        let tool = provider.tool(&export).with_context(|| format!("in `{}`", self.file()))?;
        let tool = self.name.iter().fold(tool, ComponentTool::named);
        Ok(tool.inheriting().limits(limits))
    }

    /// Every tool that is meant: without name and export, all that the component has.
    pub(crate) fn tools(&self, provider: &Component) -> anyhow::Result<Vec<ComponentTool>> {
        if self.name.is_some() || self.export().is_some() {
            return Ok(vec![self.tool(provider, Limits::default())?]);
        }
        all_tools(provider)
    }

    fn only_export(&self, provider: &Component) -> anyhow::Result<String> {
        let exports = callable(provider);
        let file = self.file();
        match exports.as_slice() {
            [] => bail!("`{file}` exports no function that can be a tool"),
            [only] => Ok(only.clone()),
            several => {
                let name = self.name.as_deref().unwrap_or_default();
                let flags: Vec<_> = several.iter().map(|export| format!("\n  --tool {name}={file}#{export}")).collect();
                bail!("`{file}` exports several functions; say which one `{name}` is:{}", flags.concat())
            }
        }
    }
}

/// All tools of a component.
pub(crate) fn all_tools(provider: &Component) -> anyhow::Result<Vec<ComponentTool>> {
    callable(provider).iter().map(|export| Ok(provider.tool(export)?)).collect()
}

fn callable(component: &Component) -> Vec<String> {
    let tools = component.description().tools.into_iter();
    tools.filter(|tool| tool.callable).map(|tool| tool.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, name: Option<&str>, file: &str, export: Option<&str>) {
        let flag = ToolFlag::perhaps_named(text).unwrap();
        assert_eq!((flag.name(), flag.file(), flag.export()), (name, file, export));
    }

    #[test]
    fn a_flag_has_a_name_a_file_and_an_export() {
        check("add=math.wasm", Some("add"), "math.wasm", None);
        check("add=math.wasm#plus", Some("add"), "math.wasm", Some("plus"));
        check("a:b/c@1.0.0#d=x.wasm#c#d", Some("a:b/c@1.0.0#d"), "x.wasm", Some("c#d"));
        check("math.wasm#plus", None, "math.wasm", Some("plus"));
    }

    #[test]
    fn a_flag_without_its_parts_is_refused() {
        for text in ["=x.wasm", "add="] {
            assert!(ToolFlag::perhaps_named(text).is_err(), "{text}");
        }
        assert!(ToolFlag::named("math.wasm").is_err());
    }
}
