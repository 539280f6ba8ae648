//! Reads the user's item into the model, and takes our attributes out of it.

use crate::{
    args::{ItemArgs, MethodArgs},
    check,
    errors::Errors,
    model::{Arg, Cfg, Flags, Implementation, Kind, Method, Model, Returns, Server, Service},
    rename::Case,
    types::{self, Place},
};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{
    Attribute, FnArg, Ident, ImplItem, Item, ItemImpl, LitStr, Meta, Pat, PatType, Path, ReturnType,
    Signature, Token, TraitItem, Type, Visibility, ext::IdentExt, parse_quote, punctuated::Punctuated,
    spanned::Spanned,
};

/// Each `cfg` on an argument doubles the methods that are generated, of which the compiler then drops all but
/// one.
const MAX_CFG_ARGS: usize = 4;

/// What came of an item.
pub(crate) struct Parsed {
    /// The item without our attributes. An interface is not here but in the model, because its trait changes.
    pub(crate) item: TokenStream,
    pub(crate) krate: Option<Path>,
    pub(crate) model: Option<Model>,
}

/// The block below `#[durable_object]` or `#[rpc_target]`.
pub(crate) fn object(kind: Kind, args: TokenStream, item: TokenStream, errors: &mut Errors) -> Parsed {
    let attribute = kind.attribute();
    let parsed = match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Impl(parsed)) => parsed,
        Ok(Item::Trait(parsed)) => {
            let message =
                format!("`{attribute}` goes on an `impl` block; a trait takes `#[opendo::interface]`");
            errors.on(parsed.trait_token, message);
            return Parsed { item, krate: None, model: None };
        }
        Ok(other) => {
            errors.at(
                keyword(&other),
                format_args!("`{attribute}` goes on an `impl` block: `impl Counter {{ … }}`"),
            );
            return Parsed { item, krate: None, model: None };
        }
        Err(error) => {
            errors.push(error);
            return Parsed { item, krate: None, model: None };
        }
    };
    match parsed.trait_.clone() {
        None => inherent(kind, args, parsed, errors),
        Some((interface, _)) => implementation(kind, args, parsed, interface, errors),
    }
}

/// The trait below `#[interface]`.
pub(crate) fn interface(args: TokenStream, item: TokenStream, errors: &mut Errors) -> Parsed {
    let nothing = |item| Parsed { item, krate: None, model: None };
    let mut parsed = match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Trait(parsed)) => parsed,
        Ok(Item::Impl(parsed)) => {
            let message = "`#[interface]` goes on a trait; an `impl` block takes `#[durable_object]` or `#[rpc_target]`";
            errors.on(parsed.impl_token, message);
            return nothing(item);
        }
        Ok(other) => {
            errors.at(keyword(&other), "`#[interface]` goes on a trait: `pub trait Counter { … }`");
            return nothing(item);
        }
        Err(error) => {
            errors.push(error);
            return nothing(item);
        }
    };
    let args = ItemArgs::parse(args, &["name", "rename_all", "crate", "inline"], errors);
    let generic = check::not_generic(
        &parsed.generics,
        "an interface cannot be generic: its name alone is its name on the wire",
        errors,
    );
    let mut methods = Vec::new();
    for item in &mut parsed.items {
        if let TraitItem::Fn(function) = item {
            methods.extend(method(
                &mut function.attrs,
                &mut function.sig,
                Exposure::All,
                args.rename_all,
                None,
                errors,
            ));
        }
    }
    if generic {
        return Parsed { item: parsed.into_token_stream(), krate: args.krate, model: None };
    }
    let ident = parsed.ident.clone();
    let model = Model::Service(Service {
        kind: Kind::Interface,
        wire: wire_name(args.name.as_ref(), &ident),
        vis: parsed.vis.clone(),
        docs: parsed.attrs.iter().filter_map(for_stub).collect(),
        server: Server::Interface(Box::new(parsed)),
        sql: None,
        is_inline: args.inline != Some(false),
        methods,
        ident,
    });
    Parsed { item: TokenStream::new(), krate: args.krate, model: Some(model) }
}

fn inherent(kind: Kind, args: TokenStream, mut item: ItemImpl, errors: &mut Errors) -> Parsed {
    let known: &[&str] = match kind {
        Kind::DurableObject => &["name", "rename_all", "vis", "crate", "sql", "inline"],
        _ => &["name", "rename_all", "vis", "crate", "inline"],
    };
    let args = ItemArgs::parse(args, known, errors);
    let generic = check::not_generic(
        &item.generics,
        "an object cannot be generic: the name of its type is its name on the wire",
        errors,
    );
    // A generic parameter makes the arguments of the type wrong, too: one error.
    let ident = if generic { None } else { check::object_type(&item.self_ty, errors) };
    let object = types::peel(&item.self_ty).clone();
    let mut methods = Vec::new();
    for item in &mut item.items {
        if let ImplItem::Fn(function) = item {
            let exposure =
                if matches!(function.vis, Visibility::Public(_)) { Exposure::All } else { Exposure::None };
            methods.extend(method(
                &mut function.attrs,
                &mut function.sig,
                exposure,
                args.rename_all,
                Some(&object),
                errors,
            ));
        }
    }
    // `pub` is how a method becomes remote, however private its type may be.
    item.attrs.push(parse_quote!(#[allow(unreachable_pub)]));
    let model = ident.map(|ident| {
        Model::Service(Service {
            kind,
            wire: wire_name(args.name.as_ref(), &ident),
            vis: args.vis.unwrap_or_else(|| parse_quote!(pub)),
            docs: item.attrs.iter().filter_map(for_stub).collect(),
            server: Server::Type(Box::new(object)),
            sql: args.sql,
            is_inline: args.inline != Some(false),
            methods,
            ident,
        })
    });
    Parsed { item: item.into_token_stream(), krate: args.krate, model }
}

fn implementation(
    kind: Kind,
    args: TokenStream,
    mut item: ItemImpl,
    interface: Path,
    errors: &mut Errors,
) -> Parsed {
    // A target has no class, so there is nothing to name.
    let known: &[&str] = if kind == Kind::DurableObject { &["name", "crate", "sql"] } else { &["crate"] };
    let args = ItemArgs::parse(args, known, errors);
    let generic = check::not_generic(
        &item.generics,
        "an object cannot be generic: the name of its type is its name on the wire",
        errors,
    );
    let named = !generic && check::object_type(&item.self_ty, errors).is_some();
    for item in &mut item.items {
        let ImplItem::Fn(function) = item else { continue };
        for attr in take(&mut function.attrs, "method") {
            errors.on(attr, "options of a method stand in the interface: move this to the trait");
        }
        for arg in &mut function.sig.inputs {
            if let FnArg::Typed(arg) = arg {
                take(&mut arg.attrs, "call");
            }
        }
    }
    let object = types::peel(&item.self_ty).clone();
    let wire = args.name.map(|name| name.value());
    let model = named.then_some(Model::Implementation(Implementation {
        kind,
        interface,
        wire,
        sql: args.sql,
        object,
    }));
    Parsed { item: item.into_token_stream(), krate: args.krate, model }
}

/// Whether the methods of a block are remote.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exposure {
    All,
    None,
}

/// Reads one method and takes our attributes off it. Yields nothing if it is not remote or has a mistake, and
/// several if the presence of an argument depends on a `cfg`: one for each combination.
fn method(
    attrs: &mut Vec<Attribute>,
    sig: &mut Signature,
    exposure: Exposure,
    rename_all: Option<Case>,
    object: Option<&Type>,
    errors: &mut Errors,
) -> Vec<Method> {
    let before = errors.count();
    let markers = take(attrs, "method");
    let options = MethodArgs::parse(marker_args(&markers, errors), errors);
    check::no_conditional_marker(attrs, "method", errors);
    let args: Vec<RawArg> = sig.inputs.iter_mut().filter_map(|arg| RawArg::take(arg, errors)).collect();
    if options.skip.is_some() {
        return Vec::new();
    }
    let remote = exposure == Exposure::All && sig.receiver().is_some();
    if !remote {
        let why = if sig.receiver().is_none() { "has no `self`" } else { "is not `pub`" };
        for marker in &markers {
            errors.on(
                marker,
                format_args!("this function is not remote, because it {why}; remove `#[method]`"),
            );
        }
        for arg in args.iter().filter(|arg| arg.call.is_some()) {
            errors.on(
                &arg.call,
                format_args!("this function is not remote, because it {why}; remove `#[call]`"),
            );
        }
        return Vec::new();
    }

    let mut ok = check::signature(sig, errors);
    let shared = check::receiver(sig, errors);
    if let (Some(span), Some(false)) = (options.concurrent, shared) {
        errors.at(span, "a method with `&mut self` runs alone: `concurrent` needs `&self`");
    }
    if let Some(span) = options.property {
        check::property(span, shared, args.iter().any(|arg| arg.call.is_none()), errors);
    }
    let certain = args.iter().filter(|arg| arg.cfg.is_always());
    check::one_call_argument(certain.filter_map(|arg| arg.call.as_ref()), errors);
    let args: Vec<_> = args.into_iter().map(|arg| arg.read(object, errors)).collect();
    ok &= args.iter().all(Option::is_some);
    let args: Vec<(Arg, Cfg)> = args.into_iter().flatten().collect();
    let mut reply = match &sig.output {
        ReturnType::Default => parse_quote!(()),
        ReturnType::Type(_, ty) => types::peel(ty).clone(),
    };
    ok &= types::check(&mut reply, Place::Reply, object, errors);
    let conditional: Vec<_> = args.iter().filter(|(_, cfg)| !cfg.is_always()).map(|(arg, _)| arg).collect();
    if conditional.len() > MAX_CFG_ARGS {
        let message =
            format!("at most {MAX_CFG_ARGS} arguments of a method can have a `cfg`; put it on the method");
        errors.on(&conditional[MAX_CFG_ARGS].ident, message);
    }
    let Some(shared) = shared.filter(|_| ok && errors.count() == before) else { return Vec::new() };

    let template = Template {
        sig,
        options: &options,
        rename_all,
        shared,
        returns: types::returns(reply),
        cfg: cfg_of(attrs),
        docs: attrs.iter().filter_map(for_stub).collect(),
    };
    variants(args).into_iter().map(|(args, cfg)| template.method(args, &cfg)).collect()
}

/// What the variants of one method have in common.
struct Template<'a> {
    sig: &'a Signature,
    options: &'a MethodArgs,
    rename_all: Option<Case>,
    shared: bool,
    returns: Returns,
    cfg: Cfg,
    docs: Vec<Attribute>,
}

impl Template<'_> {
    fn method(&self, args: Vec<Arg>, cfg: &Cfg) -> Method {
        let (sig, options) = (self.sig, self.options);
        Method {
            wire: match (&options.name, self.rename_all) {
                (None, Some(case)) => case.field(&sig.ident.unraw().to_string()),
                (name, _) => wire_name(name.as_ref(), &sig.ident),
            },
            wire_span: options.name.as_ref().map_or(sig.ident.span(), LitStr::span),
            ident: sig.ident.clone(),
            is_async: sig.asyncness.is_some(),
            args,
            returns: self.returns.clone(),
            flags: Flags {
                shared: self.shared,
                concurrent: options.concurrent.is_some(),
                idempotent: options.idempotent.is_some(),
                cancel: options.cancel.is_some(),
                property: options.property.is_some(),
            },
            cfg: self.cfg.and(cfg),
            docs: self.docs.clone(),
        }
    }
}

/// An argument, with our attribute taken off.
struct RawArg {
    pat: Pat,
    ty: Type,
    call: Option<Attribute>,
    cfg: Cfg,
}

impl RawArg {
    fn take(arg: &mut FnArg, errors: &mut Errors) -> Option<Self> {
        let FnArg::Typed(PatType { attrs, pat, ty, .. }) = arg else { return None };
        let mut call = take(attrs, "call").into_iter();
        check::no_conditional_marker(attrs, "call", errors);
        let first = call.next();
        for again in call {
            errors.on(again, "`#[call]` is given twice");
        }
        if let Some(attr) = &first
            && !matches!(attr.meta, Meta::Path(_))
        {
            errors.on(attr, "`#[call]` takes no options");
        }
        Some(Self { pat: (**pat).clone(), ty: types::peel(ty).clone(), call: first, cfg: cfg_of(attrs) })
    }

    /// `None` if there is something wrong with it.
    fn read(mut self, object: Option<&Type>, errors: &mut Errors) -> Option<(Arg, Cfg)> {
        let is_call = self.call.is_some();
        let ident = check::pattern(&self.pat, is_call, errors);
        let ok = if is_call {
            check::call_info(&self.ty, errors)
        } else {
            types::check(&mut self.ty, Place::Argument, object, errors)
        };
        let ident = ident?;
        ok.then_some((Arg { ident, ty: self.ty, is_call }, self.cfg))
    }
}

/// The lists of arguments under each combination of their conditions.
fn variants(args: Vec<(Arg, Cfg)>) -> Vec<(Vec<Arg>, Cfg)> {
    let mut variants = vec![(Vec::new(), Cfg::default())];
    for (arg, cfg) in args {
        if cfg.is_always() {
            variants.iter_mut().for_each(|(args, _)| args.push(arg.clone()));
            continue;
        }
        let without: Vec<_> =
            variants.iter().map(|(args, outer)| (args.clone(), outer.and(&cfg.not()))).collect();
        for (args, outer) in &mut variants {
            args.push(arg.clone());
            *outer = outer.and(&cfg);
        }
        variants.extend(without);
    }
    variants
}

fn wire_name(given: Option<&LitStr>, ident: &Ident) -> String {
    given.map_or_else(|| ident.unraw().to_string(), LitStr::value)
}

/// Takes the attributes of this name out of the list.
fn take(attrs: &mut Vec<Attribute>, name: &str) -> Vec<Attribute> {
    attrs.extract_if(.., |attr| attr.path().is_ident(name)).collect()
}

/// The options of all `#[method]`s of a function, as one list.
fn marker_args(markers: &[Attribute], errors: &mut Errors) -> TokenStream {
    let mut args = TokenStream::new();
    for marker in markers {
        match &marker.meta {
            Meta::Path(_) => {}
            Meta::List(list) => {
                let tokens = &list.tokens;
                args.extend(quote!(#tokens,));
            }
            Meta::NameValue(value) => errors.on(value, "expected `#[method(…)]`"),
        }
    }
    args
}

/// Under which condition an item exists: its `cfg`s, also those in a `cfg_attr`.
fn cfg_of(attrs: &[Attribute]) -> Cfg {
    let mut cfg = Cfg::default();
    for predicate in attrs.iter().filter_map(|attr| predicate(&attr.meta)) {
        cfg.add(predicate);
    }
    cfg
}

fn predicate(meta: &Meta) -> Option<TokenStream> {
    let Meta::List(list) = meta else { return None };
    if list.path.is_ident("cfg") {
        return Some(list.tokens.clone());
    }
    let (condition, metas) = cfg_attr(meta)?;
    let inner: Vec<_> = metas.iter().filter_map(predicate).collect();
    (!inner.is_empty()).then(|| quote!(any(not(#condition), all(#(#inner),*))))
}

/// The attribute as the stub's method carries it, if it does.
fn for_stub(attr: &Attribute) -> Option<Attribute> {
    let meta = stub_meta(&attr.meta)?;
    Some(Attribute { meta, ..attr.clone() })
}

fn stub_meta(meta: &Meta) -> Option<Meta> {
    if meta.path().is_ident("doc") || meta.path().is_ident("deprecated") {
        return Some(meta.clone());
    }
    let (condition, metas) = cfg_attr(meta)?;
    let metas: Vec<_> = metas.iter().filter_map(stub_meta).collect();
    (!metas.is_empty()).then(|| parse_quote!(cfg_attr(#condition, #(#metas),*)))
}

/// Takes a `cfg_attr` apart.
pub(crate) fn cfg_attr(meta: &Meta) -> Option<(TokenStream, Vec<Meta>)> {
    let Meta::List(list) = meta else { return None };
    if !list.path.is_ident("cfg_attr") {
        return None;
    }
    // `unsafe(…)` and the like: not ours, and rustc looks at them again.
    let metas = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
    let mut metas = metas.into_iter();
    let condition = metas.next()?.into_token_stream();
    Some((condition, metas.collect()))
}

/// Where an item says what it is.
fn keyword(item: &Item) -> Span {
    match item {
        Item::Struct(item) => item.struct_token.span,
        Item::Enum(item) => item.enum_token.span,
        Item::Fn(item) => item.sig.fn_token.span,
        Item::Mod(item) => item.mod_token.span,
        Item::Union(item) => item.union_token.span,
        other => other.span(),
    }
}
