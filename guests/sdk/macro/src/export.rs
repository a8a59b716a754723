//! `export_tools!`.

use crate::function;
use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Path, Token};

/// The paths of the constants of the functions that are named.
pub(crate) struct Functions(Vec<Path>);

impl Parse for Functions {
    fn parse(input: ParseStream) -> Result<Self, Error> {
        let functions = Punctuated::<Path, Token![,]>::parse_terminated(input)?;
        if functions.is_empty() {
            return Err(input.error("name the `#[tool]` functions to export, as `export_tools!(word_count, slugify)`"));
        }
        Ok(Self(functions.into_iter().map(constant).collect()))
    }
}

fn constant(mut function: Path) -> Path {
    if let Some(last) = function.segments.last_mut() {
        last.ident = function::constant(&last.ident);
    }
    function
}

pub(crate) fn expand(Functions(constants): &Functions) -> TokenStream {
    quote! {
        const _: () = {
            struct Exported;

            impl ::casemate_sdk::expanded::Provider for Exported {
                const TOOLS: &'static [::casemate_sdk::Tool] = &[#(#constants),*];
            }

            // Also where nothing is exported, the tools are in use.
            const _: &[::casemate_sdk::Tool] = <Exported as ::casemate_sdk::expanded::Provider>::TOOLS;

            #[cfg(target_family = "wasm")]
            ::casemate_sdk::expanded::export_provider!(Exported with_types_in ::casemate_sdk::expanded::provider);
        };
    }
}
