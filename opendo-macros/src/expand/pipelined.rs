//! The pipeline of a struct: the pipelines of its fields.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Data, DeriveInput, Fields, Index, Member, spanned::Spanned};

use super::at;
use crate::errors::Errors;

pub(super) fn derive(p: &TokenStream, item: TokenStream, errors: &mut Errors) -> TokenStream {
    let item: DeriveInput = match syn::parse2(item) {
        Ok(item) => item,
        Err(error) => return error.into_compile_error(),
    };
    let DeriveInput { vis, ident, generics, data, .. } = &item;
    if let Some(parameter) = generics.params.first() {
        errors.at(
            parameter.span(),
            "a pipelined struct has no generic parameters: its fields decide what can be called",
        );
        return TokenStream::new();
    }
    let fields = match data {
        Data::Struct(data) => &data.fields,
        Data::Enum(data) => {
            errors.at(
                data.enum_token.span,
                "an enum has no pipeline: which variant it is shows when it arrives",
            );
            return TokenStream::new();
        }
        Data::Union(data) => {
            errors.at(data.union_token.span, "a union has no pipeline");
            return TokenStream::new();
        }
    };
    let pipeline = format_ident!("{ident}Pipeline");
    let doc = format!("A [`{ident}`] that has not arrived: what can be called in it.");
    let parts: Vec<_> = fields
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let member = field.ident.clone().map_or(Member::Unnamed(Index::from(index)), Member::Named);
            let name = match &member {
                Member::Named(name) => syn::ext::IdentExt::unraw(name).to_string(),
                Member::Unnamed(index) => index.index.to_string(),
            };
            let ty = &field.ty;
            let field_of = quote_spanned! {at(ty)=>
                <#ty as #p::FieldOf<{ <#p::Probe<#ty>>::IS_PIPELINED }>>
            };
            (field, member, name, field_of)
        })
        .collect();
    let declared = parts.iter().map(|(field, _, name, field_of)| {
        let (vis, ident) = (&field.vis, field.ident.as_ref().map(|ident| quote!(#ident:)));
        let cfgs = field.attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
        let doc = format!("`{name}`, before it has arrived.");
        quote!(#(#cfgs)* #[doc = #doc] #vis #ident #field_of::Pipeline)
    });
    let body = match fields {
        Fields::Named(_) => quote!({ #(#declared),* }),
        Fields::Unnamed(_) => quote!((#(#declared),*);),
        Fields::Unit => quote!(;),
    };
    let cfgs = |field: &syn::Field| -> TokenStream {
        field.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).map(ToTokens::to_token_stream).collect()
    };
    let made = parts.iter().map(|(field, member, name, field_of)| {
        let cfgs = cfgs(field);
        quote!(#cfgs #member: #field_of::pipeline(__of.field(#name)))
    });
    let found = parts.iter().map(|(field, member, name, field_of)| {
        let cfgs = cfgs(field);
        quote!(#cfgs (#name, #field_of::capabilities(&self.#member)))
    });
    quote! {
        #[allow(unused_imports)]
        use #p::ProbeDefault as _;

        #[doc = #doc]
        #[allow(dead_code)]
        #vis struct #pipeline #body

        const _: () = {
            #[allow(unused_imports)]
            use #p::ProbeDefault as _;
            impl #p::Pipelined for #ident {
                type Pipeline = #pipeline;
                fn pipeline(__of: #p::PipelineOf) -> #pipeline {
                    #pipeline { #(#made),* }
                }
                fn capabilities(&self) -> #p::Capabilities {
                    #p::Capabilities::Fields(::std::vec![#(#found),*])
                }
            }
        };
    }
}
