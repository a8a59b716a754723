//! Requests with secrets that end in every way, and all that anybody gets to see of them.
//!
//! It happens in a process of its own, whose log is kept at the level of traces, and whose output is searched too.

use std::fmt::Debug;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use casemate::{
    Answer, AnswerFuture, ApprovalRequest, Approver, Budget, Call, CallError, CedarPolicy, Declaration, Gate, Grants,
    HttpLimits, HttpTool, PolicySource, Secret, SecretPlace, Secrets, Tool,
};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::egress::tls::{Authority, TlsServer};
use crate::outside::{addresses_of, client, get, get_with, hosts, http, parts, request};
use crate::server::{Reply, Request, Server};
use crate::support::{Fixed, caller, fetcher, granted, run, seen, toolset, try_tool};

const KEY: &str = "sk_live_cAnarY-01/23+45=67~89";
const TOKEN: &str = "tok_cAnarY-98/76+54=32~10";

/// What nobody may see.
fn forms() -> Vec<String> {
    [KEY, TOKEN].into_iter().flat_map(forms_of).collect()
}

fn forms_of(value: &str) -> Vec<String> {
    let percent = |digits: fn(u32) -> String, kept: &str| -> String {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || kept.contains(letter);
        value.chars().map(|letter| if plain(letter) { letter.to_string() } else { digits(letter.into()) }).collect()
    };
    let mut forms = vec![value.to_owned(), value.to_lowercase(), value.to_uppercase(), value.replace('/', "\\/")];
    for kept in ["-_.~", "-_.!~*'()", "", "-_.~/", "-_.~+/="] {
        forms.extend([percent(|code| format!("%{code:02X}"), kept), percent(|code| format!("%{code:02x}"), kept)]);
    }
    for before in ["", "Bearer ", "me:", "x", "xx"] {
        let text = format!("{before}{value}");
        let digits = [STANDARD.encode(&text), STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)];
        // Without the digits at the ends, which others can make.
        forms.extend(digits.into_iter().map(|digits| digits.trim_end_matches('=')[12..28].to_owned()));
    }
    forms.push(value.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat());
    forms.push(format!("{:?}", value.as_bytes()).trim_matches(['[', ']']).to_owned());
    // Halves.
    forms.extend([value[..14].to_owned(), value[14..].to_owned()]);
    forms
}

#[track_caller]
fn is_clean(what: &str, text: &str) {
    for form in forms() {
        assert!(!text.contains(&form), "`{form}` is in {what}");
    }
}

#[test]
fn no_secret_is_in_anything_that_anybody_gets_to_see() {
    if std::env::var_os("CASEMATE_TEST_CANARY").is_some() {
        return in_a_process_of_its_own();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "canary::no_secret_is_in_anything_that_anybody_gets_to_see", "--nocapture"]);
    let output = child.env("CASEMATE_TEST_CANARY", "1").output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && said[0].contains("1 passed"), "{said:?}");
    assert!(said[1].contains("the approver panics: "), "a panic is seen: {}", said[1]);
    is_clean("the output of the process", &said.concat());
}

/// The log, and all that was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u8>>>);

impl Told {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    fn debug(&self, what: impl Debug) {
        let mut told = self.0.lock().unwrap();
        writeln!(told, "{what:?}\n{what:#?}").unwrap();
    }
}

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Told {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Says yes, no, or nothing at all, by the question.
struct Person(Told);

impl Approver for Person {
    fn ask(&self, request: ApprovalRequest) -> AnswerFuture {
        self.0.debug(&request);
        assert!(!request.question.contains("panic"), "the approver panics: {request:?}");
        let reject = request.question.contains("no");
        let answer = if reject { Answer::Reject { reason: "no".to_owned() } } else { Answer::Approve };
        Box::pin(std::future::ready(answer))
    }
}

/// What is done with one Gate, all of whose events are kept.
struct World {
    told: Told,
    gate: Gate,
    server: Server,
}

impl World {
    fn ends(&self, call: Call) {
        let mut events = self.gate.subscribe(1000);
        let report = run(call.gate(&self.gate));
        self.told.debug(&report);
        if let Err(error) = &report.result {
            self.tell(error);
        }
        let result = report.result.map_err(|error| error.to_string());
        self.told.debug(serde_json::to_string(&json!([result, seen(&mut events)])).unwrap());
    }

    fn tell(&self, error: &CallError) {
        self.told.debug(error.to_string());
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            self.told.debug(error.to_string());
            self.told.debug(error);
            cause = error.source();
        }
        if let CallError::Denied(denied) = error {
            self.told.debug(serde_json::to_string(&denied.refused).unwrap());
        }
    }

    fn grants(&self) -> Grants {
        let all = ["KEY", "QUERY", "BASIC", "HEADER"].into_iter();
        all.fold(hosts(&[&self.server.url("")]), |grants, name| grants.secret(name).unwrap())
    }

    /// A request to each path to which a secret is bound, and the guest's memory after it.
    fn fetch(&self, path: &str) {
        for place in ["bearer", "query", "basic", "header"] {
            let url = self.server.url(&format!("/{place}{path}"));
            let limits = || http(HttpLimits::default().idle(Duration::from_millis(200)).response_bytes(1 << 16));
            self.ends(get(&url).grants(self.grants()).limits(limits()));
            let reversed: String = KEY.chars().rev().collect();
            let input = json!({"request": parts("GET", &url, &[], None), "reversed": reversed});
            let call = fetcher().call("search-memory-after", input).grants(self.grants()).limits(limits());
            if let Ok(found) = run(call.gate(&self.gate)).result {
                assert_eq!(found, 0, "in the guest's memory after {url}");
            }
        }
    }

    fn tool(&self, tool: &Tool, input: &Value) {
        let tools = || toolset([tool.clone()]);
        self.ends(try_tool("t", input).tools(tools()).grants(granted(&["t"])));
        let url = format!("http://tools.internal/t{}", input["path"].as_str().unwrap_or_default());
        self.ends(
            request("POST", &url, &[("authorization", "Bearer mine")], Some("{}"))
                .tools(tools())
                .grants(granted(&["t"])),
        );
    }
}

/// Echoes what it was sent, in the way that the path says.
fn echo(request: &Request) -> Reply {
    let sent = format!("{} {:?} {}", request.target, request.headers, request.text());
    let secret = request.headers.iter().find(|(name, _)| name == "authorization" || name == "x-api-key");
    let value = secret.map_or_else(|| request.target.clone(), |(_, value)| value.clone());
    let path = request.target.split('?').next().unwrap();
    let by = |text: String| Reply::raw(text).and_close();
    match path.rsplit('/').next().unwrap() {
        "token" => Reply::new(200, &[], json!({"access_token": TOKEN, "expires_in": 3600}).to_string()),
        "refused" => Reply::new(403, &[("x-a", &value)], sent),
        "failed" => Reply::new(500, &[("content-type", "application/json")], json!({"error": sent}).to_string()),
        "away" => Reply::new(302, &[("location", &format!("http://127.0.0.1:1/{value}"))], sent),
        "near" => Reply::new(302, &[("location", &format!("echo?again={value}"))], sent),
        "half" => by(format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{}", &value[..value.len().min(24)])),
        "status" => by(format!("HTTP/1.1 599 {value}\r\ncontent-length: 0\r\n\r\n")),
        "broken" => by(format!("{value}\r\n\r\n")),
        "badly" => by(format!("HTTP/1.1 200 OK\r\n{value}\r\nx\0: {value}\r\n\r\n")),
        "coding" => by(format!("HTTP/1.1 200 OK\r\ncontent-encoding: {value}\r\ncontent-length: 1\r\n\r\nx")),
        "length" => by(format!("HTTP/1.1 200 OK\r\ncontent-length: {value}\r\n\r\nx")),
        "closed" => Reply::raw("").and_close(),
        "large" => Reply::text(value.repeat(10_000)),
        "silent" => {
            Reply::raw(format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{}", &value[..value.len().min(24)]))
        }
        _ => Reply::new(200, &[("content-type", "text/plain"), ("x-echo", &value), ("x-echo", &sent)], sent.clone()),
    }
}

fn secrets(server: &Server) -> Secrets {
    let secrets = Secrets::new();
    for (name, path, place) in [
        ("KEY", "/bearer", SecretPlace::bearer()),
        ("QUERY", "/query", SecretPlace::query("key").unwrap()),
        ("BASIC", "/basic", SecretPlace::basic("me").unwrap()),
        ("HEADER", "/header", SecretPlace::header("x-api-key", "Key {}").unwrap()),
    ] {
        let secret = Secret::new(name, Fixed(KEY)).unwrap();
        secrets.set(secret.bound_to(server.url(path).parse().unwrap(), place));
    }
    secrets.set(Secret::new("FREE", Fixed(KEY)).unwrap());
    secrets
}

fn in_a_process_of_its_own() {
    // Compiled before anything is logged: that has nothing to do with secrets, and is long.
    let _ = (fetcher(), caller());
    let told = Told::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(told.clone())
        .init();
    let server = Server::start(echo);
    let secrets = secrets(&server);
    let gate = Gate::builder().secrets(secrets.clone()).approver(Person(told.clone())).build();
    let world = World { told: told.clone(), gate, server };
    requests(&world);
    let tools = tools(&world);
    over_tls(&world);
    world.told.debug((&world.gate, &secrets, secrets.list(), &tools, casemate::HttpClient::default(), world.grants()));
    world.told.debug(toolset([tools[0].clone()]));
    let seen = world.server.seen();
    let sent = |what: &str| seen.iter().filter(|request| format!("{request:?}").contains(what)).count();
    let percent = "sk_live_cAnarY-01%2F23%2B45%3D67~89";
    for (what, least) in [(KEY, 20), (TOKEN, 4), (percent, 10), (&STANDARD.encode(format!("me:{KEY}")), 10)] {
        assert!(sent(what) >= least, "`{what}` was there to be seen: {}", sent(what));
    }
    let text = told.text();
    for known in ["fetched", "secret_used", "denied", "rustls", "the approver failed", "****"] {
        assert!(text.contains(known), "nothing is seen of {known}");
    }
    is_clean("what was told and logged", &text);
}

fn requests(world: &World) {
    let url = |path: &str| world.server.url(path);
    for path in [
        "", "/echo", "/refused", "/failed", "/away", "/near", "/half", "/status", "/broken", "/badly", "/coding",
        "/length", "/closed", "/large", "/silent",
    ] {
        world.fetch(path);
    }
    // What is not let out.
    world.ends(get("http://127.0.0.1:1/").grants(world.grants()));
    world.ends(get(&url("/bearer")).grants(Grants::none().secret("KEY").unwrap()));
    world.ends(get(&url("/bearer")).grants(world.grants()).budget(Budget::default().requests(0)));
    for mark in ["casemate-secret-KEY", "casemate-secret-FREE", "casemate-secret-ABSENT"] {
        world.ends(get_with(&url("/other"), &[("authorization", mark)]).grants(world.grants()));
        world.ends(get(&url(&format!("/bearer/{mark}"))).grants(world.grants()));
        world.ends(request("POST", &url("/bearer/echo"), &[], Some(mark)).grants(world.grants()));
    }
    // What never comes to a server.
    world.ends(get("http://127.0.0.1:1/").grants(hosts(&["http://127.0.0.1:1"]).secret("KEY").unwrap()));
    world.ends(get("http://nowhere.invalid/").grants(hosts(&["http://nowhere.invalid"]).secret("KEY").unwrap()));
    // What a person is asked about.
    for question in ["Use it?", "no?", "panic?"] {
        let grants = hosts(&[&url("")]).secret_after_asking("KEY", question).unwrap();
        world.ends(get(&url("/bearer/echo")).grants(grants));
    }
    // What others ask for that was never theirs.
    world.ends(get(&url("/other/echo")).grants(hosts(&[&url("")])));
    world.ends(fetcher().call("variables", json!({})).grants(world.grants()));
    let text = r#"permit(principal, action, resource); @reason("never") forbid(principal, action == Action::"use", resource);"#;
    if let Ok(policy) = CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text }], &toolset([]).facts()) {
        let secrets = secrets(&world.server);
        let gate = Gate::builder().secrets(secrets).policy(policy).build();
        let mut events = gate.subscribe(100);
        let report = run(get(&url("/bearer/echo")).grants(world.grants()).gate(&gate));
        world.told.debug((report, seen(&mut events), gate));
    }
}

fn tools(world: &World) -> Vec<Tool> {
    let url = |path: &str| world.server.url(path);
    let mut tools = Vec::new();
    for place in [SecretPlace::bearer(), SecretPlace::query("key").unwrap(), SecretPlace::basic("me").unwrap()] {
        let tool = HttpTool::new("t", &url("/tool")).unwrap().secret("FREE", place.clone()).unwrap();
        let tool = tool.response_header("x-echo".parse().unwrap());
        world.told.debug((&tool, &place, place.to_string()));
        tools.push(Tool::from(tool));
    }
    let auth = format!("type = 'oauth2'\ntoken_url = '{}'\nclient_id = 'me'\nsecret = 'FREE'\n", url("/token"));
    let key = "type = 'api-key'\nsecret = 'FREE'\nquery = 'key'\n";
    let operation = |path: &str| format!("[operation]\nmethod = 'GET'\npath = '{path}'\n");
    let declared = [
        format!("url = '{}'\n[auth]\n{auth}", url("/tool")),
        format!("url = '{}'\n[auth]\n{key}{}", url("/tool"), operation("/near")),
        format!("url = '{}'\n[auth]\n{key}{}", url("/tool"), operation("/away")),
        format!("url = '{}'\n[auth]\n{auth}{}", url("/tool"), operation("/near")),
    ];
    for text in declared {
        let declaration = Declaration::from_toml(&text).unwrap();
        world.told.debug(&declaration);
        let tool: Tool = declaration.tool(Some("t")).unwrap().into();
        if tool.about().is_empty() && text.contains("[operation]") {
            world.tool(&tool, &json!({}));
        }
        tools.push(tool);
    }
    for tool in &tools {
        for path in
            ["/echo", "/refused", "/failed", "/away", "/half", "/status", "/broken", "/coding", "/closed", "/large"]
        {
            world.tool(tool, &json!({"path": path, "method": "GET"}));
        }
        for input in [
            json!({"path": "/casemate-secret-FREE"}),
            json!({"path": "/", "headers": {"authorization": "x"}}),
            json!({"path": "/.."}),
        ] {
            world.tool(tool, &input);
        }
        // What tools keep is shown with what they are.
        world.told.debug(tool);
    }
    tools
}

fn over_tls(world: &World) {
    let authority = Authority::new();
    for names in [&["a.example"][..], &["b.example"]] {
        let server = TlsServer::start(authority.sign(names, |_| ()));
        let address = server.address;
        let (client, _) = client(|_, _| addresses_of(&["93.184.216.34"]), move |_| Some(address));
        let client = client.trust(authority.certificate.to_vec()).unwrap().build();
        let secrets = Secrets::new();
        let secret = Secret::new("KEY", Fixed(KEY)).unwrap();
        secrets.set(secret.bound_to("https://a.example".parse().unwrap(), SecretPlace::bearer()));
        let gate = Gate::builder().http(client.clone()).secrets(secrets).build();
        let mut events = gate.subscribe(100);
        let grants = hosts(&["https://a.example"]).secret("KEY").unwrap();
        let report =
            catch_unwind(AssertUnwindSafe(|| run(get("https://a.example/").grants(grants).gate(&gate)))).unwrap();
        world.told.debug((report, seen(&mut events), gate, client));
        let sent = server.heads.lock().unwrap().iter().filter(|head| head.contains(KEY)).count();
        assert_eq!(sent, usize::from(names == ["a.example"]));
    }
}
