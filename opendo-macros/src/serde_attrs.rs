//! What serde is told about a type, as far as it decides its form; and what `#[typescript(…)]` adds.

use syn::{Attribute, Expr, LitStr, Path, Token, meta::ParseNestedMeta};

use crate::errors::Errors;
use crate::rename::Case;

/// What stands above a struct or an enum.
#[derive(Default)]
pub(crate) struct ContainerAttrs {
    pub(crate) rename: Option<String>,
    pub(crate) rename_all: Option<Case>,
    pub(crate) rename_all_fields: Option<Case>,
    pub(crate) default: bool,
    pub(crate) transparent: bool,
    pub(crate) krate: Option<Path>,
}

/// What stands above a variant.
#[derive(Default)]
pub(crate) struct VariantAttrs {
    pub(crate) rename: Option<String>,
    pub(crate) rename_all: Option<Case>,
    pub(crate) skip: bool,
}

/// What stands above a field.
#[derive(Default)]
pub(crate) struct FieldAttrs {
    pub(crate) rename: Option<String>,
    /// It may be left out, in one direction at least.
    pub(crate) optional: bool,
    pub(crate) skip: bool,
    /// `#[typescript(type = "…")]`.
    pub(crate) written: Option<String>,
}

/// Options that say nothing about the form.
const SILENT: &[&str] = &["bound", "crate", "deny_unknown_fields", "expecting"];

impl ContainerAttrs {
    pub(crate) fn parse(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let mut this = Self::default();
        each(attrs, "serde", errors, |option| {
            match &*name(option)? {
                "rename" => this.rename = Some(text(option)?),
                "rename_all" => this.rename_all = Some(case(option)?),
                "rename_all_fields" => this.rename_all_fields = Some(case(option)?),
                "default" => {
                    ignored(option)?;
                    this.default = true;
                }
                "transparent" => this.transparent = true,
                other if SILENT.contains(&other) => ignored(option)?,
                _ => return Err(unknown(option)),
            }
            Ok(())
        });
        each(attrs, "typescript", errors, |option| {
            if !option.path.is_ident("crate") {
                return Err(option.error("the only option here is `crate`: `#[typescript(crate = path)]`"));
            }
            this.krate = Some(option.value()?.call(Path::parse_mod_style)?);
            Ok(())
        });
        this
    }
}

impl VariantAttrs {
    pub(crate) fn parse(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let mut this = Self::default();
        each(attrs, "serde", errors, |option| {
            match &*name(option)? {
                "rename" => this.rename = Some(text(option)?),
                "rename_all" => this.rename_all = Some(case(option)?),
                "skip" => this.skip = true,
                // It still comes or goes in the other direction.
                "skip_serializing" | "skip_deserializing" => {}
                "alias" | "bound" | "borrow" => ignored(option)?,
                _ => return Err(unknown(option)),
            }
            Ok(())
        });
        this
    }
}

impl FieldAttrs {
    pub(crate) fn parse(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let mut this = Self::default();
        each(attrs, "typescript", errors, |option| {
            if !option.path.is_ident("type") {
                return Err(
                    option.error("the only option of a field is `type`: `#[typescript(type = \"string\")]`")
                );
            }
            this.written = Some(option.value()?.parse::<LitStr>()?.value());
            Ok(())
        });
        let is_written = this.written.is_some();
        each(attrs, "serde", errors, |option| {
            match &*name(option)? {
                "rename" => this.rename = Some(text(option)?),
                "skip" => this.skip = true,
                "default" | "skip_serializing_if" => {
                    ignored(option)?;
                    this.optional = true;
                }
                "skip_serializing" | "skip_deserializing" => this.optional = true,
                "alias" | "bound" | "borrow" => ignored(option)?,
                "with" | "serialize_with" | "deserialize_with" if is_written => ignored(option)?,
                "with" | "serialize_with" | "deserialize_with" => {
                    return Err(option.error(
                        "what a function makes of a field is not known here: say it with `#[typescript(type = \"…\")]`",
                    ));
                }
                _ => return Err(unknown(option)),
            }
            Ok(())
        });
        this
    }
}

/// Goes through the options of all attributes of that name.
fn each(
    attrs: &[Attribute],
    of: &str,
    errors: &mut Errors,
    mut read: impl FnMut(&ParseNestedMeta<'_>) -> syn::Result<()>,
) {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident(of)) {
        if let Err(error) = attr.parse_nested_meta(|option| read(&option)) {
            errors.push(error);
        }
    }
}

fn name(option: &ParseNestedMeta<'_>) -> syn::Result<String> {
    option.path.get_ident().map(ToString::to_string).ok_or_else(|| unknown(option))
}

fn unknown(option: &ParseNestedMeta<'_>) -> syn::Error {
    option.error(
        "what this makes of the type cannot be said in TypeScript here: leave it out, or implement \
         `opendo::typescript::TypeScript` by hand",
    )
}

/// `= "…"`. Two names, one for each direction, would be two types.
fn text(option: &ParseNestedMeta<'_>) -> syn::Result<String> {
    if !option.input.peek(Token![=]) {
        return Err(unknown(option));
    }
    Ok(option.value()?.parse::<LitStr>()?.value())
}

fn case(option: &ParseNestedMeta<'_>) -> syn::Result<Case> {
    let word = text(option)?;
    // An unknown one is serde's to report.
    Case::parse(&word).ok_or_else(|| option.error("this is none of serde's cases"))
}

/// Skips the value, if there is one.
fn ignored(option: &ParseNestedMeta<'_>) -> syn::Result<()> {
    if option.input.peek(Token![=]) {
        option.value()?.parse::<Expr>()?;
    } else if option.input.peek(syn::token::Paren) {
        return Err(unknown(option));
    }
    Ok(())
}
