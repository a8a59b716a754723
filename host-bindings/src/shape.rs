use std::fmt;

use wasmtime::component::Type;

/// The type of a value that JSON can carry: a WIT type without resources, futures, streams or error contexts.
///
/// It is a tree and finite: [`ShapeBuilder`] refuses types that would unfold without bound, so every walk over a
/// shape ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// `bool`
    Bool,
    /// `s8`
    S8,
    /// `u8`
    U8,
    /// `s16`
    S16,
    /// `u16`
    U16,
    /// `s32`
    S32,
    /// `u32`
    U32,
    /// `s64`
    S64,
    /// `u64`
    U64,
    /// `f32`
    Float32,
    /// `f64`
    Float64,
    /// `char`
    Char,
    /// `string`
    String,
    /// `list<u8>`
    Bytes,
    /// `list<T>` of anything but `u8`
    List(Box<Shape>),
    /// `record`
    Record(Vec<Field>),
    /// `tuple`
    Tuple(Vec<Shape>),
    /// `variant`: cases by name, each with its payload if it has one
    Variant(Vec<(String, Option<Shape>)>),
    /// `enum`: the names
    Enum(Vec<String>),
    /// `option<T>`
    Option(Box<Shape>),
    /// `result<T, E>`
    Result {
        /// The payload of `ok`.
        ok: Option<Box<Shape>>,
        /// The payload of `err`.
        err: Option<Box<Shape>>,
    },
    /// `flags`: the names
    Flags(Vec<String>),
}

/// A named part of a record, or a parameter of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The WIT name, in kebab-case.
    pub name: String,
    /// The type.
    pub shape: Shape,
}

/// Why a type has no [`Shape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsupported {
    /// A handle to a resource: it means nothing outside its sandbox.
    Resource,
    /// A future.
    Future,
    /// A stream.
    Stream,
    /// An error context.
    ErrorContext,
    /// A map, which wasmtime does not enable by default yet.
    Map,
    /// A list of fixed length, which wasmtime does not enable by default yet.
    FixedLengthList,
    /// More parts than a description may hold when written out.
    TooLarge,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resource => "it passes a resource, which JSON cannot carry",
            Self::Future => "it passes a future, which JSON cannot carry",
            Self::Stream => "it passes a stream, which JSON cannot carry",
            Self::ErrorContext => "it passes an error context, which JSON cannot carry",
            Self::Map => "it passes a map, a type that is not yet stable",
            Self::FixedLengthList => "it passes a list of fixed length, a type that is not yet stable",
            Self::TooLarge => "its type has more than 10000 parts when written out",
        })
    }
}

/// Makes shapes out of wasmtime's types, with one bound on all that it makes.
///
/// A hostile type of a few bytes can refer to itself twice at each of a hundred levels; written out it would not fit
/// any memory. The bound counts the parts of everything built by one builder, so use one for each function.
#[derive(Debug)]
pub struct ShapeBuilder {
    parts_left: usize,
}

impl Default for ShapeBuilder {
    fn default() -> Self {
        Self { parts_left: 10_000 }
    }
}

impl ShapeBuilder {
    /// The shape of `ty`, or why it has none.
    pub fn shape(&mut self, ty: &Type) -> Result<Shape, Unsupported> {
        self.spend(1)?;
        Ok(match ty {
            Type::Bool => Shape::Bool,
            Type::S8 => Shape::S8,
            Type::U8 => Shape::U8,
            Type::S16 => Shape::S16,
            Type::U16 => Shape::U16,
            Type::S32 => Shape::S32,
            Type::U32 => Shape::U32,
            Type::S64 => Shape::S64,
            Type::U64 => Shape::U64,
            Type::Float32 => Shape::Float32,
            Type::Float64 => Shape::Float64,
            Type::Char => Shape::Char,
            Type::String => Shape::String,
            Type::List(list) => match list.ty() {
                Type::U8 => Shape::Bytes,
                element => Shape::List(self.boxed(&element)?),
            },
            Type::Record(record) => {
                Shape::Record(record.fields().map(|field| self.field(field.name, &field.ty)).collect::<Result<_, _>>()?)
            }
            Type::Tuple(tuple) => Shape::Tuple(tuple.types().map(|ty| self.shape(&ty)).collect::<Result<_, _>>()?),
            Type::Variant(variant) => Shape::Variant(
                variant
                    .cases()
                    .map(|case| Ok((case.name.to_owned(), self.payload(case.ty)?)))
                    .collect::<Result<_, _>>()?,
            ),
            Type::Enum(names) => Shape::Enum(self.names(names.names())?),
            Type::Option(option) => Shape::Option(self.boxed(&option.ty())?),
            Type::Result(result) => Shape::Result {
                ok: self.payload(result.ok())?.map(Box::new),
                err: self.payload(result.err())?.map(Box::new),
            },
            Type::Flags(flags) => Shape::Flags(self.names(flags.names())?),
            Type::Own(_) | Type::Borrow(_) => return Err(Unsupported::Resource),
            Type::Future(_) => return Err(Unsupported::Future),
            Type::Stream(_) => return Err(Unsupported::Stream),
            Type::ErrorContext => return Err(Unsupported::ErrorContext),
            Type::Map(_) => return Err(Unsupported::Map),
            Type::FixedLengthList(_) => return Err(Unsupported::FixedLengthList),
        })
    }

    /// A parameter or field of that name and type.
    pub fn field(&mut self, name: &str, ty: &Type) -> Result<Field, Unsupported> {
        Ok(Field { name: name.to_owned(), shape: self.shape(ty)? })
    }

    fn boxed(&mut self, ty: &Type) -> Result<Box<Shape>, Unsupported> {
        self.shape(ty).map(Box::new)
    }

    fn payload(&mut self, ty: Option<Type>) -> Result<Option<Shape>, Unsupported> {
        ty.map(|ty| self.shape(&ty)).transpose()
    }

    fn names<'a>(&mut self, names: impl ExactSizeIterator<Item = &'a str>) -> Result<Vec<String>, Unsupported> {
        self.spend(names.len())?;
        Ok(names.map(str::to_owned).collect())
    }

    fn spend(&mut self, parts: usize) -> Result<(), Unsupported> {
        self.parts_left = self.parts_left.checked_sub(parts).ok_or(Unsupported::TooLarge)?;
        Ok(())
    }
}
