//! Writes the generated code. Nothing here can fail: what is in the model is sound.
//!
//! Every path is absolute, and every name of ours is prefixed, because the code lands among the user's own
//! names. Tokens that can be wrong because of the user's types carry the location of those types, and the
//! hygiene of the macro, so that errors are shown at the type and lints stay quiet.

use crate::{
    check,
    errors::Errors,
    model::{Arg, Kind, Model, Returns, Server, Service},
    parse::{self, Parsed},
    serde_attrs::ContainerAttrs,
};
use proc_macro_crate::FoundCrate;
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Ident, spanned::Spanned};

mod dispatch;
mod interface;
mod pipelined;
mod stub;
mod typescript;

pub(crate) fn object(kind: Kind, args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let parsed = parse::object(kind, args, item, &mut errors);
    expand(parsed, errors)
}

pub(crate) fn interface(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let parsed = parse::interface(args, item, &mut errors);
    expand(parsed, errors)
}

pub(crate) fn pipelined(item: TokenStream) -> TokenStream {
    let item = match syn::parse2(item) {
        Ok(item) => item,
        Err(error) => return error.into_compile_error(),
    };
    let mut errors = Errors::default();
    let krate = pipelined::crate_path(&item, &mut errors);
    let generated = match krate.map_or_else(find_crate, |path| Ok(path.into_token_stream())) {
        Ok(krate) => pipelined::derive(&quote!(#krate::__private), &item, &mut errors),
        Err(message) => {
            errors.at(Span::call_site(), message);
            TokenStream::new()
        }
    };
    [generated, errors.into_tokens()].into_iter().collect()
}

pub(crate) fn typescript(item: TokenStream) -> TokenStream {
    let item: syn::DeriveInput = match syn::parse2(item) {
        Ok(item) => item,
        Err(error) => return error.into_compile_error(),
    };
    let mut errors = Errors::default();
    let attrs = ContainerAttrs::parse(&item.attrs, &mut errors);
    let generated = match attrs.krate.as_ref().map_or_else(find_crate, |path| Ok(path.into_token_stream())) {
        Ok(krate) => typescript::derive(&quote!(#krate::__private), &item, &attrs, &mut errors),
        Err(message) => {
            errors.at(Span::call_site(), message);
            TokenStream::new()
        }
    };
    [generated, errors.into_tokens()].into_iter().collect()
}

fn expand(parsed: Parsed, mut errors: Errors) -> TokenStream {
    let Parsed { item, krate, model } = parsed;
    let private = match krate.map_or_else(find_crate, |path| Ok(path.into_token_stream())) {
        Ok(krate) => quote!(#krate::__private),
        Err(message) => {
            errors.at(Span::call_site(), message);
            let item = if let Some(Model::Service(Service { server: Server::Interface(item), .. })) = model {
                item.into_token_stream()
            } else {
                item
            };
            return [item, errors.into_tokens()].into_iter().collect();
        }
    };
    let generated = match model {
        None => TokenStream::new(),
        Some(Model::Implementation(it)) => interface::implementation(&private, &it),
        Some(Model::Service(mut service)) => {
            let clashes = check::names(&mut service, &mut errors);
            let service = Generated::new(&service, &private);
            [service.tokens(), clashes].into_iter().collect()
        }
    };
    [item, generated, errors.into_tokens()].into_iter().collect()
}

/// The path of the `opendo` crate in the user's crate, who may have renamed it.
fn find_crate() -> Result<TokenStream, &'static str> {
    match proc_macro_crate::crate_name("opendo") {
        // Its own tests and examples, which see it from outside; inside, it names itself.
        Ok(FoundCrate::Itself) => Ok(quote!(::opendo)),
        Ok(FoundCrate::Name(name)) => {
            let name = Ident::new(&name, Span::call_site());
            Ok(quote!(::#name))
        }
        Err(proc_macro_crate::Error::CrateNotFound { .. }) => Err(
            "`opendo` is not a dependency of this crate; add it to Cargo.toml, or tell where it is re-exported: `crate = path::to::opendo`",
        ),
        // No Cargo, no manifest: the plain name is all there is.
        Err(_) => Ok(quote!(::opendo)),
    }
}

/// A service and the names that its parts share.
struct Generated<'a> {
    service: &'a Service,
    /// `…::__private`.
    p: &'a TokenStream,
    stub: Ident,
    calls: Ident,
    /// The type that runs the methods, and the parameters of its impls.
    server: TokenStream,
    params: TokenStream,
}

impl<'a> Generated<'a> {
    fn new(service: &'a Service, p: &'a TokenStream) -> Self {
        let (server, params) = match &service.server {
            Server::Type(ty) => (ty.to_token_stream(), TokenStream::new()),
            Server::Interface(item) => {
                let name = &item.ident;
                (quote!(__Object), quote!(<__Object: #name>))
            }
        };
        Self { service, p, stub: service.stub(), calls: service.calls(), server, params }
    }

    fn tokens(&self) -> TokenStream {
        let Self { p, .. } = self;
        let outside = [
            match &self.service.server {
                Server::Type(_) => TokenStream::new(),
                Server::Interface(item) => interface::definition(p, item, &self.service.wire, &self.stub),
            },
            self.probe_import(self.decides_by_type()),
            stub::items(self),
        ];
        let inside = [
            self.probe_import(true),
            dispatch::methods(self),
            stub::impls(self),
            dispatch::impls(self),
            typescript::interface(self),
        ];
        quote! {
            #(#outside)*
            #[allow(clippy::too_many_arguments, deprecated, non_camel_case_types, non_snake_case, private_interfaces, private_bounds)]
            const _: () = { #(#inside)* };
        }
    }

    /// Where the compiler decides something by type, the fallbacks of the probe must be in scope: inside always, outside
    /// where a stub's signature depends on whether a type is a `Result`.
    fn probe_import(&self, needed: bool) -> TokenStream {
        let Self { p, .. } = self;
        if needed {
            quote!(#[allow(unused_imports)] use #p::{AnyError as _, ProbeDefault as _};)
        } else {
            TokenStream::new()
        }
    }

    fn decides_by_type(&self) -> bool {
        self.service.methods.iter().any(|method| matches!(method.returns, Returns::ByType(_)))
    }

    /// `…::__private`, located at a token of the user.
    fn p_at(&self, span: Span) -> TokenStream {
        let relocate = |mut token: TokenTree| {
            token.set_span(token.span().located_at(span));
            token
        };
        self.p.clone().into_iter().map(relocate).collect()
    }

    /// The types of a method's outcome.
    fn outcome(&self, returns: &Returns) -> (TokenStream, TokenStream) {
        let p = self.p_at(at(returns.ty()));
        match returns {
            Returns::Plain(ok) => (ok.to_token_stream(), quote!(::core::convert::Infallible)),
            Returns::Result { ok, err, .. } => (ok.to_token_stream(), err.to_token_stream()),
            Returns::ByType(ty) => {
                let is_result = self.is_result(returns);
                let returned = quote_spanned!(at(ty)=> <#ty as #p::Returned<#is_result>>);
                (quote_spanned!(at(ty)=> #returned::Ok), quote_spanned!(at(ty)=> #returned::Err))
            }
        }
    }

    fn call(&self, returns: &Returns) -> TokenStream {
        let Self { p, .. } = self;
        match returns {
            Returns::Plain(ok) => quote!(#p::Call<#ok>),
            Returns::Result { ok, err, .. } => quote!(#p::Call<#ok, #err>),
            Returns::ByType(ty) => {
                let is_result = self.is_result(returns);
                let p = self.p_at(at(ty));
                quote_spanned!(at(ty)=> #p::CallOf<#ty, #is_result>)
            }
        }
    }

    /// Whether it is a `Result`: by its name, or as the type tells.
    fn is_result(&self, returns: &Returns) -> TokenStream {
        let ty = returns.ty();
        let p = self.p_at(at(ty));
        match returns {
            Returns::ByType(_) => quote_spanned!(at(ty)=> { <#p::Probe<#ty>>::IS_RESULT }),
            _ => quote!(true),
        }
    }
}

/// Names for values of arguments, which no name of the user can meet.
fn positions<'a>(args: impl Iterator<Item = &'a Arg>) -> Vec<Ident> {
    args.enumerate().map(|(index, _)| format_ident!("__a{index}")).collect()
}

/// The location of the user's tokens, and the hygiene of the macro.
fn at(tokens: &impl Spanned) -> Span {
    Span::call_site().located_at(tokens.span())
}
