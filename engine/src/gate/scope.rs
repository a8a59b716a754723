//! One sandbox at the Gate.

use std::sync::Arc;

use casemate_policy::{Grants, Principal};
use serde_json::Value;

use super::Gate;
use super::budget::{Account, Budget};
use super::permit::Record;
use crate::driver::Excused;
use crate::effect::{Effect, Outcome};
use crate::limits::{LimitExceeded, LimitKind};
use crate::tool::{Tool, Toolset};

/// What one sandbox may do, and on whose behalf. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(super) inner: Arc<ScopeInner>,
}

pub(super) struct ScopeInner {
    pub(super) gate: Gate,
    /// Shared by the whole tree of calls.
    pub(super) account: Arc<Account>,
    pub(super) principal: Arc<Principal>,
    /// What the sandbox itself reaches.
    pub(super) reach: Arc<Grants>,
    tools: Toolset,
    /// What serves the component's own imports, in their order.
    imports: Arc<[Tool]>,
    pub(super) depth: u32,
    /// The clocks of this call and of all that wait for it: they stop while a person is asked.
    pub(super) clocks: Vec<Excused>,
}

/// What the outermost sandbox of a tree of calls is given.
pub(crate) struct Outermost {
    pub(crate) gate: Gate,
    pub(crate) budget: Budget,
    pub(crate) principal: Option<Arc<Principal>>,
    pub(crate) reach: Arc<Grants>,
}

impl Scope {
    pub(crate) fn outermost(given: Outermost, tools: Toolset, imports: Arc<[Tool]>) -> Self {
        let principal = given.principal.unwrap_or_else(|| given.gate.inner.anonymous.clone());
        let inner = ScopeInner {
            gate: given.gate,
            account: Arc::new(Account::new(given.budget)),
            principal,
            reach: given.reach,
            tools,
            imports,
            depth: 0,
            clocks: vec![Excused::default()],
        };
        Self { inner: Arc::new(inner) }
    }

    /// The scope of a tool that is called from here.
    pub(crate) fn child(&self, grants: Arc<Grants>, tools: Toolset, imports: Arc<[Tool]>) -> Self {
        let mut clocks = self.inner.clocks.clone();
        clocks.push(Excused::default());
        let inner = ScopeInner {
            gate: self.inner.gate.clone(),
            account: self.inner.account.clone(),
            principal: self.inner.principal.clone(),
            reach: grants,
            tools,
            imports,
            depth: self.inner.depth + 1,
            clocks,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What the sandbox itself reaches.
    pub(crate) fn reach(&self) -> &Arc<Grants> {
        &self.inner.reach
    }

    pub(crate) fn tools(&self) -> &Toolset {
        &self.inner.tools
    }

    /// How many sandboxes wait for this one.
    pub(crate) fn depth(&self) -> u32 {
        self.inner.depth
    }

    /// The time of this call that does not count.
    pub(crate) fn excused(&self) -> Excused {
        self.inner.clocks.last().cloned().unwrap_or_default()
    }

    /// The tools that can be called from here, by the names they are shown under: of those it sees, those it is
    /// granted and the policy does not deny whatever their input.
    pub(crate) fn available(&self) -> Vec<(String, Tool)> {
        let policy = self.inner.gate.policy();
        let can_be_called = |tool: &Tool| {
            self.inner.reach.find_tool(tool.name()).is_some()
                && policy.as_ref().is_none_or(|policy| policy.could_allow(tool.identity()))
        };
        let callable = self.inner.tools.tools().filter(|(_, tool)| can_be_called(tool));
        callable.map(|(name, tool)| (name.to_owned(), tool.clone())).collect()
    }

    /// Calls the tool that is shown as `name`. The effect has its number from here on.
    pub(crate) fn call(&self, name: &str, input: Value) -> impl Future<Output = Outcome> + Send + use<> {
        self.call_found(self.inner.tools.get(name).cloned().ok_or_else(|| shortened(name)), input)
    }

    /// Calls what serves the component's own import number `index`.
    pub(crate) fn call_import(&self, index: usize, input: Value) -> impl Future<Output = Outcome> + Send + use<> {
        self.call_found(self.inner.imports.get(index).cloned().ok_or_else(|| format!("import {index}")), input)
    }

    fn call_found(&self, found: Result<Tool, String>, input: Value) -> impl Future<Output = Outcome> + Send + use<> {
        let (id, scope, input) = (self.inner.gate.next_effect(), self.clone(), Arc::new(input));
        async move {
            match found {
                Ok(tool) => scope.pass(Effect { id, tool, input }).await,
                Err(name) => scope.unknown(id, name, &input),
            }
        }
    }

    /// How many of `asked` calls at once may be; where that is not all, the excess is recorded as one event.
    pub(crate) fn fan_out(&self, asked: usize) -> (usize, LimitExceeded) {
        let max = self.inner.account.budget().max_fan_out();
        let exceeded = LimitExceeded::new(LimitKind::FanOut, asked as u64, u64::from(max));
        let allowed = usize::try_from(max).unwrap_or(usize::MAX).min(asked);
        if allowed < asked {
            let (events, account) = (self.inner.gate.events().clone(), self.inner.account.clone());
            let record = Record::new(events, account, self.inner.gate.next_effect(), None);
            record.settle(Outcome::LimitExceeded(exceeded));
        }
        (allowed, exceeded)
    }
}

/// A name of which nothing is known, for people.
fn shortened(name: &str) -> String {
    const SHOWN: usize = 128;
    name.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}
