//! Collects every mistake of one item, so that one build shows them all.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use std::fmt::Display;

#[derive(Default)]
pub(crate) struct Errors {
    combined: Option<syn::Error>,
    count: usize,
}

impl Errors {
    /// A mistake that is visible in `tokens`.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn at(&mut self, span: Span, message: impl Display) {
        self.push(syn::Error::new(span, message));
    }

    pub(crate) fn push(&mut self, error: syn::Error) {
        self.count += 1;
        match &mut self.combined {
            Some(combined) => combined.combine(error),
            none => *none = Some(error),
        }
    }

    /// How many so far: compare before and after to learn whether something in between was wrong.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn into_tokens(self) -> TokenStream {
        self.combined.map(syn::Error::into_compile_error).unwrap_or_default()
    }
}
