use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema;

const PLENTY: usize = 1 << 20;

fn name() -> impl Strategy<Value = String> {
    "[a-z]{1,4}(-[a-z]{1,3})?"
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set(name(), 1..5).prop_map(|names| names.into_iter().collect())
}

fn any_shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Bool),
        Just(Shape::S8),
        Just(Shape::U8),
        Just(Shape::S16),
        Just(Shape::U16),
        Just(Shape::S32),
        Just(Shape::U32),
        Just(Shape::S64),
        Just(Shape::U64),
        Just(Shape::Float32),
        Just(Shape::Float64),
        Just(Shape::Char),
        Just(Shape::String),
        Just(Shape::Bytes),
        names().prop_map(Shape::Enum),
        names().prop_map(Shape::Flags),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let payload = prop::option::of(inner.clone());
        let boxed = payload.clone().prop_map(|shape| shape.map(Box::new));
        prop_oneof![
            inner.clone().prop_map(list),
            inner.clone().prop_map(|shape| Shape::Option(Box::new(shape))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Shape::Tuple),
            prop::collection::btree_map(name(), inner, 1..4).prop_map(|fields| {
                Shape::Record(fields.into_iter().map(|(name, shape)| Field { name, shape }).collect())
            }),
            prop::collection::btree_map(name(), payload, 1..4)
                .prop_map(|cases| Shape::Variant(cases.into_iter().collect())),
            (boxed.clone(), boxed).prop_map(|(ok, err)| Shape::Result { ok, err }),
        ]
    })
}

/// A list of `u8` has a shape of its own.
fn list(element: Shape) -> Shape {
    if element == Shape::U8 { Shape::Bytes } else { Shape::List(Box::new(element)) }
}

fn any_value(shape: &Shape) -> BoxedStrategy<Val> {
    match shape {
        Shape::Bool => any::<bool>().prop_map(Val::Bool).boxed(),
        Shape::S8 => any::<i8>().prop_map(Val::S8).boxed(),
        Shape::U8 => any::<u8>().prop_map(Val::U8).boxed(),
        Shape::S16 => any::<i16>().prop_map(Val::S16).boxed(),
        Shape::U16 => any::<u16>().prop_map(Val::U16).boxed(),
        Shape::S32 => any::<i32>().prop_map(Val::S32).boxed(),
        Shape::U32 => any::<u32>().prop_map(Val::U32).boxed(),
        Shape::S64 => any::<i64>().prop_map(Val::S64).boxed(),
        Shape::U64 => any::<u64>().prop_map(Val::U64).boxed(),
        Shape::Float32 => any::<u32>().prop_map(|bits| Val::Float32(f32::from_bits(bits))).boxed(),
        Shape::Float64 => any::<u64>().prop_map(|bits| Val::Float64(f64::from_bits(bits))).boxed(),
        Shape::Char => any::<char>().prop_map(Val::Char).boxed(),
        Shape::String => any::<String>().prop_map(Val::String).boxed(),
        Shape::Bytes => prop::collection::vec(any::<u8>().prop_map(Val::U8), 0..20).prop_map(Val::List).boxed(),
        Shape::List(element) => prop::collection::vec(any_value(element), 0..4).prop_map(Val::List).boxed(),
        Shape::Record(fields) => fields
            .iter()
            .map(|field| (Just(field.name.clone()), any_value(&field.shape)))
            .collect::<Vec<_>>()
            .prop_map(Val::Record)
            .boxed(),
        Shape::Tuple(shapes) => shapes.iter().map(any_value).collect::<Vec<_>>().prop_map(Val::Tuple).boxed(),
        Shape::Variant(cases) => prop::sample::select(cases.clone())
            .prop_flat_map(|(name, shape)| any_payload(shape.as_ref()).prop_map(move |value| (name.clone(), value)))
            .prop_map(|(name, value)| Val::Variant(name, value))
            .boxed(),
        Shape::Enum(names) => prop::sample::select(names.clone()).prop_map(Val::Enum).boxed(),
        Shape::Option(inner) => prop::option::of(any_value(inner).prop_map(Box::new)).prop_map(Val::Option).boxed(),
        Shape::Result { ok, err } => prop_oneof![
            any_payload(ok.as_deref()).prop_map(|value| Val::Result(Ok(value))),
            any_payload(err.as_deref()).prop_map(|value| Val::Result(Err(value))),
        ]
        .boxed(),
        Shape::Flags(names) => prop::sample::subsequence(names.clone(), 0..=names.len()).prop_map(Val::Flags).boxed(),
    }
}

fn any_payload(shape: Option<&Shape>) -> BoxedStrategy<Option<Box<Val>>> {
    shape.map_or_else(|| Just(None).boxed(), |shape| any_value(shape).prop_map(|value| Some(Box::new(value))).boxed())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9-]{0,5}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("(ok|err|some|[a-z]{1,4})", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_of_any_type_goes_there_and_back(
        (shape, value) in any_shape().prop_flat_map(|shape| (Just(shape.clone()), any_value(&shape)))
    ) {
        let text = to_json(&shape, &value).to_string();
        let json: Value = serde_json::from_str(&text).expect("what was written is JSON");
        prop_assert_eq!(from_json(&shape, &json, PLENTY), Ok(value), "{}", text);
        let schema = jsonschema::validator_for(&schema(&shape)).expect("a schema");
        prop_assert!(schema.is_valid(&json), "{} is refused by its own schema", text);
    }

    #[test]
    fn any_json_for_any_type_is_a_value_or_an_error_with_a_path(shape in any_shape(), json in any_json()) {
        match from_json(&shape, &json, PLENTY) {
            Ok(_) => {}
            Err(FromJsonError::Invalid(error)) => prop_assert!(error.path.starts_with('$')),
            Err(FromJsonError::TooLarge { .. }) => prop_assert!(false, "nothing here is large"),
        }
    }
}

#[track_caller]
fn reads(shape: &Shape, json: impl Into<Value>, value: Val) {
    assert_eq!(from_json(shape, &json.into(), PLENTY), Ok(value));
}

#[track_caller]
fn refused(shape: &Shape, json: impl Into<Value>, message: &str) {
    assert_eq!(from_json(shape, &json.into(), PLENTY).expect_err("refused").to_string(), message);
}

fn option(shape: Shape) -> Shape {
    Shape::Option(Box::new(shape))
}

#[test]
fn wide_integers_keep_every_digit() {
    reads(&Shape::U64, json!(u64::MAX), Val::U64(u64::MAX));
    reads(&Shape::U64, json!("18446744073709551615"), Val::U64(u64::MAX));
    reads(&Shape::S64, json!(i64::MIN), Val::S64(i64::MIN));
    reads(&Shape::S64, json!("-9223372036854775808"), Val::S64(i64::MIN));
    reads(&Shape::S32, json!(7.0), Val::S32(7));
    assert_eq!(to_json(&Shape::U64, &Val::U64((1 << 53) + 1)).to_string(), "9007199254740993");
    assert_eq!(to_json(&Shape::Float32, &Val::Float32(0.1)).to_string(), "0.1");
}

#[test]
fn a_missing_key_is_none_for_an_option_only() {
    let shape = Shape::Record(vec![
        Field { name: "a".into(), shape: option(Shape::U8) },
        Field { name: "b".into(), shape: Shape::U8 },
    ]);
    reads(&shape, json!({"b": 1}), Val::Record(vec![("a".into(), Val::Option(None)), ("b".into(), Val::U8(1))]));
    refused(&shape, json!({"a": 1}), "at `$.b`: expected a value, found nothing");
    refused(&shape, json!({"b": 1, "c": 2}), "at `$.c`: expected no such key: the keys are `a`, `b`, found 2");
}

#[test]
fn nested_options_say_which_one_is_none() {
    let shape = option(option(Shape::U8));
    reads(&shape, json!(null), Val::Option(None));
    reads(&shape, json!({"some": null}), Val::Option(Some(Box::new(Val::Option(None)))));
    refused(&shape, json!(5), "at `$`: expected null or {\"some\": …}, found 5");
}

#[test]
fn an_error_names_the_place_the_type_and_what_was_found() {
    let shape = Shape::Record(vec![Field { name: "items".into(), shape: list(option(Shape::S8)) }]);
    refused(
        &shape,
        json!({"items": [1, null, 128]}),
        "at `$.items[2]`: expected an integer from -128 to 127, found 128",
    );
    refused(
        &Shape::Float32,
        json!(1e300),
        "at `$`: expected a 32-bit number, \"NaN\", \"Infinity\" or \"-Infinity\", found 1e+300",
    );
    refused(&Shape::Bytes, json!("a?"), "at `$`: expected bytes as a base64 string, found the string \"a?\"");
    refused(&Shape::Char, json!("ab"), "at `$`: expected a string of one character, found the string \"ab\"");
}

#[test]
fn a_huge_argument_is_refused_before_it_is_copied() {
    let text = Value::from("A".repeat(100_000_000));
    let max = 128 << 20;
    assert_eq!(from_json(&Shape::Bytes, &text, max), Err(FromJsonError::TooLarge { bytes: 3_000_000_040, max }));
    assert!(from_json(&Shape::String, &text, max).is_ok());
    let wide = Value::from(vec![Value::Bool(true); 1000]);
    assert_eq!(
        from_json(&list(Shape::Bool), &wide, 39_999),
        Err(FromJsonError::TooLarge { bytes: 40_040, max: 39_999 })
    );
}
