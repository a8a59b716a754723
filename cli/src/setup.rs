//! A component with everything that its sandbox is given: what `call` runs is what `policy show` shows.

use anyhow::anyhow;
use casemate::{Approver, Call, CedarPolicy, Component, Engine, Gate, Grants, Limits, Principal, Tool, ToolFacts};
use serde_json::Value;

use crate::binding::Binding;
use crate::options::SandboxOptions;
use crate::render;
use crate::source::Loader;

pub(crate) struct Setup {
    pub(crate) component: Component,
    pub(crate) grants: Grants,
    pub(crate) binding: Binding,
    pub(crate) policy: Option<CedarPolicy>,
    pub(crate) principal: Principal,
    limits: Limits,
}

impl Setup {
    /// Loads the component in `file` and all that the options name.
    pub(crate) async fn load(
        engine: &Engine,
        file: &str,
        options: SandboxOptions,
        limits: Limits,
    ) -> anyhow::Result<Self> {
        let grants = options.grants.grants()?;
        let texts = options.policy.read()?;
        let mut loader = Loader::new(engine);
        let component = loader.load(file).await?;
        let mut binding = Binding::new(&component, limits);
        for flag in &options.tools.tools {
            binding.bind(flag, &loader.load(flag.file()).await?)?;
        }
        let facts: Vec<ToolFacts> = binding.all().map(|tool| tool.facts().clone()).collect();
        let policy = texts.map(|texts| texts.compile(&facts)).transpose();
        let policy = policy.map_err(|errors| anyhow!("the rules do not fit the tools that are bound:\n{errors}"))?;
        for warning in policy.iter().flat_map(CedarPolicy::warnings) {
            render::warning_line(&warning.to_string());
        }
        warn_of_the_unseen(&component, &binding);
        Ok(Self { component, grants, binding, policy, principal: options.policy.principal, limits })
    }

    /// The call of one of its exports, and the Gate through which its tools are called.
    pub(crate) fn call(self, export: String, input: Value, approver: impl Approver + 'static) -> (Call, Gate) {
        let builder = Gate::builder().approver(approver);
        let gate = match self.policy {
            Some(policy) => builder.policy(policy).build(),
            None => builder.build(),
        };
        let call = self.component.call(export, input).grants(self.grants).limits(self.limits).principal(self.principal);
        (call.tools(self.binding.tools).imports(self.binding.imports).gate(&gate), gate)
    }
}

/// A name that is no import is for those who call tools by name; where nobody does, it was meant to be one.
fn warn_of_the_unseen(component: &Component, binding: &Binding) {
    let calls_by_name = component.description().imports.iter().any(|import| import.name.starts_with("casemate:agent/"));
    let imports: Vec<_> = binding.imports.names().collect();
    let names: Vec<_> = binding.tools.tools().map(|(_, tool): (_, &Tool)| format!("`{}`", tool.name())).collect();
    if !calls_by_name && !names.is_empty() {
        let imports = if imports.is_empty() { "nothing else".to_owned() } else { imports.join(", ") };
        render::warning_line(&format!(
            "the component calls no tools by name, so it does not use {}; it imports {imports}",
            names.join(", ")
        ));
    }
}
