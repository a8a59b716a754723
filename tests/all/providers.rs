//! Components that describe their own tools. The hostile ones are text, each with other code in one frame.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use casemate::{
    CacheFolder, CallError, Component, Engine, EntryHealth, ErrorKind, Gate, LimitKind, LoadError, NotFound,
    ProviderError, Tool, ToolSource, Toolset,
};
use serde_json::{Value, json};

use crate::support::{
    Anything, caller, engine, granted, load, load_error, run, seen, time_engine, toolset, try_tool, value,
};

/// `casemate:agent/provider` around a module. `IMPORTS`, `CODE`, `WITH` and `MORE` are put in.
const FRAME: &str = r#"(component
    IMPORTS
    (core module $memory
        (memory (export "memory") 64)
        (global $free (mut i32) (i32.const 0x300000))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (local $start i32)
            (local.set $start (global.get $free))
            (global.set $free (i32.and (i32.add (i32.add (local.get $start) (local.get 3)) (i32.const 7)) (i32.const -8)))
            (local.get $start)))
    (core instance $memory (instantiate $memory))
    LOWERED
    (core module $code
        (import "memory" "memory" (memory 64))
        CODE)
    (core instance $code (instantiate $code (with "memory" (instance $memory)) WITH))
    (type $error (variant (case "denied" string) (case "not-found" string) (case "invalid-input" string)
        (case "limit-exceeded" string) (case "failed" string) (case "cancelled")))
    (type $definition (record (field "name" string) (field "description" string) (field "input-schema" string)))
    (func $definitions (result (list $definition))
        (canon lift (core func $code "definitions") (memory $memory "memory")))
    (func $invoke (param "name" string) (param "input" string) (result (result string (error $error)))
        (canon lift (core func $code "invoke") (memory $memory "memory") (realloc (func $memory "realloc"))))
    (component $interface
        (type $error-type (variant (case "denied" string) (case "not-found" string) (case "invalid-input" string)
            (case "limit-exceeded" string) (case "failed" string) (case "cancelled")))
        (type $definition-type
            (record (field "name" string) (field "description" string) (field "input-schema" string)))
        (import "error" (type $error (eq $error-type)))
        (import "definition" (type $definition (eq $definition-type)))
        (import "definitions" (func $definitions (result (list $definition))))
        (import "invoke" (func $invoke (param "name" string) (param "input" string)
            (result (result string (error $error)))))
        (export $told-error "error" (type $error))
        (export $told-definition "tool-definition" (type $definition))
        (export "definitions" (func $definitions) (func (result (list $told-definition))))
        (export "invoke" (func $invoke) (func (param "name" string) (param "input" string)
            (result (result string (error $told-error))))))
    (instance $provider (instantiate $interface
        (with "error" (type $error)) (with "definition" (type $definition))
        (with "definitions" (func $definitions)) (with "invoke" (func $invoke))))
    (export "casemate:agent/provider@0.1.0" (instance $provider))
    MORE)"#;

/// Answers with its input; a tool whose name begins with `a` to `f` with that as the reason of an error, in the order of
/// the cases, and one with `g` with its name, which is no JSON.
const INVOKE: &str = r#"(func (export "invoke") (param $name i32) (param i32) (param $input i32) (param i32) (result i32)
    (local $case i32)
    (local.set $case (i32.sub (i32.load8_u (local.get $name)) (i32.const 97)))
    (i64.store (i32.const 0) (i64.const 0))
    (i32.store (i32.const 4) (local.get $input))
    (i32.store (i32.const 8) (local.get 3))
    (if (i32.eq (local.get $case) (i32.const 6)) (then
        (i32.store (i32.const 4) (local.get $name))
        (i32.store (i32.const 8) (local.get 1))))
    (if (i32.lt_u (local.get $case) (i32.const 6)) (then
        (i32.store8 (i32.const 0) (i32.const 1))
        (i32.store (i32.const 4) (local.get $case))
        (i32.store (i32.const 8) (local.get $input))
        (i32.store (i32.const 12) (local.get 3))))
    (i32.const 0))"#;

/// A provider with that body of `definitions`, and what else belongs to its module.
fn answering(body: &str, data: &str) -> String {
    let code = format!(r#"(func (export "definitions") (result i32) {body}) {INVOKE} {data}"#);
    filled(&code, "", "", "")
}

fn filled(code: &str, imports: &str, lowered: &str, more: &str) -> String {
    let with = if lowered.is_empty() { "" } else { r#"(with "tools" (instance (export "call" (func $call))))"# };
    let frame = FRAME.replace("IMPORTS", imports).replace("LOWERED", lowered).replace("WITH", with);
    frame.replace("CODE", code).replace("MORE", more)
}

/// Names, descriptions and schemas, as they lie in memory, with the answer at 0.
fn data(tools: &[[&str; 3]]) -> String {
    const START: usize = 16;
    let mut bytes: Vec<u8> = Vec::new();
    let mut texts: Vec<u8> = Vec::new();
    let texts_start = START + tools.len() * 24;
    let number = |bytes: &mut Vec<u8>, number: usize| bytes.extend(u32::try_from(number).unwrap().to_le_bytes());
    number(&mut bytes, START);
    number(&mut bytes, tools.len());
    bytes.resize(START, 0);
    for text in tools.iter().flatten() {
        number(&mut bytes, texts_start + texts.len());
        number(&mut bytes, text.len());
        texts.extend(text.as_bytes());
    }
    bytes.extend(texts);
    let escaped = bytes.iter().fold(String::new(), |mut escaped, byte| {
        write!(escaped, "\\{byte:02x}").unwrap();
        escaped
    });
    format!(r#"(data (i32.const 0) "{escaped}")"#)
}

fn provider(tools: &[[&str; 3]]) -> String {
    answering("(i32.const 0)", &data(tools))
}

/// Of any object.
const OBJECT: &str = r#"{"type":"object"}"#;
/// Of an object with one text.
const TEXT: &str = r#"{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}"#;

fn named(name: &str) -> [&str; 3] {
    [name, "", OBJECT]
}

/// A provider that calls a tool when it is asked, and has one tool, `told-` with the number of the error's case.
fn meddler() -> String {
    let imports = r#"(import "casemate:agent/tools@0.1.0" (instance $tools
        (type $error (variant (case "denied" string) (case "not-found" string) (case "invalid-input" string)
            (case "limit-exceeded" string) (case "failed" string) (case "cancelled")))
        (export "error" (type $told (eq $error)))
        (export "call" (func (param "name" string) (param "input" string) (result (result string (error $told)))))))"#;
    let lowered = r#"(core func $call (canon lower (func $tools "call")
        (memory $memory "memory") (realloc (func $memory "realloc"))))"#;
    // The record is at 16, the name from 40 on; "lookup{}" is at 256.
    let code = r#"(import "tools" "call" (func $call (param i32 i32 i32 i32 i32)))
        (func (export "definitions") (result i32)
            (call $call (i32.const 256) (i32.const 6) (i32.const 262) (i32.const 2) (i32.const 512))
            (if (i32.load8_u (i32.const 512)) (then
                (i32.store8 (i32.const 45) (i32.add (i32.const 48) (i32.load8_u (i32.const 516))))))
            (i32.const 0))
        (data (i32.const 256) "lookup{}")"#;
    let code = format!("{code} {INVOKE} {}", data(&[["told-?", "", OBJECT]]));
    filled(&code, imports, lowered, "")
}

fn names(component: &Component) -> Vec<String> {
    component.description().tools.into_iter().map(|tool| tool.name).collect()
}

#[track_caller]
fn refused(text: String) -> ProviderError {
    match load_error(text) {
        LoadError::Provider(error) => error,
        other => panic!("{other}"),
    }
}

#[track_caller]
fn exceeded(text: String) -> LimitKind {
    match refused(text) {
        ProviderError::Asked { source, .. } => match *source {
            CallError::LimitExceeded(exceeded) => exceeded.limit,
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

fn textkit() -> Component {
    load(engine(), casemate_guests::TEXTKIT)
}

#[test]
fn a_component_of_the_sdk_describes_its_functions() {
    let tools = textkit().description().tools;
    let listed: Vec<_> = tools.iter().map(|tool| (tool.name.as_str(), tool.wire_name.as_str())).collect();
    assert_eq!(listed, [("word-count", "word_count"), ("slugify", "slugify"), ("diff-lines", "diff_lines")]);
    let [count, slugify, _] = tools.as_slice() else { panic!("{tools:?}") };
    assert_eq!(count.description.as_deref(), Some("Counts the words, lines and characters of a text."));
    assert!(count.callable && count.reason.is_none());
    let text = json!({"type": "string", "description": "The title."});
    assert_eq!(slugify.input_schema["properties"]["text"], text);
    assert_eq!(slugify.input_schema["required"], json!(["text"]));
    for tool in &tools {
        for schema in [&tool.input_schema, &tool.output_schema] {
            assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{}", tool.name);
            jsonschema::meta::validate(schema).unwrap();
        }
        assert!(jsonschema::is_valid(&tool.output_schema, &json!([1, "a"])));
    }
    assert_eq!(textkit().description().exports, ["casemate:agent/provider@0.1.0"]);
}

#[test]
fn a_component_of_the_sdk_does_what_it_describes() {
    let textkit = textkit();
    let call = |name: &str, input: Value| value(textkit.call(name, input));
    let count = json!({"words": 2, "lines": 1, "characters": 8});
    assert_eq!(call("word-count", json!({"text": "one two\n"})), count);
    assert_eq!(call("word_count", json!({"text": "one two\n"})), count);
    assert_eq!(call("slugify", json!({"text": "Hello, World!", "longest": 5})), "hello");
    let change = json!([{"line": 2, "removed": ["b"], "added": ["x", "y"]}]);
    assert_eq!(call("diff-lines", json!({"before": "a\nb", "after": "a\nx\ny"})), change);

    let error = |name: &str, input: Value| run(textkit.call(name, input)).result.unwrap_err();
    let CallError::Tool(failed) = error("slugify", json!({"text": "!"})) else { panic!("not the tool's own error") };
    assert_eq!(failed.value, "nothing of `!` can stand in a slug");
    let CallError::NotFound(NotFound { nearest, .. }) = error("word-counts", json!({})) else { panic!("found") };
    assert_eq!(nearest.as_deref(), Some("word-count"));
    for raw in ["definitions", "invoke", "provider#invoke"] {
        assert!(matches!(error(raw, json!({})), CallError::NotFound(_)), "{raw}");
    }
}

#[test]
fn a_guest_calls_tools_that_describe_themselves() {
    let textkit = textkit();
    let names = ["word-count", "slugify"];
    let tools = toolset(names.map(|name| textkit.tool(name).unwrap().into()));
    let source = ToolSource::Export { component: textkit.hash().to_string(), export: "slugify".to_owned() };
    assert_eq!(tools.get("slugify").unwrap().identity().source, source);

    let listed = value(caller().call("describe-tools", json!({})).tools(tools.clone()).grants(granted(&names)));
    assert_eq!(listed[1][0], "word-count");
    assert_eq!(listed[1][1], "Counts the words, lines and characters of a text.");
    let schema: Value = serde_json::from_str(listed[1][2].as_str().unwrap()).unwrap();
    assert_eq!(schema["properties"]["text"]["type"], "string");

    let tell = |name: &str, input: Value| {
        let said = value(try_tool(name, &input).tools(tools.clone()).grants(granted(&names)));
        said.as_str().unwrap().to_owned()
    };
    assert_eq!(tell("slugify", json!({"text": "Hello, World!"})), r#"ok: "hello-world""#);
    assert_eq!(tell("slugify", json!({"text": "!"})), "failed: nothing of `!` can stand in a slug");
    assert_eq!(tell("slugify", json!({})), "invalid-input: missing field `text`");
    let ungranted = value(try_tool("slugify", &json!({"text": "a"})).tools(tools.clone()));
    assert!(ungranted.as_str().unwrap().starts_with("denied: "), "{ungranted}");
}

#[track_caller]
fn check_input(component: &Component, name: &str, input: &Value, expected: Result<(), &str>) {
    match (run(component.call(name, input.clone())).result, expected) {
        (Ok(echoed), Ok(())) => assert_eq!(echoed, *input),
        (Err(CallError::Declined(declined)), Err(message)) => {
            assert_eq!((declined.kind, declined.message.as_str()), (ErrorKind::InvalidInput, message));
        }
        (other, _) => panic!("{other:?}"),
    }
}

#[test]
fn input_that_a_schema_does_not_take_does_not_reach_the_tool() {
    let strict = r#"{"type":"object","properties":{"inner":{"type":"object","properties":{"a":{}},"additionalProperties":false}}}"#;
    let open = r#"{"type":"object","properties":{"a":{}},"additionalProperties":true}"#;
    let component = load(engine(), provider(&[["text", "", TEXT], ["strict", "", strict], ["open", "", open]]));
    check_input(&component, "text", &json!({"text": "a"}), Ok(()));
    check_input(&component, "text", &json!({"text": "a", "more": 1}), Err("unknown field `more`"));
    check_input(&component, "text", &json!({}), Err("missing field `text`"));
    check_input(&component, "text", &json!([1]), Err("the input has to be an object"));
    check_input(&component, "strict", &json!({"inner": {"a": 1}}), Ok(()));
    check_input(&component, "strict", &json!({"inner": {"b": 1}}), Err("unknown field `b`"));
    check_input(&component, "open", &json!({"b": 1}), Ok(()));
    let mut deep = json!(1);
    for _ in 0..100_000 {
        deep = Value::Array(vec![deep]);
    }
    let deep = Value::Object([("a".to_owned(), deep)].into_iter().collect());
    let error = run(component.call("open", deep)).result.unwrap_err();
    assert_eq!(error.to_string(), "the input is nested deeper than 127 levels");
}

#[test]
fn an_answer_that_is_an_error_keeps_its_kind() {
    let tools = ["a", "b", "c", "d", "e", "f", "g"].map(named);
    let component = load(engine(), provider(&tools));
    let error = |name: &str| run(component.call(name, json!({"x": 1}))).result.unwrap_err();
    for (name, kind) in [
        ("a", ErrorKind::Denied),
        ("b", ErrorKind::NotFound),
        ("c", ErrorKind::InvalidInput),
        ("d", ErrorKind::LimitExceeded),
    ] {
        let error = error(name);
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, r#"{"x":1}"#));
    }
    assert_eq!((error("e").kind(), error("e").to_string().as_str()), (ErrorKind::ToolError, r#"{"x":1}"#));
    assert_eq!(error("f").kind(), ErrorKind::Cancelled);
    assert_eq!(error("g").kind(), ErrorKind::ToolError);
    assert!(error("g").to_string().starts_with("the tool's result is not JSON: "), "{}", error("g"));

    let names = tools.map(|[name, ..]| name);
    let set = toolset(names.map(|name| component.tool(name).unwrap().into()));
    let tell = |name: &str| value(try_tool(name, &json!({"x": 1})).tools(set.clone()).grants(granted(&names)));
    assert_eq!(tell("a"), r#"denied: {"x":1}"#);
    assert_eq!(tell("b"), r#"not-found: {"x":1}"#);
    assert_eq!(tell("c"), r#"invalid-input: {"x":1}"#);
    assert_eq!(tell("d"), r#"limit-exceeded: {"x":1}"#);
    assert_eq!(tell("e"), r#"failed: {"x":1}"#);
    assert_eq!(tell("f"), "cancelled");
    assert!(tell("g").as_str().unwrap().starts_with("failed: the tool's result is not JSON"));
}

const ADD: &str = r#"(core module $adder (func (export "add") (param i32 i32) (result i32)
        (i32.add (local.get 0) (local.get 1))))
    (core instance $adder (instantiate $adder))
    (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $adder "add")))"#;

fn beside_add(tools: &[[&str; 3]]) -> String {
    let code = format!(r#"(func (export "definitions") (result i32) (i32.const 0)) {INVOKE} {}"#, data(tools));
    filled(&code, "", "", ADD)
}

#[test]
fn functions_beside_a_provider_are_tools_too() {
    let component = load(engine(), beside_add(&[["text", "Says it.", TEXT]]));
    assert_eq!(names(&component), ["add", "text"]);
    assert_eq!(value(component.call("add", json!({"a": 1, "b": 2}))), 3);
    assert_eq!(value(component.call("text", json!({"text": "a"}))), json!({"text": "a"}));
}

#[test]
fn a_tool_with_the_name_of_an_exported_function() {
    let error = refused(beside_add(&[named("text"), named("add")]));
    assert!(matches!(&error, ProviderError::Exported { name, .. } if name == "add"), "{error}");
}

#[test]
fn a_tool_without_a_description_has_none_and_names_that_meet_on_the_wire_are_told_apart() {
    let component = load(engine(), provider(&[named("a-b"), named("a_b"), named("a.b#c")]));
    let tools = component.description().tools;
    assert!(tools.iter().all(|tool| tool.description.is_none()));
    let mut wires: Vec<_> = tools.iter().map(|tool| tool.wire_name.clone()).collect();
    wires.sort();
    wires.dedup();
    assert_eq!(wires.len(), 3, "{wires:?}");
    assert_eq!(names(&component), ["a-b", "a_b", "a.b#c"]);
}

#[test]
fn a_later_version_of_the_interface_is_understood_and_two_are_refused() {
    let later = provider(&[["text", "", TEXT]]).replace("provider@0.1.0", "provider@0.1.7");
    let later = load(engine(), later);
    assert_eq!(names(&later), ["text"]);
    assert_eq!(value(later.call("text", json!({"text": "a"}))), json!({"text": "a"}));

    let code = format!(r#"(func (export "definitions") (result i32) (i32.const 0)) {INVOKE} {}"#, data(&[]));
    let both = filled(&code, "", "", r#"(export "casemate:agent/provider@0.1.1" (instance $provider))"#);
    assert!(matches!(refused(both), ProviderError::Several));
}

#[test]
fn a_provider_of_other_types() {
    let text = r#"(component
        (core module $code (func (export "definitions") (result i32) (i32.const 0)))
        (core instance $code (instantiate $code))
        (func $definitions (result u32) (canon lift (core func $code "definitions")))
        (instance $provider (export "definitions" (func $definitions)) (export "invoke" (func $definitions)))
        (export "casemate:agent/provider@0.1.0" (instance $provider)))"#;
    let error = refused(text.to_owned());
    assert!(matches!(error, ProviderError::Types { .. }), "{error}");
    let error = refused(text.replace(r#"(export "invoke" (func $definitions))"#, ""));
    assert!(matches!(error, ProviderError::Types { .. }), "{error}");
}

#[test]
fn a_provider_that_traps() {
    let error = refused(answering("unreachable", ""));
    let ProviderError::Asked { source, .. } = &error else { panic!("{error}") };
    assert!(matches!(**source, CallError::Trap(_)), "{source}");
}

#[test]
fn a_provider_that_spins_for_ever() {
    let spinning = answering("(loop (br 0)) (unreachable)", "");
    // Where the machine is slow, the clock is first.
    assert!(matches!(exceeded(spinning.clone()), LimitKind::Fuel | LimitKind::WallTime));
    let error = time_engine().block_on(time_engine().load_bytes(spinning)).unwrap_err();
    let LoadError::Provider(ProviderError::Asked { source, .. }) = error else { panic!("{error}") };
    assert!(matches!(*source, CallError::LimitExceeded(limit) if limit.limit == LimitKind::WallTime), "{source}");
}

#[test]
fn a_provider_that_allocates_without_end() {
    let body = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)";
    assert_eq!(exceeded(answering(body, "")), LimitKind::Memory);
}

#[test]
fn a_provider_with_ten_thousand_tools() {
    let many = answering("(i32.const 0)", r#"(data (i32.const 0) "\10\00\00\00\10\27\00\00")"#);
    let error = refused(many);
    assert!(matches!(error, ProviderError::TooMany { count: 10_000, .. }), "{error}");
}

#[test]
fn a_provider_with_a_description_of_a_hundred_megabytes() {
    // One record at 16: a name of one byte at 8, and a description of a hundred million.
    let body = "(i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 1))
        (i32.store8 (i32.const 8) (i32.const 97))
        (i32.store (i32.const 16) (i32.const 8)) (i32.store (i32.const 20) (i32.const 1))
        (i32.store (i32.const 28) (i32.const 100000000)) (i32.const 0)";
    let huge = answering(body, "").replace(r#"(memory (export "memory") 64)"#, r#"(memory (export "memory") 1600)"#);
    assert_eq!(exceeded(huge), LimitKind::Result);
    let long = "x".repeat(20_000);
    let error = refused(provider(&[["t", &long, OBJECT]]));
    assert!(matches!(error, ProviderError::DescriptionTooLong { size: 20_000, .. }), "{error}");
}

#[test]
fn two_tools_of_one_name() {
    let error = refused(provider(&[named("t"), named("u"), named("t")]));
    assert!(matches!(&error, ProviderError::Namesakes { name, .. } if name == "t"), "{error}");
}

#[test]
fn a_name_that_is_none() {
    for name in ["", "two words", "b\u{e4}r", "\u{1b}[31mred"] {
        let error = refused(provider(&[named(name)]));
        assert!(matches!(&error, ProviderError::Name { name: told, .. } if told == name), "{error}");
    }
    let long = "n".repeat(1_000);
    let error = refused(provider(&[named(&long)]));
    assert!(matches!(&error, ProviderError::Name { name, .. } if name.len() == 64), "{error}");
}

#[test]
fn a_schema_that_is_no_json() {
    for schema in ["", "{", "object", r#"{"type":"object","type":"object"}"#, &"[".repeat(10_000)] {
        let error = refused(provider(&[["t", "", schema]]));
        assert!(matches!(&error, ProviderError::SchemaNotJson { name, .. } if name == "t"), "{error}");
    }
}

#[test]
fn a_schema_that_is_of_no_object_or_none_at_all() {
    for schema in ["null", "true", "{}", "[1]", r#"{"type":"array"}"#, r#"{"type":["object","string"]}"#] {
        let error = refused(provider(&[["t", "", schema]]));
        assert!(matches!(&error, ProviderError::SchemaNotObject { name, .. } if name == "t"), "{error}");
    }
    let error = refused(provider(&[["t", "", r#"{"type":"object","required":"text"}"#]]));
    assert!(matches!(error, ProviderError::SchemaInvalid { keyword: "required", .. }), "{error}");
}

#[test]
fn schemas_that_are_huge_alone_or_together() {
    let long = format!(r#"{{"type":"object","title":"{}"}}"#, "x".repeat(70_000));
    let error = refused(provider(&[["t", "", &long]]));
    assert!(matches!(error, ProviderError::SchemaTooLong { .. }), "{error}");
    let wide = format!(r#"{{"type":"object","examples":[{}0]}}"#, "0,".repeat(30_000));
    let names: Vec<_> = (0..20).map(|number| format!("t{number}")).collect();
    let tools: Vec<_> = names.iter().map(|name| [name.as_str(), "", &wide]).collect();
    let error = refused(provider(&tools));
    assert!(matches!(error, ProviderError::SchemasTooLarge { .. }), "{error}");
}

/// An engine with a Gate of its own, and how often a [`meddler`] was asked on it.
struct Watched {
    engine: Engine,
    events: casemate::Subscription,
}

impl Watched {
    fn new(cache: Option<&Path>) -> Self {
        let gate = Gate::builder().build();
        let events = gate.subscribe(100);
        let builder = Engine::builder().max_sandboxes(1).gate(&gate);
        let builder = match cache {
            Some(folder) => builder.cache(folder),
            None => builder,
        };
        Self { engine: builder.build().unwrap(), events }
    }

    #[track_caller]
    fn load(&self) -> Component {
        let component = load(&self.engine, meddler());
        assert_eq!(names(&component), ["told-1"]);
        component
    }

    fn asked(&mut self) -> usize {
        seen(&mut self.events).len()
    }
}

#[test]
fn a_provider_that_wants_to_call_tools_while_it_is_asked() {
    let mut watched = Watched::new(None);
    let component = watched.load();
    let events = seen(&mut watched.events);
    let [(kind, denied)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((kind.as_str(), &denied["tool"]), ("denied", &json!("lookup")));
    assert_eq!(value(component.call("told-1", json!({}))), json!({}));
}

#[test]
fn a_tool_loads_a_provider_while_its_caller_holds_the_only_slot() {
    let watched = Watched::new(None);
    let caller = load(&watched.engine, casemate_guests::CALLER);
    let engine = watched.engine.clone();
    let loading = Tool::new("load", move |_: Anything| {
        let engine = engine.clone();
        async move { engine.load_bytes(meddler()).await.map(|component| names(&component)) }
    });
    let call = caller.call("try-tool", json!({"name": "load", "input": "{}"}));
    let said = watched.engine.block_on(call.tools(toolset([loading])).grants(granted(&["load"])));
    assert_eq!(said.unwrap(), r#"ok: ["told-1"]"#);
}

#[test]
fn whatever_is_loaded_again_is_not_asked_again() {
    let mut watched = Watched::new(None);
    for _ in 0..3 {
        watched.load();
    }
    assert_eq!(watched.asked(), 1);
    let mut watched = Watched::new(None);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| watched.load());
        }
    });
    assert_eq!(watched.asked(), 1);
}

#[test]
fn what_was_answered_is_kept_beside_the_compiled_component() {
    let dir = tempfile::tempdir().unwrap();
    let folder = CacheFolder::new(dir.path().join("cache"));
    let mut first = Watched::new(Some(folder.path()));
    let hash = first.load().hash();
    assert_eq!(first.asked(), 1);
    assert_eq!(folder.entries().unwrap().len(), 2);
    assert!(folder.verify().unwrap().iter().all(|(_, health)| matches!(health, EntryHealth::Sound)));

    let mut second = Watched::new(Some(folder.path()));
    let cached = second.engine.block_on(second.engine.load_cached(hash)).unwrap();
    assert_eq!((names(&cached).as_slice(), second.asked()), (&["told-1".to_owned()][..], 0));
    assert_eq!(value(cached.call("told-1", json!({"a": 1}))), json!({"a": 1}));

    assert_eq!(folder.clear().unwrap().len(), 2);
    let mut third = Watched::new(Some(folder.path()));
    third.load();
    assert_eq!(third.asked(), 1);
}

#[test]
fn an_answer_on_disk_that_was_changed_or_that_others_can_write_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("cache");
    let hash = Watched::new(Some(&folder)).load().hash();
    let entry = folder.join(format!("{hash}.tools"));
    let sound = fs::read(&entry).unwrap();
    let text = String::from_utf8(sound.clone()).unwrap();
    let asked = |bytes: &[u8], mode: u32| {
        fs::write(&entry, bytes).unwrap();
        fs::set_permissions(&entry, fs::Permissions::from_mode(mode)).unwrap();
        let mut watched = Watched::new(Some(&folder));
        watched.load();
        assert_eq!(fs::read(&entry).unwrap(), sound, "it is replaced");
        watched.asked()
    };
    assert_eq!(asked(&sound, 0o600), 0);
    assert_eq!(asked(&sound, 0o666), 1);
    assert_eq!(asked(b"", 0o600), 1);
    assert_eq!(asked(&sound[..sound.len() - 1], 0o600), 1);
    assert_eq!(asked(text.replace("told-1", "told-2").as_bytes(), 0o600), 1);
    assert_eq!(asked(text.replace("casemate-tools-1", "casemate-tools-2").as_bytes(), 0o600), 1);
}

#[expect(unsafe_code, reason = "the test compiled the file itself")]
#[test]
fn a_provider_that_was_compiled_ahead_has_the_same_tools() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("textkit.cwasm");
    fs::write(&path, engine().block_on(engine().compile(casemate_guests::TEXTKIT)).unwrap()).unwrap();
    // SAFETY: the file is one that `Engine::compile` made.
    let loaded = engine().block_on(unsafe { engine().load_compiled(&path) }).unwrap();
    let [loaded, known] = [&loaded, &textkit()].map(|component| serde_json::to_value(component.description()).unwrap());
    assert_eq!(loaded, known);
}

#[test]
fn rules_see_what_a_provider_declares() {
    let tools = Toolset::new().with(textkit().tool("word-count").unwrap()).unwrap();
    let rules = |key: &str| {
        let text = format!(
            "permit(principal, action, resource);\n@reason(\"no secrets\")\n\
             forbid(principal, action == Action::\"call:word-count\", resource) when {{ context.input.{key} like \"*secret*\" }};"
        );
        casemate::CedarPolicy::compile(&[casemate::PolicySource { name: "r.cedar", text: &text }], &tools.facts())
    };
    assert!(rules("title").is_err(), "there is no such key");
    let gate = Gate::builder().policy(rules("text").unwrap()).build();
    let tell = |text: &str| {
        let call = try_tool("word-count", &json!({"text": text})).tools(tools.clone());
        value(call.grants(granted(&["word-count"])).gate(&gate))
    };
    assert_eq!(tell("my secret"), "denied: no secrets");
    assert!(tell("hello").as_str().unwrap().starts_with("ok: "));
}
