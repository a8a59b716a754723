//! What rules see of a chat.

use super::shape::{Field, Fields, Presence, Shape};

/// The attributes of `context.input` of every chat.
pub(super) fn input() -> Field {
    let optional = |shape| Field { presence: Presence::Optional, shape: Ok(shape) };
    let fields = [
        ("messages", Field::required(Shape::Long)),
        ("text", optional(Shape::String)),
        ("tools", Field::required(Shape::Set(Shape::String.into()))),
        ("max_output_tokens", optional(Shape::Long)),
        ("temperature", optional(Shape::Decimal)),
    ];
    let fields: Fields = fields.map(|(name, field)| (name.to_owned(), field)).into();
    Field::required(Shape::Record(fields))
}
