use casemate::{Component, LoadError, ToolDescription, wit_text};
use serde_json::{Value, json};

use crate::support::{adversarial, builder, engine, load, load_error, run, toolbox, wat};

fn tool(component: &Component, name: &str) -> ToolDescription {
    component.description().tools.into_iter().find(|tool| tool.name == name).unwrap()
}

fn names(component: &Component) -> Vec<String> {
    component.description().tools.into_iter().map(|tool| tool.name).collect()
}

#[test]
fn the_toolbox_describes_its_tools() {
    let tools = toolbox().description().tools;
    let names: Vec<_> = tools.iter().map(|tool| (tool.name.as_str(), tool.wire_name.as_str())).collect();
    let expected = [
        ("read-file", "read_file"),
        ("write-file", "write_file"),
        ("edit-file", "edit_file"),
        ("grep", "grep"),
        ("glob", "glob"),
        ("list-dir", "list_dir"),
    ];
    assert_eq!(names, expected);
    for tool in &tools {
        let first = tool.description.as_deref().and_then(|text| text.lines().next()).unwrap();
        assert!(include_str!("../../wit/toolbox/toolbox.wit").contains(first), "{first}");
        assert!(tool.callable && tool.reason.is_none());
    }
}

#[test]
fn schemas_are_valid_and_accept_what_the_call_accepts() {
    for component in [toolbox(), adversarial()] {
        for tool in component.description().tools {
            for schema in [&tool.input_schema, &tool.output_schema] {
                assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{}", tool.name);
                jsonschema::meta::validate(schema).unwrap();
            }
        }
    }
    let grep = jsonschema::validator_for(&tool(toolbox(), "grep").input_schema).unwrap();
    assert!(grep.is_valid(&json!({"pattern": "x", "path": "/"})));
    assert!(grep.is_valid(&json!({"pattern": "x", "path": "/", "context": 3, "glob": null})));
    assert!(!grep.is_valid(&json!({"pattern": "x"})));
    assert!(!grep.is_valid(&json!({"pattern": "x", "path": "/", "context": -1})));
    assert!(!grep.is_valid(&json!({"pattern": "x", "path": "/", "other": 1})));
}

#[test]
fn what_a_tool_answers_fits_its_schema() {
    for (name, input) in [
        ("counter-next", json!({})),
        ("environment", json!({})),
        ("big-nested", json!({"width": 2})),
        ("big-list", json!({"count": 3})),
        ("try-grow", json!({"pages": 100_000})),
        ("print", json!({"text": ""})),
    ] {
        let schema = jsonschema::validator_for(&tool(adversarial(), name).output_schema).unwrap();
        let answer = run(adversarial().call(name, input)).result.unwrap();
        assert!(schema.is_valid(&answer), "{name}: {answer}");
    }
}

#[test]
fn imports_tell_which_grants_they_would_take() {
    let imports = adversarial().description().imports;
    let grant = |start: &str| imports.iter().find(|import| import.name.starts_with(start)).unwrap().grant;
    assert!(grant("wasi:filesystem/types@").unwrap().contains("--dir"));
    assert!(grant("wasi:cli/environment@").unwrap().contains("--env"));
    assert!(grant("wasi:sockets/tcp@").is_some() && grant("wasi:http/outgoing-handler@").is_some());
    assert_eq!(grant("wasi:clocks/monotonic-clock@"), None);
    let exports = adversarial().description().exports;
    assert!(exports.contains(&"casemate:adversarial/files@0.1.0".to_owned()), "{exports:?}");
}

#[test]
fn a_description_as_json_has_snake_case_keys_and_the_names_of_wit() {
    let json = serde_json::to_value(toolbox().description()).unwrap();
    assert_eq!(json["hash"], toolbox().hash().to_string());
    assert_eq!(json["placement"], "pooled");
    let keys: Vec<_> = json["tools"][0].as_object().unwrap().keys().collect();
    let expected = ["name", "wire_name", "description", "input_schema", "output_schema", "callable", "reason"];
    assert_eq!(keys, expected);
    assert!(json["tools"][0]["input_schema"]["properties"]["start-line"].is_object());
}

/// Two interfaces with a function of one name, the second also in two versions.
const AMBIGUOUS: &str = r#"(component
    (core module $m (func (export "one") (result i32) (i32.const 1)) (func (export "two") (result i32) (i32.const 2)))
    (core instance $i (instantiate $m))
    (func $one (result u32) (canon lift (core func $i "one")))
    (func $two (result u32) (canon lift (core func $i "two")))
    (instance $a (export "get" (func $one)) (export "only-here" (func $one)))
    (instance $b (export "get" (func $two)))
    (export "acme:x/first@1.0.0" (instance $a))
    (export "acme:x/second@1.0.0" (instance $b))
    (export "acme:x/second@2.0.0" (instance $a))
    (export "get-all" (func $one)))"#;

#[test]
fn ambiguous_names_are_written_out_as_far_as_needed() {
    let component = load(engine(), AMBIGUOUS);
    let names = names(&component);
    for name in ["first#get", "acme:x/second@1.0.0#get", "acme:x/second@2.0.0#get", "get-all"] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
    assert_eq!(component.call_blocking("first#get", json!({})).unwrap(), 1);
    assert_eq!(component.call_blocking("acme:x/second@1.0.0#get", json!({})).unwrap(), 2);
    let error = run(component.call("get", json!({}))).result.unwrap_err();
    let casemate::CallError::NotFound(error) = error else { panic!("{error:?}") };
    assert_eq!(error.candidates.len(), 3, "{error:?}");
}

#[test]
fn wire_names_are_unique_and_callable() {
    let component = load(engine(), AMBIGUOUS);
    let tools = component.description().tools;
    let mut wires: Vec<_> = tools.iter().map(|tool| tool.wire_name.clone()).collect();
    wires.sort();
    wires.dedup();
    assert_eq!(wires.len(), tools.len());
    for tool in tools {
        let name = &tool.wire_name;
        assert!((1..=64).contains(&name.len()));
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{name}");
        let expected = component.call_blocking(tool.name.as_str(), json!({})).unwrap();
        assert_eq!(component.call_blocking(name.as_str(), json!({})).unwrap(), expected);
    }
}

#[test]
fn what_json_cannot_carry_is_listed_with_the_reason_and_not_called() {
    let component = load(engine(), wat!("resource"));
    for name in ["make", "consume"] {
        let tool = tool(&component, name);
        assert!(!tool.callable && tool.reason.is_some());
        assert_eq!((tool.input_schema, tool.output_schema), (Value::Null, Value::Null));
        let error = run(component.call(name, json!({}))).result.unwrap_err();
        assert!(matches!(error, casemate::CallError::NotCallable { .. }), "{error:?}");
    }
    assert!(tool(&component, "add").callable);
    assert_eq!(component.call_blocking("add", json!({"a": 1, "b": 2})).unwrap(), 3);
}

#[test]
fn a_deep_type_is_described_and_its_values_are_bounded_by_it() {
    let component = load(engine(), wat!("deep-type"));
    let tool = tool(&component, "take");
    assert!(tool.callable);
    jsonschema::meta::validate(&tool.input_schema).unwrap();
    // A `list<u8>` at the bottom is text, so 98 lists nest around it.
    let nested = |depth: usize| (0..depth).fold(json!("AA=="), |inner, _| json!([inner]));
    assert_eq!(component.call_blocking("take", json!({"value": nested(98)})).unwrap(), Value::Null);
    for depth in [0, 97, 99, 200] {
        assert!(component.call_blocking("take", json!({"value": nested(depth)})).is_err(), "{depth}");
    }
}

#[test]
fn a_type_that_unfolds_without_end_is_not_written_out() {
    let component = load(engine(), wat!("shared-type"));
    let tool = tool(&component, "take");
    assert!(!tool.callable);
    assert!(tool.reason.unwrap().contains("10000 parts"));
}

#[test]
fn every_import_that_nobody_offers_is_named() {
    let LoadError::MissingImports { imports } = load_error(wat!("unknown-import")) else { panic!() };
    let names: Vec<_> = imports.iter().map(|import| import.name.as_str()).collect();
    assert_eq!(names, ["wasi:keyvalue/store@0.2.0", "casemate:agent/everything@0.1.0", "code"]);
    assert!(imports[0].hint.contains("WASI") && imports[2].hint.contains("no tool can serve it"));
}

#[test]
fn an_import_of_another_type_than_offered_is_an_error_and_no_panic() {
    let text = r#"(component
        (import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (param "x" string) (result u64)))))
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f"))))"#;
    let component = load(engine(), text);
    assert!(component.instance_pre().is_err());
    assert!(run(component.call("f", json!({}))).result.is_err());
}

#[test]
fn a_later_wasi_is_named() {
    for text in [wat!("wasi03"), wat!("wasi03-async")] {
        let error = load_error(text);
        let LoadError::LaterWasi { interface } = &error else { panic!("{error:?}") };
        assert!(interface.ends_with("@0.3.0"), "{interface}");
        assert!(error.to_string().contains("WASI 0.2"));
    }
}

#[test]
fn a_core_module_is_told_how_to_become_a_component() {
    let error = load_error(wat!("core-module"));
    assert!(matches!(error, LoadError::CoreModule));
    assert!(error.to_string().contains("wasm-tools component new"));
}

#[test]
fn what_is_no_component_is_told_apart() {
    assert!(matches!(load_error(""), LoadError::Empty));
    assert!(matches!(load_error("hello"), LoadError::NotWebAssembly));
    assert!(matches!(load_error("(component (garbage))"), LoadError::Text { .. }));
    assert!(matches!(load_error("(component"), LoadError::Text { .. }));
    assert!(matches!(load_error([0xFF; 100]), LoadError::NotWebAssembly));
    assert!(matches!(load_error(*b"\x7fELF\x02\x01\x01\0"), LoadError::AlreadyCompiled));
    let missing = engine().block_on(engine().load("no/such/file.wasm")).unwrap_err();
    assert!(matches!(missing, LoadError::Read { .. }));
    assert!(matches!(engine().block_on(engine().load(".")).unwrap_err(), LoadError::Read { .. }));
}

#[test]
fn a_component_cut_short_anywhere_is_told_so() {
    let whole = casemate_guests::TOOLBOX;
    for length in [1, 3, 4, 7, 9, 10, 100, 1_000, 10_000, whole.len() / 2, whole.len() - 1] {
        let error = load_error(whole[..length].to_vec());
        let LoadError::Truncated { size } = error else { panic!("{length}: {error:?}") };
        assert_eq!(size, length);
    }
}

#[test]
fn a_component_larger_than_the_engine_compiles_is_refused() {
    let engine = builder().max_sandboxes(1).max_component_size(1_000).build().unwrap();
    let size = casemate_guests::TOOLBOX.len() as u64;
    let error = engine.block_on(engine.load_bytes(casemate_guests::TOOLBOX)).unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { size: s, max: 1_000 } if s == size), "{error:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), casemate_guests::TOOLBOX).unwrap();
    let error = engine.block_on(engine.load(file.path().to_owned())).unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { max: 1_000, .. }), "{error:?}");
    let endless = engine.block_on(engine.load("/dev/zero")).unwrap_err();
    assert!(matches!(endless, LoadError::TooLarge { max: 1_000, .. }), "{endless:?}");
}

#[test]
fn a_component_as_wit_names_what_it_exports() {
    let wit = wit_text(casemate_guests::TOOLBOX).unwrap();
    assert!(wit.contains("export casemate:toolbox/files@0.1.0;"), "{wit}");
    assert!(matches!(wit_text(wat!("core-module").as_bytes()), Err(LoadError::CoreModule)));
}

#[test]
fn docs_put_in_by_an_author_reach_the_description() {
    let dir = tempfile::tempdir().unwrap();
    let wit = "package a:b;\nworld w {\n  /// Adds two numbers.\n  export add: func(a: u32, b: u32) -> u32;\n}\n";
    std::fs::write(dir.path().join("w.wit"), wit).unwrap();
    let text = r#"(component
        (core module $m (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
        (core instance $i (instantiate $m))
        (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add"))))"#;
    let binary = engine().block_on(async { wat_binary(text) });
    let documented = casemate::add_docs(&binary, dir.path()).unwrap();
    let component = load(engine(), documented);
    assert_eq!(tool(&component, "add").description.as_deref(), Some("Adds two numbers."));
    assert_eq!(tool(&load(engine(), binary), "add").description, None);
}

fn wat_binary(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}
