//! `#[tool]`.

use crate::function;
use heck::ToKebabCase as _;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned as _;
use syn::{
    Attribute, Error, Expr, ExprLit, Ident, Item, ItemFn, Lit, LitStr, Meta, Pat, ReturnType, Token, Type, parse_quote,
};

/// What stands in the parentheses of `#[tool(…)]`.
#[derive(Default)]
pub(crate) struct Options {
    name: Option<LitStr>,
    description: Option<LitStr>,
}

impl Parse for Options {
    fn parse(input: ParseStream) -> Result<Self, Error> {
        let mut options = Self::default();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            let value: LitStr = input.parse()?;
            match key.to_string().as_str() {
                "name" => options.name = Some(sound_name(value)?),
                "description" => options.description = Some(value),
                _ => return Err(Error::new(key.span(), "a tool has the options `name` and `description`")),
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

/// A name that Casemate takes for a tool.
fn sound_name(name: LitStr) -> Result<LitStr, Error> {
    let text = name.value();
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/@#".contains(&byte);
    if (1..=128).contains(&text.len()) && text.bytes().all(sound) {
        return Ok(name);
    }
    Err(Error::new(name.span(), "a tool's name takes 1 to 128 of the letters A-Z and a-z, digits, and `_-.:/@#`"))
}

pub(crate) fn expand(options: &Options, item: Item) -> Result<TokenStream, Error> {
    let mut tool = function::plain(item, "a tool")?;
    let parameters = Parameters::of(&mut tool)?;
    let constant = constant(options, &tool, &parameters);
    Ok(quote!(#tool #constant))
}

/// A tool's parameters: as fields of a struct that they are read into, and as arguments of the function.
struct Parameters {
    names: Vec<Ident>,
    fields: Vec<TokenStream>,
    arguments: Vec<TokenStream>,
}

impl Parameters {
    /// Takes from the function's parameters the attributes that describe them, which a function cannot have.
    fn of(tool: &mut ItemFn) -> Result<Self, Error> {
        let mut parameters = Self { names: Vec::new(), fields: Vec::new(), arguments: Vec::new() };
        for parameter in &mut tool.sig.inputs {
            let parameter = function::typed(parameter, "a tool")?;
            let name = match &*parameter.pat {
                Pat::Ident(pattern) if pattern.subpat.is_none() && pattern.by_ref.is_none() => pattern.ident.clone(),
                other => return Err(Error::new_spanned(other, "a tool's parameter has a name, as its input has")),
            };
            let describing = parameter.attrs.extract_if(.., |attribute| describes(attribute));
            let describing: Vec<Attribute> = describing.collect();
            let (owned, argument) = owned(&name, &parameter.ty)?;
            parameters.fields.push(quote!(#(#describing)* #name: #owned));
            parameters.arguments.push(argument);
            parameters.names.push(name);
        }
        Ok(parameters)
    }
}

fn describes(attribute: &Attribute) -> bool {
    ["doc", "serde", "schemars"].iter().any(|name| attribute.path().is_ident(name))
}

/// The type that a parameter is read as, and how it is handed on.
fn owned(name: &Ident, parameter: &Type) -> Result<(Type, TokenStream), Error> {
    let Type::Reference(reference) = parameter else {
        if let Type::ImplTrait(_) = parameter {
            return Err(Error::new_spanned(
                parameter,
                "a tool's parameter has a type of its own, and not `impl Trait`",
            ));
        }
        return Ok((parameter.clone(), quote!(#name)));
    };
    if let Some(mutability) = &reference.mutability {
        return Err(Error::new_spanned(mutability, "a tool cannot change its input: take it by value"));
    }
    let owned = match &*reference.elem {
        Type::Path(path) if path.path.is_ident("str") => parse_quote!(::std::string::String),
        Type::Slice(slice) => {
            let element = &slice.elem;
            parse_quote!(::std::vec::Vec<#element>)
        }
        other => other.clone(),
    };
    Ok((owned, quote!(&#name)))
}

fn constant(options: &Options, tool: &ItemFn, parameters: &Parameters) -> TokenStream {
    let function = &tool.sig.ident;
    let constant = function::constant(function);
    let visibility = &tool.vis;
    let name = match &options.name {
        Some(name) => name.value(),
        None => function.unraw().to_string().to_kebab_case(),
    };
    let description = options.description.as_ref().map_or_else(|| doc_comment(&tool.attrs), LitStr::value);
    let comment = format!("The tool `{name}`: [`{function}`].");
    let Parameters { names, fields, arguments } = parameters;
    let call = called(&tool.sig.output, &quote!(#function(#(#arguments),*)));
    // These names must not hide any that the function's signature speaks of.
    quote! {
        #[doc = #comment]
        #visibility const #constant: ::casemate_sdk::Tool = {
            #[derive(::casemate_sdk::serde::Deserialize, ::casemate_sdk::schemars::JsonSchema)]
            #[serde(crate = "::casemate_sdk::serde", deny_unknown_fields)]
            #[schemars(crate = "::casemate_sdk::schemars")]
            struct __Parameters {
                #(#fields,)*
            }

            fn __invoke(
                input: ::casemate_sdk::Value,
            ) -> ::core::result::Result<::casemate_sdk::Value, ::casemate_sdk::Error> {
                let __Parameters { #(#names,)* } = ::casemate_sdk::expanded::parameters(input)?;
                #call
            }

            ::casemate_sdk::Tool::new(#name, #description, ::casemate_sdk::expanded::schema::<__Parameters>, __invoke)
        };
    }
}

/// The call of a function, with its result as that of a tool.
///
/// A `Result` can be told only by its name, since JSON has one too, in which a failure is a value like any other.
fn called(output: &ReturnType, call: &TokenStream) -> TokenStream {
    let result = quote_spanned!(output.span()=> ::casemate_sdk::expanded::result);
    let failure = quote_spanned!(output.span()=> ::casemate_sdk::expanded::failure);
    if is_result(output) {
        quote! {
            match #call {
                ::core::result::Result::Ok(given) => #result(given),
                ::core::result::Result::Err(error) => {
                    ::core::result::Result::Err(#failure(error))
                }
            }
        }
    } else {
        quote!(#result(#call))
    }
}

fn is_result(output: &ReturnType) -> bool {
    let ReturnType::Type(_, returned) = output else { return false };
    matches!(&**returned, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Result"))
}

/// The doc comment as text, line by line.
fn doc_comment(attributes: &[Attribute]) -> String {
    let lines: Vec<String> = attributes.iter().filter_map(doc_line).collect();
    lines.join("\n").trim().to_owned()
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    }
}
