//! What `--tool` makes of the names it is given: tools that a guest calls by name, and servers of what it imports.

use std::collections::BTreeSet;

use anyhow::bail;
use casemate::{BindError, Component, ComponentTool, Imports, Limits, Tool, Toolset};

use crate::options::{ToolFlag, all_tools};
use crate::source::Loader;

/// The tools of one component.
pub(crate) struct Binding {
    /// What it calls by name.
    pub(crate) tools: Toolset,
    /// What it imports, and what serves that.
    pub(crate) imports: Imports,
    names: BTreeSet<String>,
    limits: Limits,
}

impl Binding {
    /// Nothing is bound yet. Each call of a tool will have these limits.
    pub(crate) fn new(component: &Component, limits: Limits) -> Self {
        Self { tools: Toolset::new(), imports: component.imports(), names: BTreeSet::new(), limits }
    }

    /// Every tool.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Tool> {
        self.tools.tools().map(|(_, tool)| tool).chain(self.imports.tools())
    }

    /// Binds to what is imported under that name, an interface or a function; what is not imported is called by name.
    pub(crate) async fn bind(&mut self, flag: &ToolFlag, loader: &mut Loader<'_>) -> anyhow::Result<()> {
        if let Some(name) = flag.name()
            && !self.names.insert(name.to_owned())
        {
            bail!("`--tool {name}` is given twice");
        }
        if flag.is_declaration() {
            return flag.http_tools()?.into_iter().try_for_each(|tool| self.bind_one(tool.into()));
        }
        self.bind_exports(flag, &loader.load(flag.file()).await?)
    }

    /// Binds all tools of a component, which are called by name, and answers with their names.
    pub(crate) fn bind_all(&mut self, provider: &Component) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for tool in all_tools(provider)? {
            let tool = Tool::from(tool.inheriting().limits(self.limits));
            names.push(tool.name().to_owned());
            self.tools = self.tools.clone().with(tool)?;
        }
        Ok(names)
    }

    fn bind_exports(&mut self, flag: &ToolFlag, provider: &Component) -> anyhow::Result<()> {
        let name = flag.name().unwrap_or_default();
        let limits = self.limits;
        let make = |tool: ComponentTool| tool.inheriting().limits(limits);
        match (self.imports.clone().interface_with(name, provider, make), flag.export()) {
            (Err(BindError::NotImported { .. }), _) => self.bind_one(flag.tool(provider, limits)?.into()),
            (Ok(_), Some(export)) => {
                bail!("`{name}` is an interface, which a whole component serves: leave out `#{export}`")
            }
            (bound, _) => {
                self.imports = bound?;
                Ok(())
            }
        }
    }

    fn bind_one(&mut self, tool: Tool) -> anyhow::Result<()> {
        match self.imports.clone().function(tool.name(), tool.clone()) {
            Err(BindError::NotImported { .. }) => self.tools = self.tools.clone().with(tool)?,
            bound => self.imports = bound?,
        }
        Ok(())
    }
}
