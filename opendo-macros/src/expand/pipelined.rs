//! The pipeline of a struct: the pipelines of its fields.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Data, DeriveInput, Field, Fields, GenericParam, Ident, Index, Lifetime, Member,
    ParenthesizedGenericArguments, Path, Type, TypeFnPtr, TypeReference,
    ext::IdentExt,
    visit_mut::{self, VisitMut},
};

use super::at;
use crate::args::ItemArgs;
use crate::errors::Errors;

/// Where the derive is told to find `opendo`.
pub(super) fn crate_path(item: &DeriveInput, errors: &mut Errors) -> Option<Path> {
    let mut options = TokenStream::new();
    for attr in item.attrs.iter().filter(|attr| attr.path().is_ident("pipelined")) {
        match attr.meta.require_list() {
            Ok(list) => options.extend([list.tokens.clone(), quote!(,)]),
            Err(error) => errors.push(error),
        }
    }
    ItemArgs::parse(options, &["crate"], errors).krate
}

/// One field, as it is found in the struct and in its pipeline.
struct Part<'a> {
    field: &'a Field,
    member: Member,
    name: String,
    /// Its type, as what it is in a pipeline.
    field_of: TokenStream,
}

pub(super) fn derive(p: &TokenStream, item: &DeriveInput, errors: &mut Errors) -> TokenStream {
    let Some(fields) = fields(item, errors) else { return TokenStream::new() };
    let DeriveInput { vis, ident, .. } = item;
    // `Self` would be the pipeline there.
    let mut types: Vec<_> = fields.iter().map(|field| field.ty.clone()).collect();
    let mut names = Names { this: ident, elided: false };
    types.iter_mut().for_each(|ty| names.visit_type_mut(ty));
    if names.elided {
        // rustc reports it in the struct.
        return TokenStream::new();
    }
    let parts: Vec<_> =
        fields.iter().zip(&types).enumerate().map(|(index, (field, ty))| part(p, index, field, ty)).collect();
    let pipeline = format_ident!("{ident}Pipeline");
    let body = declared(fields, &parts);
    let made = parts.iter().map(|Part { member, name, field_of, .. }| {
        quote!(#member: #field_of::pipeline(#p::PipelineOf::field(&__of, #name)))
    });
    let found = parts
        .iter()
        .map(|Part { member, name, field_of, .. }| quote!((#name, #field_of::capabilities(&self.#member))));
    let shown = ident.unraw().to_string();
    let doc = format!("A [`{shown}`] that has not arrived: what can be called in it.");
    let shown = format!("{shown}Pipeline");
    // What the derive cannot see decides some lints: whether the module is public, and how public the fields' types are.
    let allowed = quote! {
        #[allow(
            dead_code, deprecated, missing_copy_implementations, non_camel_case_types, non_snake_case,
            private_bounds, private_interfaces, unreachable_pub, unused_qualifications
        )]
    };
    quote! {
        #[allow(unused_imports)]
        use #p::ProbeDefault as _;

        #[doc = #doc]
        #allowed
        #vis struct #pipeline #body

        #allowed
        const _: () = {
            #[allow(unused_imports)]
            use #p::ProbeDefault as _;
            impl #p::Pipelined for #ident {
                type Pipeline = #pipeline;
                fn pipeline(__of: #p::PipelineOf) -> #pipeline {
                    #pipeline { #(#made),* }
                }
                fn capabilities(&self) -> #p::Capabilities {
                    #p::Capabilities::Fields(::core::convert::From::from([#(#found),*]))
                }
            }
            impl ::core::fmt::Debug for #pipeline {
                fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    ::core::fmt::Formatter::write_str(__f, #shown)
                }
            }
        };
    }
}

/// The fields of an item that can have a pipeline.
fn fields<'a>(item: &'a DeriveInput, errors: &mut Errors) -> Option<&'a Fields> {
    let fields = match &item.data {
        Data::Struct(data) => &data.fields,
        Data::Enum(data) => {
            errors.at(
                data.enum_token.span,
                "an enum has no pipeline: which variant it is shows when it arrives; use a struct, with an `Option` for each stub",
            );
            return None;
        }
        Data::Union(data) => {
            errors.at(data.union_token.span, "a union has no pipeline: use a struct");
            return None;
        }
    };
    if item.generics.params.is_empty() {
        return Some(fields);
    }
    for parameter in &item.generics.params {
        let message = if let GenericParam::Lifetime(_) = parameter {
            "a result of a remote method borrows nothing: use owned types in a pipelined struct"
        } else {
            "a pipelined struct has no generic parameters: its fields decide what can be called"
        };
        errors.on(parameter, message);
    }
    None
}

fn part<'a>(p: &TokenStream, index: usize, field: &'a Field, ty: &Type) -> Part<'a> {
    let member = field.ident.clone().map_or(Member::Unnamed(Index::from(index)), Member::Named);
    let name = match &member {
        Member::Named(name) => name.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    };
    let field_of = quote_spanned! {at(ty)=>
        <#ty as #p::FieldOf<{ <#p::Probe<#ty>>::IS_PIPELINED }>>
    };
    Part { field, member, name, field_of }
}

/// The fields of the pipeline.
fn declared(fields: &Fields, parts: &[Part<'_>]) -> TokenStream {
    let declared = parts.iter().map(|Part { field, name, field_of, .. }| {
        let Field { vis, ident, .. } = field;
        let colon = ident.as_ref().map(|_| quote!(:));
        let deprecated = field.attrs.iter().filter(|attr| attr.path().is_ident("deprecated"));
        let doc = format!("`{name}`, before it has arrived.");
        quote!(#[doc = #doc] #(#deprecated)* #vis #ident #colon #field_of::Pipeline)
    });
    match fields {
        Fields::Named(_) => quote!({ #(#declared),* }),
        Fields::Unnamed(_) => quote!((#(#declared),*);),
        Fields::Unit => quote!(;),
    }
}

/// Puts the struct for `Self`, and looks for lifetimes that are not written.
struct Names<'a> {
    this: &'a Ident,
    elided: bool,
}

impl VisitMut for Names<'_> {
    fn visit_path_mut(&mut self, path: &mut Path) {
        let first = &mut path.segments[0].ident;
        if first == "Self" {
            let location = first.span();
            first.clone_from(self.this);
            first.set_span(location);
        }
        visit_mut::visit_path_mut(self, path);
    }

    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        self.elided |= reference.lifetime.is_none();
        visit_mut::visit_type_reference_mut(self, reference);
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        self.elided |= lifetime.ident == "_";
    }

    // Here a lifetime may be left out.
    fn visit_type_fn_ptr_mut(&mut self, _: &mut TypeFnPtr) {}
    fn visit_parenthesized_generic_arguments_mut(&mut self, _: &mut ParenthesizedGenericArguments) {}
}
