//! Tools of HTTP endpoints.

use casemate::{
    CedarPolicy, Declaration, Gate, Grants, HttpTool, PolicySource, Secret, SecretPlace, Secrets, Tool, Toolset,
};
use serde_json::{Value, json};

use crate::server::{Reply, Request, Server};
use crate::support::{Fixed, fetcher, granted, run, seen, toolset, try_tool};

const CANARY: &str = "canary-stripe-0123456789";

/// Secrets of which `STRIPE_KEY` is bound to nothing, so that only a tool that names it can use it.
fn secrets() -> Secrets {
    let secrets = Secrets::new();
    secrets.set(Secret::new("STRIPE_KEY", Fixed(CANARY)).unwrap());
    secrets
}

fn stripe(server: &Server) -> Tool {
    let tool = HttpTool::new("stripe-api", &server.url("/api")).unwrap();
    tool.secret("STRIPE_KEY", SecretPlace::bearer()).unwrap().into()
}

/// Says what it was asked, as JSON.
fn echo(request: &Request) -> Reply {
    let Request { method, target, headers, body, .. } = request;
    let body = String::from_utf8_lossy(body);
    let told = json!({"method": method, "target": target, "headers": headers, "body": body});
    Reply::new(200, &[("content-type", "application/json"), ("x-request-id", "r-1")], told.to_string())
}

/// What the guest got for a call by name: `ok: JSON`, or `CASE: text`.
#[track_caller]
fn called(tool: Tool, input: &Value, gate: &Gate) -> Result<Value, String> {
    let name = tool.name().to_owned();
    let call = try_tool(&name, input).tools(toolset([tool])).grants(granted(&[&name])).gate(gate);
    let text = run(call).result.unwrap();
    let text = text.as_str().unwrap();
    match text.strip_prefix("ok: ") {
        Some(json) => Ok(serde_json::from_str(json).unwrap()),
        None => Err(text.to_owned()),
    }
}

#[test]
fn a_whole_base_is_a_tool() {
    let server = Server::start(echo);
    let gate = Gate::builder().secrets(secrets()).build();
    let mut events = gate.subscribe(100);
    let input = json!({
        "path": "/v1/charges",
        "payload": {"amount": 5},
        "query": {"expand": ["a", "b c"]},
        "headers": {"idempotency-key": "k-1"},
    });
    let result = called(stripe(&server), &input, &gate).unwrap();
    assert_eq!((&result["status"], &result["headers"]), (&json!(200), &json!({"content-type": "application/json"})));
    let request = server.only();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/api/v1/charges?expand=a&expand=b+c"));
    assert_eq!(request.text(), r#"{"amount":5}"#);
    assert_eq!(request.header("authorization"), Some(format!("Bearer {CANARY}").as_str()));
    assert_eq!(
        (request.header("idempotency-key"), request.header("content-type")),
        (Some("k-1"), Some("application/json"))
    );
    assert!(!result.to_string().contains(CANARY), "{result}");
    let events = seen(&mut events);
    let kinds: Vec<_> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["tool_call", "fetch", "secret_used", "fetched", "tool_result"]);
    assert_eq!(events[0].1["input"]["method"], "POST", "what the input does not say is there for rules");
    assert_eq!(events[1].1["depth"], 2);
    assert!(!format!("{events:?}").contains(CANARY));
}

#[test]
fn an_operation_is_a_tool_with_its_own_schema() {
    let server = Server::start(echo);
    let declared = format!(
        "name = 'customer'\ndescription = 'One customer'\nurl = '{}'\nresponse_headers = ['x-request-id']\n\
         [auth]\ntype = 'api-key'\nsecret = 'STRIPE_KEY'\nquery = 'api_key'\n\
         [operation]\nmethod = 'GET'\npath = '/v1/customers/{{id}}'\n\
         [operation.input]\ntype = 'object'\n\
         [operation.input.properties.id]\ntype = 'string'\n[operation.input.properties.limit]\ntype = 'integer'\n",
        server.url("")
    );
    let tool: Tool = Declaration::from_toml(&declared).unwrap().tool(None).unwrap().into();
    assert_eq!((tool.about(), tool.facts().annotations.read_only), ("One customer", true));
    let gate = Gate::builder().secrets(secrets()).build();
    let result = called(tool.clone(), &json!({"id": "a/b", "limit": 2}), &gate).unwrap();
    assert_eq!(server.only().target, format!("/v1/customers/a%2Fb?limit=2&api_key={CANARY}"));
    assert_eq!(result["headers"]["x-request-id"], "r-1");
    assert!(!result.to_string().contains(CANARY), "{result}");
    let error = called(tool, &json!({"id": "..", "limit": 2}), &gate).unwrap_err();
    assert!(error.starts_with("invalid-input: "), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn an_error_of_the_server_is_a_failure_with_its_status() {
    let server = Server::start(|_| Reply::new(404, &[("content-type", "text/plain")], "no such charge"));
    let gate = Gate::builder().secrets(secrets()).build();
    let error = called(stripe(&server), &json!({"path": "/x", "method": "GET"}), &gate).unwrap_err();
    assert_eq!(error, "failed: the server answered with status 404 Not Found: \"no such charge\"");
}

/// A guest that knows a variable and HTTP, and nothing else.
fn posted(path: &str, gate: &Gate, tools: Toolset, grants: Grants) -> Value {
    let input = json!({"variable": "TOOL_URL_STRIPE_API", "path": path, "body": r#"{"amount":5}"#});
    run(fetcher().call("post-to-tool", input).tools(tools).grants(grants).gate(gate)).result.unwrap()
}

#[test]
fn a_guest_that_knows_only_a_variable_reaches_the_tool() {
    let server = Server::start(echo);
    let gate = Gate::builder().secrets(secrets()).build();
    let response = posted("/v1/charges?a=1", &gate, toolset([stripe(&server)]), granted(&["stripe-api"]));
    assert_eq!(response["status"], 200);
    let told: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
    assert_eq!((&told["target"], &told["body"]), (&json!("/api/v1/charges?a=1"), &json!(r#"{"amount":5}"#)));
    let key = format!("Bearer {CANARY}");
    assert_eq!(server.only().header("authorization"), Some(key.as_str()));
    assert!(!response.to_string().contains(CANARY), "{response}");
}

#[test]
fn a_rule_about_the_path_stops_other_paths_with_403_and_the_reason() {
    let server = Server::start(echo);
    let text = r#"permit(principal, action, resource);
        @reason("only charges may be made")
        forbid(principal, action == Action::"call:stripe-api", resource)
        unless { context.input.path like "/v1/charges*" };"#;
    let tools = toolset([stripe(&server)]);
    let policy = CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text }], &tools.facts()).unwrap();
    let gate = Gate::builder().secrets(secrets()).policy(policy).build();
    let response = posted("/v1/refunds", &gate, tools.clone(), granted(&["stripe-api"]));
    assert_eq!(response["status"], 403);
    let problem: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
    assert_eq!((&problem["status"], &problem["detail"]), (&json!(403), &json!("only charges may be made")));
    assert!(server.seen().is_empty());
    let response = posted("/v1/charges", &gate, tools, granted(&["stripe-api"]));
    assert_eq!(response["status"], 200, "{response}");
}

#[test]
fn a_tool_that_is_not_granted_has_no_variable_and_is_denied() {
    let server = Server::start(echo);
    let input = json!({"variable": "TOOL_URL_STRIPE_API", "path": "/", "body": "{}"});
    let error = run(fetcher().call("post-to-tool", input).tools(toolset([stripe(&server)]))).result.unwrap_err();
    assert_eq!(error.to_string(), "there is no variable `TOOL_URL_STRIPE_API`");
    let url = "http://tools.internal/stripe-api/v1";
    let input = json!({"request": {"method": "GET", "url": url, "headers": [], "body": null}});
    let response = run(fetcher().call("fetch", input).tools(toolset([stripe(&server)]))).result.unwrap();
    assert_eq!(response["status"], 403);
    assert!(server.seen().is_empty());
}

#[test]
fn any_tool_takes_its_input_as_a_body() {
    let (tool, _) = crate::support::counting("count-it");
    let url = "http://tools.internal/count-it";
    let input = json!({"request": {"method": "POST", "url": url, "headers": [], "body": r#"{"n":1}"#}});
    let call = fetcher().call("fetch", input).tools(toolset([tool])).grants(granted(&["count-it"]));
    let response = run(call).result.unwrap();
    assert_eq!((&response["status"], &response["body"]), (&json!(200), &json!(r#"{"n":1}"#)));
}

#[test]
fn a_token_is_bought_with_a_secret_and_used_until_it_is_over() {
    let server = Server::start(|request| match request.target.as_str() {
        "/token" => Reply::new(200, &[], r#"{"access_token": "canary-token-987654", "expires_in": 3600}"#),
        _ => echo(request),
    });
    let declared = format!(
        "url = '{}'\n[auth]\ntype = 'oauth2'\ntoken_url = '{}'\nclient_id = 'me'\nsecret = 'STRIPE_KEY'\nscopes = ['a', 'b']\n",
        server.url("/api"),
        server.url("/token")
    );
    let tool: Tool = Declaration::from_toml(&declared).unwrap().tool(Some("api")).unwrap().into();
    let gate = Gate::builder().secrets(secrets()).build();
    for _ in 0..2 {
        let result = called(tool.clone(), &json!({"path": "/x", "method": "GET"}), &gate).unwrap();
        assert!(!result.to_string().contains("canary"), "{result}");
    }
    let seen = server.seen();
    assert_eq!(seen.iter().map(|request| request.target.as_str()).collect::<Vec<_>>(), ["/token", "/api/x", "/api/x"]);
    assert_eq!(seen[0].text(), "grant_type=client_credentials&scope=a+b");
    assert_eq!(seen[0].header("authorization"), Some("Basic bWU6Y2FuYXJ5LXN0cmlwZS0wMTIzNDU2Nzg5"));
    assert_eq!(seen[1].header("authorization"), Some("Bearer canary-token-987654"));
}

#[test]
fn a_redirect_is_followed_only_where_the_tool_may_go() {
    let elsewhere = Server::start(echo);
    let away = elsewhere.url("/away");
    let server = Server::start(move |request| match request.target.as_str() {
        "/a" => Reply::new(302, &[("location", "/b")], ""),
        "/out" => Reply::new(302, &[("location", &away)], ""),
        _ => echo(request),
    });
    let operation = |path: &str| -> Tool {
        let declared = format!(
            "url = '{}'\n[auth]\ntype = 'api-key'\nsecret = 'STRIPE_KEY'\n\
             [operation]\nmethod = 'GET'\npath = '{path}'\n",
            server.url("")
        );
        Declaration::from_toml(&declared).unwrap().tool(Some("t")).unwrap().into()
    };
    let gate = Gate::builder().secrets(secrets()).build();
    let result = called(operation("/a"), &json!({}), &gate).unwrap();
    assert_eq!(result["body"]["target"], "/b");
    let error = called(operation("/out"), &json!({}), &gate).unwrap_err();
    assert!(error.starts_with("failed: the server redirected to"), "{error}");
    assert!(elsewhere.seen().is_empty());
}

/// Figma's REST API, as its makers publish it.
const FIGMA: &str = include_str!("../../engine/fixtures/figma/figma.yaml");

#[test]
fn a_document_of_a_real_service_becomes_tools() {
    let server = Server::start(|request| {
        let request =
            (request.method.as_str(), request.target.as_str(), request.text(), request.header("x-figma-token"));
        match request {
            (
                "GET",
                "/v1/images/aB3%2Fx?ids=1%3A2%2C1%3A3&scale=1.5&format=svg&contents_only=false",
                empty,
                Some(CANARY),
            ) if empty.is_empty() => json_reply(r#"{"err":null,"images":{"1:2":"https://example.com/1"}}"#),
            ("POST", "/v1/files/aB3/comments", text, Some(CANARY))
                if text
                    == r#"{"message":"Größer, bitte","client_meta":{"node_id":"1:2","node_offset":{"x":10,"y":-0.5}}}"# =>
            {
                json_reply(r#"{"id":"7","message":"Größer, bitte"}"#)
            }
            (
                "DELETE",
                "/v1/files/aB3/comments/77/reactions?emoji=%3A%2B1%3A%3Askin-tone-2%3A",
                empty,
                Some(CANARY),
            ) if empty.is_empty() => json_reply(r#"{"status":200,"error":false}"#),
            other => Reply::new(400, &[], format!("{other:?}")),
        }
    });
    let declared = format!(
        "url = '{}'\n[auth]\ntype = 'api-key'\nsecret = 'STRIPE_KEY'\nheader = 'X-Figma-Token'\n\
         [openapi]\nfile = 'figma.yaml'\nprefix = 'figma-'\n",
        server.url("")
    );
    let declaration = Declaration::from_toml(&declared).unwrap();
    assert_eq!(declaration.document(), Some(std::path::Path::new("figma.yaml")));
    let found = declaration.tools(FIGMA).unwrap();
    assert_eq!((found.tools.len(), found.left_out.as_slice()), (54, [].as_slice()));
    let tools: Vec<Tool> = found.tools.into_iter().map(Tool::from).collect();
    let gate = Gate::builder().secrets(secrets()).build();
    let call = |name: &str, input: &Value| {
        let tool = tools.iter().find(|tool| tool.name() == name).unwrap();
        called(tool.clone(), input, &gate)
    };
    let input = json!({"file_key": "aB3/x", "ids": "1:2,1:3", "scale": 1.5, "format": "svg", "contents_only": false});
    let images = call("figma-getImages", &input).unwrap();
    assert_eq!(images["body"]["images"]["1:2"], "https://example.com/1");
    let message =
        json!({"message": "Größer, bitte", "client_meta": {"node_id": "1:2", "node_offset": {"x": 10, "y": -0.5}}});
    let comment = call("figma-postComment", &json!({"file_key": "aB3", "body": message})).unwrap();
    assert_eq!(comment["body"]["id"], "7");
    let reaction = json!({"file_key": "aB3", "comment_id": "77", "emoji": ":+1::skin-tone-2:"});
    assert_eq!(call("figma-deleteCommentReaction", &reaction).unwrap()["status"], 200);
    let error = call("figma-getImages", &json!({"file_key": "aB3", "ids": "1:2", "fileKey": "x"})).unwrap_err();
    assert_eq!(error, "invalid-input: unknown field `fileKey`");
    assert_eq!(server.seen().len(), 3);
}

fn json_reply(body: &str) -> Reply {
    Reply::new(200, &[("content-type", "application/json")], body)
}

#[test]
fn a_token_is_used_only_in_the_name_of_its_secret() {
    let server = Server::start(|request| match request.target.as_str() {
        "/token" => Reply::new(200, &[], r#"{"access_token": "canary-token-987654", "expires_in": 3600}"#),
        _ => echo(request),
    });
    let declared = format!(
        "url = '{}'\n[auth]\ntype = 'oauth2'\ntoken_url = '{}'\nclient_id = 'me'\nsecret = 'STRIPE_KEY'\n",
        server.url("/api"),
        server.url("/token")
    );
    let tool: Tool = Declaration::from_toml(&declared).unwrap().tool(Some("api")).unwrap().into();
    let own = secrets();
    let gate = Gate::builder().secrets(own.clone()).build();
    let input = json!({"path": "/x", "method": "GET"});
    called(tool.clone(), &input, &gate).unwrap();
    let error = called(tool.clone(), &input, &Gate::default()).unwrap_err();
    assert!(error.starts_with("failed: there is no secret `STRIPE_KEY`"), "a token crossed to another Gate: {error}");
    own.revoke("STRIPE_KEY");
    let error = called(tool, &input, &gate).unwrap_err();
    assert!(error.starts_with("failed: there is no secret `STRIPE_KEY`"), "a token outlived its secret: {error}");
    assert_eq!(server.seen().iter().filter(|request| request.target == "/api/x").count(), 1);
}
