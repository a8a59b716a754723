//! Calling one tool: with JSON, or with an embedder's own bindings.

mod input;
mod outcome;
mod provided;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use casemate_host_bindings::{Shape, parameters_from_json, to_json};
use casemate_policy::{Grants, Principal};
use futures_util::FutureExt as _;
use serde_json::Value;
use wasmtime::Store;
use wasmtime::component::{Instance, Val};

use crate::component::{Component, Export, Form, Imports, Returns};
use crate::driver::Signal;
use crate::gate::{Budget, Gate, Invocation, Scope, Tree};
use crate::host::{Host, Output, Refused, Sink, Stream};
use crate::limits::Limits;
use crate::model::{Delta, Listener, Models};
use crate::sandbox::{self, Ended, Plan, Work};
use crate::tool::{OwnNames, Tool, Toolset};

use input::Input;
pub use outcome::{
    CallError, CallReport, CapturedOutput, Declined, Denied, ErrorKind, Frame, NotFound, ToolError, Trap,
};

/// A call that is about to be made; awaiting it runs it in a fresh sandbox and gives the result as JSON.
///
/// Dropping the future stops the guest and frees its place.
#[must_use = "a call does nothing until it is awaited"]
pub struct Call {
    // Boxed, since whoever awaits a call keeps room for it while the guest runs.
    settings: Box<Settings>,
}

struct Settings {
    component: Component,
    name: String,
    input: Input,
    grants: Grants,
    narrowed: Option<Grants>,
    gate: Option<Gate>,
    tools: Toolset,
    models: Models,
    listener: Option<Listener>,
    imports: Option<Imports>,
    principal: Option<Arc<Principal>>,
    budget: Option<Budget>,
    limits: Limits,
    sink: Sink,
    cancel: Option<Signal>,
}

/// What [`Call::with_instance`] runs: exports called by bindings of the embedder's own.
pub type InstanceFuture<'a, R> = Pin<Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>>;

impl Call {
    pub(crate) fn new(component: Component, name: String, input: Value) -> Self {
        let settings = Settings {
            component,
            name,
            input: Input(input),
            grants: Grants::none(),
            narrowed: None,
            gate: None,
            tools: Toolset::new(),
            models: Models::new(),
            listener: None,
            imports: None,
            principal: None,
            budget: None,
            limits: Limits::default(),
            sink: Sink::Capture,
            cancel: None,
        };
        Self { settings: Box::new(settings) }
    }

    /// What the sandbox reaches, and all that it calls together; nothing by default.
    pub fn grants(mut self, grants: Grants) -> Self {
        self.settings.grants = grants;
        self
    }

    /// What the called component itself reaches, where that is less than what its tools do: an agent that has no folder
    /// may have a tool that does. It has to be within [`grants`](Self::grants).
    pub fn narrowed_to(mut self, grants: Grants) -> Self {
        self.settings.narrowed = Some(grants);
        self
    }

    /// The tools that the component sees. It may call those that [`grants`](Self::grants) list.
    pub fn tools(mut self, tools: Toolset) -> Self {
        self.settings.tools = tools;
        self
    }

    /// The models that the component knows. It may ask those that [`grants`](Self::grants) list.
    pub fn models(mut self, models: Models) -> Self {
        self.settings.models = models;
        self
    }

    /// Hands what models say to `callback` as it comes, of this component and all that it calls. It is called where the
    /// models work: hand pieces on, and do not block. A panic in it changes nothing.
    pub fn on_delta(mut self, callback: impl Fn(Delta) + Send + Sync + 'static) -> Self {
        self.settings.listener = Some(Arc::new(callback));
        self
    }

    /// What serves the functions that the component imports.
    pub fn imports(mut self, imports: Imports) -> Self {
        self.settings.imports = Some(imports);
        self
    }

    /// The Gate through which its tools are called and its models asked; by default that of the engine.
    pub fn gate(mut self, gate: &Gate) -> Self {
        self.settings.gate = Some(gate.clone());
        self
    }

    /// On whose behalf it acts, for rules; by default [`Principal::default`].
    pub fn principal(mut self, principal: Principal) -> Self {
        self.settings.principal = Some(Arc::new(principal));
        self
    }

    /// How much it may do through tools and models, and all that it calls together.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.settings.budget = Some(budget);
        self
    }

    /// How much it may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Hands what the guest prints to `callback` as it comes, instead of capturing it. The limit on output holds; a
    /// panic in it fails this call. It is called on the guest's stack: hand bytes on, and do not block.
    pub fn on_output(mut self, callback: impl FnMut(Stream, &[u8]) + Send + 'static) -> Self {
        self.settings.sink = Sink::Callback(Box::new(callback));
        self
    }

    /// Stops the call when `signal` completes, with [`CallError::Cancelled`]. Unlike dropping the future, this still
    /// gives a report.
    pub fn until(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.settings.cancel = Some(Box::pin(signal));
        self
    }

    /// Runs the call and tells, beside the result, what it used and printed. The input is checked at once; nothing runs
    /// until the answer is awaited.
    pub fn report(self) -> impl Future<Output = CallReport> + Send + 'static {
        let started = self.start();
        async move {
            match started {
                Ok(running) => running.end().await,
                Err(error) => CallReport::early(error),
            }
        }
    }

    /// The typed path: instantiates the component and gives the sandbox to `work`, which calls exports through
    /// bindings made by `wasmtime::component::bindgen!` or through wasmtime's own functions. The name and the input of
    /// the call are not looked at; grants, limits and everything else hold. It ends when `work` does.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = casemate::Engine::builder().max_sandboxes(4).build()?;
    /// # let text = br#"(component
    /// #   (core module $m (func (export "add") (param i32 i32) (result i32)
    /// #     (i32.add (local.get 0) (local.get 1))))
    /// #   (core instance $i (instantiate $m))
    /// #   (func (export "add") (param "a" u32) (param "b" u32) (result u32)
    /// #     (canon lift (core func $i "add"))))"#;
    /// # let component = engine.block_on(engine.load_bytes(text))?;
    /// let report = engine.block_on(component.call("add", ()).with_instance(|store, instance| {
    ///     Box::pin(async move {
    ///         let add = instance.get_typed_func::<(u32, u32), (u32,)>(&mut *store, "add")?;
    ///         let (four,) = add.call_async(&mut *store, (1, 3)).await?;
    ///         add.call_async(&mut *store, (four, four)).await
    ///     })
    /// }));
    /// assert_eq!(report.result?, (8,));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn with_instance<R: Send + 'static>(
        self,
        work: impl for<'a> FnOnce(&'a mut Store<Host>, Instance) -> InstanceFuture<'a, R> + Send + 'static,
    ) -> CallReport<R> {
        let (plan, cancel) = match self.plan() {
            Ok(planned) => planned,
            Err(error) => return CallReport::early(error),
        };
        let output = plan.output.clone();
        let Ended { result, usage, refused } = sandbox::run(plan, cancel, Box::new(work)).await;
        let result = result.map_err(|error| denied(error, refused));
        CallReport { result, usage, output: output.take().into() }
    }

    fn plan(self) -> Result<(Plan, Option<Signal>), CallError> {
        let settings = *self.settings;
        let imports = bound(&settings.component, settings.imports.as_ref())?;
        check_tools(&settings.tools, &imports, &settings.grants)?;
        let reach = match settings.narrowed {
            Some(grants) => settings.grants.narrow(grants)?,
            None => settings.grants,
        };
        let gate = settings.gate.unwrap_or_else(|| settings.component.engine().gate().clone());
        let tree = Tree::new(gate, settings.principal, settings.budget).heard_by(settings.listener);
        let scope = Scope::outermost(tree, reach, settings.tools, imports).knowing(settings.models);
        let output = Output::new(&settings.limits, settings.sink);
        let plan = Plan { component: settings.component, scope, limits: settings.limits, output, hold: None };
        Ok((plan, settings.cancel))
    }

    /// Does everything that can be done before a sandbox exists.
    fn start(self) -> Result<Running, CallError> {
        let Settings { component, name, input, limits, .. } = &*self.settings;
        let (form, work) = prepare(component, component.export(name)?, &input.0, limits)?;
        let (plan, cancel) = self.plan()?;
        Ok(Running::new(form, plan, cancel, work))
    }
}

/// Whether no tool reaches more than its caller, and all have names of their own.
pub(crate) fn check_tools(tools: &Toolset, imports: &[Tool], grants: &Grants) -> Result<(), CallError> {
    let all = || tools.tools().map(|(_, tool)| tool).chain(imports);
    all().try_for_each(|tool| tool.narrows(grants))?;
    if !imports.is_empty() {
        // Each of the two is sound in itself.
        let mut own_names = OwnNames::default();
        all().try_for_each(|tool| own_names.add(tool))?;
    }
    Ok(())
}

/// The admitted call of a component's export: its sandbox is made when it is polled.
pub(crate) fn nested(
    component: &Component,
    export: &Export,
    invocation: &Invocation,
    scope: Scope,
    limits: Limits,
) -> Result<impl Future<Output = Result<Value, CallError>> + Send + use<>, CallError> {
    let (form, work) = prepare(component, export, invocation.input(), &limits)?;
    let output = Output::new(&limits, Sink::Capture);
    let running =
        Running::new(form, Plan { component: component.clone(), scope, limits, output, hold: None }, None, work);
    Ok(async move { running.end().await.result })
}

/// What serves the imports of `component`, where all are served.
pub(crate) fn bound(component: &Component, imports: Option<&Imports>) -> Result<Arc<[Tool]>, CallError> {
    if component.own_imports().functions.is_empty() {
        return Ok(Arc::default());
    }
    let tools = match imports {
        Some(imports) => imports.tools_for(component),
        None => component.imports().tools_for(component),
    };
    Ok(tools?)
}

/// What a call of `export` runs, and the form of what comes back.
fn prepare(
    component: &Component,
    export: &Export,
    input: &Value,
    limits: &Limits,
) -> Result<(Form, Work<Option<Val>>), CallError> {
    let form = export.form.clone().map_err(|reason| CallError::NotCallable { name: export.name.clone(), reason })?;
    let most = limits.host_call_bytes;
    let (arguments, results) = match &form {
        Form::Typed(signature) => {
            (parameters_from_json(&signature.parameters, input, most)?, signature.returns.count())
        }
        Form::Provided(definition) => (provided::arguments(definition, input, most)?, 1),
    };
    let work = call_export(component.clone(), export.position, arguments, results);
    Ok((form, work))
}

/// A call whose sandbox is made when it is polled.
struct Running {
    form: Form,
    /// The limit on its result.
    most: usize,
    output: Output,
    hint_for: Option<Component>,
    sandbox: Pin<Box<dyn Future<Output = Ended<Option<Val>>> + Send>>,
}

impl Running {
    fn new(form: Form, plan: Plan, cancel: Option<Signal>, work: Work<Option<Val>>) -> Self {
        Self {
            form,
            most: plan.limits.result,
            output: plan.output.clone(),
            // A hint costs a look at the imports, so only where it could be of use.
            hint_for: plan.scope.reach().folders().is_empty().then(|| plan.component.clone()),
            sandbox: sandbox::run(plan, cancel, work),
        }
    }

    async fn end(self) -> CallReport {
        let Ended { result, usage, refused } = self.sandbox.await;
        let result = match result {
            Ok(value) => match &self.form {
                Form::Typed(signature) => answer(&signature.returns, value.as_ref()),
                Form::Provided(_) => provided::answer(value.as_ref(), self.most),
            },
            Err(CallError::Tool(error)) if error.exit_status == Some(0) => Ok(Value::Null),
            Err(error) => Err(error),
        };
        let result = result.map_err(|error| match denied(error, refused) {
            CallError::Tool(error) if self.hint_for.is_some_and(|component| component.wants_folders()) => {
                CallError::Tool(ToolError { hint: Some(FOLDER_HINT), ..error })
            }
            error => error,
        });
        CallReport { result, usage, output: self.output.take().into() }
    }
}

const FOLDER_HINT: &str = "no folder is granted: give one with `--dir HOST::GUEST`, or `Grants::folder`";

fn call_export(component: Component, position: usize, arguments: Vec<Val>, results: usize) -> Work<Option<Val>> {
    Box::new(move |store, instance| {
        Box::pin(async move {
            let function = component
                .export_indices(position)
                .find_map(|index| instance.get_func(&mut *store, index))
                .ok_or_else(|| wasmtime::Error::msg("the component lost an export"))?;
            let mut results = vec![Val::Bool(false); results];
            function.call_async(&mut *store, &arguments, &mut results).await?;
            Ok(results.pop())
        })
    })
}

/// The tool's answer: its value, or its own error.
fn answer(returns: &Returns, value: Option<&Val>) -> Result<Value, CallError> {
    let payload = |shape: &Option<Shape>, value: &Option<Box<Val>>| match (shape, value) {
        (Some(shape), Some(value)) => to_json(shape, value),
        _ => Value::Null,
    };
    match (returns, value) {
        (Returns::Value(shape), Some(value)) => Ok(to_json(shape, value)),
        (Returns::Fallible { ok, .. }, Some(Val::Result(Ok(value)))) => Ok(payload(ok, value)),
        (Returns::Fallible { err, .. }, Some(Val::Result(Err(value)))) => {
            Err(CallError::Tool(ToolError { value: payload(err, value), exit_status: None, hint: None }))
        }
        _ => Ok(Value::Null),
    }
}

/// A bad end after a refusal is a denial, with the guest's own account as its cause.
pub(crate) fn denied(error: CallError, refused: Vec<Refused>) -> CallError {
    match error {
        CallError::Tool(_) | CallError::Trap(_) if !refused.is_empty() => {
            CallError::Denied(Denied { refused, cause: Box::new(error) })
        }
        error => error,
    }
}

impl IntoFuture for Call {
    type Output = Result<Value, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.report().map(|report| report.result))
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { name, component, .. } = &*self.settings;
        f.debug_struct("Call").field("name", name).field("component", component).finish_non_exhaustive()
    }
}
