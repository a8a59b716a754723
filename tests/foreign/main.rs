//! The components of other toolchains, through the public API: each describes itself, and the weather stations answer
//! as `cases.json` says.
//!
//! By default nothing is installed, and a component whose tools are missing is left out, which the test says. With
//! `CASEMATE_FOREIGN=required` all are built, and it is a failure if one cannot be.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "all of this is tests, helpers included"
)]

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use casemate::{CallError, CallReport, Component, Engine, Grants};
use serde_json::{Value, json};

#[allow(dead_code, clippy::unwrap_used, reason = "shared with the other tests")]
#[path = "../all/server.rs"]
mod server;

use server::{Reply, Server};

#[test]
fn a_component_of_rust() {
    check("rust");
}

#[test]
fn a_component_of_c() {
    check("c");
}

#[test]
fn a_component_of_javascript() {
    check("js");
}

#[test]
fn a_component_of_python() {
    check("python");
}

#[test]
fn a_courier_of_javascript() {
    let Some(courier) = load("courier") else { return };
    let tools = &courier.description().tools;
    let callable = tools.iter().filter(|tool| tool.callable).map(|tool| tool.name.as_str());
    assert_eq!(callable.collect::<Vec<_>>(), ["get", "post"]);

    let server = Server::start(|request| Reply::text(format!("{} {}", request.method, request.text())));
    let here = Grants::none().host(server.url("").parse().expect("a host"));
    let limits = ENGINE.limits().fuel(20_000_000_000).expect("fuel").build();
    let answer = |tool: &str, input: Value, grants: &Grants| {
        ENGINE.block_on(courier.call(tool, input).grants(grants.clone()).limits(limits)).map_err(|error| match error {
            CallError::Denied(denied) => denied.refused[0].allow.clone(),
            error => panic!("{error}"),
        })
    };
    assert_eq!(answer("get", json!({"url": server.url("/")}), &here), Ok(json!("200\nGET ")));
    let parcel = json!({"url": server.url("/"), "text": "parcel"});
    assert_eq!(answer("post", parcel.clone(), &here), Ok(json!("200\nPOST parcel")));
    let flag = format!("--allow-host {}", server.url(""));
    assert_eq!(answer("post", parcel, &Grants::none()), Err(Some(flag)));
    assert_eq!(server.seen().len(), 2);
}

#[track_caller]
fn check(name: &str) {
    let Some(component) = load(name) else { return };
    let tools = check_description(name, &component);
    for case in cases() {
        check_case(name, &component, &tools, &case);
    }
}

/// A component, if it could be built.
#[track_caller]
fn load(name: &str) -> Option<Component> {
    let file = BUILT.join(name).with_extension("wasm");
    if !file.exists() {
        say(&format!("the component `{name}` is not tested, see tests/foreign/README.md"));
        return None;
    }
    Some(ENGINE.block_on(ENGINE.load(&file)).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// The tools of the component as JSON, with schemas that are schemas.
#[track_caller]
fn check_description(name: &str, component: &Component) -> Vec<Value> {
    let description = serde_json::to_value(component.description()).expect("a description is JSON");
    let tools = description["tools"].as_array().expect("it has tools").clone();
    let mut names: Vec<_> = tools.iter().map(|tool| (tool["name"].as_str(), tool["wire_name"].as_str())).collect();
    // Exported by all that componentize-py makes, which calls it while it builds.
    names.retain(|(function, _)| !(name == "python" && *function == Some("init")));
    names.sort_unstable();
    let expected = [
        ("advise", "advise"),
        ("announce", "announce"),
        ("next-update", "next_update"),
        ("seal", "seal"),
        ("summarize", "summarize"),
        ("unseal", "unseal"),
    ];
    assert_eq!(names, expected.map(|(name, wire_name)| (Some(name), Some(wire_name))), "{name}");
    for tool in &tools {
        assert_eq!((&tool["callable"], &tool["reason"]), (&json!(true), &Value::Null), "{name}: {tool}");
        for schema in [&tool["input_schema"], &tool["output_schema"]] {
            jsonschema::meta::validate(schema).unwrap_or_else(|error| panic!("{name}: {error}: {schema}"));
        }
    }
    tools
}

/// Compares as text, which neither rounds nor takes -0.0 for 0.0.
#[track_caller]
fn check_case(name: &str, component: &Component, tools: &[Value], case: &Value) {
    let function = case["function"].as_str().expect("a case names its function");
    let tool = tools.iter().find(|tool| tool["name"] == function).expect("a case names a tool");
    let fits = |schema: &str, value: &Value| jsonschema::is_valid(&tool[schema], value);
    assert!(fits("input_schema", &case["input"]), "{name}: the schema refuses the input: {case}");

    let CallReport { result, output, .. } = ENGINE.block_on(component.call(function, case["input"].clone()).report());
    let mut became = json!({});
    match result {
        Ok(value) => {
            assert!(fits("output_schema", &value), "{name}: the schema refuses the output {value}: {case}");
            became["output"] = value;
        }
        Err(CallError::Tool(error)) => became["tool_error"] = error.value,
        Err(error) => became["neither"] = error.to_json(),
    }
    if !output.stdout.is_empty() {
        became["stdout"] = String::from_utf8_lossy(&output.stdout).into();
    }
    let mut expected = case.clone();
    for key in ["function", "input"] {
        expected.as_object_mut().expect("a case is an object").shift_remove(key);
    }
    assert_eq!(became.to_string(), expected.to_string(), "{name}: {case}");
}

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("cases.json")).expect("the cases are an array")
}

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    // Compiling the two interpreters takes longer than all else here.
    Engine::builder().max_sandboxes(4).cache(BUILT.join("cache")).build().expect("an engine")
});

/// The folder with the components that could be built.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("foreign");
    let required = match env::var("CASEMATE_FOREIGN").as_deref() {
        Ok("required") => true,
        Ok(other) => panic!("`CASEMATE_FOREIGN` is `required` or not set, and here it is `{other}`"),
        Err(_) => false,
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/foreign/build.sh");
    let output = Command::new("bash")
        .arg(script)
        .args((!required).then_some("--installed-only"))
        .arg(&folder)
        .output()
        .unwrap_or_else(|error| panic!("could not run `bash {script}`: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{script}` failed ({}):\n{said}{failed}", output.status);
    said.lines().filter(|line| line.contains("left out")).for_each(say);
    folder
});

/// Tells also when the test passes: the harness keeps back only what goes through macros like `eprintln!`.
fn say(line: &str) {
    // Nobody to tell is nobody's fault.
    let _ = writeln!(io::stderr(), "{line}");
}
