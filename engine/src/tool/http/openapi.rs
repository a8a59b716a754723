//! Documents of `OpenAPI` 3.0 and 3.1: each operation as one that a tool can do.
//!
//! The document is read as it is. Nothing is fetched, and what it says of security is left to the declaration.

mod document;
mod input;
mod names;
pub(crate) mod read;
mod schema;

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::operation::Operation;
use super::path::PathTemplate;
use super::request::{self, is_json, method};
use document::{resolved, text};
use input::Input;
use names::Names;
use schema::{Reach, Schemas};

const METHODS: [&str; 8] = ["get", "head", "post", "put", "patch", "delete", "options", "trace"];

/// What a document offers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OpenApi {
    /// Where most of the operations are, perhaps relative to where the document is; none where there are none.
    pub(crate) server: Option<String>,
    pub(crate) operations: Vec<Listed>,
    /// Operations that a tool cannot do, each with the reason.
    pub(crate) left_out: Vec<(String, String)>,
}

/// An operation with what a document says of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed {
    /// Of letters, digits, `_` and `-`, and of one operation only.
    pub(crate) name: String,
    /// Empty where the document says nothing.
    pub(crate) description: String,
    pub(crate) operation: Operation,
}

/// A document that is not read at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenApiError {
    #[error("this is not an OpenAPI document: it does not say which version of `openapi` it has")]
    NoVersion,
    #[error("OpenAPI `{version}` is not known: convert the document to 3.0 or 3.1")]
    UnknownVersion { version: String },
    #[error("the document has no operation `{operation}`")]
    UnknownOperation { operation: String },
}

/// The operations of `document`: all, or `only` those of these ids.
pub(crate) fn operations(document: &Value, only: Option<&[String]>) -> Result<OpenApi, OpenApiError> {
    check_version(document)?;
    let (mut found, mut left_out) = find(document);
    if let Some(only) = only {
        let known: HashSet<_> = found.iter().map(|found| &found.id).collect();
        if let Some(unknown) = only.iter().find(|id| !known.contains(id)) {
            return Err(OpenApiError::UnknownOperation { operation: unknown.clone() });
        }
        let only: HashSet<_> = only.iter().collect();
        found.retain(|found| only.contains(&found.id));
        left_out.clear(); // Nobody asked for paths that cannot be read.
    }
    let server = most_used(&found);
    let (mut names, mut schemas, mut operations) = (Names::default(), Schemas::new(document), Vec::new());
    for found in found {
        match found.operation(document, server.as_deref(), &mut schemas) {
            Ok(operation) => {
                let description = description(found.operation);
                operations.push(Listed { name: names.fresh(&found.id), description, operation });
            }
            Err(why) => left_out.push((found.id, why)),
        }
    }
    Ok(OpenApi { server, operations, left_out })
}

fn check_version(document: &Value) -> Result<(), OpenApiError> {
    let version = document.get("openapi").or_else(|| document.get("swagger"));
    // Without quotes, YAML makes a number of `2.0`.
    let version = version.filter(|version| version.is_string() || version.is_number()).map(request::text);
    let version = version.ok_or(OpenApiError::NoVersion)?;
    if version.starts_with("3.0") || version.starts_with("3.1") {
        Ok(())
    } else {
        Err(OpenApiError::UnknownVersion { version })
    }
}

/// An operation where the document has it.
struct Found<'a> {
    id: String,
    method: &'a str,
    path: &'a str,
    item: &'a Value,
    operation: &'a Value,
    server: String,
}

/// All operations, and the paths that cannot be read.
fn find(document: &Value) -> (Vec<Found<'_>>, Vec<(String, String)>) {
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for (path, item) in document.get("paths").and_then(Value::as_object).into_iter().flatten() {
        let item = match resolved(document, item) {
            Ok(item) => item,
            Err(why) => {
                left_out.push((path.clone(), why));
                continue;
            }
        };
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                let server = server(&[operation, item, document]);
                found.push(Found { id: id(method, path, operation), method, path, item, operation, server });
            }
        }
    }
    (found, left_out)
}

/// `getV1Customers`, or made of method and path: `get_v1_customers_id`.
fn id(method: &str, path: &str, operation: &Value) -> String {
    let made = || {
        let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        [method].into_iter().chain(words).collect::<Vec<_>>().join("_")
    };
    text(operation, "operationId").map_or_else(made, str::to_owned)
}

/// The first server of the innermost of `levels` that has one.
fn server(levels: &[&Value]) -> String {
    let first = levels.iter().find_map(|level| level.get("servers")?.as_array()?.first());
    let Some(server) = first else { return "/".to_owned() };
    let mut url = text(server, "url").unwrap_or("/").to_owned();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
        url = url.replace(&format!("{{{name}}}"), text(variable, "default").unwrap_or_default());
    }
    url
}

fn most_used(found: &[Found<'_>]) -> Option<String> {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for found in found {
        *uses.entry(&found.server).or_default() += 1;
    }
    let uses = |found: &&Found<'_>| uses.get(found.server.as_str()).copied();
    // Of several, the first in the document.
    found.iter().rev().max_by_key(uses).map(|found| found.server.clone())
}

fn description(operation: &Value) -> String {
    let said = ["summary", "description"].into_iter().filter_map(|key| text(operation, key));
    let mut said: Vec<_> = said.map(str::trim).filter(|text| !text.is_empty()).collect();
    said.dedup();
    said.join("\n\n")
}

impl<'a> Found<'a> {
    fn operation(
        &self,
        document: &'a Value,
        server: Option<&str>,
        schemas: &mut Schemas<'a>,
    ) -> Result<Operation, String> {
        if server != Some(&self.server) {
            return Err(format!("it is on another server, `{}`", self.server));
        }
        let method = method(&self.method.to_uppercase())?;
        let path = PathTemplate::parse(self.path)?;
        let mut input = Input::new(document, schemas);
        // A safe method has no body, whatever the document says of it.
        let body = self.operation.get("requestBody").filter(|_| !method.is_safe());
        let body = body.map_or(Ok(None), |body| input.body(resolved(document, body)?))?;
        for parameter in self.parameters(document)? {
            input.parameter(parameter)?;
        }
        let (parameters, input_schema) = input.finish()?;
        let body_schema = response_schema(document, self.operation, schemas);
        Operation::new(method, path, parameters, body, input_schema, body_schema)
    }

    /// Those of the path, then its own, which stand in for those of the path.
    fn parameters(&self, document: &'a Value) -> Result<Vec<&'a Value>, String> {
        let of = |level: &'a Value| {
            let parameters = level.get("parameters").and_then(Value::as_array).into_iter().flatten();
            parameters.map(|parameter| resolved(document, parameter)).collect::<Result<Vec<_>, _>>()
        };
        let place = |parameter: &'a Value| (text(parameter, "in"), text(parameter, "name"));
        let own = of(self.operation)?;
        let taken: HashSet<_> = own.iter().copied().map(place).collect();
        let mut parameters = of(self.item)?;
        parameters.retain(|parameter| !taken.contains(&place(parameter)));
        Ok([parameters, own].concat())
    }
}

/// The schema of a successful body. One that is too large or cannot be read says no more than no schema at all.
fn response_schema<'a>(document: &'a Value, operation: &'a Value, schemas: &mut Schemas<'a>) -> Value {
    let converted = success_schema(document, operation).and_then(|schema| {
        let mut reach = Reach::default();
        let schema = schemas.convert(schema, &mut reach).ok()?;
        schemas.complete(schema, reach).ok()
    });
    converted.unwrap_or_else(|| json!({}))
}

fn success_schema<'a>(document: &'a Value, operation: &'a Value) -> Option<&'a Value> {
    let responses = operation.get("responses")?.as_object()?;
    let (_, response) =
        responses.iter().filter(|(status, _)| status.starts_with('2')).min_by_key(|(status, _)| *status)?;
    let content = resolved(document, response).ok()?.get("content")?.as_object()?;
    content.iter().find(|(media_type, _)| is_json(media_type))?.1.get("schema")
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::super::request::shown;
    use super::read::read;
    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn document(paths: Value) -> Value {
        json!({
            "openapi": "3.1.0",
            "servers": [{"url": "https://{region}.a.example/v1", "variables": {"region": {"default": "eu"}}}],
            "paths": paths,
            "components": {
                "parameters": {
                    "id": {"name": "id", "in": "path", "required": true, "schema": {"$ref": "#/components/schemas/Id"}},
                },
                "schemas": {
                    "Id": {"type": "string"},
                    "Node": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}},
                },
            },
        })
    }

    /// What becomes of `operation` as POST `/{id}`.
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn offered(operation: Value) -> OpenApi {
        let item = json!({"parameters": [{"$ref": "#/components/parameters/id"}], "post": operation});
        operations(&document(json!({"/{id}": item})), None).expect("a document")
    }

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn schemas(operation: Value, input: Value, body: Value) {
        let offered = offered(operation);
        let [listed] = &offered.operations[..] else { panic!("not one operation: {offered:?}") };
        let schema = listed.operation.input_schema();
        assert_eq!((&schema["properties"], &schema["required"]), (&input["properties"], &input["required"]));
        assert_eq!(schema.get("$defs"), input.get("$defs"));
        assert_eq!(listed.operation.output_schema()["properties"]["body"], body);
    }

    #[test]
    fn a_property_for_each_parameter_and_for_the_body() {
        let json = |schema: Value| json!({"application/json": {"schema": schema}});
        schemas(
            json!({
                "parameters": [
                    {"name": "filter[a]", "in": "query", "description": "Which", "schema": {"type": "string"}},
                    {"name": "id", "in": "query", "required": true, "schema": true},
                    {"name": "body", "in": "header", "schema": {}},
                    {"name": "Accept", "in": "header", "required": true, "schema": {}},
                    {"name": "session", "in": "cookie", "schema": {}},
                ],
                "requestBody": {"required": true, "content": json(json!({"$ref": "#/components/schemas/Node"}))},
                "responses": {
                    "default": {"content": json(json!(false))},
                    "201": {"content": json(json!({"type": "array", "items": {"nullable": true, "type": "string"}}))},
                },
            }),
            json!({
                "properties": {
                    "body": {"$ref": "#/$defs/Node"},
                    "id": {"$ref": "#/$defs/Id"},
                    "filter_a_": {"type": "string", "description": "Which"},
                    "id_2": true,
                    "body_2": {},
                },
                "required": ["body", "id", "id_2"],
                "$defs": {
                    "Id": {"type": "string"},
                    "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}},
                },
            }),
            json!({"type": "array", "items": {"type": ["string", "null"]}}),
        );
        let own = json!({"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}});
        schemas(
            json!({"parameters": [own]}),
            json!({"properties": {"id": {"type": "integer"}}, "required": ["id"]}),
            json!({}),
        );
    }

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn asks(operation: Value, input: Value, expected: &str) {
        let offered = offered(operation);
        let [listed] = &offered.operations[..] else { panic!("not one operation: {offered:?}") };
        assert_eq!(shown(&listed.operation.prepare(&input).expect("a request")), expected);
    }

    #[test]
    fn lists_and_bodies_go_as_the_document_says() {
        let query = |name: &str, style: &str, explode: bool| {
            let schema = json!({"type": ["array", "object"]});
            json!({"name": name, "in": "query", "style": style, "explode": explode, "schema": schema})
        };
        asks(
            json!({"parameters": [
                query("a", "form", true),
                query("b", "form", false),
                query("c", "deepObject", true),
            ]}),
            json!({"id": "x", "a": [1, 2], "b": [1, 2], "c": {"d": 1}}),
            "POST /x?a=1&a=2&b=1%2C2&c%5Bd%5D=1",
        );
        let patch = json!({"text/xml": {}, "application/merge-patch+json": {}});
        asks(
            json!({"requestBody": {"content": patch}}),
            json!({"id": "x", "body": {"a": null}}),
            "POST /x\ncontent-type: application/merge-patch+json\n\n{\"a\":null}",
        );
        let encoding = json!({"a": {"style": "deepObject", "explode": true}});
        asks(
            json!({"requestBody": {"content": {"application/x-www-form-urlencoded": {"encoding": encoding}}}}),
            json!({"id": "x", "body": {"a": {"b": [true]}, "c": ["d", "e"]}}),
            "POST /x\ncontent-type: application/x-www-form-urlencoded\n\na%5Bb%5D%5B0%5D=true&c=d&c=e",
        );
    }

    #[track_caller]
    fn left_out(operation: Value, why: &str) {
        assert_eq!(offered(operation).left_out, [("post_id".to_owned(), why.to_owned())]);
    }

    #[test]
    fn what_a_tool_cannot_do_is_left_out_with_the_reason() {
        let needs = |parameter: Value| json!({"parameters": [parameter]});
        left_out(
            json!({"requestBody": {"content": {"multipart/form-data": {}, "image/png": {}}}}),
            "its body is `multipart/form-data` or `image/png`, which is not offered",
        );
        left_out(
            needs(json!({"name": "a", "in": "cookie", "required": true, "schema": {}})),
            "its parameter `a` goes in the cookie, which is not offered",
        );
        left_out(
            needs(json!({"name": "id", "in": "path", "required": true, "style": "matrix", "schema": {}})),
            "its parameter `id` has the style `matrix`, which is not offered",
        );
        left_out(
            needs(
                json!({"name": "a", "in": "query", "required": true, "schema": {"$ref": "#/components/schemas/Node"}}),
            ),
            "its parameter `a` is an object, and not of the style `deepObject`",
        );
        left_out(
            needs(json!({"name": "a", "in": "query", "required": true, "content": {"application/json": {}}})),
            "its parameter `a` has no schema of its own",
        );
        left_out(
            needs(json!({"name": "Host", "in": "header", "required": true, "schema": {}})),
            "its parameter `Host` cannot be given: header `host` is not the caller's to set",
        );
        left_out(needs(json!({"name": "x", "in": "path", "required": true, "schema": {}})), "the path has no `{x}`");
        left_out(needs(json!({"$ref": "#/a"})), "`#/a` leads to nothing");
        left_out(json!({"servers": [{"url": "/"}, {}], "parameters": [{}]}), "a parameter has no name");
    }

    #[test]
    fn the_server_of_most_operations_is_the_server() {
        let elsewhere = json!({"servers": [{"url": "https://b.example"}]});
        let document = document(json!({"/a": {"get": elsewhere}, "/b": {"get": {}}, "/c": {"get": {}, "trace": {}}}));
        let offered = operations(&document, None).expect("a document");
        assert_eq!(offered.server.as_deref(), Some("https://eu.a.example/v1"));
        assert_eq!(offered.operations.iter().map(|listed| &*listed.name).collect::<Vec<_>>(), ["get_b", "get_c"]);
        let reasons: Vec<_> = offered.left_out.iter().map(|(id, why)| (&**id, &**why)).collect();
        let trace = "unknown method `TRACE`, expected one of \
            `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE`, `OPTIONS`";
        assert_eq!(reasons, [("get_a", "it is on another server, `https://b.example`"), ("trace_c", trace)]);
    }

    #[test]
    fn only_some_can_be_asked_for() {
        let named = json!({"operationId": "b.get", "summary": " B ", "description": "More of B"});
        let document = document(json!({"/a/{b}": {"get": {}}, "/b": {"get": named}, "/c": {"$ref": "#/x"}}));
        let only = |ids: &[&str]| operations(&document, Some(&ids.iter().map(ToString::to_string).collect::<Vec<_>>()));
        let offered = only(&["b.get"]).expect("a document");
        let listed: Vec<_> = offered.operations.iter().map(|one| (&*one.name, &*one.description)).collect();
        assert_eq!((listed, offered.left_out), (vec![("b_get", "B\n\nMore of B")], vec![]));
        let unknown = OpenApiError::UnknownOperation { operation: "b_get".to_owned() };
        assert_eq!(only(&["get_a_b", "b_get"]), Err(unknown));
        let all = operations(&document, None).expect("a document");
        assert_eq!(all.left_out[0], ("/c".to_owned(), "`#/x` leads to nothing".to_owned()));
    }

    #[test]
    fn other_documents_are_refused() {
        let unknown = |version: &str| Err(OpenApiError::UnknownVersion { version: version.to_owned() });
        assert_eq!(operations(&json!({"swagger": "2.0"}), None), unknown("2.0"));
        assert_eq!(operations(&json!({"openapi": "4.0.0"}), None), unknown("4.0.0"));
        assert_eq!(operations(&json!({"swagger": 2.0}), None), unknown("2.0"));
        assert_eq!(operations(&json!({"paths": {}}), None), Err(OpenApiError::NoVersion));
        let empty = OpenApi { server: None, operations: vec![], left_out: vec![] };
        assert_eq!(operations(&json!({"openapi": "3.1.1"}), None), Ok(empty.clone()));
        assert_eq!(operations(&json!({"openapi": 3.1}), None), Ok(empty));
    }

    #[test]
    fn references_in_a_circle_and_responses_without_end_are_no_trouble() {
        left_out(
            json!({"requestBody": {"$ref": "#/paths/~1%7Bid%7D/post/requestBody"}}),
            "a reference leads to no end",
        );
        let many: serde_json::Map<_, _> = (0..6_000).map(|n| (n.to_string(), json!({}))).collect();
        let content = json!({"application/json": {"schema": {"properties": many}}});
        schemas(
            json!({"responses": {"200": {"content": content}}}),
            json!({
                "properties": {"id": {"$ref": "#/$defs/Id"}},
                "required": ["id"],
                "$defs": {"Id": {"type": "string"}},
            }),
            json!({}),
        );
    }

    static FIGMA: LazyLock<OpenApi> = LazyLock::new(|| {
        let document = read(include_str!("../../../fixtures/figma/figma.yaml")).expect("YAML");
        operations(&document, None).expect("a document")
    });

    fn figma(name: &str) -> &'static Operation {
        &FIGMA.operations.iter().find(|listed| listed.name == name).expect(name).operation
    }

    #[test]
    fn a_real_document_is_offered_in_full() {
        assert_eq!(FIGMA.server.as_deref(), Some("https://api.figma.com"));
        assert_eq!((FIGMA.operations.len(), &FIGMA.left_out), (54, &vec![]));
        let read_only = FIGMA.operations.iter().filter(|listed| listed.operation.is_read_only()).count();
        let idempotent = FIGMA.operations.iter().filter(|listed| listed.operation.is_idempotent()).count();
        assert_eq!((read_only, idempotent), (42, 48));
        let without_body = |listed: &&Listed| listed.operation.output_schema()["properties"]["body"] == json!({});
        let without_body: Vec<_> = FIGMA.operations.iter().filter(without_body).map(|listed| &*listed.name).collect();
        assert_eq!(without_body, ["deleteDevResource"]);
    }

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "rows read better")]
    fn figma_asks(name: &str, input: Value, expected: &str) {
        assert_eq!(shown(&figma(name).prepare(&input).expect("a request")), expected);
    }

    #[test]
    fn real_operations_become_requests() {
        figma_asks(
            "getImages",
            json!({"file_key": "aB3/x", "ids": "1:2,1:3", "scale": 1.5, "format": "svg", "contents_only": false}),
            "GET /v1/images/aB3%2Fx?ids=1%3A2%2C1%3A3&scale=1.5&format=svg&contents_only=false",
        );
        figma_asks(
            "postComment",
            json!({"file_key": "aB3", "body": {
                "message": "Größer, bitte",
                "client_meta": {"node_id": "1:2", "node_offset": {"x": 10, "y": -0.5}},
            }}),
            "POST /v1/files/aB3/comments\ncontent-type: application/json\n\n\
            {\"message\":\"Größer, bitte\",\"client_meta\":{\"node_id\":\"1:2\",\"node_offset\":{\"x\":10,\"y\":-0.5}}}",
        );
        figma_asks(
            "deleteCommentReaction",
            json!({"file_key": "aB3", "comment_id": "77", "emoji": ":+1::skin-tone-2:"}),
            "DELETE /v1/files/aB3/comments/77/reactions?emoji=%3A%2B1%3A%3Askin-tone-2%3A",
        );
    }

    #[test]
    fn a_real_schema_is_complete() {
        let emoji = "The emoji type of reaction as shortcode (e.g. `:heart:`, `:+1::skin-tone-2:`). The list of \
            accepted emoji shortcodes can be found in [this file](https://raw.githubusercontent.com/missive/emoji-mart/\
            main/packages/emoji-mart-data/sets/14/native.json) under the top-level emojis and aliases fields, with \
            optional skin tone modifiers when applicable.";
        let expected = json!({
            "type": "object",
            "properties": {
                "body": {
                    "type": "object",
                    "properties": {"emoji": {"$ref": "#/$defs/Emoji"}},
                    "required": ["emoji"],
                    "description": "Reaction to post.",
                },
                "file_key": {
                    "type": "string",
                    "description": "File to post comment reactions to. This can be a file key or branch key. Use \
                        `GET /v1/files/:key` with the `branch_data` query param to get the branch key.",
                },
                "comment_id": {"type": "string", "description": "ID of comment to react to."},
            },
            "required": ["body", "file_key", "comment_id"],
            "$defs": {"Emoji": {"type": "string", "description": emoji}},
            "additionalProperties": false,
        });
        let operation = figma("postCommentReaction");
        assert_eq!(operation.input_schema(), &expected);
        let refused = operation.prepare(&json!({"file_key": "a", "fileKey": "b", "comment_id": "1", "body": {}}));
        assert_eq!(refused, Err("unknown field `fileKey`".to_owned()));
    }
}
