use casemate_sdk::testing::Host;
use casemate_sdk::{Deserialize, Error, JsonSchema, Serialize, Tool, ToolDefinition, Value, json, tool};
use std::fmt;

/// Adds numbers.
///
/// All of them.
#[tool]
fn add_all(
    /// The numbers, in any order.
    numbers: &[i64],
    start: Option<i64>,
) -> i64 {
    numbers.iter().sum::<i64>() + start.unwrap_or_default()
}

#[tool(name = "shop.place", description = "Places a point.")]
fn place(point: Point, #[serde(default)] scale: u8, mut label: String) -> Result<Placed, Unplaced> {
    if point.x < 0 {
        return Err(Unplaced);
    }
    label.push('!');
    Ok(Placed { at: i32::from(scale) * point.x, label })
}

/// Fails as something below it did.
#[tool]
fn delegate() -> Result<(), Error> {
    Err(Error::Denied("by a rule".into()))
}

#[tool]
fn r#match(r#type: &str) -> bool {
    r#type == "a"
}

/// A tool whose names are those that somebody else might use too.
#[tool]
fn invoke(input: Input, error: Option<u8>) -> Result<i32, String> {
    error.map_or(Ok(input.x), |error| Err(error.to_string()))
}

type Input = Point;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "casemate_sdk::serde")]
#[schemars(crate = "casemate_sdk::schemars")]
struct Point {
    x: i32,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(crate = "casemate_sdk::serde")]
struct Placed {
    at: i32,
    label: String,
}

#[derive(Debug, PartialEq)]
struct Unplaced;

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is off the map")
    }
}

#[test]
fn a_tool_stays_a_function() {
    assert_eq!(add_all(&[1, 2], None), 3);
    assert_eq!(place(Point { x: -1 }, 1, String::new()), Err(Unplaced));
    assert_eq!(delegate(), Err(Error::Denied("by a rule".into())));
    assert!(r#match("a"));
}

#[test]
fn a_tool_is_named_and_described_by_its_source_or_its_options() {
    assert_eq!((ADD_ALL.name(), ADD_ALL.description()), ("add-all", "Adds numbers.\n\nAll of them."));
    assert_eq!((PLACE.name(), PLACE.description()), ("shop.place", "Places a point."));
    assert_eq!((MATCH.name(), MATCH.description()), ("match", ""));
}

#[test]
fn the_parameters_are_the_schema() {
    assert_eq!(
        ADD_ALL.input_schema(),
        json!({
            "type": "object",
            "properties": {
                "numbers": {
                    "description": "The numbers, in any order.",
                    "type": "array",
                    "items": {"type": "integer", "format": "int64"},
                },
                "start": {"type": ["integer", "null"], "format": "int64"},
            },
            "required": ["numbers"],
            "additionalProperties": false,
        })
    );
    let place = PLACE.input_schema();
    assert_eq!(place["properties"]["point"]["properties"]["x"]["type"], "integer", "types are written out: {place}");
    assert_eq!(place["required"], json!(["point", "label"]));
    assert_eq!(MATCH.input_schema()["required"], json!(["type"]));
    let empty = json!({"type": "object", "additionalProperties": false});
    assert_eq!(DELEGATE.input_schema(), empty);
}

#[track_caller]
fn check(tool: Tool, input: Value, result: &Value) {
    assert_eq!(tool.invoke(input).as_ref(), Ok(result));
}

#[track_caller]
fn check_error(tool: Tool, input: Value, error: &Error) {
    assert_eq!(tool.invoke(input).as_ref(), Err(error));
}

#[test]
fn a_tool_takes_and_gives_json() {
    check(ADD_ALL, json!({"numbers": [1, 2], "start": 3}), &json!(6));
    check(ADD_ALL, json!({"numbers": []}), &json!(0));
    check(PLACE, json!({"point": {"x": 2}, "label": "a", "scale": 3}), &json!({"at": 6, "label": "a!"}));
    check(PLACE, json!({"point": {"x": 2}, "label": "a"}), &json!({"at": 0, "label": "a!"}));
    check(MATCH, json!({"type": "a"}), &json!(true));
    check(INVOKE, json!({"input": {"x": 5}}), &json!(5));
}

#[test]
fn a_tool_fails_by_what_it_says() {
    let failed = Error::Failed("it is off the map".into());
    check_error(PLACE, json!({"point": {"x": -1}, "label": ""}), &failed);
    check_error(DELEGATE, json!({}), &Error::Denied("by a rule".into()));
}

#[test]
fn a_tool_refuses_what_it_does_not_take() {
    let refused = |tool, input, reason: &str| check_error(tool, input, &Error::InvalidInput(reason.into()));
    refused(ADD_ALL, json!({}), "missing field `numbers`");
    refused(ADD_ALL, json!({"numbers": [], "more": 1}), "unknown field `more`, expected `numbers` or `start`");
    refused(ADD_ALL, json!({"numbers": ["1"]}), "invalid type: string \"1\", expected i64");
    refused(ADD_ALL, json!([[1], 2]), "the input has to be a JSON object, and is `[[1],2]`");
}

#[test]
fn a_tool_can_be_granted_and_offered() {
    let host = Host::new().grant(ADD_ALL);
    let definition = ToolDefinition::from(ADD_ALL);
    assert_eq!(host.run(casemate_sdk::available_tools), [definition]);
    let sum = host.run(|| casemate_sdk::call_tool::<i64>("add-all", &json!({"numbers": [20, 22]})));
    assert_eq!(sum, Ok(42));
}

mod exported {
    #[casemate_sdk::tool]
    pub(crate) fn ping() -> &'static str {
        "pong"
    }
}

// It compiles: paths, several of them, and a comma at the end.
casemate_sdk::export_tools!(add_all, exported::ping,);
