//! The options in the parentheses of our attributes.

use crate::errors::Errors;
use crate::rename::Case;
use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::ToTokens;
use std::fmt::Display;
use syn::{Ident, LitBool, LitStr, Path, Visibility, ext::IdentExt, parse::Parser};

/// Options of `#[durable_object]`, `#[rpc_target]` and `#[interface]`.
#[derive(Default)]
pub(crate) struct ItemArgs {
    pub(crate) name: Option<LitStr>,
    pub(crate) krate: Option<Path>,
    pub(crate) vis: Option<Visibility>,
    pub(crate) rename_all: Option<Case>,
    pub(crate) sql: Option<Span>,
    /// Whether calls may start on the thread that makes them.
    pub(crate) inline: Option<bool>,
}

impl ItemArgs {
    /// `known` is what this macro takes on this kind of item.
    pub(crate) fn parse(args: TokenStream, known: &[&str], errors: &mut Errors) -> Self {
        let mut this = Self::default();
        for option in options(args, known, errors) {
            match &*option.key() {
                "name" => this.name = option.wire_name(errors),
                "crate" => this.krate = option.parse("a path", Path::parse_mod_style, errors),
                "rename_all" => this.rename_all = option.case(errors),
                "sql" => this.sql = option.switch(errors),
                "inline" => this.inline = option.bool(errors),
                _ => this.vis = option.visibility(errors),
            }
        }
        this
    }
}

/// A name with hyphens, or a shouted one, is none that a method has in any language.
const METHOD_CASES: &[Case] = &[Case::Camel, Case::Snake, Case::Pascal];

/// Options of `#[method]`. The switches remember where they stand, for the errors of later checks.
#[derive(Default)]
pub(crate) struct MethodArgs {
    pub(crate) name: Option<LitStr>,
    pub(crate) skip: Option<Span>,
    pub(crate) idempotent: Option<Span>,
    pub(crate) concurrent: Option<Span>,
    pub(crate) cancel: Option<Span>,
    pub(crate) property: Option<Span>,
}

impl MethodArgs {
    const KNOWN: &[&str] = &["name", "skip", "idempotent", "concurrent", "cancel", "property"];

    pub(crate) fn parse(args: TokenStream, errors: &mut Errors) -> Self {
        let mut this = Self::default();
        let mut tuning = None;
        for option in options(args, Self::KNOWN, errors) {
            let key = option.key();
            if key != "skip" {
                tuning.get_or_insert(option.name.span());
            }
            match &*key {
                "name" => this.name = option.wire_name(errors),
                "skip" => this.skip = option.switch(errors),
                "idempotent" => this.idempotent = option.switch(errors),
                "concurrent" => this.concurrent = option.switch(errors),
                "cancel" => this.cancel = option.switch(errors),
                _ => this.property = option.switch(errors),
            }
        }
        if let (Some(_), Some(span)) = (this.skip, tuning) {
            errors.at(span, "a method with `skip` is not remote, so this option has nothing to act on; remove one of the two");
        }
        this
    }
}

/// `name`, or `name = value`.
struct Opt {
    name: Ident,
    value: Option<TokenStream>,
}

impl Opt {
    fn key(&self) -> String {
        self.name.to_string()
    }

    fn switch(&self, errors: &mut Errors) -> Option<Span> {
        match &self.value {
            None => Some(self.name.span()),
            Some(value) => {
                errors.on(value, format_args!("`{}` is a switch and takes no value", self.name));
                None
            }
        }
    }

    fn parse<P: Parser>(&self, what: impl Display, parser: P, errors: &mut Errors) -> Option<P::Output> {
        let wanted = || format!("`{name}` needs {what}: `{name} = …`", name = self.name);
        let Some(value) = self.value.as_ref().filter(|value| !value.is_empty()) else {
            errors.on(&self.name, wanted());
            return None;
        };
        match parser.parse2(value.clone()) {
            Ok(value) => Some(value),
            Err(_) => {
                errors.on(value, wanted());
                None
            }
        }
    }

    fn bool(&self, errors: &mut Errors) -> Option<bool> {
        let parser = |input: syn::parse::ParseStream<'_>| input.parse::<LitBool>();
        Some(self.parse("`true` or `false`", parser, errors)?.value)
    }

    fn string(&self, errors: &mut Errors) -> Option<LitStr> {
        self.parse("a string", |input: syn::parse::ParseStream<'_>| input.parse::<LitStr>(), errors)
    }

    fn wire_name(&self, errors: &mut Errors) -> Option<LitStr> {
        let name = self.string(errors)?;
        if name.value().is_empty() {
            errors.on(&name, "a name on the wire cannot be empty");
            return None;
        }
        Some(name)
    }

    fn case(&self, errors: &mut Errors) -> Option<Case> {
        let text = self.string(errors)?;
        let case = Case::parse(&text.value()).filter(|case| METHOD_CASES.contains(case));
        if case.is_none() {
            let known: Vec<_> = METHOD_CASES.iter().map(|case| format!("`{}`", case.word())).collect();
            errors.on(&text, format_args!("`rename_all` is one of {}", known.join(", ")));
        }
        case
    }

    fn visibility(&self, errors: &mut Errors) -> Option<Visibility> {
        let text = self.string(errors)?;
        match text.parse::<Visibility>() {
            Ok(vis) => Some(vis),
            Err(_) => {
                errors.on(
                    &text,
                    "expected a visibility, such as `pub(crate)` or `pub(super)`; an empty string is private",
                );
                None
            }
        }
    }
}

/// Splits a list of options. Unknown and repeated ones are reported and left out.
fn options(args: TokenStream, known: &[&str], errors: &mut Errors) -> Vec<Opt> {
    let mut found: Vec<Opt> = Vec::new();
    for entry in split_at_commas(args) {
        let mut tokens = entry.clone().into_iter();
        let Some(name) = tokens.next().and_then(option_name) else {
            errors.on(entry, format_args!("expected an option; {}", list(known)));
            continue;
        };
        let value = match tokens.next() {
            None => None,
            Some(TokenTree::Punct(punct)) if punct.as_char() == '=' => Some(tokens.collect()),
            Some(other) => {
                errors.on(other, format_args!("expected `=` or `,` after `{name}`"));
                continue;
            }
        };
        if !known.contains(&&*name.to_string()) {
            errors.on(&name, format_args!("there is no option `{name}`; {}", list(known)));
        } else if found.iter().any(|earlier| earlier.name == name) {
            errors.on(&name, format_args!("`{name}` is given twice"));
        } else {
            found.push(Opt { name, value });
        }
    }
    found
}

/// Keywords are names here: `crate = path`.
fn option_name(token: TokenTree) -> Option<Ident> {
    Ident::parse_any.parse2(token.into_token_stream()).ok()
}

fn list(known: &[&str]) -> String {
    if let [only] = known {
        return format!("the only option is `{only}`");
    }
    let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("the options are {}", known.join(", "))
}

fn split_at_commas(tokens: TokenStream) -> Vec<TokenStream> {
    let mut entries = vec![TokenStream::new()];
    for token in tokens {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => entries.push(TokenStream::new()),
            // What a `macro_rules!` passed on as one fragment.
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                entries.last_mut().expect("starts with one").extend(group.stream());
            }
            _ => entries.last_mut().expect("starts with one").extend([token]),
        }
    }
    // A trailing comma is fine, and so is no option at all; an empty entry elsewhere is rustc's to report.
    entries.retain(|entry| !entry.is_empty());
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    const ITEM: &[&str] = &["name", "crate", "vis", "rename_all", "sql"];

    fn item(args: TokenStream) -> (ItemArgs, String) {
        let mut errors = Errors::default();
        let parsed = ItemArgs::parse(args, ITEM, &mut errors);
        (parsed, errors.into_tokens().to_string())
    }

    fn method(args: TokenStream) -> (MethodArgs, String) {
        let mut errors = Errors::default();
        let parsed = MethodArgs::parse(args, &mut errors);
        (parsed, errors.into_tokens().to_string())
    }

    #[test]
    fn every_item_option_is_read() {
        let (args, errors) = item(quote!(
            name = "Wire",
            crate = crate::api::opendo,
            vis = "pub(crate)",
            rename_all = "camelCase",
            sql,
        ));
        assert_eq!(errors, "");
        assert_eq!(args.name.unwrap().value(), "Wire");
        assert_eq!(args.krate.unwrap().segments.len(), 3);
        assert!(matches!(args.vis, Some(Visibility::Restricted(_))));
        assert_eq!(args.rename_all, Some(Case::Camel));
        assert!(args.sql.is_some());
    }

    #[test]
    fn no_options_is_fine() {
        let (args, errors) = item(quote!());
        assert_eq!(errors, "");
        assert!(args.name.is_none() && args.krate.is_none() && args.vis.is_none());
    }

    #[test]
    fn every_method_option_is_read() {
        let (args, errors) = method(quote!(name = "peek", idempotent, concurrent, cancel, property));
        assert_eq!(errors, "");
        assert_eq!(args.name.unwrap().value(), "peek");
        assert!(args.idempotent.is_some() && args.concurrent.is_some() && args.cancel.is_some());
        assert!(args.property.is_some());
        assert!(args.skip.is_none());
    }

    #[test]
    fn unknown_options_list_the_known_ones() {
        let (_, errors) = item(quote!(nam = "x"));
        assert!(
            errors.contains(
                "there is no option `nam`; the options are `name`, `crate`, `vis`, `rename_all`, `sql`"
            ),
            "{errors}"
        );
    }

    #[test]
    fn mistakes_are_all_reported_and_the_rest_is_kept() {
        let (args, errors) = method(quote!(cancel = true, name, 7, nope, idempotent, idempotent));
        for part in [
            "`cancel` is a switch and takes no value",
            "`name` needs a string",
            "expected an option",
            "no option `nope`",
            "`idempotent` is given twice",
        ] {
            assert!(errors.contains(part), "{part}: {errors}");
        }
        assert!(args.idempotent.is_some());
    }

    #[test]
    fn values_are_checked() {
        assert!(item(quote!(name = 3)).1.contains("`name` needs a string"));
        assert!(item(quote!(name = "")).1.contains("cannot be empty"));
        assert!(item(quote!(vis = "public")).1.contains("expected a visibility"));
        assert!(
            item(quote!(rename_all = "kebab-case"))
                .1
                .contains("one of `camelCase`, `snake_case`, `PascalCase`")
        );
        assert!(item(quote!(crate = "opendo")).1.contains("`crate` needs a path"));
        assert!(item(quote!(name("x"))).1.contains("expected `=`"));
    }

    #[test]
    fn skip_excludes_the_others() {
        assert!(method(quote!(skip, cancel)).1.contains("not remote"));
        assert!(method(quote!(skip)).0.skip.is_some());
    }
}
