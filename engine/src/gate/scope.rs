//! One sandbox at the Gate.

use std::sync::{Arc, OnceLock};

use casemate_policy::{Grants, Principal};
use serde_json::Value;

use super::Gate;
use super::admit::Numbered;
use super::budget::{Account, Budget};
use super::permit::Record;
use super::ticket::{LookedBack, Ticket};
use crate::driver::{Excuse, Excused};
use crate::effect::{Conversation, Outcome, ToolCall};
use crate::event::{EventKind, Settlement, Subject};
use crate::journal::{DeedKind, Journal, PastEffect, Trace, recorded_outcome};
use crate::json::ArgumentsHash;
use crate::limits::{LimitExceeded, LimitKind};
use crate::model::{Listener, Models};
use crate::tool::{Tool, Toolset};
use crate::workspace::FileEdit;

/// What one sandbox may do, and on whose behalf. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(super) inner: Arc<ScopeInner>,
    /// The models that the sandbox knows.
    models: Models,
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
    /// Of the run that it belongs to, if it does.
    journal: Option<Journal>,
    /// Opened by the first effect: most calls have none.
    account: OnceLock<Box<Account>>,
    /// What the outermost sandbox last told a model.
    conversation: Conversation,
    /// Who listens to models while they answer.
    listener: Option<Listener>,
}

impl Tree {
    pub(crate) fn new(gate: Gate, principal: Option<Arc<Principal>>, budget: Option<Budget>) -> Self {
        Self {
            gate,
            principal,
            budget: budget.map(Box::new),
            journal: None,
            account: OnceLock::new(),
            conversation: Conversation::default(),
            listener: None,
        }
    }

    /// Has whatever models say in it heard by `listener`.
    pub(crate) fn heard_by(self, listener: Option<Listener>) -> Self {
        Self { listener, ..self }
    }

    /// Of a run.
    pub(crate) fn recorded(self, journal: Journal) -> Self {
        Self { journal: Some(journal), ..self }
    }

    pub(super) fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// Shows what happened to those who watch, and records it where it is part of a run.
    pub(super) fn publish(&self, kind: impl FnOnce() -> EventKind) {
        self.publish_with(Trace::default(), kind);
    }

    /// The same for the end of an effect that tells its guest more, or something else, than those who watch.
    pub(super) fn publish_told(&self, told: &Outcome, kind: impl FnOnce() -> EventKind) {
        let told = self.journal.as_ref().map(|_| told.clone());
        self.publish_with(Trace { told, ..Trace::default() }, kind);
    }

    pub(super) fn publish_with(&self, trace: Trace, kind: impl FnOnce() -> EventKind) {
        let Some(journal) = &self.journal else { return self.gate.events().publish(kind) };
        let kind = kind();
        self.gate.events().publish(|| kind.clone());
        journal.record(kind, trace);
    }

    /// A number for an effect that replay knows nothing of.
    pub(super) fn next_effect(&self) -> u64 {
        self.journal.as_ref().map_or_else(|| self.gate.next_effect(), Journal::next_id)
    }

    pub(super) fn account(&self) -> &Account {
        self.account.get_or_init(|| {
            let budget = self.budget.as_deref().cloned().unwrap_or_default();
            let account = match &self.journal {
                Some(journal) => Account::having_spent(budget, &journal.spent()),
                None => Account::new(budget),
            };
            Box::new(account)
        })
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    pub(super) fn listener(&self) -> Option<Listener> {
        self.listener.clone()
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
        Self { inner: Arc::new(inner), models: Models::new() }
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
        Self { inner: Arc::new(inner), models: Models::new() }
    }

    /// The same, of a sandbox that knows these models.
    pub(crate) fn knowing(self, models: Models) -> Self {
        Self { models, ..self }
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

    pub(crate) fn models(&self) -> &Models {
        &self.models
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
        let found = self.inner.tools.get(name).cloned().ok_or_else(|| shortened(name));
        self.call_found(DeedKind::Call, name, found, input)
    }

    /// Calls what serves the component's own import number `index`.
    pub(crate) fn call_import(&self, index: usize, input: Value) -> impl Future<Output = Outcome> + Send + use<> {
        let name = format!("import {index}");
        let found = self.inner.imports.get(index).cloned().ok_or_else(|| name.clone());
        self.call_found(DeedKind::Import, &name, found, input)
    }

    /// Records a call that is none.
    #[cfg(feature = "http")]
    pub(crate) fn refuse_call(&self, id: u64, name: &str, reason: String) -> Outcome {
        let record = Record::new(self.tree().clone(), id, Subject::Tool(shortened(name)), false);
        record.settle(Outcome::InvalidInput(reason))
    }

    /// Calls the tool that is shown as `name`, as the effect that was numbered before.
    #[cfg(feature = "http")]
    pub(crate) async fn call_at(&self, id: u64, past: Option<Box<PastEffect>>, name: &str, input: Value) -> Outcome {
        let input = Arc::new(input);
        match self.inner.tools.get(name).cloned() {
            Some(tool) => self.pass_watched(id, ToolCall::new(tool, input), past).await,
            None => self.pass_unknown(id, shortened(name), &input, past).await,
        }
    }

    fn call_found(
        &self,
        kind: DeedKind,
        asked: &str,
        found: Result<Tool, String>,
        input: Value,
    ) -> impl Future<Output = Outcome> + Send + use<> {
        let (ticket, scope, input, asked) = (self.ticket(), self.clone(), Arc::new(input), shortened(asked));
        async move {
            let past = match ticket.look_back(kind, &asked, || ArgumentsHash::of(&input)).await {
                LookedBack::Goes(past) => past,
                LookedBack::Ended(end) => return ticket.told(recorded_outcome(&end)).await,
            };
            let id = ticket.id();
            let outcome = match found {
                Ok(tool) => scope.pass_watched(id, ToolCall::new(tool, input), past).await,
                Err(name) => scope.pass_unknown(id, name, &input, past).await,
            };
            ticket.told(outcome).await
        }
    }

    /// The call of a tool, and what it changed in the run's workspace.
    async fn pass_watched(&self, id: u64, call: ToolCall, past: Option<Box<PastEffect>>) -> Outcome {
        let changes_nothing = call.tool.facts().annotations.read_only;
        let journal = self.own_journal().filter(|_| !changes_nothing);
        let workspace = journal.and_then(Journal::workspace);
        if let Some(workspace) = workspace {
            workspace.look().await;
        }
        let outcome = self.clone().pass(Numbered { id, effect: call }, past).await;
        if let Some(workspace) = workspace {
            for FileEdit { path, change, diff } in workspace.changes().await {
                self.tree().publish(|| EventKind::FileEdit { id, path, change, diff });
            }
        }
        outcome
    }

    /// The call of a tool that is not there; where it was there before and the call began, only a person can say what
    /// became of it.
    async fn pass_unknown(&self, id: u64, name: String, input: &Value, past: Option<Box<PastEffect>>) -> Outcome {
        let Some(past) = past.filter(|past| past.begun) else { return self.unknown(id, name, input) };
        let subject = Subject::Tool(name.clone());
        match self.settled(id, &subject, &past).await {
            Settlement::Happened { result } => {
                Record::new(self.tree().clone(), id, subject, false).settle(Outcome::Result(result))
            }
            _ => self.unknown(id, name, input),
        }
    }

    /// Numbers an effect: in order, where it is one of a run's own.
    pub(super) fn ticket(&self) -> Ticket {
        match self.tree().journal() {
            Some(journal) if self.inner.depth == 0 => Ticket::Own(journal.place(), journal.blocked()),
            _ => Ticket::Passing(self.tree().next_effect()),
        }
    }

    /// How many of `asked` calls at once may be.
    pub(crate) fn fan_out(&self, asked: usize) -> usize {
        usize::try_from(self.account().budget().max_fan_out()).unwrap_or(usize::MAX).min(asked)
    }

    /// Calls beyond those that may be at once: they are one effect, which is recorded and does not happen.
    pub(crate) fn exceed_fan_out(&self, asked: usize) -> impl Future<Output = Outcome> + Send + use<> {
        let (ticket, scope) = (self.ticket(), self.clone());
        let max = u64::from(self.account().budget().max_fan_out());
        let exceeded = Outcome::LimitExceeded(LimitExceeded::new(LimitKind::FanOut, asked as u64, max));
        async move {
            let name = "(call-all)";
            if let LookedBack::Ended(end) =
                ticket.look_back(DeedKind::Call, name, || ArgumentsHash::of(&asked.into())).await
            {
                return ticket.told(recorded_outcome(&end)).await;
            }
            let subject = Subject::Tool(name.to_owned());
            let outcome = Record::new(scope.tree().clone(), ticket.id(), subject, false).settle(exceeded);
            ticket.told(outcome).await
        }
    }
}

/// A name of which nothing is known, for people.
pub(super) fn shortened(name: &str) -> String {
    const SHOWN: usize = 128;
    name.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}
