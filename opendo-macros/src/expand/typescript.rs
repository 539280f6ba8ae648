//! How interfaces and types are described in TypeScript.
//!
//! All of it goes through `typescript!`, which drops it where the feature is off.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Attribute, Data, DeriveInput, Expr, Fields, Ident, Lit, Meta, ext::IdentExt};

use super::{Generated, at};
use crate::errors::Errors;
use crate::rename::Case;
use crate::serde_attrs::{ContainerAttrs, FieldAttrs, VariantAttrs};

/// The stub, as the interface that it calls.
pub(super) fn interface(it: &Generated<'_>) -> TokenStream {
    let Generated { service, p, stub, .. } = it;
    let name = service.ident.unraw().to_string();
    let item_docs = docs(&service.docs);
    let methods = service.methods.iter().map(|method| {
        let (cfg, wire, property, docs) =
            (&method.cfg, &method.wire, method.flags.property, docs(&method.docs));
        let args = method.wire_args().map(|arg| {
            let (name, ty) = (arg.ident.unraw().to_string(), &arg.ty);
            let p = it.p_at(at(ty));
            quote_spanned!(at(ty)=> (#name, <#p::Probe<#ty>>::TYPESCRIPT))
        });
        let (ok, _) = it.outcome(&method.returns);
        let ok_at = at(method.returns.ty());
        let returns = quote_spanned!(ok_at=> <#p::Probe<#ok>>::TYPESCRIPT);
        quote!(#cfg __methods.method(#wire, #docs, #property, &[#(#args),*], #returns);)
    });
    quote! {
        #p::typescript! {
            impl #p::ts::TypeScript for #stub {
                fn describe(__types: &mut #p::ts::Types) -> #p::ts::Type {
                    #[allow(unused_imports)]
                    use #p::ts::Undescribed as _;
                    #p::ts::Types::interface::<Self>(__types, #name, #item_docs, |__methods| { #(#methods)* })
                }
            }
        }
    }
}

/// The lines of its docs, and what is said of its deprecation.
fn docs(attrs: &[Attribute]) -> TokenStream {
    let lines = attrs.iter().filter_map(|attr| match &attr.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => {
            let text = &doc.value;
            Some(quote!(#text))
        }
        meta if meta.path().is_ident("deprecated") => {
            let note = deprecation(meta);
            let line = format!("@deprecated {note}");
            let line = line.trim_end();
            Some(quote!(#line))
        }
        _ => None,
    });
    quote!(&[#(#lines),*])
}

fn deprecation(meta: &Meta) -> String {
    let text = |expr: &Expr| match expr {
        Expr::Lit(lit) => match &lit.lit {
            Lit::Str(text) => text.value(),
            _ => String::new(),
        },
        _ => String::new(),
    };
    match meta {
        Meta::NameValue(note) => text(&note.value),
        Meta::List(_) => {
            let mut found = String::new();
            let _ = match meta.require_list() {
                Ok(list) => list.parse_nested_meta(|option| {
                    let value: Expr = option.value()?.parse()?;
                    if option.path.is_ident("note") {
                        found = text(&value);
                    }
                    Ok(())
                }),
                Err(_) => Ok(()),
            };
            found
        }
        Meta::Path(_) => String::new(),
    }
}

/// `derive(TypeScript)`.
pub(super) fn derive(
    p: &TokenStream,
    item: &DeriveInput,
    attrs: &ContainerAttrs,
    errors: &mut Errors,
) -> TokenStream {
    let ident = &item.ident;
    if !item.generics.params.is_empty() {
        errors.on(
            &item.generics.params,
            "a type with parameters has no one form in TypeScript: implement `opendo::typescript::TypeScript` by hand",
        );
        return TokenStream::new();
    }
    let name = attrs.rename.clone().unwrap_or_else(|| ident.unraw().to_string());
    let before = errors.count();
    let body = match &item.data {
        Data::Struct(data) => {
            content(p, &data.fields, attrs.rename_all, attrs.default, attrs.transparent, errors)
        }
        Data::Enum(data) => {
            let variants: Vec<_> =
                data.variants.iter().filter_map(|variant| self::variant(p, attrs, variant, errors)).collect();
            quote!(#p::ts::Type::union(::std::vec![#(#variants),*]))
        }
        Data::Union(data) => {
            errors.at(data.union_token.span, "a union has no form on the wire: use an enum");
            return TokenStream::new();
        }
    };
    if errors.count() > before {
        return TokenStream::new();
    }
    let docs = docs(&item.attrs);
    // A struct of one unnamed field is that field, on the wire and here.
    let is_newtype = matches!(&item.data, Data::Struct(data) if data.fields.len() == 1 && (attrs.transparent || matches!(data.fields, Fields::Unnamed(_))));
    let described = if is_newtype {
        body
    } else {
        quote!(#p::ts::Types::declare::<Self>(__types, #name, #docs, |__types| #body))
    };
    quote! {
        #p::typescript! {
            #[automatically_derived]
            #[allow(deprecated)]
            impl #p::ts::TypeScript for #ident {
                fn describe(__types: &mut #p::ts::Types) -> #p::ts::Type {
                    #[allow(unused_imports)]
                    use #p::ts::Undescribed as _;
                    #described
                }
            }
        }
    }
}

fn variant(
    p: &TokenStream,
    container: &ContainerAttrs,
    variant: &syn::Variant,
    errors: &mut Errors,
) -> Option<TokenStream> {
    let attrs = VariantAttrs::parse(&variant.attrs, errors);
    if attrs.skip {
        return None;
    }
    let name = attrs.rename.unwrap_or_else(|| renamed(&variant.ident, container.rename_all, Case::variant));
    if matches!(variant.fields, Fields::Unit) {
        return Some(quote!(#p::ts::Type::literal(#name)));
    }
    let case = attrs.rename_all.or(container.rename_all_fields);
    let content = content(p, &variant.fields, case, false, false, errors);
    Some(quote!(#p::ts::Type::variant(#name, #content)))
}

/// What a struct or a variant holds.
fn content(
    p: &TokenStream,
    fields: &Fields,
    case: Option<Case>,
    all_default: bool,
    transparent: bool,
    errors: &mut Errors,
) -> TokenStream {
    let parsed: Vec<_> = fields.iter().map(|field| FieldAttrs::parse(&field.attrs, errors)).collect();
    let kept = || fields.iter().zip(&parsed).filter(|(_, attrs)| !attrs.skip);
    let types = || {
        kept().map(|(field, attrs)| {
            let ty = &field.ty;
            match &attrs.written {
                Some(text) => quote!(#p::ts::Type::text(#text)),
                None => quote_spanned!(at(ty)=> <#p::Probe<#ty>>::TYPESCRIPT(__types)),
            }
        })
    };
    match fields {
        Fields::Unit => quote!(#p::ts::Type::unit()),
        _ if transparent => {
            let mut types = types();
            types.next().unwrap_or_else(|| quote!(#p::ts::Type::unit()))
        }
        Fields::Unnamed(all) if all.unnamed.len() == 1 => {
            types().next().unwrap_or_else(|| quote!(#p::ts::Type::tuple(::std::vec![])))
        }
        Fields::Unnamed(_) => {
            let types = types();
            quote!(#p::ts::Type::tuple(::std::vec![#(#types),*]))
        }
        Fields::Named(_) => {
            let fields = kept().zip(types()).map(|((field, attrs), ty)| {
                let ident = field.ident.as_ref().expect("it is named");
                let name = attrs.rename.clone().unwrap_or_else(|| renamed(ident, case, Case::field));
                let (docs, optional) = (docs(&field.attrs), attrs.optional || all_default);
                quote!(#p::ts::Field::new(#name, #docs, #optional, #ty))
            });
            quote!(#p::ts::Type::object(::std::vec![#(#fields),*]))
        }
    }
}

fn renamed(ident: &Ident, case: Option<Case>, rename: fn(Case, &str) -> String) -> String {
    let name = ident.unraw().to_string();
    case.map_or(name.clone(), |case| rename(case, &name))
}
