use serde_json::Value;

/// JSON that may be nested a hundred thousand deep.
///
/// Left to itself it would be dropped by a recursion as deep, which no stack holds.
pub(super) struct Input(pub(super) Value);

impl Drop for Input {
    fn drop(&mut self) {
        let mut left = vec![self.0.take()];
        while let Some(value) = left.pop() {
            match value {
                Value::Array(items) => left.extend(items),
                Value::Object(members) => left.extend(members.into_iter().map(|(_, value)| value)),
                _ => {}
            }
        }
    }
}
