//! A component with everything that its sandbox is given: what `call` runs is what `policy show` shows.

use std::path::Path;

use anyhow::{anyhow, bail};
use casemate::{
    Approver, Call, CedarPolicy, Component, Engine, Gate, Grants, Limits, Models, Principal, Secrets, Tool, ToolFacts,
};
use serde_json::Value;

use crate::binding::Binding;
use crate::options::{DataOptions, SandboxOptions};
use crate::render;
use crate::source::Loader;

pub(crate) struct Setup {
    pub(crate) component: Component,
    pub(crate) grants: Grants,
    pub(crate) secrets: Secrets,
    pub(crate) binding: Binding,
    pub(crate) models: Models,
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
        data: &DataOptions,
    ) -> anyhow::Result<Self> {
        let mut loader = Loader::new(engine);
        let component = loader.load(file).await?;
        Self::of(component, &mut loader, options, limits, data).await
    }

    /// Adds all that the options name to a component that is loaded.
    pub(crate) async fn of(
        component: Component,
        loader: &mut Loader<'_>,
        options: SandboxOptions,
        limits: Limits,
        data: &DataOptions,
    ) -> anyhow::Result<Self> {
        let texts = options.policy.read()?;
        let mut binding = Binding::new(&component, limits);
        let mut given = Vec::new();
        for bundle in &options.tools.bundles {
            given.extend(binding.bind_all(&loader.load(bundle).await?)?);
        }
        for flag in &options.tools.tools {
            binding.bind(flag, loader).await?;
        }
        let models = options.models.read()?;
        options.grants.check_models(&models)?;
        let names: Vec<_> = binding.all().map(Tool::name).collect();
        let (grants, secrets) = options.grants.read_with(&names, &given, data)?;
        check_folders(&grants, data)?;
        let facts: Vec<ToolFacts> = binding.all().map(|tool| tool.facts().clone()).collect();
        let policy = texts.map(|texts| texts.compile(&facts)).transpose();
        let policy = policy.map_err(|errors| anyhow!("the rules do not fit the tools that are bound:\n{errors}"))?;
        for warning in policy.iter().flat_map(CedarPolicy::warnings) {
            render::warning_line(&warning.to_string());
        }
        warn_of_the_unseen(&component, &binding, &models);
        Ok(Self { component, grants, secrets, binding, models, policy, principal: options.policy.principal, limits })
    }

    /// Grants the models that are bound and of which nothing else is said: an agent without one is of no use.
    pub(crate) fn granting_models(mut self) -> anyhow::Result<Self> {
        for name in self.models.names() {
            if self.grants.find_model(name).is_none() {
                self.grants = self.grants.model(name)?;
            }
        }
        Ok(self)
    }

    /// Tells of each secret that has no value to use; what needs it will fail.
    pub(crate) async fn warn_of_missing_secrets(&self) {
        for secret in self.secrets.list() {
            if let Err(error) = secret.check().await {
                render::warning_line(&error.to_string());
            }
        }
    }

    /// The call of one of its exports, and the Gate through which its tools are called.
    pub(crate) fn call(self, export: String, input: Value, approver: impl Approver + 'static) -> (Call, Gate) {
        let builder = Gate::builder().approver(approver).secrets(self.secrets);
        let gate = match self.policy {
            Some(policy) => builder.policy(policy).build(),
            None => builder.build(),
        };
        let call = self.component.call(export, input).grants(self.grants).limits(self.limits).principal(self.principal);
        (call.tools(self.binding.tools).imports(self.binding.imports).models(self.models).gate(&gate), gate)
    }
}

/// No folder may show what is kept of secrets and runs.
fn check_folders(grants: &Grants, data: &DataOptions) -> anyhow::Result<()> {
    grants.folders().iter().try_for_each(|folder| check_folder(folder.host(), data))
}

/// Whether a folder shows what is kept of secrets and runs.
pub(crate) fn check_folder(folder: &Path, data: &DataOptions) -> anyhow::Result<()> {
    let Ok(shown) = folder.canonicalize() else { return Ok(()) };
    let kept = [("the values of secrets", data.secrets_path()), ("the records of runs", data.database_path())];
    for (what, path) in kept {
        // Where there is nothing of the sort, there is nothing to show.
        let Ok(kept) = path.and_then(|path| Ok(path.canonicalize()?)) else { continue };
        if kept.starts_with(&shown) || shown.starts_with(&kept) {
            bail!(
                "the folder `{}` would show the guest {what}, which are kept in `{}`: \
                 grant a folder without them, or keep them elsewhere with `--data`",
                folder.display(),
                kept.display()
            );
        }
    }
    Ok(())
}

/// A name that is no import is for those who call tools by name; where nobody does, it was meant to be one.
fn warn_of_the_unseen(component: &Component, binding: &Binding, models: &Models) {
    let imported = component.description().imports;
    let imports = |interface: &str| imported.iter().any(|import| import.name.starts_with(interface));
    let calls_by_name = imports("casemate:agent/tools@") || imports("wasi:http/outgoing-handler@");
    // Tools inherit what the component has.
    if !models.is_empty() && !imports("casemate:agent/model@") && binding.all().next().is_none() {
        let names: Vec<_> = models.names().map(|name| format!("`{name}`")).collect();
        render::warning_line(&format!("the component asks no models, so it does not use {}", names.join(", ")));
    }
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
