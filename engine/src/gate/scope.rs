//! One sandbox at the Gate.

use std::sync::{Arc, OnceLock};

use casemate_policy::{Grants, Principal};
use serde_json::Value;

use super::Gate;
use super::admit::Numbered;
use super::budget::{Account, Budget};
use super::permit::Record;
use crate::driver::{Excuse, Excused};
use crate::effect::{Outcome, ToolCall};
use crate::event::Subject;
use crate::limits::{LimitExceeded, LimitKind};
use crate::tool::{Tool, Toolset};

/// What one sandbox may do, and on whose behalf. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(super) inner: Arc<ScopeInner>,
}

pub(super) struct ScopeInner {
    tree: Arc<Tree>,
    /// What the sandbox itself reaches.
    pub(super) reach: Arc<Grants>,
    tools: Toolset,
    /// What serves the component's own imports, in their order.
    imports: Arc<[Tool]>,
    /// Whoever waits for this one.
    parent: Option<Scope>,
    pub(super) depth: u32,
    /// Stops while a person is asked, here or below.
    clock: Excused,
}

/// What a whole tree of calls shares.
pub(crate) struct Tree {
    gate: Gate,
    principal: Option<Arc<Principal>>,
    budget: Option<Box<Budget>>,
    /// Opened by the first effect: most calls have none.
    account: OnceLock<Box<Account>>,
}

impl Tree {
    pub(crate) fn new(gate: Gate, principal: Option<Arc<Principal>>, budget: Option<Budget>) -> Self {
        Self { gate, principal, budget: budget.map(Box::new), account: OnceLock::new() }
    }

    pub(super) fn account(&self) -> &Account {
        let open = || Box::new(Account::new(self.budget.as_deref().cloned().unwrap_or_default()));
        self.account.get_or_init(open)
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl Scope {
    pub(crate) fn outermost(tree: Tree, reach: Grants, tools: Toolset, imports: Arc<[Tool]>) -> Self {
        let inner = ScopeInner {
            tree: Arc::new(tree),
            reach: Arc::new(reach),
            tools,
            imports,
            parent: None,
            depth: 0,
            clock: Excused::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The scope of a tool that is called from here.
    pub(crate) fn child(&self, grants: Arc<Grants>, tools: Toolset, imports: Arc<[Tool]>) -> Self {
        let inner = ScopeInner {
            tree: self.inner.tree.clone(),
            reach: grants,
            tools,
            imports,
            parent: Some(self.clone()),
            depth: self.inner.depth + 1,
            clock: Excused::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn tree(&self) -> &Arc<Tree> {
        &self.inner.tree
    }

    pub(super) fn gate(&self) -> &Gate {
        self.inner.tree.gate()
    }

    pub(super) fn account(&self) -> &Account {
        self.inner.tree.account()
    }

    pub(super) fn principal(&self) -> &Principal {
        self.inner.tree.principal.as_deref().unwrap_or(self.gate().anonymous())
    }

    /// Stops the clocks of this call and of all that wait for it.
    pub(super) fn excuse(&self) -> Vec<Excuse> {
        std::iter::successors(Some(self), |scope| scope.inner.parent.as_ref())
            .map(|scope| scope.inner.clock.begin())
            .collect()
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
        self.inner.clock.clone()
    }

    /// The tools that can be called from here, by the names they are shown under: of those it sees, those it is
    /// granted and the policy does not deny whatever their input.
    pub(crate) fn available(&self) -> Vec<(String, Tool)> {
        let policy = self.gate().policy();
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
        let (id, scope, input) = (self.gate().next_effect(), self.clone(), Arc::new(input));
        async move {
            match found {
                Ok(tool) => scope.pass(Numbered { id, effect: ToolCall::new(tool, input) }).await,
                Err(name) => scope.unknown(id, name, &input),
            }
        }
    }

    /// How many of `asked` calls at once may be; where that is not all, the excess is recorded as one event.
    pub(crate) fn fan_out(&self, asked: usize) -> (usize, LimitExceeded) {
        let max = self.account().budget().max_fan_out();
        let exceeded = LimitExceeded::new(LimitKind::FanOut, asked as u64, u64::from(max));
        let allowed = usize::try_from(max).unwrap_or(usize::MAX).min(asked);
        if allowed < asked {
            let subject = Subject::Tool("(call-all)".to_owned());
            let record = Record::new(self.tree().clone(), self.gate().next_effect(), subject, false);
            record.settle(Outcome::LimitExceeded(exceeded));
        }
        (allowed, exceeded)
    }
}

/// A name of which nothing is known, for people.
pub(super) fn shortened(name: &str) -> String {
    const SHOWN: usize = 128;
    name.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}
