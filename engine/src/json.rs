//! JSON that guests and approvers write: read strictly, and hashed in one canonical form.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads JSON text in which no object has a key twice: which of the two counts would be decided by whoever reads it.
///
/// A text of a few bytes can make a value of many: what a guest writes is read within a bound on memory.
pub(crate) struct Reader {
    left: Cell<usize>,
}

/// Why JSON was not read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    NotJson(serde_json::Error),
    TooLarge,
}

impl Reader {
    /// A reader of values that take `bytes` of memory in all.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { left: Cell::new(bytes) }
    }

    pub(crate) fn read(&self, text: &str) -> Result<Value, Unreadable> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = Strict(self).deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
        value.map_err(|error| if self.left.get() == 0 { Unreadable::TooLarge } else { Unreadable::NotJson(error) })
    }

    fn spend<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        let left = self.left.get().saturating_sub(bytes);
        self.left.set(left);
        if left == 0 { Err(E::custom("it is too large")) } else { Ok(()) }
    }
}

/// The hash of a JSON value in a canonical form: keys sorted by their bytes, integers exact and never through a
/// double, texts as given, not normalised. (Integers of more than 64 bits are doubles already where they are read, for
/// whoever performs them too.)
///
/// Two values have one hash only where they are the same; `1` and `1.0` are not.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArgumentsHash([u8; 32]);

impl ArgumentsHash {
    /// The hash of `value`.
    pub fn of(value: &Value) -> Self {
        let mut hasher = blake3::Hasher::new();
        canonical(value, &mut hasher);
        Self(*hasher.finalize().as_bytes())
    }

    /// The hash that [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for whoever stores it.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for ArgumentsHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ArgumentsHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArgumentsHash({self})")
    }
}

impl serde::Serialize for ArgumentsHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ArgumentsHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(D::Error::custom)
    }
}

/// Whether arrays and objects in `value` are nested deeper than that many levels.
pub(crate) fn is_deeper_than(value: &Value, levels: usize) -> bool {
    let mut inner: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(members) => Box::new(members.values()),
        _ => return false,
    };
    levels.checked_sub(1).is_none_or(|levels| inner.any(|value| is_deeper_than(value, levels)))
}

/// How many bytes `value` takes as JSON text.
pub(crate) fn text_len(value: &Value) -> u64 {
    struct Count(u64);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len() as u64);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail, and every value can be written.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// Each text and each number is preceded by its length or ends in a byte that cannot be part of it, so that no two
/// values are written alike.
fn canonical(value: &Value, out: &mut blake3::Hasher) {
    let text = |text: &str, out: &mut blake3::Hasher| {
        out.update(b"\"").update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    };
    match value {
        Value::Null => drop(out.update(b"n")),
        Value::Bool(true) => drop(out.update(b"t")),
        Value::Bool(false) => drop(out.update(b"f")),
        Value::Number(number) => drop(out.update(number.to_string().as_bytes()).update(b";")),
        Value::String(string) => text(string, out),
        Value::Array(items) => {
            out.update(b"[");
            for item in items {
                canonical(item, out);
            }
            out.update(b"]");
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            out.update(b"{");
            for (key, value) in members {
                text(key, out);
                canonical(value, out);
            }
            out.update(b"}");
        }
    }
}

/// What one value takes, with its place in an array or object.
const PART: usize = size_of::<Value>() + size_of::<String>();

struct Strict<'a>(&'a Reader);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.spend(PART)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.0.spend(value.len())?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Strict(self.0))? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if members.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key `{key}` stands there twice")));
            }
            self.0.spend(key.len())?;
            let value = entries.next_value_seed(Strict(self.0))?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Value, Unreadable> {
        Reader::new(1 << 20).read(text)
    }

    #[track_caller]
    fn hash(text: &str) -> ArgumentsHash {
        ArgumentsHash::of(&parse(text).unwrap())
    }

    #[test]
    fn values_that_differ_have_hashes_that_differ() {
        let all = [
            r#"{"amount":9007199254740992}"#,
            r#"{"amount":9007199254740993}"#,
            r#"{"amount":18446744073709551615}"#,
            r#"{"amount":-9223372036854775808}"#,
            r#"{"amount":1}"#,
            r#"{"amount":1.0}"#,
            r#"{"amount":"1"}"#,
            r#"{"amount":[1]}"#,
            r#"{"amount":[[1]]}"#,
            r#"{"amount":[1,2]}"#,
            r#"{"amount":[12]}"#,
            r#"{"a":{"b":1},"c":2}"#,
            r#"{"a":{"b":1,"c":2}}"#,
            r#"["a","b"]"#,
            r#"["a\"b"]"#,
            "[\"\u{e9}\"]",
            "[\"e\u{301}\"]",
            "null",
            "{}",
            "[]",
        ];
        for (index, one) in all.iter().enumerate() {
            for other in all.iter().skip(index + 1) {
                assert_ne!(hash(one), hash(other), "{one} and {other}");
            }
        }
    }

    #[test]
    fn the_order_of_keys_and_blanks_do_not_count() {
        assert_eq!(hash(r#"{"a": 1, "b": {"c": 2, "d": 3}}"#), hash(r#"{"b":{"d":3,"c":2},"a":1}"#));
    }

    #[test]
    fn a_key_that_stands_there_twice_is_refused() {
        for text in [r#"{"a":1,"a":2}"#, r#"[{"b":{"a":1,"\u0061":1}}]"#] {
            let Unreadable::NotJson(error) = parse(text).unwrap_err() else { panic!("{text}") };
            assert!(error.to_string().starts_with("the key `a` stands there twice"), "{error}");
        }
    }

    #[test]
    fn a_value_much_larger_than_its_text_is_refused() {
        let text = format!("[{}0]", "0,".repeat(100_000));
        assert!(matches!(parse(&text), Err(Unreadable::TooLarge)));
        assert!(matches!(parse("[1] 2"), Err(Unreadable::NotJson(_))));
    }

    #[test]
    fn levels_are_counted_and_no_deeper_than_asked() {
        assert!(!is_deeper_than(&Value::from(1), 0));
        let value = parse(r#"{"a":[1,{"b":2}],"c":3}"#).unwrap();
        assert!(is_deeper_than(&value, 0) && is_deeper_than(&value, 2) && !is_deeper_than(&value, 3));
    }

    #[test]
    fn all_else_is_read_as_ever() {
        let text = r#"{"a":[null,true,false,-1,1.5,"x",{}],"b":"\u00e9"}"#;
        assert_eq!(parse(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(text_len(&parse(text).unwrap()), r#"{"a":[null,true,false,-1,1.5,"x",{}],"b":"é"}"#.len() as u64);
    }
}
