//! Requests, secrets and HTTP tools through the binary: `--allow-host`, `--secret`, `--tool NAME=FILE.toml`, and
//! `casemate secrets`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "all of this is tests, helpers included"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Stands in no output: each command of this file is checked for it.
const CANARY: &str = "canary-0123456789";

/// A folder with components, a data folder, and a server on this machine; commands run in it.
struct Place {
    folder: TempDir,
    server: Server,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: TempDir::new().expect("a temporary folder"), server: Server::start() };
        place.write("fetcher.wasm", casemate_guests::FETCHER);
        place.write("postman.wasm", casemate_guests::POSTMAN);
        place.write("caller.wasm", casemate_guests::CALLER);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command.args(arguments).arg("--cache-dir").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("CASEMATE_DATA", self.path("data")).env("STRIPE", CANARY);
        command
    }

    /// What it prints to standard output and to standard error.
    #[track_caller]
    fn ends(&self, arguments: &[&str], status: i32) -> (String, String) {
        ended(&self.command(arguments).output().expect("the binary starts"), status)
    }

    /// With that on standard input.
    #[track_caller]
    fn fed(&self, arguments: &[&str], input: &str, status: i32) -> (String, String) {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
        ended(&child.wait_with_output().expect("it ends"), status)
    }

    /// Has the unmodified command fetch `/x`.
    #[track_caller]
    fn posted(&self, flags: &[&str], status: i32) -> (String, String) {
        let url = format!("URL={}/x", self.server.url());
        self.ends(&[&["call", "postman.wasm", "run", "--env", &url], flags].concat(), status)
    }

    /// Has an agent call a tool; gives what the agent got.
    #[track_caller]
    fn called(&self, tool: &str, input: &Value, flags: &[&str]) -> String {
        let input = json!({"name": tool, "input": input.to_string()}).to_string();
        let (printed, _) = self.ends(&[&["call", "caller.wasm", "try-tool", &input], flags].concat(), 0);
        serde_json::from_str(&printed).expect("a text")
    }

    #[track_caller]
    fn explained(&self, flags: &[&str]) -> Value {
        let (printed, _) = self.ends(&[&["policy", "explain", "--json"], flags].concat(), 0);
        serde_json::from_str(&printed).expect("one JSON object")
    }
}

#[track_caller]
fn ended(output: &Output, status: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let printed = (text(&output.stdout), text(&output.stderr));
    assert!(!format!("{printed:?}").contains("canary"), "{printed:?}");
    assert_eq!(output.status.code(), Some(status), "{printed:?}");
    printed
}

/// Says which path and which credentials it was asked with.
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// It lives as long as the test.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, kept) = (stream.expect("a connection"), kept.clone());
                // Whoever asks may be gone at any moment.
                std::thread::spawn(move || drop(answer(&stream, &kept)));
            }
        });
        Self { port, seen }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it was asked, each as `PATH AUTHORIZATION`.
    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("a thread that lives").clone()
    }
}

fn answer(mut stream: &TcpStream, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    while let Some(first) = lines.next() {
        let first = first?;
        let mut credentials = String::new();
        while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
            if let Some((_, value)) =
                line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            {
                value.clone_into(&mut credentials);
            }
        }
        let asked = format!("{} {credentials}", first.split(' ').nth(1).unwrap_or_default());
        seen.lock().expect("a thread that lives").push(asked.clone());
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{asked}", asked.len())?;
    }
    Ok(())
}

#[test]
fn a_request_leaves_with_the_flag_that_its_denial_names() {
    let place = Place::new();
    let (_, said) = place.posted(&[], 4);
    let flag = format!("--allow-host {}", place.server.url());
    assert!(said.contains(&format!("(allow it with `{flag}`)")), "{said}");
    assert!(place.server.seen().is_empty());
    let (_, said) = place.posted(&flag.split(' ').collect::<Vec<_>>(), 0);
    assert!(said.contains("200\n/x "), "{said}");

    let fetch = |url: &str| json!({"request": {"method": "GET", "url": url, "headers": [], "body": null}}).to_string();
    let input = fetch(&format!("{}/y", place.server.url()));
    let call = ["call", "fetcher.wasm", "fetch", &input, "--allow-host"];
    let posts = format!("POST {}", place.server.url());
    place.ends(&[&call[..], &[&posts]].concat(), 4);
    place.ends(&[&call[..], &[&place.server.url()]].concat(), 0);
    assert_eq!(place.server.seen(), ["/x ", "/y "]);

    let (_, said) = place.ends(&["call", "fetcher.wasm", "fetch", &fetch("http://[::1]:9/")], 4);
    assert!(said.contains("`--allow-host 'http://[::1]:9'`"), "{said}");
    let (_, said) = place.ends(&[&call[..], &["ftp://a.net"]].concat(), 2);
    assert!(said.contains("`ftp` is not a scheme for requests"), "{said}");
}

#[test]
fn a_secret_is_put_in_and_masked_in_all_that_is_printed() {
    let place = Place::new();
    let url = place.server.url();
    let secret = format!("KEY=env:STRIPE@{url}/x");
    let (_, said) = place.posted(&["--allow-host", &url, "--secret", &secret, "--events"], 0);
    assert_eq!(place.server.seen(), [format!("/x Bearer {CANARY}")]);
    assert!(said.contains(&format!("/x Bearer {}", "*".repeat(CANARY.len()))), "{said}");
    assert!(said.contains(r#""type":"secret_used","data":{"id":2,"fetch":1,"secret":"KEY""#), "{said}");

    place.write("key", CANARY);
    let elsewhere = format!("KEY=file:key@{url}/elsewhere");
    place.posted(&["--allow-host", &url, "--secret", &elsewhere, "--json"], 0);
    assert_eq!(place.server.seen()[1], "/x ");
    let (basic, query) = (format!("KEY=file:key@{url}#basic=me"), format!("KEY=file:key@{url}#query=k"));
    place.posted(&["--allow-host", &url, "--secret", &basic, "--secret", &query], 0);
    assert_eq!(place.server.seen()[2], "/x?k=canary-0123456789 Basic bWU6Y2FuYXJ5LTAxMjM0NTY3ODk=");
}

#[test]
fn a_value_in_an_argument_is_refused_and_not_repeated() {
    let place = Place::new();
    let (_, said) = place.posted(&["--secret", &format!("KEY={CANARY}")], 2);
    assert!(said.contains("`KEY=env:VARIABLE`"), "{said}");
    let (_, said) = place.posted(&["--secret", "KEY=env:STRIPE@a.net", "--secret", "KEY=file:key@b.net"], 2);
    assert!(said.contains("are two sources for one secret"), "{said}");
    let (_, said) = place.posted(&["--secret", "KEY@a.net"], 4);
    assert!(said.contains("warning: the secret `KEY` has no value: the file `"), "{said}");
    assert!(said.contains("(written by `casemate secrets set KEY`) is not there"), "{said}");
}

#[test]
fn values_are_kept_privately_and_never_shown() {
    let place = Place::new();
    place.ends(&["secrets", "test", "KEY"], 1);
    place.fed(&["secrets", "set", "KEY"], &format!("{CANARY}\n"), 0);
    place.write("key", format!("{CANARY}-2\r\n"));
    place.ends(&["secrets", "set", "OTHER", "--file", "key"], 0);
    assert_eq!(place.ends(&["secrets", "list"], 0).0, "KEY\nOTHER\n");
    let kept = place.path("data/secrets/KEY");
    assert_eq!(std::fs::read_to_string(&kept).expect("it is there"), CANARY);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
        assert_eq!((mode(&kept), mode(&place.path("data/secrets"))), (0o600, 0o700));
    }
    let (told, _) = place.ends(&["secrets", "test", "KEY"], 0);
    assert!(told.contains(&kept.display().to_string()), "{told}");
    let (told, _) = place.ends(&["secrets", "test", "KEY=env:STRIPE"], 0);
    assert!(told.contains("the environment variable `STRIPE`"), "{told}");

    let url = place.server.url();
    place.posted(&["--allow-host", &url, "--secret", &format!("KEY@{url}")], 0);
    assert_eq!(place.server.seen(), [format!("/x Bearer {CANARY}")]);

    place.ends(&["secrets", "rm", "KEY"], 0);
    place.ends(&["secrets", "rm", "KEY"], 1);
    place.ends(&["secrets", "test", "KEY"], 1);
    assert_eq!(place.ends(&["secrets", "list"], 0).0, "OTHER\n");
    assert_eq!(place.ends(&["secrets", "list", "--data", "elsewhere"], 0).0, "");
    let (_, said) = place.fed(&["secrets", "set", "KEY"], "canary", 2);
    assert!(said.contains("it is shorter than 8 bytes"), "{said}");
    place.ends(&["secrets", "set", "a-b"], 2);
}

#[test]
fn a_folder_with_kept_values_is_granted_to_nobody() {
    let place = Place::new();
    place.fed(&["secrets", "set", "KEY"], CANARY, 0);
    for folder in [".::/all", "data::/data:rw", "data/secrets::/secrets"] {
        let (_, said) = place.ends(&["call", "toolbox", "list-dir", r#"{"path":"/all"}"#, "--dir", folder], 2);
        assert!(said.contains("would show the guest the values of secrets"), "{said}");
    }
}

const DOCUMENT: &str = r#"{"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {
    "/orders": {"get": {"operationId": "listOrders", "responses": {}}},
    "/orders/{id}": {"get": {"operationId": "getOrder", "responses": {}, "parameters": [
        {"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}]}},
    "/photos": {"post": {"operationId": "upload", "responses": {},
        "requestBody": {"content": {"multipart/form-data": {"schema": {"type": "object"}}}}}}
}}"#;

fn declare(place: &Place, name: &str, rest: &str) {
    let auth = "[auth]\ntype = 'api-key'\nsecret = 'KEY'\n";
    place.write(name, format!("url = '{}/api'\n{auth}{rest}", place.server.url()));
}

#[test]
fn an_http_api_is_a_tool() {
    let place = Place::new();
    declare(&place, "api.toml", "");
    let get = json!({"method": "GET", "path": "/a"});
    let bound = ["--tool", "api=api.toml", "--secret", "KEY=env:STRIPE"];
    assert_eq!(place.called("api", &get, &bound), "denied: the tool `api` is not granted");
    let allowed = [&bound[..], &["--allow-tool", "api", "--events"]].concat();
    let got = place.called("api", &get, &allowed);
    assert!(got.starts_with(r#"ok: {"status":200,"#) && got.contains("/api/a Bearer ****"), "{got}");
    assert_eq!(place.server.seen(), [format!("/api/a Bearer {CANARY}")]);

    let undeclared = place.called("api", &get, &["--tool", "api=api.toml", "--allow-tool", "api"]);
    assert!(undeclared.contains("declare it with `--secret KEY=…`"), "{undeclared}");
    let bound_elsewhere = ["--tool", "api=api.toml", "--allow-tool", "api", "--secret", "KEY=env:STRIPE@https://a.net"];
    assert!(place.called("api", &get, &bound_elsewhere).starts_with("denied: the secret `KEY` is not bound to"));
    assert_eq!(place.server.seen().len(), 1);

    // Code that knows only HTTP finds the same tool.
    let input = json!({"variable": "TOOL_URL_API", "path": "/b", "body": "{}"}).to_string();
    place.ends(&[&["call", "fetcher.wasm", "post-to-tool", &input], &allowed[..]].concat(), 0);
    assert_eq!(place.server.seen()[1], format!("/api/b Bearer {CANARY}"));
}

#[test]
fn each_operation_of_a_document_is_a_tool() {
    let place = Place::new();
    place.write("api.json", DOCUMENT);
    declare(&place, "crm.toml", "[openapi]\nfile = 'api.json'\n");
    let secret = ["--secret", "KEY=env:STRIPE"];
    let all = [&secret[..], &["--tool", "crm=crm.toml", "--allow-tool", "crm-*"]].concat();
    let got = place.called("crm-getOrder", &json!({"id": "7"}), &all);
    assert!(got.starts_with("ok: "), "{got}");
    let one = [&secret[..], &["--tool", "order=crm.toml#getOrder", "--allow-tool", "order"]].concat();
    place.called("order", &json!({"id": "8"}), &one);
    assert_eq!(place.server.seen(), [7, 8].map(|id| format!("/api/orders/{id} Bearer {CANARY}")));

    let listed = |flags: &[&str]| {
        let (printed, said) = place.ends(&[&["call", "caller.wasm", "list-tools"], flags].concat(), 0);
        (serde_json::from_str::<Value>(&printed).expect("JSON"), said)
    };
    let (names, said) = listed(&["--tool", "crm.toml", "--allow-tool", "*"]);
    assert_eq!(names, json!(["getOrder", "listOrders"]));
    assert!(said.contains("warning: in `crm.toml` the operation `upload` cannot be a tool"), "{said}");
    // What is asked about stays asked about.
    let asks = ["--tool", "crm=crm.toml", "--ask-tool", "crm-getOrder", "--allow-tool", "crm-*", "--approve", "never"];
    assert!(place.called("crm-getOrder", &json!({"id": "7"}), &asks).starts_with("denied: nobody is asked"));

    let (shown, _) = place.ends(&["inspect", "crm.toml"], 0);
    assert!(shown.contains("getOrder(id)  GET /orders/{id} at") && shown.contains("upload  "), "{shown}");
    place.write("rules.cedar", r#"permit(principal, action == Action::"call:crm-getOrder", resource);"#);
    let (seen, _) = place.ends(&["policy", "check", "rules.cedar", "--tool", "crm=crm.toml"], 0);
    assert!(seen.contains("context.input.id  String"), "{seen}");
}

#[test]
fn what_is_wrong_with_a_declaration_has_its_place() {
    let place = Place::new();
    declare(&place, "crm.toml", "[openapi]\nfile = 'api.json'\n");
    let refused = |flags: &[&str]| place.ends(&[&["call", "caller.wasm", "list-tools"], flags].concat(), 2).1;
    assert!(refused(&["--tool", "crm=crm.toml"]).contains("in `crm.toml`: cannot read `api.json`"));
    place.write("api.json", "{\n  \"openapi\": \"3.1.0\" oops\n}");
    let said = refused(&["--tool", "crm=crm.toml"]);
    assert!(said.contains("in `crm.toml`: in `api.json`: ") && said.contains("at line 2 column 22"), "{said}");
    place.write("api.json", DOCUMENT);
    let said = refused(&["--tool", "x=crm.toml#uplod"]);
    assert!(said.contains("there is no operation `uplod`: there is `listOrders`, `getOrder`"), "{said}");
    assert!(refused(&["--tool", "x=crm.toml#upload"]).contains("the operation `upload` cannot be a tool: "));
    let said = refused(&["--tool", "x=crm.toml", "--allow-tool", "crm-*"]);
    assert!(
        said.contains("`crm-*` is the name of no tool that is bound here: there is `x-getOrder`, `x-listOrders`"),
        "{said}"
    );
    declare(&place, "bad.toml", "format = 'Bearer'\n");
    let said = refused(&["--tool", "x=bad.toml"]);
    assert!(said.contains("in `bad.toml`: line 2, column 1: `Bearer` needs one `{}`, where the key goes"), "{said}");
    assert!(refused(&["--tool", "x=none.toml"]).contains("cannot read `none.toml`"));
}

#[test]
fn show_lists_hosts_and_secrets() {
    let place = Place::new();
    let (secrets, hosts) =
        ("[[secrets]]\nname = 'ASKED'\nask = 'Use it?'\n", "[[hosts]]\nurl = 'a.net'\nask = 'Send?'\n");
    place.write("grants.toml", format!("{hosts}{secrets}"));
    let flags = [
        &["policy", "show", "fetcher.wasm", "--grants", "grants.toml", "--allow-host", "GET *.b.net=private"][..],
        &[
            "--secret",
            "KEY=env:STRIPE@a.net",
            "--secret",
            "KEY=env:STRIPE@b.net#query=k",
            "--secret",
            "OTHER=env:STRIPE",
        ],
    ]
    .concat();
    let (shown, _) = place.ends(&[&flags[..], &["--json"]].concat(), 0);
    let view: Value = serde_json::from_str(&shown).expect("one JSON object");
    let hosts = json!([
        {"requests": "https://a.net", "question": "Send?"},
        {"requests": "GET https://*.b.net=private", "question": null},
    ]);
    assert_eq!(view["hosts"], hosts);
    assert_eq!(
        view["secrets"]["ASKED"],
        json!({"standing": "asks", "question": "Use it?", "source": null, "bindings": []})
    );
    assert_eq!(view["secrets"]["OTHER"]["standing"], "tools-only");
    let bindings = json!([
        {"requests": "https://a.net", "place": "header `authorization`"},
        {"requests": "https://b.net", "place": "query parameter `k`"},
    ]);
    assert_eq!(
        (&view["secrets"]["KEY"]["standing"], &view["secrets"]["KEY"]["bindings"]),
        (&json!("granted"), &bindings)
    );
    let (shown, _) = place.ends(&flags, 0);
    assert!(shown.contains("KEY           granted  from the environment variable `STRIPE`"), "{shown}");
}

#[test]
fn explain_tells_what_grants_say_of_a_request() {
    let place = Place::new();
    let fetch = |flags: &[&str]| {
        let asked = ["--action", "fetch", "--request", "GET https://api.example.com/v1?a=b"];
        let told = place.explained(&[&asked[..], flags].concat());
        (told["verdict"].clone(), told["remedy"].clone())
    };
    let flag = |value: &str| json!(format!("--allow-host {value}"));
    assert_eq!(fetch(&["--allow-host", "*.example.com"]), (json!("allow"), Value::Null));
    assert_eq!(fetch(&["--allow-host", "POST api.example.com"]), (json!("deny"), flag("https://api.example.com")));
    let private = ["--address", "private", "--allow-host"];
    let denied = (json!("deny"), flag("https://api.example.com=private"));
    assert_eq!(fetch(&[&private[..], &["api.example.com"]].concat()), denied);
    assert_eq!(fetch(&[&private[..], &["api.example.com=private"]].concat()).0, "allow");
    place.write("grants.toml", "[[hosts]]\nurl = 'api.example.com'\nask = 'Send?'\n");
    assert_eq!(fetch(&["--grants", "grants.toml"]).0, "ask");
}

#[test]
fn explain_tells_what_grants_say_of_a_secret() {
    let place = Place::new();
    let used = |secret: &str| {
        let request = "POST https://api.example.com/v1";
        place.explained(&["--action", "use:KEY", "--request", request, "--secret", secret])
    };
    let told = used("KEY@api.example.com");
    assert_eq!(
        (&told["verdict"], &told["request"]["method"], &told["address"]),
        (&json!("allow"), &json!("POST"), &json!("public"))
    );
    for secret in ["OTHER@api.example.com", "KEY@GET api.example.com", "KEY@api.example.com/v2", "KEY=env:STRIPE"] {
        assert_eq!(used(secret)["remedy"], "--secret KEY@https://api.example.com", "{secret}");
    }
    let (_, said) = place.ends(&["policy", "explain", "--action", "use:KEY", "--secret", "KEY@a.net"], 2);
    assert!(said.contains("`--request 'GET https://api.example.com/v1'`"), "{said}");
}

#[test]
fn rules_decide_about_requests_and_secrets_too() {
    let place = Place::new();
    let rules = r#"permit(principal, action, resource);
@id("reads") @reason("only reading")
forbid(principal, action == Action::"fetch", resource) when { context.method != "GET" };
@id("no-key") forbid(principal, action == Action::"use", resource == Secret::"KEY") when { context.path != "/x" };
"#;
    place.write("rules.cedar", rules);
    let rules = ["--policy", "rules.cedar"];
    for (action, request, verdict) in [
        ("fetch", "GET https://a.net/y", "allow"),
        ("fetch", "POST https://a.net/y", "deny"),
        ("use:KEY", "GET https://a.net/x", "allow"),
        ("use:KEY", "GET https://a.net/y", "deny"),
        ("use:OTHER", "GET https://a.net/y", "allow"),
    ] {
        let told = place.explained(&[&rules[..], &["--action", action, "--request", request]].concat());
        assert_eq!(told["verdict"], verdict, "{action} {request}");
    }

    let url = place.server.url();
    let (host, secret) = (["--allow-host", &url], ["--secret", &format!("KEY=env:STRIPE@{url}")]);
    place.posted(&[&rules[..], &host, &secret].concat(), 0);
    let (_, said) = place.posted(&[&rules[..], &host, &["--env", "BODY=b"]].concat(), 4);
    assert!(said.contains("only reading") && said.contains("denied by rule `reads` (rules.cedar:2)"), "{said}");
    assert_eq!(place.server.seen(), [format!("/x Bearer {CANARY}")]);
}
