//! The trait of an interface, and its implementations.

use crate::model::{Implementation, Kind};
use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::{Ident, ItemTrait, ReturnType, TraitItem, TraitItemFn, parse_quote};

use super::{at, dispatch};

/// The trait, with what callers from another thread need, and a hidden item that tells implementations the
/// rest.
pub(super) fn definition(p: &TokenStream, item: &ItemTrait, wire: &str, stub: &Ident) -> TokenStream {
    let mut item = item.clone();
    for bound in [
        quote!(::core::marker::Sized),
        quote!(::core::marker::Send),
        quote!(::core::marker::Sync),
        quote!('static),
    ] {
        item.supertraits.push(parse_quote!(#bound));
    }
    item.colon_token.get_or_insert_default();
    for item in &mut item.items {
        if let TraitItem::Fn(function) = item {
            desugar_async(function);
        }
    }
    item.items.push(parse_quote! {
        #[doc(hidden)]
        const __OPENDO_INTERFACE: (&'static ::core::primitive::str, fn(&mut #p::Registration<Self>)) =
            (#wire, |__class| __class.serve::<#stub>());
    });
    item.into_token_stream()
}

/// `async fn` promises nothing about `Send`; a future that a node runs must be.
fn desugar_async(function: &mut TraitItemFn) {
    if function.sig.asyncness.take().is_none() {
        return;
    }
    let output = match &function.sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => ty.to_token_stream(),
    };
    function.sig.output =
        parse_quote!(-> impl ::core::future::Future<Output = #output> + ::core::marker::Send);
    if let Some(body) = &mut function.default {
        *body = parse_quote!({ async move #body });
    }
}

/// `impl Interface for Type`.
pub(super) fn implementation(p: &TokenStream, it: &Implementation) -> TokenStream {
    let Implementation { kind, interface, wire, sql, object } = it;
    // In a trait that is no interface this is what the compiler misses, and it says so at the trait's path.
    let interface = quote_spanned!(at(interface)=> <#object as #interface>::__OPENDO_INTERFACE);
    match kind {
        Kind::DurableObject => {
            let class = wire.as_ref().map_or_else(|| quote!(__INTERFACE.0), ToTokens::to_token_stream);
            let sql = dispatch::sql(p, *sql);
            quote! {
                const _: () = {
                    const __INTERFACE: (&'static ::core::primitive::str, fn(&mut #p::Registration<#object>)) = #interface;
                    impl #p::Object for #object {
                        const CLASS: &'static ::core::primitive::str = #class;
                        #sql
                        fn register(__class: &mut #p::Registration<Self>) { (__INTERFACE.1)(__class) }
                    }
                };
            }
        }
        _ => quote! {
            const _: () = {
                const _: (&'static ::core::primitive::str, fn(&mut #p::Registration<#object>)) = #interface;
            };
        },
    }
}
