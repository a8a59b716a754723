//! What runs execute: a component that handles messages, and what it is given.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use casemate_policy::{Grants, Principal};

#[cfg(feature = "compiler")]
use crate::component::LoadError;
use crate::component::{Component, ContentHash, Imports};
#[cfg(feature = "compiler")]
use crate::engine::Engine;
use crate::gate::{Budget, Gate};
#[cfg(feature = "http")]
use crate::gate::{Scope, Tree};
use crate::limits::Limits;
use crate::model::Models;
use crate::tool::Toolset;

/// What runs execute: a component that exports `casemate:agent/handler`, and what it is given. Cheap to clone.
///
/// A run keeps what its agent could notice from when it was created: the component's bytes, system prompt, model,
/// limits, budget as it is told of it, and environment. Everything else, as tools, rules, how long a sandbox may take and
/// what of its budget is left, is that of the agent when the run goes on.
#[derive(Clone)]
#[must_use]
pub struct Agent {
    pub(super) inner: Arc<Inner>,
}

#[derive(Clone)]
pub(super) struct Inner {
    pub(super) component: Component,
    pub(super) bytes: Bytes,
    pub(super) system_prompt: Option<String>,
    pub(super) grants: Grants,
    pub(super) tools: Toolset,
    pub(super) models: Models,
    pub(super) imports: Option<Imports>,
    pub(super) gate: Option<Gate>,
    pub(super) principal: Option<Arc<Principal>>,
    pub(super) budget: Budget,
    pub(super) limits: Limits,
}

/// Of a sandbox, unless it is said otherwise: agents wait for models and tools.
const LONG: Duration = Duration::from_hours(1);

impl Agent {
    /// Loads the component from its bytes: the binary form, or text with the feature `wat`. It is given nothing yet.
    ///
    /// The bytes are kept: each run has its own copy in the storage, so that it goes on with them whatever becomes of
    /// the file that they came from.
    #[cfg(feature = "compiler")]
    pub async fn load(engine: &Engine, bytes: impl Into<Bytes>) -> Result<Self, LoadError> {
        let bytes = engine.to_binary(bytes.into())?;
        let component = engine.load_bytes(bytes.clone()).await?;
        Ok(Self::made(component, bytes))
    }

    /// An agent of a component that was loaded otherwise, compiled before for example, with the bytes that it was made
    /// of. None where these are others.
    pub fn of(component: &Component, bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        (ContentHash::of(&bytes) == component.hash()).then(|| Self::made(component.clone(), bytes))
    }

    fn made(component: Component, bytes: Bytes) -> Self {
        let inner = Inner {
            component,
            bytes,
            system_prompt: None,
            grants: Grants::none(),
            tools: Toolset::new(),
            models: Models::new(),
            imports: None,
            gate: None,
            principal: None,
            budget: Budget::default(),
            limits: Limits { wall_time: LONG, ..Limits::default() },
        };
        Self { inner: Arc::new(inner) }
    }

    /// Its component, for which imports are bound.
    pub fn component(&self) -> &Component {
        &self.inner.component
    }

    /// Instructions for its model.
    pub fn system_prompt(mut self, text: impl Into<String>) -> Self {
        self.change().system_prompt = Some(text.into());
        self
    }

    /// What its tools reach, and which of them it may call. The agent itself has no folders, whatever is granted: they
    /// are for tools that inherit what their caller reaches. A run's workspace and mounts come beside.
    pub fn grants(mut self, grants: Grants) -> Self {
        self.change().grants = grants;
        self
    }

    /// The tools that it sees. It may call those that its grants list.
    pub fn tools(mut self, tools: Toolset) -> Self {
        self.change().tools = tools;
        self
    }

    /// The models that it may ask, the first one where it does not say which. Its grants have to list them.
    pub fn models(mut self, models: Models) -> Self {
        self.change().models = models;
        self
    }

    /// What serves the functions that its component imports.
    pub fn imports(mut self, imports: Imports) -> Self {
        self.change().imports = Some(imports);
        self
    }

    /// The Gate through which its effects go; by default that of the engine.
    pub fn gate(mut self, gate: &Gate) -> Self {
        self.change().gate = Some(gate.clone());
        self
    }

    /// On whose behalf it acts, for rules; by default [`Principal::default`].
    pub fn principal(mut self, principal: Principal) -> Self {
        self.change().principal = Some(Arc::new(principal));
        self
    }

    /// How much each run may do.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.change().budget = budget;
        self
    }

    /// How much each sandbox of the agent itself may use. Its wall time, by default an hour, counts from when the run goes
    /// on, without the time in which it waits for people, input and timers or is paused.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.change().limits = limits;
        self
    }

    /// The variables that it finds: those that it is granted, and where its tools and secrets are.
    #[cfg_attr(not(feature = "http"), allow(unused_variables, reason = "only over HTTP there is something to find"))]
    pub(super) fn environment(&self, default: &Gate) -> Vec<(String, String)> {
        let Inner { gate, principal, grants, tools, component, .. } = self.inner.as_ref();
        #[cfg_attr(not(feature = "http"), allow(unused_mut, reason = "as above"))]
        let mut variables = grants.variables().to_vec();
        #[cfg(feature = "http")]
        {
            let tree = Tree::new(gate.as_ref().unwrap_or(default).clone(), principal.clone(), None);
            let scope = Scope::outermost(tree, grants.clone(), tools.clone(), Arc::default());
            variables.extend(crate::host::http::variables(&scope, component));
        }
        variables
    }

    fn change(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.inner)
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("component", &self.inner.component).finish_non_exhaustive()
    }
}
