//! What each method is on the wire, and how it runs on its object.

use super::{Generated, at, positions};
use crate::model::{Flags, Kind, Method, Returns, Server};
use crate::types;
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};

/// One empty type a method, which stands for it in generic code.
pub(super) fn methods(it: &Generated<'_>) -> TokenStream {
    it.service.methods.iter().flat_map(|method| [describe(it, method), run(it, method)]).collect()
}

fn describe(it: &Generated<'_>, method: &Method) -> TokenStream {
    let p = it.p_at(at(&method.ident));
    let Method { cfg, wire, .. } = method;
    let marker = method.marker();
    let signature = types::signature(method.wire_args().map(|arg| &arg.ty), method.returns.ty());
    let Flags { shared, concurrent, idempotent, cancel, property } = method.flags;
    let (ok, err) = it.outcome(&method.returns);
    let ok_span = at(method.returns.ty());
    // The types as values are written: each use carries the location of the type in the user's signature.
    let types: Vec<_> = method.wire_args().map(|arg| &arg.ty).collect();
    let names = positions(method.wire_args());
    let push = types
        .iter()
        .zip(&names)
        .map(|(ty, name)| quote_spanned!(at(ty)=> <#ty as #p::ArgType>::push(#name, __out)?;));
    let promises = types
        .iter()
        .zip(&names)
        .map(|(ty, name)| quote_spanned!(at(ty)=> <#ty as #p::ArgType>::is_promise(#name)));
    // One function less to compile for each method without arguments.
    let has_promises = (!types.is_empty()).then(|| {
        quote_spanned! {at(&method.ident)=>
            fn has_promises(__args: &Self::Args) -> ::core::primitive::bool {
                let (#(#names,)*) = __args;
                #(#promises)||*
            }
        }
    });
    let pipeline = quote_spanned!(ok_span=> <#p::Probe<#ok>>::PIPELINE);
    let next = types.iter().map(|ty| quote_spanned!(at(ty)=> <#ty as #p::ArgType>::next(__in)?));
    let (ok_at, err_at) = match &method.returns {
        Returns::Result { ok, err, .. } => (at(ok), at(err)),
        other => (at(other.ty()), at(other.ty())),
    };
    let push_ok = quote_spanned!(ok_at=> <#ok as #p::ReplyType>::push(__value, __out));
    let next_ok = quote_spanned!(ok_at=> <#ok as #p::ReplyType>::next(__in));
    let error = match &method.returns {
        Returns::Result { .. } => quote_spanned!(err_at=> <#err as #p::ErrorType>),
        Returns::Plain(_) | Returns::ByType(_) => quote_spanned!(err_at=> <#p::ErrorCodec<#err>>),
    };
    // Without a `Result` there is no error to have a text.
    let error_text = (!matches!(method.returns, Returns::Plain(_))).then(|| {
        let p = it.p_at(err_at);
        quote_spanned! {err_at=>
            const ERROR_TEXT: ::core::option::Option<fn(&Self::Err) -> #p::String> = <#p::Probe<#err>>::ERROR_TEXT;
        }
    });
    let push_err = quote_spanned!(err_at=> #error::push(__value, __out));
    let next_err = quote_spanned!(err_at=> #error::next(__in));
    let (encoded, decoded) = (quote!(::core::result::Result<(), #p::EncodeError>), quote!(#p::DecodeError));
    quote_spanned! {at(&method.ident)=>
        #cfg enum #marker {}
        #cfg impl #p::Method for #marker {
            const DESC: #p::MethodDesc = #p::MethodDesc::new(
                #wire,
                #signature,
                #p::MethodFlags {
                    shared: #shared,
                    concurrent: #concurrent,
                    idempotent: #idempotent,
                    cancel: #cancel,
                    property: #property,
                },
            );
            type Args = (#(#types,)*);
            type Ok = #ok;
            type Err = #err;
            const PIPELINE: ::core::option::Option<fn(&Self::Ok) -> #p::Capabilities> = #pipeline;
            #error_text
            #has_promises
            fn encode_args(__args: &Self::Args, __out: &mut #p::Encoder) -> #encoded {
                let (#(#names,)*) = __args;
                #(#push)*
                ::core::result::Result::Ok(())
            }
            fn decode_args(__in: &mut #p::Decoder<'_>) -> ::core::result::Result<Self::Args, #decoded> {
                ::core::result::Result::Ok((#(#next,)*))
            }
            fn encode_ok(__value: &Self::Ok, __out: &mut #p::Encoder) -> #encoded { #push_ok }
            fn decode_ok(__in: &mut #p::Decoder<'_>) -> ::core::result::Result<Self::Ok, #decoded> { #next_ok }
            fn encode_err(__value: &Self::Err, __out: &mut #p::Encoder) -> #encoded { #push_err }
            fn decode_err(__in: &mut #p::Decoder<'_>) -> ::core::result::Result<Self::Err, #decoded> { #next_err }
        }
    }
}

fn run(it: &Generated<'_>, method: &Method) -> TokenStream {
    let Generated { server, params, .. } = it;
    let Method { ident, cfg, .. } = method;
    let span = at(ident);
    let p = it.p_at(span);
    let marker = method.marker();
    let names = positions(method.wire_args());
    let object = if method.flags.shared {
        quote_spanned!(span=> #p::shared(__object))
    } else {
        quote_spanned!(span=> #p::exclusive(__object))
    };
    let mut given = names.iter();
    let args = method.args.iter().map(|arg| {
        if arg.is_call { quote_spanned!(at(&arg.ty)=> __call) } else { given.next().to_token_stream() }
    });
    let owner = match &it.service.server {
        Server::Type(ty) => quote_spanned!(span=> <#ty>),
        Server::Interface(item) => {
            let name = &item.ident;
            quote_spanned!(span=> <__Object as #name>)
        }
    };
    let mut outcome = quote_spanned!(span=> #owner::#ident(#object, #(#args),*));
    if method.is_async {
        outcome = quote_spanned!(span=> #p::assert_send(#outcome).await);
    }
    outcome = match &method.returns {
        Returns::Plain(_) => quote_spanned!(span=> ::core::result::Result::Ok(#outcome)),
        returns => {
            let (is_result, at) = (it.is_result(returns), at(returns.ty()));
            let p = it.p_at(at);
            // The value has a name, so that all that can be wrong with its type is at one place, and one
            // error.
            let split = quote_spanned!(at=> #p::Returned::<#is_result>::split(__outcome));
            quote_spanned!(span=> { let __outcome = #outcome; #split })
        }
    };
    let waits = method.is_async;
    let pace = if it.service.is_inline {
        quote_spanned! {span=>
            static PACE: #p::Pace = #p::Pace::new();
            ::core::option::Option::Some(&PACE)
        }
    } else {
        quote_spanned!(span=> ::core::option::Option::None)
    };
    let call = if method.args.iter().any(|arg| arg.is_call) {
        quote_spanned!(span=> #p::CallInfo)
    } else {
        quote_spanned!(span=> ())
    };
    quote_spanned! {span=>
        #cfg impl #params #p::Run<#server> for #marker {
            const WAITS: ::core::primitive::bool = #waits;
            type Call = #call;
            fn pace() -> ::core::option::Option<&'static #p::Pace> { #pace }
            fn run(
                __object: &mut #p::Arc<#server>,
                __args: Self::Args,
                __call: &Self::Call,
            ) -> impl ::core::future::Future<Output = ::core::result::Result<Self::Ok, Self::Err>> + ::core::marker::Send {
                async move {
                    let (#(#names,)*) = __args;
                    #outcome
                }
            }
        }
    }
}

/// From a call that came in to its method, and from the class to its stub.
pub(super) fn impls(it: &Generated<'_>) -> TokenStream {
    let Generated { service, p, stub, server, params, .. } = it;
    // The literal spares the compiler a constant a method; `MethodDesc::new` computes the same id from the
    // same name.
    let arms = service.methods.iter().map(|method| {
        let (cfg, id, marker) = (&method.cfg, method.id(), method.marker());
        quote!(#cfg #id => __local.accept::<#marker>(__call),)
    });
    let class = class(it);
    quote! {
        impl #params #p::ServedBy<#server> for #stub {
            fn local(__local: #p::Arc<#p::Local<#server>>) -> #p::Arc<Self::Calls> { __local }
            fn dispatch(__local: &#p::Local<#server>, __call: #p::Incoming) {
                match __call.method() {
                    #(#arms)*
                    _ => __call.no_such_method(),
                }
            }
        }
        #class
    }
}

fn class(it: &Generated<'_>) -> TokenStream {
    let Generated { service, p, stub, server, .. } = it;
    let wire = &service.wire;
    match service.kind {
        Kind::DurableObject => {
            let sql = sql(p, service.sql);
            quote! {
                impl #p::Object for #server {
                    const CLASS: &'static ::core::primitive::str = #wire;
                    #sql
                    fn register(__class: &mut #p::Registration<Self>) { __class.serve::<#stub>() }
                }
            }
        }
        // A target has no class, and an interface is implemented elsewhere.
        Kind::RpcTarget | Kind::Interface => TokenStream::new(),
    }
}

/// Says of a class that its objects have a SQL database each.
pub(super) fn sql(p: &TokenStream, option: Option<Span>) -> TokenStream {
    let Some(span) = option else { return TokenStream::new() };
    let missing = "`sql` needs the feature `sqlite` of opendo, which is on by default";
    let check = quote_spanned!(span=> ::core::assert!(#p::HAS_SQL, #missing););
    quote! {
        const SQL: ::core::primitive::bool = {
            #check
            true
        };
    }
}
