//! The form of an HTTP tool on disk, and the one conversion from it.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::PathBuf;

use http::Method;
use http::header::{self, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use toml::Spanned;
use url::Url;

use super::operation::{Body, Content, Operation, Parameter, Place, Source, Style};
use super::path::PathTemplate;
use super::request::{header_name, header_value, method};
use crate::document::place;

/// An HTTP API, or a part of it, that is to be a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    pub(crate) name: Option<String>,
    /// Empty where nobody said.
    pub(crate) description: String,
    /// INVARIANT: over HTTP, with a host, and without user, query and fragment.
    pub(crate) url: Url,
    /// The classes of addresses that it may have beside public ones, as written.
    pub(crate) addresses: Vec<String>,
    pub(crate) auth: Auth,
    pub(crate) response_headers: Vec<HeaderName>,
    pub(crate) max_response_bytes: Option<NonZeroU64>,
    pub(crate) form: Form,
}

/// How requests say who asks. Secrets are named, never told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Auth {
    None,
    ApiKey { secret: String, place: KeyPlace },
    ClientCredentials { token_url: Url, client_id: String, secret: String, scopes: Vec<String> },
}

/// Where a key goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum KeyPlace {
    /// INVARIANT: `format` has one `{}`, where the key goes.
    Header {
        name: HeaderName,
        format: String,
    },
    Query {
        name: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Form {
    /// All of it; the input names the path.
    Base,
    Operation(Box<Operation>),
    /// What the document in `file` lists, or those of it called `operations`; `prefix` goes before each name.
    OpenApi {
        file: PathBuf,
        operations: Option<Vec<String>>,
        prefix: String,
    },
}

/// A declaration of an HTTP tool that could not be read, with the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
#[non_exhaustive]
pub struct DeclarationError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

impl Declaration {
    /// Reads the form that people write.
    pub fn from_toml(text: &str) -> Result<Self, DeclarationError> {
        let document: Document =
            toml::from_str(text).map_err(|error| at(text, error.span(), error.message().to_owned()))?;
        document.declaration().map_err(|wrong| at(text, Some(wrong.span), wrong.message))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: Option<String>,
    #[serde(default)]
    description: String,
    url: Spanned<String>,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    response_headers: Vec<Spanned<String>>,
    max_response_bytes: Option<NonZeroU64>,
    auth: Option<Spanned<AuthEntry>>,
    operation: Option<Spanned<OperationEntry>>,
    openapi: Option<Spanned<OpenApiEntry>>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
enum AuthEntry {
    ApiKey {
        secret: String,
        header: Option<String>,
        query: Option<String>,
        format: Option<String>,
    },
    Oauth2 {
        token_url: String,
        client_id: String,
        secret: String,
        #[serde(default)]
        scopes: Vec<String>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationEntry {
    method: Spanned<String>,
    path: Spanned<String>,
    query: Option<Vec<String>>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<String>>,
    body: Option<Spanned<BodyEntry>>,
    /// Without it there is no input.
    #[serde(default = "no_input")]
    input: Value,
}

fn no_input() -> Value {
    json!({})
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BodyEntry {
    #[default]
    Json,
    Form,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenApiEntry {
    file: PathBuf,
    operations: Option<Vec<String>>,
    #[serde(default)]
    prefix: String,
}

/// What is wrong, and where.
struct Wrong {
    span: Range<usize>,
    message: String,
}

/// Reads what was written, and blames it for what is wrong.
fn read<T, R>(written: &Spanned<T>, read: impl FnOnce(&T) -> Result<R, String>) -> Result<R, Wrong> {
    read(written.get_ref()).map_err(|message| Wrong { span: written.span(), message })
}

impl Document {
    fn declaration(self) -> Result<Declaration, Wrong> {
        let url = read(&self.url, |url| base_url(url))?;
        let auth = self.auth.as_ref().map_or(Ok(Auth::None), |auth| read(auth, AuthEntry::auth))?;
        let headers = self
            .response_headers
            .iter()
            .map(|name| read(name, |name| name.parse().map_err(|_| format!("`{name}` is not the name of a header"))));
        Ok(Declaration {
            response_headers: headers.collect::<Result<_, _>>()?,
            form: form(self.operation, self.openapi)?,
            name: self.name,
            description: self.description,
            url,
            addresses: self.addresses,
            auth,
            max_response_bytes: self.max_response_bytes,
        })
    }
}

fn form(operation: Option<Spanned<OperationEntry>>, openapi: Option<Spanned<OpenApiEntry>>) -> Result<Form, Wrong> {
    match (operation, openapi) {
        (None, None) => Ok(Form::Base),
        (Some(operation), None) => operation_form(operation).map(|operation| Form::Operation(operation.into())),
        (None, Some(openapi)) => {
            let OpenApiEntry { file, operations, prefix } = openapi.into_inner();
            Ok(Form::OpenApi { file, operations, prefix })
        }
        (Some(_), Some(openapi)) => {
            Err(Wrong { span: openapi.span(), message: "`openapi` and `operation` exclude each other".to_owned() })
        }
    }
}

fn base_url(text: &str) -> Result<Url, String> {
    let url = http_url(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{text}` cannot be a base URL: leave out what follows the path"));
    }
    Ok(url)
}

fn http_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("`{text}` is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{text}` is not a URL of HTTP: begin with `https://`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // The password may be in it.
        return Err("a URL cannot hold credentials: name a secret in `auth`".to_owned());
    }
    Ok(url)
}

impl AuthEntry {
    fn auth(&self) -> Result<Auth, String> {
        match self {
            Self::ApiKey { secret, header, query, format } => {
                let place = key_place(header.as_deref(), query.as_deref(), format.as_deref())?;
                Ok(Auth::ApiKey { secret: secret.clone(), place })
            }
            Self::Oauth2 { token_url, client_id, secret, scopes } => Ok(Auth::ClientCredentials {
                token_url: http_url(token_url)?,
                client_id: client_id.clone(),
                secret: secret.clone(),
                scopes: scopes.clone(),
            }),
        }
    }
}

fn key_place(header: Option<&str>, query: Option<&str>, format: Option<&str>) -> Result<KeyPlace, String> {
    match (header, query) {
        (Some(_), Some(_)) => Err("a key goes in `header` or in `query`, not in both".to_owned()),
        (None, Some(_)) if format.is_some() => Err("`format` is for a header: a query has the key alone".to_owned()),
        (None, Some(name)) => Ok(KeyPlace::Query { name: name.to_owned() }),
        (header, None) => {
            let name = header.map_or(Ok(header::AUTHORIZATION), header_name)?;
            let default = if name == header::AUTHORIZATION { "Bearer {}" } else { "{}" };
            let format = format.unwrap_or(default).to_owned();
            header_value(name.as_str(), &format)?;
            if format.matches("{}").count() != 1 {
                return Err(format!("`{format}` needs one `{{}}`, where the key goes"));
            }
            Ok(KeyPlace::Header { name, format })
        }
    }
}

fn operation_form(written: Spanned<OperationEntry>) -> Result<Operation, Wrong> {
    let span = written.span();
    let entry = written.into_inner();
    let method = read(&entry.method, |name| method(name))?;
    let path = read(&entry.path, |path| PathTemplate::parse(path))?;
    let mut parameters = entry.fixed_places(&path)?;
    let mut rest: Vec<_> = names(&entry.input).filter(|name| !has(&parameters, name)).collect();
    let query = match &entry.query {
        Some(query) => query.iter().map(String::as_str).collect(),
        None if method.is_safe() || method == Method::DELETE => rest.clone(),
        None => Vec::new(),
    };
    parameters.extend(query.iter().map(|name| {
        let name = (*name).to_owned();
        Parameter { property: name.clone(), place: Place::Query(name, Style::Repeated) }
    }));
    rest.retain(|name| !query.contains(name));
    let body = entry.body(&method, &rest)?;
    let any = json!({});
    Operation::new(method, path, parameters, body, entry.input, any).map_err(|message| Wrong { span, message })
}

fn names(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str())
}

fn has(parameters: &[Parameter], name: &str) -> bool {
    parameters.iter().any(|parameter| parameter.property == name)
}

impl OperationEntry {
    /// The places in the path and in headers.
    fn fixed_places(&self, path: &PathTemplate) -> Result<Vec<Parameter>, Wrong> {
        let mut parameters: Vec<Parameter> = Vec::new();
        for name in path.variables() {
            if !has(&parameters, name) {
                parameters.push(Parameter { property: name.to_owned(), place: Place::Path(name.to_owned()) });
            }
        }
        for (property, name) in &self.headers {
            let place = Place::Header(read(name, |name| header_name(name))?);
            parameters.push(Parameter { property: property.clone(), place });
        }
        Ok(parameters)
    }

    /// What takes `rest`, the properties without a place.
    fn body(&self, method: &Method, rest: &[&str]) -> Result<Option<Body>, Wrong> {
        let span = self.body.as_ref().map_or(self.method.span(), Spanned::span);
        match rest {
            [] if self.body.is_some() => Err(Wrong { span, message: "no property is left for the body".to_owned() }),
            [] => Ok(None),
            [first, ..] if method.is_safe() => {
                Err(Wrong { span, message: format!("`{first}` has no place: a {method} request has no body") })
            }
            _ => Ok(Some(Body { source: Source::Rest, content: self.content() })),
        }
    }

    fn content(&self) -> Content {
        match self.body.as_ref().map_or(BodyEntry::default(), |body| *body.get_ref()) {
            BodyEntry::Json => Content::Json(HeaderValue::from_static("application/json")),
            BodyEntry::Form => Content::Form(HashMap::new()),
        }
    }
}

fn at(text: &str, span: Option<Range<usize>>, message: String) -> DeclarationError {
    let (line, column) = place(text, span);
    DeclarationError { line, column, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(text: &str) -> Declaration {
        Declaration::from_toml(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    const URL: &str = "url = 'https://a.example/api'\n";

    #[test]
    fn a_whole_document_becomes_a_declaration() {
        let text = "name = 'stripe-api'\ndescription = 'Charges'\nurl = 'https://api.stripe.com'\n\
            addresses = ['private']\nresponse_headers = ['X-Request-Id']\nmax_response_bytes = 8388608\n\
            [auth]\ntype = 'api-key'\nsecret = 'STRIPE_KEY'\n\
            [openapi]\nfile = 'openapi.json'\noperations = ['A']\nprefix = 'stripe-'\n";
        let bearer = KeyPlace::Header { name: header::AUTHORIZATION, format: "Bearer {}".to_owned() };
        let expected = Declaration {
            name: Some("stripe-api".to_owned()),
            description: "Charges".to_owned(),
            url: "https://api.stripe.com".parse().expect("a URL"),
            addresses: vec!["private".to_owned()],
            auth: Auth::ApiKey { secret: "STRIPE_KEY".to_owned(), place: bearer },
            response_headers: vec![HeaderName::from_static("x-request-id")],
            max_response_bytes: NonZeroU64::new(8_388_608),
            form: Form::OpenApi {
                file: "openapi.json".into(),
                operations: Some(vec!["A".to_owned()]),
                prefix: "stripe-".to_owned(),
            },
        };
        assert_eq!(declared(text), expected);
    }

    #[test]
    fn an_url_alone_is_the_whole_base() {
        let declaration = declared(URL);
        assert_eq!((declaration.auth, declaration.form), (Auth::None, Form::Base));
    }

    #[track_caller]
    fn key_goes(auth: &str, expected: &KeyPlace) {
        let auth = declared(&format!("{URL}[auth]\ntype = 'api-key'\nsecret = 'KEY'\n{auth}")).auth;
        assert_eq!(auth, Auth::ApiKey { secret: "KEY".to_owned(), place: expected.clone() });
    }

    #[test]
    fn a_key_goes_in_a_header_or_in_the_query() {
        let header =
            |name, format: &str| KeyPlace::Header { name: HeaderName::from_static(name), format: format.to_owned() };
        key_goes("", &header("authorization", "Bearer {}"));
        key_goes("header = 'Authorization'\nformat = 'token {}'", &header("authorization", "token {}"));
        key_goes("header = 'X-Api-Key'", &header("x-api-key", "{}"));
        key_goes("query = 'api_key'", &KeyPlace::Query { name: "api_key".to_owned() });
    }

    #[test]
    fn client_credentials_have_a_token_url() {
        let auth = "[auth]\ntype = 'oauth2'\ntoken_url = 'https://b.example/token'\nclient_id = 'me'\nsecret = 'KEY'\n";
        let expected = Auth::ClientCredentials {
            token_url: "https://b.example/token".parse().expect("a URL"),
            client_id: "me".to_owned(),
            secret: "KEY".to_owned(),
            scopes: Vec::new(),
        };
        assert_eq!(declared(&format!("{URL}{auth}")).auth, expected);
    }

    const INPUT: &str = "[operation.input]\nrequired = ['a']\n[operation.input.properties]\n\
        a = {type = 'string'}\nb = {type = 'integer'}\nc = {type = 'array', items = {type = 'string'}}\n";

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn goes(operation: &str, expected: (&str, &str, &[(&str, &str)], &str)) {
        let Form::Operation(operation) = declared(&format!("{URL}[operation]\n{operation}\n{INPUT}")).form else {
            panic!("not an operation: {operation}");
        };
        let prepared = operation.prepare(&json!({"a": "x", "b": 1, "c": ["y", "z"]})).expect("a request");
        let query: Vec<_> = prepared.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let body = prepared.body.as_deref().unwrap_or_default();
        let body = std::str::from_utf8(body).expect("text");
        assert_eq!((prepared.method.as_str(), prepared.path.as_str(), &query[..], body), expected);
    }

    #[test]
    fn what_has_no_place_goes_in_the_query_or_in_the_body() {
        let all = [("b", "1"), ("c", "y"), ("c", "z")];
        goes("method = 'GET'\npath = '/v1/{a}'", ("GET", "/v1/x", &all, ""));
        goes("method = 'DELETE'\npath = '/{a}/{a}'", ("DELETE", "/x/x", &all, ""));
        goes("method = 'POST'\npath = '/{a}'", ("POST", "/x", &[], "{\"b\":1,\"c\":[\"y\",\"z\"]}"));
        goes("method = 'PUT'\npath = '/{a}'\nbody = 'form'", ("PUT", "/x", &[], "b=1&c=y&c=z"));
        goes(
            "method = 'POST'\npath = '/'\nquery = ['a', 'c']",
            ("POST", "/", &[("a", "x"), all[1], all[2]], "{\"b\":1}"),
        );
        goes("method = 'GET'\npath = '/{a}'\nheaders = {b = 'X-B', c = 'X-C'}", ("GET", "/x", &[], ""));
        goes("method = 'POST'\npath = '/{a}'\nquery = ['b', 'c']", ("POST", "/x", &all, ""));
    }

    #[track_caller]
    fn refused(text: &str, line: usize, column: usize, message: &str) {
        let error = Declaration::from_toml(text).expect_err(text);
        assert_eq!((error.line, error.column, error.message.as_str()), (line, column, message));
    }

    #[track_caller]
    fn refused_below(text: &str, line: usize, column: usize, message: &str) {
        refused(&format!("{URL}{text}"), line + 1, column, message);
    }

    #[test]
    fn a_base_is_a_plain_url_of_http() {
        refused("name = 'a'\n", 1, 1, "missing field `url`");
        refused("url = 'a.example'", 1, 7, "`a.example` is not a URL: relative URL without a base");
        refused("url = 'ftp://a.example'", 1, 7, "`ftp://a.example` is not a URL of HTTP: begin with `https://`");
        refused("url = 'https://u:p@a.example'", 1, 7, "a URL cannot hold credentials: name a secret in `auth`");
        for url in ["https://a.example/?b=c", "https://a.example/#b"] {
            let message = format!("`{url}` cannot be a base URL: leave out what follows the path");
            refused(&format!("url = '{url}'"), 1, 7, &message);
        }
    }

    #[test]
    fn an_error_carries_line_and_column() {
        refused_below(
            "\nuri = 1",
            2,
            1,
            "unknown field `uri`, expected one of `name`, `description`, `url`, `addresses`, `response_headers`, \
            `max_response_bytes`, `auth`, `operation`, `openapi`",
        );
        refused_below("response_headers = ['a', 'b c']", 1, 26, "`b c` is not the name of a header");
        refused_below("max_response_bytes = 0", 1, 22, "invalid value: integer `0`, expected a nonzero u64");
        refused_below(
            "[openapi]\nfile = 'a'\nurl = 'b'",
            3,
            1,
            "unknown field `url`, expected one of `file`, `operations`, `prefix`",
        );
        refused_below(
            &format!("[operation]\nmethod = 'GET'\npath = '/'\n{INPUT}[openapi]\nfile = 'a'"),
            10,
            1,
            "`openapi` and `operation` exclude each other",
        );
    }

    #[test]
    fn credentials_have_one_place() {
        let auth = |rest: &str| format!("[auth]\ntype = 'api-key'\nsecret = 'KEY'\n{rest}");
        refused_below(&auth("header = 'a'\nquery = 'b'"), 1, 1, "a key goes in `header` or in `query`, not in both");
        refused_below(&auth("query = 'b'\nformat = '{}'"), 1, 1, "`format` is for a header: a query has the key alone");
        refused_below(&auth("format = 'Bearer'"), 1, 1, "`Bearer` needs one `{}`, where the key goes");
        refused_below(&auth("header = 'Host'"), 1, 1, "header `host` is not the caller's to set");
        refused_below(
            &auth("value = 'sk_live'"),
            1,
            1,
            "unknown field `value`, expected one of `secret`, `header`, `query`, `format`",
        );
        refused_below("[auth]\ntype = 'basic'", 2, 8, "unknown variant `basic`, expected `api-key` or `oauth2`");
    }

    #[test]
    fn an_operation_has_a_place_for_each_property() {
        let operation = |rest: &str| format!("[operation]\n{rest}\n{INPUT}");
        refused_below(
            &operation("method = 'get'\npath = '/'"),
            2,
            10,
            "unknown method `get`, expected one of `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE`, `OPTIONS`",
        );
        refused_below(
            &operation("method = 'GET'\npath = '/a?b={a}'"),
            3,
            8,
            "path `/a?b={a}` holds `?`: the query is given apart from it",
        );
        refused_below(&operation("method = 'GET'\npath = '/{z}'"), 1, 1, "the input schema has no property `z`");
        refused_below(
            &operation("method = 'GET'\npath = '/'\nquery = ['z', 'a', 'b', 'c']"),
            1,
            1,
            "the input schema has no property `z`",
        );
        refused_below(
            &operation("method = 'GET'\npath = '/'\nquery = ['a']"),
            2,
            10,
            "`b` has no place: a GET request has no body",
        );
        refused_below(
            &operation("method = 'DELETE'\npath = '/'\nbody = 'json'"),
            4,
            8,
            "no property is left for the body",
        );
        refused_below(
            &operation("method = 'GET'\npath = '/'\nheaders = {a = 'Host'}"),
            4,
            16,
            "header `host` is not the caller's to set",
        );
        refused_below(
            &operation("method = 'POST'\npath = '/'\nbody = 'xml'"),
            4,
            8,
            "unknown variant `xml`, expected `json` or `form`",
        );
    }
}
