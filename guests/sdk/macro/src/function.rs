//! Functions that a macro can call: what they must not be, and what they are called by.

use heck::ToShoutySnakeCase as _;
use quote::ToTokens;
use syn::ext::IdentExt as _;
use syn::{Error, FnArg, GenericParam, Ident, Item, ItemFn, PatType, parse_quote};

/// A function that stands by itself, waits for nobody and has no type left open.
pub(crate) fn plain(item: Item, what: &str) -> Result<ItemFn, Error> {
    let Item::Fn(function) = item else {
        return Err(Error::new_spanned(item, format!("{what} is a function")));
    };
    let signature = &function.sig;
    refuse(&signature.asyncness, || format!("{what} is not `async`: an effect waits by itself"))?;
    refuse(&signature.safety, || format!("{what} is not `unsafe`"))?;
    refuse(&signature.abi, || format!("{what} has no ABI of its own"))?;
    refuse(&signature.variadic, || format!("{what} takes no variadic parameters"))?;
    let open = signature.generics.params.iter().find(|parameter| !matches!(parameter, GenericParam::Lifetime(_)));
    refuse(&open, || format!("{what} is not generic: what it takes has to be known here"))?;
    refuse(&signature.generics.where_clause, || format!("{what} has no `where` clause"))?;
    Ok(owning(function))
}

/// A function that may take by value what it only looks at, since that is how it is called.
fn owning(mut function: ItemFn) -> ItemFn {
    function.attrs.push(parse_quote! {
        #[allow(clippy::needless_pass_by_value, reason = "what it is given is made for it")]
    });
    function
}

/// Refuses a part of a function, unless nothing is written there.
fn refuse(part: &impl ToTokens, message: impl FnOnce() -> String) -> Result<(), Error> {
    if part.to_token_stream().is_empty() { Ok(()) } else { Err(Error::new_spanned(part, message())) }
}

/// A parameter that is not `self`.
pub(crate) fn typed<'a>(parameter: &'a mut FnArg, what: &str) -> Result<&'a mut PatType, Error> {
    match parameter {
        FnArg::Typed(parameter) => Ok(parameter),
        FnArg::Receiver(receiver) => Err(Error::new_spanned(
            receiver,
            format!("{what} is a function by itself, and not a method: it has no `self`"),
        )),
    }
}

/// The name of the constant beside a `#[tool]` function.
pub(crate) fn constant(function: &Ident) -> Ident {
    Ident::new(&function.unraw().to_string().to_shouty_snake_case(), function.span())
}
