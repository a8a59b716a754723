//! An exported function as a tool: each call runs in a fresh sandbox.

use std::sync::Arc;

use casemate_host_bindings::{parameters_from_schema, shape_from_schema};
use casemate_policy::{Grants, ToolSource};
use futures_util::future::BoxFuture;

use super::describe::{Export, Form};
use super::{Component, Imports};
use crate::call::{self, CallError, Declined, ErrorKind, NotFound};
use crate::effect::{Denial, Failure, Outcome};
use crate::gate::{Invocation, Scope};
use crate::limits::Limits;
use crate::model::Models;
use crate::tool::{KnownFrom, Provide, Tool, ToolSignature, Toolset, Widening};

/// A tool in the making, of a component's export. Each call of it is a fresh sandbox, which is granted nothing unless
/// it is said here.
#[derive(Clone)]
#[must_use]
pub struct ComponentTool {
    component: Component,
    export: String,
    name: String,
    means: Means,
    limits: Limits,
    imports: Option<Imports>,
}

/// What the sandbox of a component tool has.
#[derive(Clone)]
enum Means {
    Own(Own),
    OfTheCaller,
}

#[derive(Clone, Default)]
struct Own {
    grants: Arc<Grants>,
    tools: Toolset,
    models: Models,
}

impl Component {
    /// An exported function, or a tool that the component describes itself, by any of the names that [`call`](Self::call) takes. Its own name is the short
    /// one, unless [`named`](ComponentTool::named) otherwise.
    pub fn tool(&self, export: &str) -> Result<ComponentTool, ExportError> {
        let export = self.export(export)?;
        if let Err(reason) = &export.form {
            return Err(ExportError::NotCallable { name: export.name.clone(), reason: reason.clone() });
        }
        Ok(ComponentTool {
            component: self.clone(),
            export: export.name.clone(),
            name: export.name.clone(),
            means: Means::Own(Own::default()),
            limits: Limits::default(),
            imports: None,
        })
    }
}

impl ComponentTool {
    /// Gives it another own name.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What its sandbox reaches. It has to be within what its caller reaches: a call with a tool that would reach more
    /// is refused before anything runs.
    pub fn grants(mut self, grants: Grants) -> Self {
        self.means = Means::Own(Own { grants: Arc::new(grants), ..self.own() });
        self
    }

    /// The tools that its sandbox sees; it may call those that its grants list.
    pub fn tools(mut self, tools: Toolset) -> Self {
        self.means = Means::Own(Own { tools, ..self.own() });
        self
    }

    /// The models that its sandbox knows; it may ask those that its grants list. Grants and rules go by names, so one
    /// name is best one model in a whole tree of calls.
    pub fn models(mut self, models: Models) -> Self {
        self.means = Means::Own(Own { models, ..self.own() });
        self
    }

    /// Lets its sandbox reach, see and know whatever the one that calls it does, in the place of grants, tools and models
    /// of its own.
    pub fn inheriting(mut self) -> Self {
        self.means = Means::OfTheCaller;
        self
    }

    /// How much each call may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What serves the functions that the component imports.
    pub fn imports(mut self, imports: Imports) -> Self {
        self.imports = Some(imports);
        self
    }

    /// What it has of its own, and not of whoever calls it.
    fn own(&self) -> Own {
        match &self.means {
            Means::Own(own) => own.clone(),
            Means::OfTheCaller => Own::default(),
        }
    }

    fn found(&self) -> Result<&Export, NotFound> {
        self.component.export(&self.export)
    }

    /// The tools that serve its component's imports; what is not bound is found out when the tool is called.
    fn served(&self) -> Result<Arc<[Tool]>, CallError> {
        call::bound(&self.component, self.imports.as_ref())
    }
}

impl From<ComponentTool> for Tool {
    fn from(tool: ComponentTool) -> Self {
        let source = ToolSource::Export { component: tool.component.hash().to_string(), export: tool.export.clone() };
        let schemas = tool.found().map_or_else(|_| Default::default(), Export::schemas);
        let description = tool.found().ok().and_then(|export| export.description.clone()).unwrap_or_default();
        Self::provided(tool.name.clone(), source, schemas, tool).description(description)
    }
}

impl Provide for ComponentTool {
    fn provide(&self, invocation: Invocation) -> BoxFuture<'static, Outcome> {
        let (component, limits) = (self.component.clone(), self.limits);
        let prepared = self.served().and_then(|imports| {
            let scope = self.scope(invocation.scope(), imports);
            let export = self.found()?;
            call::nested(&component, export, &invocation, scope, limits)
        });
        match prepared {
            Ok(running) => Box::pin(async move { outcome(running.await) }),
            Err(error) => Box::pin(std::future::ready(outcome(Err(error)))),
        }
    }

    fn signature(&self) -> Result<ToolSignature, String> {
        let export = self.found().map_err(|error| error.to_string())?;
        match export.form.clone()? {
            Form::Typed(signature) => Ok(ToolSignature {
                parameters: signature.parameters.clone(),
                result: signature.returns.shape(),
                known_from: KnownFrom::Wit,
            }),
            Form::Provided(_) => {
                let (input, output) = export.schemas();
                let parameters = parameters_from_schema(&input).map_err(|error| error.to_string())?;
                let result = shape_from_schema(&output).map_err(|error| error.to_string())?;
                Ok(ToolSignature { parameters, result: Some(result), known_from: KnownFrom::Schema })
            }
        }
    }

    fn narrows(&self, caller: &Grants) -> Result<(), Widening> {
        let grants = match &self.means {
            Means::Own(own) => &own.grants,
            Means::OfTheCaller => caller,
        };
        caller.check_covers(grants).map_err(|widened| Widening { tool: self.name.clone(), widened })?;
        self.brings().iter().try_for_each(|tool| tool.narrows(grants))
    }

    fn brings(&self) -> Vec<Tool> {
        let Own { tools, .. } = self.own();
        let tools = tools.tools().map(|(_, tool)| tool);
        tools.chain(self.imports.iter().flat_map(Imports::tools)).cloned().collect()
    }
}

impl ComponentTool {
    fn scope(&self, caller: &Scope, imports: Arc<[Tool]>) -> Scope {
        match &self.means {
            Means::Own(Own { grants, tools, models }) => {
                caller.child(grants.clone(), tools.clone(), imports).knowing(models.clone())
            }
            Means::OfTheCaller => {
                let child = caller.child(caller.reach().clone(), caller.tools().clone(), imports);
                child.knowing(caller.models().clone())
            }
        }
    }
}

fn outcome(result: Result<serde_json::Value, CallError>) -> Outcome {
    match result {
        Ok(value) => Outcome::Result(value.into()),
        Err(CallError::Tool(error)) => {
            let failure = Failure::new(error.to_string());
            Outcome::Failed(Failure { value: error.value, ..failure }.into())
        }
        Err(CallError::Declined(declined)) => declined_outcome(declined),
        Err(CallError::InvalidInput(error)) => Outcome::InvalidInput(error.to_string()),
        Err(CallError::LimitExceeded(limit)) => Outcome::LimitExceeded(limit),
        Err(CallError::Cancelled) => Outcome::Cancelled,
        // What it was refused is its own affair; its caller gets its account.
        Err(CallError::Denied(denied)) => outcome(Err(*denied.cause)),
        // What went wrong on the host is not the guest's to know.
        Err(error) => {
            let told = match error.kind() {
                ErrorKind::Trap => "the tool crashed",
                ErrorKind::Busy => "there is no place for the tool's sandbox now: try again later",
                _ => "the tool could not be run",
            };
            let detail = Some(error.to_string());
            Outcome::Failed(Failure { kind: error.kind(), detail, ..Failure::new(told) }.into())
        }
    }
}

fn declined_outcome(Declined { kind, message }: Declined) -> Outcome {
    match kind {
        ErrorKind::Denied => Outcome::Denied(Denial::new(message).into()),
        ErrorKind::NotFound => Outcome::NotFound(message),
        ErrorKind::InvalidInput => Outcome::InvalidInput(message),
        ErrorKind::Cancelled => Outcome::Cancelled,
        kind => Outcome::Failed(Failure { kind, ..Failure::new(message) }.into()),
    }
}

/// Why a component's export cannot be a tool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There is none of that name.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// It cannot be called with JSON.
    #[error("`{name}` cannot be a tool: {reason}")]
    NotCallable {
        /// The export.
        name: String,
        /// Why not.
        reason: String,
    },
}
