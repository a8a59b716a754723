//! `#[agent]`.

use crate::function;
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Error, Item, ItemFn};

pub(crate) fn expand(options: TokenStream, item: Item) -> Result<TokenStream, Error> {
    if !options.is_empty() {
        return Err(Error::new_spanned(options, "`#[agent]` takes no options"));
    }
    let mut agent = function::plain(item, "an agent")?;
    let arguments = arguments(&mut agent)?;
    let name = &agent.sig.ident;
    // What is wrong with the type is said where the type is.
    let response = quote_spanned!(agent.sig.output.span()=> ::casemate_sdk::IntoResponse::into_response);
    let export = export(&quote!(#response(#name(#(#arguments),*))));
    Ok(quote!(#agent #export))
}

/// What the function is called with, by the number of its parameters.
fn arguments(agent: &mut ItemFn) -> Result<Vec<TokenStream>, Error> {
    if agent.sig.inputs.len() > 2 {
        let message = "an agent takes nothing, a `Request`, or a `Request` and a `Context`";
        return Err(Error::new_spanned(&agent.sig.inputs, message));
    }
    let given =
        [|span: Span| quote_spanned!(span=> request), |span: Span| quote_spanned!(span=> ::casemate_sdk::context())];
    let parameters = agent.sig.inputs.iter_mut().zip(given);
    parameters.map(|(parameter, given)| Ok(given(function::typed(parameter, "an agent")?.ty.span()))).collect()
}

/// The component's export, which does what the expression says.
fn export(call: &TokenStream) -> TokenStream {
    quote! {
        const _: () = {
            struct Exported;

            impl ::casemate_sdk::expanded::Agent for Exported {
                fn handle(
                    request: ::casemate_sdk::Request,
                ) -> ::core::result::Result<::casemate_sdk::Response, ::std::string::String> {
                    let _ = &request;
                    #call
                }
            }

            // Also where nothing is exported, the agent is in use.
            const _: fn(
                ::casemate_sdk::Request,
            ) -> ::core::result::Result<::casemate_sdk::Response, ::std::string::String> =
                <Exported as ::casemate_sdk::expanded::Agent>::handle;

            #[cfg(target_family = "wasm")]
            ::casemate_sdk::expanded::export_agent!(Exported with_types_in ::casemate_sdk::expanded::agent);
        };
    }
}
