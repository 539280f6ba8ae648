//! The rules of remote methods, one function a rule, and those about several methods at once.

use crate::{
    errors::Errors,
    model::{Method, Service},
    parse::cfg_attr,
    types,
};
use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use std::collections::HashMap;
use syn::{
    Attribute, GenericArgument, Generics, Ident, Meta, Pat, PathArguments, Receiver, ReceiverKind, Safety,
    Signature, Type, spanned::Spanned,
};

/// Reports the parameters of an object or an interface. True if there are any.
pub(crate) fn not_generic(generics: &Generics, why: &str, errors: &mut Errors) -> bool {
    if !generics.params.is_empty() {
        errors.on(&generics.params, why);
    }
    !generics.params.is_empty()
}

/// The name of the object's type, if it has one.
pub(crate) fn object_type(ty: &Type, errors: &mut Errors) -> Option<Ident> {
    let path = match types::peel(ty) {
        Type::Path(path) if path.qself.is_none() => &path.path,
        _ => {
            errors.on(ty, "expected the name of a struct or an enum: the stub is named after it");
            return None;
        }
    };
    let last = path.segments.last()?;
    if let PathArguments::AngleBracketed(args) = &last.arguments
        && let Some(lifetime) = args.args.iter().find(|arg| matches!(arg, GenericArgument::Lifetime(_)))
    {
        errors.on(
            lifetime,
            "an object borrows nothing, because it outlives every call: give its type owned fields",
        );
        return None;
    }
    Some(last.ident.clone())
}

/// What a remote function may not be.
pub(crate) fn signature(sig: &Signature, errors: &mut Errors) -> bool {
    let before = errors.count();
    if let Some(token) = &sig.constness {
        errors.on(token, "a remote method cannot be `const`; add `#[method(skip)]` to keep it local");
    }
    if let Safety::Unsafe(token) = &sig.safety {
        errors.on(token, "a remote method cannot be `unsafe`: its callers cannot promise anything; add `#[method(skip)]` to keep it local");
    }
    if let Some(abi) = &sig.abi {
        errors.on(abi, "a remote method cannot be `extern`; add `#[method(skip)]` to keep it local");
    }
    if let Some(variadic) = &sig.variadic {
        errors.on(variadic, "a remote method has a fixed number of arguments");
    }
    if !sig.generics.params.is_empty() {
        let message = "a remote method cannot be generic: its callers may be other programs; add `#[method(skip)]` to keep it local";
        errors.on(&sig.generics.params, message);
    }
    errors.count() == before
}

/// Whether the receiver is `&self` (true) or `&mut self` (false). `None` if it is neither.
pub(crate) fn receiver(sig: &Signature, errors: &mut Errors) -> Option<bool> {
    let receiver = sig.receiver()?;
    let shared = borrowed_self(receiver);
    if shared.is_none() {
        let message = "a remote method takes `&self` or `&mut self`: the object outlives the call; add `#[method(skip)]` to keep it local";
        errors.on(receiver, message);
    }
    shared
}

fn borrowed_self(receiver: &Receiver) -> Option<bool> {
    match &receiver.kind {
        ReceiverKind::Reference(_, _, mutability) => Some(mutability.is_none()),
        ReceiverKind::Typed(_, ty) => match types::peel(ty) {
            Type::Reference(reference) => match types::peel(&reference.elem) {
                Type::Path(path) if path.path.is_ident("Self") => Some(reference.mutability.is_none()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// What is read as a property is not given anything, and changes nothing.
pub(crate) fn property(at: Span, shared: Option<bool>, takes_arguments: bool, errors: &mut Errors) {
    if shared == Some(false) {
        errors.at(at, "a property is read and not changed: `property` needs `&self`");
    }
    if takes_arguments {
        errors.at(at, "a property is read without arguments: `property` needs a method that takes none");
    }
}

/// The name of an argument. The name of one that the runtime gives does not matter.
pub(crate) fn pattern(pat: &Pat, is_call: bool, errors: &mut Errors) -> Option<Ident> {
    match pat {
        Pat::Ident(pat) if pat.subpat.is_none() && pat.by_ref.is_none() => return Some(pat.ident.clone()),
        _ if is_call => return Some(Ident::new("call", pat.span())),
        Pat::Wild(wild) => {
            errors.on(wild, "an argument needs a name, which the stub shows to its callers: `_name`");
        }
        pat => errors.on(
            pat,
            "an argument needs a plain name, which the stub shows to its callers; take it apart in the body",
        ),
    }
    None
}

/// The type of a `#[call]` argument. It is known by its mark, so any name is fine, an alias too.
pub(crate) fn call_info(ty: &Type, errors: &mut Errors) -> bool {
    let fits = matches!(ty, Type::Reference(reference) if reference.mutability.is_none() && reference.lifetime.is_none());
    if !fits {
        errors.on(ty, "an argument with `#[call]` has the type `&CallInfo`");
    }
    fits
}

pub(crate) fn one_call_argument<'a>(markers: impl Iterator<Item = &'a Attribute>, errors: &mut Errors) {
    for again in markers.skip(1) {
        errors.on(again, "a method has at most one `#[call]` argument");
    }
}

/// Our attributes cannot be in a `cfg_attr`, which is evaluated only after us. Takes such an attribute away,
/// lest the compiler look for it.
pub(crate) fn no_conditional_marker(attrs: &mut Vec<Attribute>, name: &str, errors: &mut Errors) {
    attrs.retain(|attr| {
        let inner = conditional_marker(&attr.meta, name);
        if let Some(inner) = &inner {
            let message = format!(
                "`#[{name}]` cannot depend on a `cfg_attr`; write the method twice, each with its `#[cfg]`"
            );
            errors.on(inner, message);
        }
        inner.is_none()
    });
}

fn conditional_marker(meta: &Meta, name: &str) -> Option<Meta> {
    let (_, metas) = cfg_attr(meta)?;
    metas.into_iter().find_map(|inner| {
        let found = conditional_marker(&inner, name);
        if inner.path().is_ident(name) { Some(inner) } else { found }
    })
}

/// Two methods cannot share a name on the wire, nor an id. Methods under a `cfg` may, unless both exist in
/// the end, which only the compiler knows: the result is errors under the conditions of both.
pub(crate) fn names(service: &mut Service, errors: &mut Errors) -> TokenStream {
    let mut conditional = TokenStream::new();
    let mut unusable = Vec::new();
    let mut by_id: HashMap<u32, Vec<usize>> = HashMap::new();
    for (later, second) in service.methods.iter().enumerate() {
        let earlier = by_id.entry(second.id()).or_default();
        // Two functions of one name are alternatives, or an error of the language.
        for first in
            earlier.iter().map(|&index| &service.methods[index]).filter(|first| first.ident != second.ident)
        {
            let message = clash(first, second);
            let cfg = first.cfg.and(&second.cfg);
            if cfg.is_always() {
                errors.push(noted(&message, second.wire_span, first.wire_span));
                unusable.push(later);
                break;
            }
            conditional.extend(quote_spanned!(second.wire_span=> #cfg ::core::compile_error! { #message }));
        }
        earlier.push(later);
    }
    let mut index = 0..;
    service.methods.retain(|_| !unusable.contains(&index.next().expect("endless")));
    conditional
}

fn clash(first: &Method, second: &Method) -> String {
    let (first, second, id) = (&first.wire, &second.wire, second.id());
    if first == second {
        return format!("two methods are named `{second}` on the wire");
    }
    format!(
        "`{first}` and `{second}` have the same method id ({id:#010x}): give one of them another name with \
         `#[method(name = \"…\")]`"
    )
}

/// A compile error cannot carry a note, so the first place is a message of its own.
fn noted(message: &str, second: Span, first: Span) -> syn::Error {
    let mut error = syn::Error::new(second, message);
    error.combine(syn::Error::new(first, "the first of the two is here"));
    error
}
