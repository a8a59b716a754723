//! Tools made of HTTP endpoints: one operation, a whole base URL, or what an `OpenAPI` document lists.
//!
//! Most of it is pure: a declaration and JSON input become a request, and a response becomes JSON. Only `endpoint.rs`
//! sends, through the Gate like everybody else.
//!
//! Rules see a tool's input, so there is one way to ask for a thing: what is written otherwise is refused, with how to
//! write it.

mod base;
mod declaration;
mod endpoint;
mod openapi;
mod operation;
mod path;
mod request;
mod response;
mod token;

use std::sync::Arc;

use casemate_policy::{AddressClass, GrantError, Grants, HostGrant, Origin, RequestError, Scheme, ToolSource};
use http::header::HeaderName;
use serde_json::{Map, json};
use url::Url;

use declaration::{Auth, Form, KeyPlace};
pub use declaration::{Declaration, DeclarationError};
use endpoint::Endpoint;
use operation::Operation;

use super::Tool;
use crate::limits::HttpLimits;
use crate::secret::{InvalidPlace, SecretPlace};
pub(crate) use token::Token;

/// A tool in the making, of an HTTP endpoint.
///
/// It reaches what is below its base URL, and uses the secret that it names; that is granted by making the tool. Whoever
/// calls it needs a grant of the tool only. Each request of it is a `fetch` for rules, and each use of a secret a `use`.
///
/// Its input is `{path, method = "POST", payload, query, headers}`, or that of its operation; its result is `{status,
/// headers, body}`. A status from 400 on is a failure.
///
/// ```
/// use casemate::{HttpTool, SecretPlace, Tool};
///
/// let stripe: Tool = HttpTool::new("stripe-api", "https://api.stripe.com")?
///     .description("Charges and customers")
///     .secret("STRIPE_KEY", SecretPlace::bearer())?
///     .into();
/// assert_eq!(stripe.input_schema()["required"], serde_json::json!(["path"]));
/// # Ok::<(), casemate::HttpToolError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct HttpTool {
    name: String,
    description: String,
    url: Url,
    origin: Origin,
    addresses: Vec<AddressClass>,
    auth: HttpAuth,
    response_headers: Vec<HeaderName>,
    limits: HttpLimits,
    operation: Option<Arc<Operation>>,
}

/// How its requests say who asks.
#[derive(Clone, Debug)]
enum HttpAuth {
    None,
    Key { secret: String, place: SecretPlace },
    Token(Arc<Token>),
}

/// The tools of an `OpenAPI` document.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenApiTools {
    /// One for each operation that can be one.
    pub tools: Vec<HttpTool>,
    /// The other operations, each with the reason.
    pub left_out: Vec<(String, String)>,
}

/// Why an endpoint cannot be a tool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpToolError {
    /// Not a base URL.
    #[error("`{url}` cannot be the base of a tool: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A host that cannot be one.
    #[error(transparent)]
    Host(#[from] RequestError),
    /// Classes of addresses, or a path, that cannot be granted.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// A place where no secret can go.
    #[error(transparent)]
    Place(#[from] InvalidPlace),
    /// No name in the declaration, and none beside it.
    #[error("the declaration gives no `name`, and none was given beside it")]
    NoName,
    /// Not a class of addresses.
    #[error(transparent)]
    Addresses(#[from] casemate_policy::UnknownClass),
    /// Not a name for a secret.
    #[error("`{name}` cannot be the name of a secret: it takes up to 64 letters, digits and `_`, and no digit first")]
    SecretName {
        /// What was given.
        name: String,
    },
    /// A document that is not read.
    #[error("{why}")]
    Document {
        /// What is wrong with it.
        why: String,
    },
}

/// Without a limit of its own, a tool takes responses up to this size: they become values, not streams.
const LARGEST_RESPONSE: u64 = 8 << 20;

pub(crate) use request::is_json;
pub(crate) use response::{joined, response_of};

/// Whether a caller may set the header of that name.
pub(crate) fn may_be_set(name: &str) -> bool {
    request::header_name(name).is_ok()
}

impl HttpTool {
    /// A tool of all that is below `url`, which has a scheme, a host and perhaps a path.
    pub fn new(name: impl Into<String>, url: &str) -> Result<Self, HttpToolError> {
        // What stands before an `@` may be a password.
        let shown = if url.contains('@') { "…" } else { url };
        let wrong = |why: &str| HttpToolError::Url { url: shown.to_owned(), why: why.to_owned() };
        let parsed: Url = url.parse().map_err(|error: url::ParseError| wrong(&error.to_string()))?;
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(wrong("leave out what follows the path"));
        }
        Self::at(name.into(), parsed)
    }

    fn at(name: String, url: Url) -> Result<Self, HttpToolError> {
        let origin = origin_of(&url)?;
        open(&origin, &[]).below(url.path())?;
        Ok(Self {
            name,
            description: String::new(),
            url,
            origin,
            addresses: Vec::new(),
            auth: HttpAuth::None,
            response_headers: Vec::new(),
            limits: HttpLimits::default().response_bytes(LARGEST_RESPONSE),
            operation: None,
        })
    }

    /// Says what it does, for models and people.
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Puts that secret into each request, at that place.
    pub fn secret(mut self, name: impl Into<String>, place: SecretPlace) -> Result<Self, HttpToolError> {
        self.auth = HttpAuth::Key { secret: checked(name.into())?, place };
        Ok(self)
    }

    /// Lets its host have addresses of that class beside public ones.
    pub fn opening(mut self, class: AddressClass) -> Self {
        self.addresses.push(class);
        self
    }

    /// Keeps that header of responses in its result, beside `content-type`.
    pub fn response_header(mut self, name: HeaderName) -> Self {
        self.response_headers.push(name);
        self
    }

    /// How much each call may take; by default as [`HttpLimits`] has it, and 8 MiB in.
    pub fn limits(mut self, limits: HttpLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Its own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives it another own name.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What it reaches by being made.
    fn reach(&self) -> Result<Grants, GrantError> {
        let secrets = match &self.auth {
            HttpAuth::Key { secret, .. } => Some(secret.as_str()),
            HttpAuth::Token(token) => Some(token.secret()),
            HttpAuth::None => None,
        };
        let host = open(&self.origin, &self.addresses).below(self.url.path())?;
        secrets.into_iter().try_fold(Grants::none().host(host), Grants::secret)
    }
}

/// What a grant of that server is, with these classes of addresses.
fn open(origin: &Origin, classes: &[AddressClass]) -> HostGrant {
    let grant = HostGrant::to_origin(origin, AddressClass::Public);
    classes.iter().fold(grant, |grant, class| grant.opening(*class))
}

fn origin_of(url: &Url) -> Result<Origin, HttpToolError> {
    let scheme: Scheme = url.scheme().parse()?;
    Ok(Origin::parse(scheme, url.authority())?)
}

impl From<HttpTool> for Tool {
    fn from(tool: HttpTool) -> Self {
        let operation = tool.operation.clone();
        let source =
            ToolSource::Http { url: tool.url.to_string(), operation: operation.as_ref().map(ToString::to_string) };
        let schemas = match &operation {
            Some(operation) => (operation.input_schema().clone(), operation.output_schema().clone()),
            None => (base::input_schema(), base::output_schema()),
        };
        let (name, description) = (tool.name.clone(), tool.description.clone());
        let made = Self::provided(name, source, schemas, Endpoint::new(tool)).description(description);
        match operation {
            None => made.with_defaults(Map::from_iter([("method".to_owned(), json!("POST"))])),
            Some(operation) => {
                let (read_only, idempotent) = (operation.is_read_only(), operation.is_idempotent());
                let destructive = !read_only;
                let hints = casemate_policy::Annotations { read_only, idempotent, destructive, open_world: true };
                made.annotations(hints)
            }
        }
    }
}

impl Declaration {
    /// Its name, where it gives one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The `OpenAPI` document that its tools come from, where they do: a path, relative to the declaration.
    pub fn document(&self) -> Option<&std::path::Path> {
        match &self.form {
            Form::OpenApi { file, .. } => Some(file),
            Form::Base | Form::Operation(_) => None,
        }
    }

    /// What goes before the name of each tool of a document; empty where it says nothing.
    pub fn prefix(&self) -> &str {
        match &self.form {
            Form::OpenApi { prefix, .. } => prefix,
            Form::Base | Form::Operation(_) => "",
        }
    }

    /// The one tool that it declares, under that name or its own. Fails where it is about a document.
    pub fn tool(&self, name: Option<&str>) -> Result<HttpTool, HttpToolError> {
        let name = name.or(self.name()).ok_or(HttpToolError::NoName)?;
        match &self.form {
            Form::Base => self.endpoint(name, None),
            Form::Operation(operation) => self.endpoint(name, Some((**operation).clone())),
            Form::OpenApi { .. } => Err(HttpToolError::Document {
                why: "the declaration is about an OpenAPI document, which makes several tools".to_owned(),
            }),
        }
    }

    /// The tools of the document that it is about, which is given as text: JSON or YAML.
    pub fn tools(&self, document: &str) -> Result<OpenApiTools, HttpToolError> {
        let Form::OpenApi { operations, prefix, .. } = &self.form else {
            return Err(HttpToolError::Document { why: "the declaration is about no OpenAPI document".to_owned() });
        };
        let wrong = |why| HttpToolError::Document { why };
        let document = openapi::read::read(document).map_err(wrong)?;
        let found = openapi::operations(&document, operations.as_deref()).map_err(|error| wrong(error.to_string()))?;
        let tools = found.operations.into_iter().map(|listed| {
            let tool = self.endpoint(&format!("{prefix}{}", listed.name), Some(listed.operation))?;
            Ok(tool.description(listed.description))
        });
        Ok(OpenApiTools { tools: tools.collect::<Result<_, HttpToolError>>()?, left_out: found.left_out })
    }

    fn endpoint(&self, name: &str, operation: Option<Operation>) -> Result<HttpTool, HttpToolError> {
        let addresses: Result<Vec<AddressClass>, _> = self.addresses.iter().map(|word| word.parse()).collect();
        let tool = HttpTool::at(name.to_owned(), self.url.clone())?.description(self.description.clone());
        let limits = self.max_response_bytes.map_or(tool.limits, |bytes| tool.limits.response_bytes(bytes.get()));
        let addresses = addresses?;
        let auth = HttpAuth::of(&self.auth, &addresses)?;
        let response_headers = self.response_headers.clone();
        Ok(HttpTool { addresses, auth, limits, response_headers, operation: operation.map(Arc::new), ..tool })
    }
}

impl HttpAuth {
    fn of(auth: &Auth, addresses: &[AddressClass]) -> Result<Self, HttpToolError> {
        Ok(match auth {
            Auth::None => Self::None,
            Auth::ApiKey { secret, place: KeyPlace::Query { name } } => {
                Self::Key { secret: checked(secret.clone())?, place: SecretPlace::query(name)? }
            }
            Auth::ApiKey { secret, place: KeyPlace::Header { name, format } } => {
                Self::Key { secret: checked(secret.clone())?, place: SecretPlace::header(name.as_str(), format)? }
            }
            Auth::ClientCredentials { token_url, client_id, secret, scopes } => {
                let place = SecretPlace::basic(client_id)?;
                Self::Token(Arc::new(Token::new(token_url, addresses, (checked(secret.clone())?, place), scopes)?))
            }
        })
    }
}

fn checked(name: String) -> Result<String, HttpToolError> {
    if casemate_policy::is_secret_name(&name) { Ok(name) } else { Err(HttpToolError::SecretName { name }) }
}
