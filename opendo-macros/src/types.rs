//! Types in signatures: which ones can cross a wire, and how they are written down.

use crate::{errors::Errors, model::Returns};
use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use std::fmt::Write;
use syn::{
    ExprPath, GenericArgument, Ident, Lifetime, PathArguments, Type, TypePath, TypeReference,
    ext::IdentExt,
    parse_quote,
    visit_mut::{self, VisitMut},
};

/// Where a type stands in a signature, for the words of an error.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Argument,
    Reply,
}

/// Takes a type out of parentheses and of the invisible groups of `macro_rules!`.
pub(crate) fn peel(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => peel(&group.elem),
        Type::Paren(paren) => peel(&paren.elem),
        ty => ty,
    }
}

/// Reports what cannot cross a wire, and replaces `Self` in constants, because in a stub it would mean the
/// stub. Returns false if the type is of no use, reported or not.
pub(crate) fn check(ty: &mut Type, place: Place, object: Option<&Type>, errors: &mut Errors) -> bool {
    let mut check = Check { place, object, errors, ok: true };
    check.visit_type_mut(ty);
    check.ok
}

struct Check<'a> {
    place: Place,
    /// What `Self` is, if it has a name.
    object: Option<&'a Type>,
    errors: &'a mut Errors,
    ok: bool,
}

impl Check<'_> {
    fn fail(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.ok = false;
        self.errors.on(tokens, message);
    }

    fn borrowed(&mut self, ty: &TypeReference) {
        let owned = match peel(&ty.elem) {
            Type::Path(path) if path.path.is_ident("str") => "String".to_owned(),
            Type::Slice(slice) => format!("Vec<{}>", text(&slice.elem)),
            other => text(other),
        };
        match self.place {
            Place::Argument if owned.ends_with("CallInfo") => {
                self.fail(
                    ty,
                    "mark this argument with `#[call]`, so that the runtime gives it and not the caller",
                );
            }
            Place::Argument => {
                self.fail(ty, format_args!("arguments of remote methods are owned: take `{owned}`"));
            }
            Place::Reply => {
                self.fail(ty, format_args!("remote methods return owned values: return `{owned}`"));
            }
        }
    }
}

impl VisitMut for Check<'_> {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        match ty {
            Type::Reference(reference) => self.borrowed(reference),
            Type::ImplTrait(it) => {
                let message = match self.place {
                    Place::Argument => {
                        "`impl Trait` has no form on the wire: take a concrete type, or a stub"
                    }
                    Place::Reply => {
                        "`impl Trait` has no form on the wire: return a concrete type, or write `async fn` for a future"
                    }
                };
                self.fail(it, message);
            }
            Type::TraitObject(object) => {
                self.fail(
                    object,
                    "a trait object has no form on the wire: use an enum, or the stub of an interface",
                );
            }
            Type::Ptr(pointer) => self.fail(pointer, "a pointer has no meaning in another process"),
            Type::Never(never) => {
                self.fail(never, "a call of this method could never be answered; return `()`");
            }
            // rustc reports these in the user's own signature.
            Type::Infer(_) => self.ok = false,
            // Whether it can be sent is not ours to say, and its lifetimes are its own.
            Type::FnPtr(_) => {}
            Type::Path(path) if is_self(path) => {
                self.fail(
                    &path.path.segments[0],
                    "`Self` stays where it lives and cannot be sent: use its stub, or a type of its own",
                );
            }
            ty => visit_mut::visit_type_mut(self, ty),
        }
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident != "static" {
            self.fail(&*lifetime, "values that cross a wire borrow nothing: use an owned type, or `'static`");
        }
    }

    fn visit_expr_path_mut(&mut self, path: &mut ExprPath) {
        if path.qself.is_some() || path.path.segments[0].ident != "Self" {
            return visit_mut::visit_expr_path_mut(self, path);
        }
        let Some(object) = self.object else {
            return self.fail(
                &path.path.segments[0],
                "an interface has a stub of its own, in which `Self` has no meaning: use a constant outside",
            );
        };
        let rest = path.path.segments.iter().skip(1);
        *path = parse_quote!(<#object>::#(#rest)::*);
    }
}

fn is_self(path: &TypePath) -> bool {
    path.qself.is_none() && path.path.segments[0].ident == "Self"
}

/// Reads a return type. Only what the tokens say for certain is decided here: a name may be an alias.
pub(crate) fn returns(ty: Type) -> Returns {
    match peel(&ty) {
        Type::Path(TypePath { qself: None, path, .. }) => {
            let last = path.segments.last().expect("a path is not empty");
            if last.ident == "Result"
                && let PathArguments::AngleBracketed(args) = &last.arguments
                && let [GenericArgument::Type(ok), GenericArgument::Type(err)] =
                    &*args.args.iter().collect::<Vec<_>>()
            {
                let (ok, err) = (Box::new((*ok).clone()), Box::new((*err).clone()));
                return Returns::Result { whole: Box::new(ty), ok, err };
            }
            if is_plain(&last.ident) { Returns::Plain(ty) } else { Returns::ByType(ty) }
        }
        Type::Tuple(_) | Type::Array(_) => Returns::Plain(ty),
        _ => Returns::ByType(ty),
    }
}

/// Names of the standard library that everybody reads as a plain value. They only keep the signatures of
/// stubs short.
fn is_plain(ident: &Ident) -> bool {
    const PLAIN: &[&str] = &[
        "bool",
        "char",
        "u8",
        "u16",
        "u32",
        "u64",
        "u128",
        "usize",
        "i8",
        "i16",
        "i32",
        "i64",
        "i128",
        "isize",
        "f32",
        "f64",
        "String",
        "Option",
        "Box",
        "Vec",
        "VecDeque",
        "HashMap",
        "HashSet",
        "BTreeMap",
        "BTreeSet",
        "Duration",
        "SystemTime",
    ];
    PLAIN.iter().any(|plain| ident == plain)
}

/// The text of a signature, from which its fingerprint is made: `(u64, String) -> Option<u8>`. It depends on
/// the types alone, not on the names of arguments, whitespace, parentheses, trailing commas or raw
/// identifiers.
pub(crate) fn signature<'a>(args: impl Iterator<Item = &'a Type>, returns: &Type) -> String {
    let args: Vec<_> = args.map(text).collect();
    format!("({}) -> {}", args.join(", "), text(returns))
}

fn text(ty: &Type) -> String {
    let mut ty = ty.clone();
    Normalise.visit_type_mut(&mut ty);
    let mut out = String::new();
    write_tokens(ty.into_token_stream(), &mut out);
    out
}

struct Normalise;

impl VisitMut for Normalise {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        let peeled = peel(ty);
        if !std::ptr::eq(peeled, ty) {
            *ty = peeled.clone();
        }
        visit_mut::visit_type_mut(self, ty);
    }

    fn visit_type_tuple_mut(&mut self, tuple: &mut syn::TypeTuple) {
        if tuple.elems.len() > 1 {
            tuple.elems.pop_punct();
        }
        visit_mut::visit_type_tuple_mut(self, tuple);
    }

    fn visit_angle_bracketed_generic_arguments_mut(
        &mut self,
        args: &mut syn::AngleBracketedGenericArguments,
    ) {
        args.colon2_token = None;
        args.args.pop_punct();
        visit_mut::visit_angle_bracketed_generic_arguments_mut(self, args);
    }
}

/// Spaces only where words would run together, and after separators.
fn write_tokens(tokens: TokenStream, out: &mut String) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(ident) => word(&ident.unraw().to_string(), out),
            TokenTree::Literal(literal) => word(&literal.to_string(), out),
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                out.push_str(open);
                write_tokens(group.stream(), out);
                out.push_str(close);
            }
            TokenTree::Punct(punct) => {
                let last = tokens.peek().is_none();
                match punct.as_char() {
                    mark @ (',' | ';') if !last => write!(out, "{mark} ").expect("a string takes everything"),
                    '-' if punct.spacing() == Spacing::Joint => out.push_str(" -"),
                    '>' if out.ends_with(" -") => out.push_str("> "),
                    '+' | '=' => write!(out, " {} ", punct.as_char()).expect("a string takes everything"),
                    mark => out.push(mark),
                }
            }
        }
    }
}

fn word(word: &str, out: &mut String) {
    if out.ends_with(|last: char| last.is_alphanumeric() || last == '_') {
        out.push(' ');
    }
    out.push_str(word);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sig(args: &[Type], reply: &Type) -> String {
        signature(args.iter(), reply)
    }

    #[test]
    fn text_of_a_signature() {
        assert_eq!(sig(&[], &parse_quote!(())), "() -> ()");
        assert_eq!(
            sig(
                &[parse_quote!(u64), parse_quote!(std::collections::HashMap<String, Vec<[u8; 4]>>)],
                &parse_quote!(Result<u64, CounterError>)
            ),
            "(u64, std::collections::HashMap<String, Vec<[u8; 4]>>) -> Result<u64, CounterError>"
        );
        assert_eq!(text(&parse_quote!(fn(u8, &'static str) -> u8)), "fn(u8, &'static str) -> u8");
        assert_eq!(text(&parse_quote!(<T as Iterator>::Item)), "<T as Iterator>::Item");
        assert_eq!(text(&parse_quote!(Cow<'static, str>)), "Cow<'static, str>");
        assert_eq!(text(&parse_quote!((u8,))), "(u8,)");
    }

    #[test]
    fn text_is_independent_of_how_a_type_is_spelled() {
        let plain = text(&parse_quote!(Result<(u8, type_), [Foo<4>; N]>));
        assert_eq!(text(&parse_quote!((Result::<((u8), r#type_,), [(Foo<4>); N]>))), plain);
        let elem: Type = parse_quote!(Foo<4>);
        let group = Type::Group(syn::TypeGroup {
            attrs: Vec::new(),
            group_token: syn::token::Group::default(),
            elem: Box::new(elem),
        });
        assert_eq!(text(&parse_quote!(Result<(u8, type_), [#group; N]>)), plain);
    }

    #[test]
    fn only_certain_returns_are_decided() {
        assert!(matches!(returns(parse_quote!(Vec<Result<u8, u8>>)), Returns::Plain(_)));
        assert!(matches!(returns(parse_quote!((u8, u8))), Returns::Plain(_)));
        assert!(matches!(returns(parse_quote!((std::result::Result<u8, E>))), Returns::Result { .. }));
        assert!(matches!(returns(parse_quote!(io::Result<u8>)), Returns::ByType(_)));
        assert!(matches!(returns(parse_quote!(Profile)), Returns::ByType(_)));
        assert!(matches!(returns(parse_quote!(R<u8, u8>)), Returns::ByType(_)));
    }

    #[test]
    fn constants_of_the_object_are_replaced() {
        let mut ty: Type = parse_quote!([u8; Self::LEN]);
        let mut errors = Errors::default();
        assert!(check(&mut ty, Place::Argument, Some(&parse_quote!(a::Counter)), &mut errors));
        assert_eq!(text(&ty), "[u8; <a::Counter>::LEN]");
        assert!(!check(&mut parse_quote!([u8; Self::LEN]), Place::Argument, None, &mut errors));
        assert_eq!(errors.count(), 1);
    }
}
