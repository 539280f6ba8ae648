//! The stub, and the hidden trait behind which it does not know who answers.

use super::{Generated, at, positions};
use crate::model::Method;
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::Ident;

/// What users see: the stub with its methods. The trait is here because the stub's type names it.
pub(super) fn items(it: &Generated<'_>) -> TokenStream {
    let Generated { service, p, stub, calls, .. } = it;
    let vis = &service.vis;
    let doc = format!("Client of `{}`.", service.ident);
    let methods = service.methods.iter().map(|method| stub_method(it, method));
    let signatures = service.methods.iter().map(|method| {
        let head = calls_method(it, method);
        quote!(#head;)
    });
    // The impl cannot see how public the object is, so the stub may well be more public than the types in its
    // methods.
    let span = at(&service.ident);
    quote_spanned! {span=>
        #[doc = #doc]
        #[allow(dead_code, unreachable_pub, private_interfaces, private_bounds)]
        #vis struct #stub(#p::StubCore<dyn #calls>);

        #[doc(hidden)]
        #[allow(clippy::too_many_arguments, dead_code, non_snake_case, unreachable_pub, private_interfaces, private_bounds)]
        #vis trait #calls: #p::Calls {
            fn __opendo_fresh(&self) -> #p::Arc<dyn #calls>;
            fn __opendo_deliver(&self, __call: #p::Incoming);
            #(#signatures)*
        }

        #[allow(
            clippy::too_many_arguments, clippy::used_underscore_binding, dead_code, non_snake_case, unreachable_pub,
            private_interfaces, private_bounds
        )]
        impl #stub { #(#methods)* }
    }
}

fn stub_method(it: &Generated<'_>, method: &Method) -> TokenStream {
    let Generated { calls, .. } = it;
    let Method { ident, cfg, docs, .. } = method;
    let default_doc = (!docs.iter().any(|attr| attr.path().is_ident("doc"))).then(|| {
        let doc = format!("Calls `{}`.", method.wire);
        quote!(#[doc = #doc])
    });
    let (names, types): (Vec<_>, Vec<_>) = method.wire_args().map(|arg| (&arg.ident, &arg.ty)).unzip();
    let call = it.call(&method.returns);
    let carrier = carrier(method);
    quote! {
        #cfg #default_doc #(#docs)*
        pub fn #ident(&self, #(#names: #types),*) -> #call {
            #calls::#carrier(self.0.calls(), self.0.options(), #(#names),*)
        }
    }
}

/// The name of a method in the hidden trait: not the user's, so that the compiler does not propose to implement that
/// trait when somebody calls the method on something else.
fn carrier(method: &Method) -> Ident {
    format_ident!("__call_{}", method.ident, span = at(&method.ident))
}

/// The head of a method in the hidden trait.
fn calls_method(it: &Generated<'_>, method: &Method) -> TokenStream {
    let Generated { p, .. } = it;
    let Method { ident, cfg, .. } = method;
    let carrier = carrier(method);
    let names = positions(method.wire_args());
    let types = method.wire_args().map(|arg| &arg.ty);
    let call = it.call(&method.returns);
    quote_spanned!(at(ident)=> #cfg fn #carrier(&self, __options: &#p::CallOptions, #(#names: #types),*) -> #call)
}

/// The rest of the stub, out of sight.
pub(super) fn impls(it: &Generated<'_>) -> TokenStream {
    let Generated { service, p, stub, calls, server, params } = it;
    let wire = &service.wire;
    let name = stub.to_string();
    let descs = service.methods.iter().map(|method| {
        let (cfg, marker) = (&method.cfg, method.marker());
        quote!(#cfg <#marker as #p::Method>::DESC)
    });
    let remote = calls_impl(it, &quote!(#p::Remote), &quote!(__opendo_deliver));
    // As in `dispatch`, a literal spares the compiler a constant.
    let translations = service.methods.iter().map(|method| {
        let (cfg, id, marker) = (&method.cfg, method.id(), method.marker());
        quote!(#cfg #id => __remote.translate::<#marker>(__call),)
    });
    let dispatch = quote!(<#stub as #p::ServedBy<#server>>::dispatch);
    let local = calls_impl(it, &quote!(#p::Local<#server>), &dispatch);
    quote! {
        impl ::core::clone::Clone for #stub {
            fn clone(&self) -> Self { Self(::core::clone::Clone::clone(&self.0)) }
        }
        impl ::core::fmt::Debug for #stub {
            fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                let mut __tuple = ::core::fmt::Formatter::debug_tuple(__f, #name);
                ::core::fmt::DebugTuple::finish(::core::fmt::DebugTuple::field(&mut __tuple, &self.0))
            }
        }
        impl #p::Stub for #stub {
            const INTERFACE: &'static #p::Interface = &#p::Interface { name: #wire, methods: &[#(#descs),*] };
            type Calls = dyn #calls;
            fn from_core(__core: #p::StubCore<Self::Calls>) -> Self { Self(__core) }
            fn core(&self) -> &#p::StubCore<Self::Calls> { &self.0 }
            fn remote(__remote: #p::Remote) -> #p::Arc<Self::Calls> { #p::Arc::new(__remote) }
            fn fresh(__calls: &Self::Calls) -> #p::Arc<Self::Calls> { __calls.__opendo_fresh() }
            fn deliver(__calls: &Self::Calls, __call: #p::Incoming) { __calls.__opendo_deliver(__call) }
        }
        impl #p::serde::Serialize for #stub {
            fn serialize<__S: #p::serde::Serializer>(
                &self,
                __serializer: __S,
            ) -> ::core::result::Result<__S::Ok, __S::Error> {
                #p::serialize_stub(self, __serializer)
            }
        }
        impl<'__de> #p::serde::Deserialize<'__de> for #stub {
            fn deserialize<__D: #p::serde::Deserializer<'__de>>(
                __deserializer: __D,
            ) -> ::core::result::Result<Self, __D::Error> {
                #p::deserialize_stub(__deserializer)
            }
        }
        fn __opendo_translate(__remote: &#p::Remote, __call: #p::Incoming) {
            match __call.method() {
                #(#translations)*
                _ => __call.no_such_method(),
            }
        }
        fn __opendo_deliver(__remote: &#p::Remote, __call: #p::Incoming) {
            #p::Remote::deliver_as(__remote, __call, __opendo_translate)
        }
        // Encodes the arguments and sends them.
        impl #calls for #p::Remote { #remote }
        // Moves the arguments and encodes nothing.
        impl #params #calls for #p::Local<#server> { #local }
    }
}

/// The hidden trait for one of the two that answer: both have a `call` that takes a method by its marker.
fn calls_impl(it: &Generated<'_>, answering: &TokenStream, deliver: &TokenStream) -> TokenStream {
    let Generated { service, p, calls, .. } = it;
    let methods = service.methods.iter().map(|method| {
        let head = calls_method(it, method);
        let marker = method.marker();
        let names = positions(method.wire_args());
        quote_spanned!(at(&method.ident)=> #head { <#answering>::call::<#marker>(self, __options, (#(#names,)*)) })
    });
    quote! {
        fn __opendo_fresh(&self) -> #p::Arc<dyn #calls> { <#answering>::fresh(self) }
        fn __opendo_deliver(&self, __call: #p::Incoming) { #deliver(self, __call) }
        #(#methods)*
    }
}
