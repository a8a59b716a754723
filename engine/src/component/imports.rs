//! What a component imports beside WASI and Casemate's own contract: functions that tools serve.

use std::fmt;
use std::sync::Arc;

use casemate_host_bindings::{Field, FunctionType, Shape};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{self as wasm};

use super::describe::{bare, signature};
use super::tool::ExportError;
use super::{Component, ComponentTool, ContentHash, LoadError, Signature};
use crate::host::wasi;
use crate::tool::{KnownFrom, OwnNames, Tool, ToolSignature, ToolsetError};

/// A component's own imports.
pub(crate) struct OwnImports {
    /// The interfaces, also those that hold nothing but types.
    pub(crate) interfaces: Vec<String>,
    pub(crate) functions: Arc<[ImportedFunction]>,
}

/// A function that a component imports.
pub(crate) struct ImportedFunction {
    pub(crate) interface: Option<String>,
    pub(crate) function: String,
    pub(crate) signature: Arc<Signature>,
}

impl OwnImports {
    /// Reads them; functions that no tool can serve are refused here, before anything is called.
    pub(super) fn of(component: &wasm::Component) -> Result<Self, LoadError> {
        let engine = component.engine();
        let (mut interfaces, mut functions) = (Vec::new(), Vec::new());
        for (name, import) in component.component_type().imports(engine) {
            if wasi::offers(name) {
                continue;
            }
            match import.ty {
                ComponentItem::ComponentFunc(function) => {
                    functions.push(ImportedFunction::new(None, name, signature(name, &function))?);
                }
                ComponentItem::ComponentInstance(instance) => {
                    interfaces.push(name.to_owned());
                    for (function, item) in instance.exports(engine) {
                        let signature = match item.ty {
                            ComponentItem::ComponentFunc(ty) => signature(function, &ty),
                            ComponentItem::Type(_) => continue,
                            _ => Err("it is a resource, which means nothing outside its sandbox".to_owned()),
                        };
                        functions.push(ImportedFunction::new(Some(name), function, signature)?);
                    }
                }
                _ => {}
            }
        }
        Ok(Self { interfaces, functions: functions.into() })
    }
}

impl ImportedFunction {
    fn new(
        interface: Option<&str>,
        function: &str,
        signature: Result<Arc<Signature>, String>,
    ) -> Result<Self, LoadError> {
        let interface = interface.map(str::to_owned);
        let imported = |signature| Self { interface: interface.clone(), function: function.to_owned(), signature };
        signature
            .map(imported)
            .map_err(|reason| LoadError::UnsupportedImport { name: full_name(interface.as_deref(), function), reason })
    }

    /// `acme:weather/forecast@1.0.0#get-forecast`, or `log` where it stands by itself.
    pub(crate) fn name(&self) -> String {
        full_name(self.interface.as_deref(), &self.function)
    }

    fn is_called(&self, name: &str) -> bool {
        match (&self.interface, name.rsplit_once('#')) {
            (Some(interface), Some((asked, function))) => function == self.function && is_interface(interface, asked),
            (_, None) => name == self.function,
            (None, Some(_)) => false,
        }
    }

    fn ty(&self) -> String {
        FunctionType { parameters: &self.signature.parameters, result: self.signature.returns.shape().as_ref() }
            .to_string()
    }
}

fn full_name(interface: Option<&str>, function: &str) -> String {
    interface.map_or_else(|| function.to_owned(), |interface| format!("{interface}#{function}"))
}

/// Whether `asked` means `interface`, perhaps without version or package.
fn is_interface(interface: &str, asked: &str) -> bool {
    asked == interface || asked == without_version(interface) || asked == bare(interface)
}

fn without_version(interface: &str) -> &str {
    interface.split_once('@').map_or(interface, |(name, _)| name)
}

/// What serves the functions that a component imports, one tool each; made by [`Component::imports`].
///
/// Types are checked here, when they are bound: parameters and results have to be equal, with the names of fields and
/// cases. A call still goes through the Gate, under the tool's own name.
///
/// A tool that fails, or is denied, answers with the `err` of a `result<_, string>`, or with the case of that name
/// (`denied`, `failed`, …) where the error is a variant that has it. Where the function has no such way to say so, the
/// guest is stopped, and the call ends as the effect did.
#[derive(Clone)]
pub struct Imports {
    component: ContentHash,
    functions: Arc<[ImportedFunction]>,
    bound: Vec<Option<Tool>>,
}

impl Component {
    /// The functions that it imports and that nothing serves yet.
    pub fn imports(&self) -> Imports {
        let functions = self.own_imports().functions.clone();
        Imports { component: self.hash(), bound: vec![None; functions.len()], functions }
    }
}

impl Imports {
    /// Has `tool` serve one function: `acme:weather/forecast@1.0.0#get-forecast`, or a part of that name from the right
    /// which means only one (`forecast#get-forecast`, `get-forecast`).
    pub fn function(mut self, name: &str, tool: impl Into<Tool>) -> Result<Self, BindError> {
        let tool = tool.into();
        let functions = self.functions.clone();
        let meant: Vec<_> = functions.iter().zip(0..).filter(|(function, _)| function.is_called(name)).collect();
        let (import, index): (_, usize) = match meant.as_slice() {
            [] => return Err(self.not_imported(name)),
            [one] => *one,
            several => {
                let imports = several.iter().map(|(function, _)| function.name()).collect();
                return Err(BindError::Ambiguous { name: name.to_owned(), imports });
            }
        };
        check_types(import, &tool)?;
        match self.bound.get_mut(index) {
            Some(bound @ None) => *bound = Some(tool),
            _ => return Err(BindError::Served { import: import.name() }),
        }
        let mut own_names = OwnNames::default();
        self.tools().try_for_each(|tool| own_names.add(tool))?;
        Ok(self)
    }

    /// Has the exports of `provider` serve a whole interface: `acme:weather/forecast@1.0.0`, or the same without
    /// version or package. Each is a tool of its own, named `acme:weather/forecast#get-forecast`; its sandbox is
    /// granted nothing.
    pub fn interface(self, name: &str, provider: &Component) -> Result<Self, BindError> {
        self.interface_with(name, provider, |tool| tool)
    }

    /// [`interface`](Self::interface), with grants, limits and all else that `make` gives each tool.
    pub fn interface_with(
        mut self,
        name: &str,
        provider: &Component,
        make: impl Fn(ComponentTool) -> ComponentTool,
    ) -> Result<Self, BindError> {
        let functions = self.functions.clone();
        let mut served = functions.iter().filter_map(|import| {
            let interface = import.interface.as_deref()?;
            is_interface(interface, name).then_some((interface, import))
        });
        let first = served.next().ok_or_else(|| self.not_imported(name))?;
        for (interface, import) in std::iter::once(first).chain(served) {
            let tool = provider
                .tool(&format!("{}#{}", bare(interface), import.function))
                .map_err(|source| BindError::NotExported { import: import.name(), source })?
                .named(full_name(Some(without_version(interface)), &import.function));
            self = self.function(&import.name(), make(tool))?;
        }
        Ok(self)
    }

    /// The names of all functions, bound or not.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.functions.iter().map(ImportedFunction::name)
    }

    /// The names of those that nothing serves yet.
    pub fn unbound(&self) -> impl Iterator<Item = String> {
        let unbound = self.functions.iter().zip(&self.bound).filter(|(_, tool)| tool.is_none());
        unbound.map(|(function, _)| function.name())
    }

    fn not_imported(&self, name: &str) -> BindError {
        BindError::NotImported { name: name.to_owned(), imports: self.names().collect() }
    }

    /// All functions by their names, each with what serves it.
    pub fn functions(&self) -> impl Iterator<Item = (String, Option<&Tool>)> {
        self.names().zip(self.bound.iter().map(Option::as_ref))
    }

    /// The tools that serve them.
    pub fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.bound.iter().flatten()
    }

    pub(crate) fn tools_for(&self, component: &Component) -> Result<Arc<[Tool]>, Unbound> {
        let of_another = self.component != component.hash();
        if of_another {
            return component.imports().tools_for(component);
        }
        match self.unbound().next() {
            Some(import) => Err(Unbound { import }),
            None => Ok(self.bound.iter().flatten().cloned().collect()),
        }
    }
}

impl fmt::Debug for Imports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.names().zip(&self.bound)).finish()
    }
}

fn check_types(import: &ImportedFunction, tool: &Tool) -> Result<(), BindError> {
    let signature = tool.signature().map_err(|reason| BindError::Untyped {
        import: import.name(),
        wanted: import.ty(),
        tool: tool.name().to_owned(),
        reason,
    })?;
    if fits(&import.signature, &signature) {
        return Ok(());
    }
    Err(BindError::Mismatch {
        import: import.name(),
        wanted: import.ty(),
        tool: tool.name().to_owned(),
        found: found(&import.signature, signature),
    })
}

fn fits(import: &Signature, tool: &ToolSignature) -> bool {
    let wanted = import.returns.shape();
    match tool.known_from {
        KnownFrom::Wit => import.parameters == tool.parameters && wanted == tool.result,
        KnownFrom::Schema => {
            let (wanted, result) = (wanted.map(|shape| shape.sorted()), with_failure(import, tool.result.as_ref()));
            Field::sorted(&import.parameters) == Field::sorted(&tool.parameters)
                && (wanted == result.map(|shape| shape.sorted()))
        }
    }
}

/// The result of a tool whose failure is a text, as the import would have it.
fn with_failure(import: &Signature, result: Option<&Shape>) -> Option<Shape> {
    let boxed = |shape: &Shape| Box::new(shape.clone());
    match import.returns.shape() {
        Some(Shape::Result { err: None, .. }) => Some(Shape::Result { ok: result.map(boxed), err: None }),
        Some(Shape::Result { .. }) => Some(Shape::Result { ok: result.map(boxed), err: Some(Box::new(Shape::String)) }),
        _ => result.cloned(),
    }
}

fn found(import: &Signature, tool: ToolSignature) -> String {
    let result = match tool.known_from {
        KnownFrom::Wit => tool.result,
        KnownFrom::Schema => with_failure(import, tool.result.as_ref()),
    };
    FunctionType { parameters: &tool.parameters, result: result.as_ref() }.to_string()
}

/// A function that a component imports and nothing serves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the component imports `{import}`, which nothing serves: bind it with `--tool {import}=SOURCE`, or `Imports`")]
#[non_exhaustive]
pub struct Unbound {
    /// Its full name.
    pub import: String,
}

/// Why a tool cannot serve an import.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The component imports nothing of that name.
    #[error("the component imports no function or interface `{name}`; it imports {}", list(imports))]
    NotImported {
        /// What was asked for.
        name: String,
        /// What there is.
        imports: Vec<String>,
    },
    /// The name means several of its imports.
    #[error("`{name}` can mean several imports: {}", list(imports))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// What it can mean.
        imports: Vec<String>,
    },
    /// Something serves it already.
    #[error("two tools would serve `{import}`")]
    Served {
        /// The import.
        import: String,
    },
    /// Two tools would have one name, or one has a name that cannot be.
    #[error(transparent)]
    Name(#[from] ToolsetError),
    /// The provider does not export it.
    #[error("`{import}` is not served: {source}")]
    NotExported {
        /// The import.
        import: String,
        /// Why not.
        source: ExportError,
    },
    /// The types differ.
    #[error("`{import}` is {wanted}, but the tool `{tool}` is {found}")]
    Mismatch {
        /// The import.
        import: String,
        /// Its type, as WIT.
        wanted: String,
        /// The tool.
        tool: String,
        /// The tool's type, as WIT.
        found: String,
    },
    /// The tool has no type in WIT.
    #[error("`{import}` is {wanted}, but the type of the tool `{tool}` cannot be written as WIT {reason}")]
    Untyped {
        /// The import.
        import: String,
        /// Its type, as WIT.
        wanted: String,
        /// The tool.
        tool: String,
        /// Why not, and where.
        reason: String,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
