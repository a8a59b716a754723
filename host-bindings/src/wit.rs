//! Shapes as WIT writes them, for people.

use std::fmt::{self, Display, Formatter};

use crate::{Field, Shape};

/// As WIT, with records, variants, enums and flags written out in place: `record { city: string, high: s32 }`.
impl Display for Shape {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::S8 => f.write_str("s8"),
            Self::U8 => f.write_str("u8"),
            Self::S16 => f.write_str("s16"),
            Self::U16 => f.write_str("u16"),
            Self::S32 => f.write_str("s32"),
            Self::U32 => f.write_str("u32"),
            Self::S64 => f.write_str("s64"),
            Self::U64 => f.write_str("u64"),
            Self::Float32 => f.write_str("f32"),
            Self::Float64 => f.write_str("f64"),
            Self::Char => f.write_str("char"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("list<u8>"),
            Self::List(element) => write!(f, "list<{element}>"),
            Self::Record(fields) => write!(f, "record {{ {} }}", Listed(fields)),
            Self::Tuple(parts) => write!(f, "tuple<{}>", Listed(parts)),
            Self::Variant(cases) => {
                f.write_str("variant { ")?;
                for (index, (name, payload)) in cases.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", " })?;
                    match payload {
                        Some(payload) => write!(f, "{name}({payload})")?,
                        None => f.write_str(name)?,
                    }
                }
                f.write_str(" }")
            }
            Self::Enum(names) => write!(f, "enum {{ {} }}", Listed(names)),
            Self::Flags(names) => write!(f, "flags {{ {} }}", Listed(names)),
            Self::Option(inner) => write!(f, "option<{inner}>"),
            Self::Result { ok: None, err: None } => f.write_str("result"),
            Self::Result { ok: Some(ok), err: None } => write!(f, "result<{ok}>"),
            Self::Result { ok: None, err: Some(err) } => write!(f, "result<_, {err}>"),
            Self::Result { ok: Some(ok), err: Some(err) } => write!(f, "result<{ok}, {err}>"),
        }
    }
}

/// `city: string`
impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.shape)
    }
}

/// A function type as WIT: `func(city: string) -> option<u32>`.
pub struct FunctionType<'a> {
    /// The parameters.
    pub parameters: &'a [Field],
    /// What comes back, if anything does.
    pub result: Option<&'a Shape>,
}

impl Display for FunctionType<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "func({})", Listed(self.parameters))?;
        self.result.map_or(Ok(()), |result| write!(f, " -> {result}"))
    }
}

struct Listed<'a, T>(&'a [T]);

impl<T: Display> Display for Listed<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
