use casemate::{CallError, ErrorKind, LimitKind, NotFound};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::{adversarial, engine, exceeded, load, run, toolbox, wat};

#[track_caller]
fn invalid(name: &str, input: Value, path: &str, found: &str) {
    let error = run(toolbox().call(name, input)).result.unwrap_err();
    let CallError::InvalidInput(error) = error else { panic!("{error:?}") };
    assert_eq!((error.path.as_str(), error.found.as_str()), (path, found), "{error}");
}

#[test]
fn input_that_does_not_fit_is_refused_with_its_place() {
    invalid("read-file", json!({}), "$.path", "nothing");
    invalid("read-file", json!({"path": 3}), "$.path", "3");
    invalid("read-file", json!({"path": "/a", "other": 1}), "$.other", "1");
    invalid("read-file", json!({"path": "/a", "start-line": -1}), "$.start-line", "-1");
    invalid("read-file", json!({"path": "/a", "start-line": 1.5}), "$.start-line", "1.5");
    invalid("read-file", json!({"path": "/a", "start-line": 4_294_967_296_u64}), "$.start-line", "4294967296");
    invalid("read-file", json!({"path": null}), "$.path", "null");
    invalid("read-file", json!([1, 2]), "$", "an array of 2");
    invalid("read-file", Value::Null, "$", "null");
    invalid("read-file", json!("/a"), "$", "the string \"/a\"");
}

#[track_caller]
fn not_found(name: &str) -> NotFound {
    let error = run(toolbox().call(name, json!({}))).result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let CallError::NotFound(error) = error else { panic!("{error:?}") };
    error
}

#[test]
fn a_name_that_does_not_exist_brings_the_nearest_that_does() {
    assert_eq!(not_found("read-fiel").nearest.as_deref(), Some("read-file"));
    assert_eq!(not_found("listdir").nearest.as_deref(), Some("list-dir"));
    assert_eq!(not_found("transmogrify").nearest, None);
    assert_eq!(not_found("").nearest, None);
    assert_eq!(not_found(&"x".repeat(10_000_000)).nearest, None);
}

/// Arrays in arrays, or objects in objects.
fn nested(depth: usize, wrap: fn(Value) -> Value) -> Value {
    (0..depth).fold(Value::Null, |inner, _| wrap(inner))
}

#[test]
fn json_nested_100_000_deep_is_refused_like_any_other() {
    let wraps: [fn(Value) -> Value; 2] =
        [|inner| Value::Array(vec![inner]), |inner| Value::Object(Map::from_iter([("k".to_owned(), inner)]))];
    for wrap in wraps {
        // As the whole input, as a parameter, and in a call that is never made.
        let error = run(adversarial().call("print", nested(100_000, wrap))).result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let parameter = Value::Object(Map::from_iter([("text".to_owned(), nested(100_000, wrap))]));
        let error = run(adversarial().call("print", parameter)).result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = run(adversarial().call("no-such-tool", nested(100_000, wrap))).result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        drop(adversarial().call("print", nested(100_000, wrap)));
    }
    let component = load(engine(), wat!("deep-type"));
    let parameter = Value::Object(Map::from_iter([("value".to_owned(), nested(100_000, wraps[0]))]));
    assert_eq!(run(component.call("take", parameter)).result.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn text_nested_100_000_deep_does_not_become_json() {
    let text = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(serde_json::from_str::<Value>(&text).is_err());
}

#[test]
fn an_argument_of_100_mb_meets_a_limit_and_nothing_worse() {
    let text = "x".repeat(100_000_000);
    // As a string it is allowed through, and the guest has not the memory for it.
    let report = run(adversarial().call("print", json!({"text": text})));
    assert_eq!(exceeded(&report).limit, LimitKind::Memory);
    let twice = json!({"text": text.repeat(2)});
    let report = run(adversarial().call("print", twice));
    assert_eq!(exceeded(&report).limit, LimitKind::HostCallBytes);
}

#[test]
fn a_long_list_meets_a_limit() {
    let component = load(engine(), wat!("deep-type"));
    let wide = Value::Array(vec![json!([]); 5_000_000]);
    let report = run(component.call("take", json!({"value": wide})));
    assert_eq!(exceeded(&report).limit, LimitKind::HostCallBytes);
}

/// Components small enough that whatever of them still compiles does so at once.
fn small_guests() -> Vec<Vec<u8>> {
    [wat!("resource"), wat!("five-exports"), wat!("shared-result"), wat!("many-memories"), wat!("broken-results")]
        .iter()
        .map(|text| wat::parse_str(text).unwrap())
        .collect()
}

#[derive(Clone, Debug)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
    Repeat(prop::sample::Index, usize),
    Cut(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (index(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (index(), 1..9_usize).prop_map(|(at, count)| Mutation::Remove(at, count)),
        (index(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (index(), 1..65_usize).prop_map(|(at, count)| Mutation::Repeat(at, count)),
        index().prop_map(Mutation::Cut),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match mutation {
        Mutation::Set(at, byte) => bytes[at.index(len)] = *byte,
        Mutation::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
        Mutation::Remove(at, count) => drop(bytes.drain(at.index(len)..(at.index(len) + count).min(len))),
        Mutation::Insert(at, new) => drop(bytes.splice(at.index(len)..at.index(len), new.iter().copied())),
        Mutation::Repeat(at, count) => {
            let start = at.index(len);
            let part = bytes[start..(start + count).min(len)].to_vec();
            bytes.splice(start..start, part);
        }
        Mutation::Cut(at) => bytes.truncate(at.index(len)),
    }
}

const WORDS: [&str; 11] = ["path", "text", "count", "pattern", "start-line", "AA==", "NaN", "some", "ok", "red", ""];

/// Any JSON, with words among it that mean something to some guest.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(&WORDS[..]).prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        let key = prop_oneof![prop::sample::select(&WORDS[..]).prop_map(str::to_owned), ".{0,8}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..8).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Loads what may be a component, and describes it where it is one.
fn survives(bytes: Vec<u8>) {
    let _ = casemate::wit_text(&bytes);
    if let Ok(component) = engine_without_cache().block_on(engine_without_cache().load_bytes(bytes)) {
        let description = component.description();
        for tool in description.tools {
            assert_eq!(tool.callable, tool.reason.is_none());
        }
    }
}

/// The shared cache is not for thousands of components that nobody meets again.
fn engine_without_cache() -> &'static casemate::Engine {
    static ENGINE: std::sync::LazyLock<casemate::Engine> =
        std::sync::LazyLock::new(|| casemate::Engine::builder().max_sandboxes(1).build().unwrap());
    &ENGINE
}

fn cases(count: u32) -> ProptestConfig {
    // A failing case is written into a test of its own.
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn no_bytes_are_too_strange_to_load(bytes in prop::collection::vec(any::<u8>(), 0..256), header in 0..3_usize) {
        let start: &[u8] = [&b""[..], b"\0asm\x0d\0\x01\0", b"(component "][header];
        survives([start, &bytes].concat());
    }

    #[test]
    fn no_changed_component_is_too_strange_to_load(
        guest in prop::sample::select(small_guests()),
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        let mut bytes = guest;
        for mutation in &mutations {
            mutate(&mut bytes, mutation);
        }
        survives(bytes);
    }

    #[test]
    fn no_json_is_too_strange_to_call_with(input in any_json()) {
        for name in ["read-file", "grep", "edit-file"] {
            // Without a folder, whatever fits the types ends in an error of the tool.
            let report = run(toolbox().call(name, input.clone()));
            let kind = report.result.unwrap_err().kind();
            prop_assert!(matches!(kind, ErrorKind::InvalidInput | ErrorKind::ToolError), "{kind:?}");
        }
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn no_large_component_is_too_strange_to_read(
        guest in prop::sample::select(vec![casemate_guests::TOOLBOX, casemate_guests::ADVERSARIAL]),
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        let mut bytes = guest.to_vec();
        for mutation in &mutations {
            mutate(&mut bytes, mutation);
        }
        let _ = casemate::wit_text(&bytes);
    }
}
