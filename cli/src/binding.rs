//! What `--tool` makes of the names it is given: tools that a guest calls by name, and servers of what it imports.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use casemate::{BindError, Component, Imports, Limits, Tool, Toolset};

use crate::options::ToolFlag;

/// The tools of one component.
pub(crate) struct Binding {
    /// What it calls by name.
    pub(crate) tools: Toolset,
    /// What it imports.
    pub(crate) imports: Imports,
    /// What serves each import that is served.
    pub(crate) served: BTreeMap<String, Tool>,
    component: Component,
    names: BTreeSet<String>,
    limits: Limits,
}

impl Binding {
    /// Nothing is bound yet. Each call of a tool will have these limits.
    pub(crate) fn new(component: &Component, limits: Limits) -> Self {
        Self {
            tools: Toolset::new(),
            imports: component.imports(),
            served: BTreeMap::new(),
            component: component.clone(),
            names: BTreeSet::new(),
            limits,
        }
    }

    /// Every tool, each once.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Tool> {
        self.tools.tools().map(|(_, tool)| tool).chain(self.served.values())
    }

    pub(crate) fn bind(&mut self, flag: &ToolFlag, provider: &Component) -> anyhow::Result<()> {
        let name = flag.name().unwrap_or_default();
        if !self.names.insert(name.to_owned()) {
            bail!("`--tool {name}` is given twice");
        }
        let functions = self.functions_of(name, provider)?;
        if functions.is_empty() {
            return self.bind_one(name, flag.tool(provider, self.limits)?.into());
        }
        if let Some(export) = flag.export() {
            bail!("`{name}` is an interface, which a whole component serves: leave out `#{export}`");
        }
        for import in functions {
            let tool = Export::serving(&import);
            let made = provider.tool(&tool.export)?.named(tool.name).inheriting().limits(self.limits);
            self.serve(&import, made.into())?;
        }
        Ok(())
    }

    fn bind_one(&mut self, name: &str, tool: Tool) -> anyhow::Result<()> {
        let several = self.imports.names().filter(|import| is_end_of(name, import)).count() > 1;
        match self.component.imports().function(name, tool.clone()) {
            Err(BindError::NotImported { .. }) if !several => {
                self.tools = self.tools.clone().with(tool)?;
                Ok(())
            }
            bound => bound_in(&bound?).iter().try_for_each(|import| self.serve(import, tool.clone())),
        }
    }

    fn serve(&mut self, import: &str, tool: Tool) -> anyhow::Result<()> {
        if self.served.contains_key(import) {
            bail!("two tools would serve `{import}`");
        }
        self.imports = self.imports.clone().function(import, tool.clone())?;
        self.served.insert(import.to_owned(), tool);
        Ok(())
    }

    /// The imported functions of the interface `name`, where it is one; `provider` has them all.
    fn functions_of(&self, name: &str, provider: &Component) -> Result<Vec<String>, BindError> {
        match self.component.imports().interface(name, provider) {
            Err(BindError::NotImported { .. }) => Ok(Vec::new()),
            bound => Ok(bound_in(&bound?)),
        }
    }
}

/// The imports that something serves.
fn bound_in(imports: &Imports) -> Vec<String> {
    let unbound: BTreeSet<_> = imports.unbound().collect();
    imports.names().filter(|import| !unbound.contains(import)).collect()
}

/// The export that serves an imported function of an interface, and its own name as a tool, as
/// [`Imports::interface`] has them.
struct Export {
    export: String,
    name: String,
}

impl Export {
    fn serving(import: &str) -> Self {
        let (interface, function) = import.rsplit_once('#').unwrap_or(("", import));
        let unversioned = interface.split_once('@').map_or(interface, |(name, _)| name);
        let bare = unversioned.rsplit_once('/').map_or(unversioned, |(_, bare)| bare);
        Self { export: format!("{bare}#{function}"), name: format!("{unversioned}#{function}") }
    }
}

/// Whether an import could be meant by a name that means several.
fn is_end_of(name: &str, import: &str) -> bool {
    import.strip_suffix(name).is_some_and(|start| start.is_empty() || start.ends_with(['#', '/', ':']))
}
