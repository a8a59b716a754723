//! What rules see of an HTTP request.

use serde_json::Value;

use super::shape::{Field, Fields, Shape};
use crate::{AddressClass, RequestLine};

struct Attribute {
    name: &'static str,
    shape: Shape,
    read: fn(&RequestLine, AddressClass) -> Value,
}

static ATTRIBUTES: [Attribute; 6] = [
    Attribute { name: "method", shape: Shape::String, read: |request, _| request.method().into() },
    Attribute { name: "scheme", shape: Shape::String, read: |request, _| request.origin().scheme().to_string().into() },
    Attribute { name: "host", shape: Shape::String, read: |request, _| request.origin().host().to_string().into() },
    Attribute { name: "port", shape: Shape::Long, read: |request, _| request.origin().port().into() },
    Attribute { name: "path", shape: Shape::String, read: |request, _| request.path().into() },
    Attribute { name: "address", shape: Shape::String, read: |_, address| address.to_string().into() },
];

/// The attributes of the context that every request has.
pub(super) fn fields() -> Fields {
    let fields = ATTRIBUTES.iter().map(|Attribute { name, shape, .. }| (*name, Field::required(shape.clone())));
    fields.map(|(name, field)| (name.to_owned(), field)).collect()
}

/// One of them; `None` if it is none.
pub(super) fn read(name: &str, request: &RequestLine, address: AddressClass) -> Option<Value> {
    ATTRIBUTES.iter().find(|attribute| attribute.name == name).map(|attribute| (attribute.read)(request, address))
}
