//! What a macro knows about the user's item, once it has been read.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, TokenStreamExt, format_ident, quote};
use syn::{Attribute, Ident, ItemTrait, Path, Type, Visibility, ext::IdentExt};

/// Which of our attributes stands on the item.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    DurableObject,
    RpcTarget,
    Interface,
}

impl Kind {
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Self::DurableObject => "#[durable_object]",
            Self::RpcTarget => "#[rpc_target]",
            Self::Interface => "#[interface]",
        }
    }
}

/// What stands below the attribute, as far as it concerns us.
pub(crate) enum Model {
    /// An inherent impl block, or an interface: brings methods and therefore a stub.
    Service(Service),
    /// `impl Interface for Type`: the interface brought methods and stub.
    Implementation(Implementation),
}

pub(crate) struct Service {
    pub(crate) kind: Kind,
    /// The last segment of the type's path, or the trait's name: the stub is named after it.
    pub(crate) ident: Ident,
    pub(crate) wire: String,
    /// Of the stub.
    pub(crate) vis: Visibility,
    pub(crate) server: Server,
    /// Where it says that its objects have a SQL database each.
    pub(crate) sql: Option<Span>,
    /// Whether calls may start on the thread that makes them.
    pub(crate) is_inline: bool,
    /// Of the block or the trait.
    pub(crate) docs: Vec<Attribute>,
    pub(crate) methods: Vec<Method>,
}

impl Service {
    pub(crate) fn stub(&self) -> Ident {
        format_ident!("{}Stub", self.ident.unraw(), span = Span::call_site().located_at(self.ident.span()))
    }

    /// The object-safe trait with one method a call, behind which a stub does not know who answers.
    pub(crate) fn calls(&self) -> Ident {
        format_ident!("__{}Calls", self.ident.unraw(), span = Span::call_site().located_at(self.ident.span()))
    }
}

/// Whose methods run.
pub(crate) enum Server {
    Type(Box<Type>),
    /// Any type that implements the trait.
    Interface(Box<ItemTrait>),
}

pub(crate) struct Implementation {
    pub(crate) kind: Kind,
    pub(crate) interface: Path,
    pub(crate) wire: Option<String>,
    pub(crate) sql: Option<Span>,
    pub(crate) object: Type,
}

pub(crate) struct Method {
    pub(crate) ident: Ident,
    pub(crate) wire: String,
    /// Where the name on the wire comes from.
    pub(crate) wire_span: Span,
    pub(crate) is_async: bool,
    pub(crate) args: Vec<Arg>,
    pub(crate) returns: Returns,
    pub(crate) flags: Flags,
    pub(crate) cfg: Cfg,
    /// Docs and deprecation, for the stub.
    pub(crate) docs: Vec<Attribute>,
}

impl Method {
    pub(crate) fn id(&self) -> u32 {
        method_id(&self.wire)
    }

    /// The arguments that a caller gives.
    pub(crate) fn wire_args(&self) -> impl Iterator<Item = &Arg> {
        self.args.iter().filter(|arg| !arg.is_call)
    }

    /// The zero-sized type that stands for this method. The prefix keeps it apart from the types in the
    /// signature.
    pub(crate) fn marker(&self) -> Ident {
        format_ident!("__opendo_{}", self.ident.unraw(), span = Span::call_site())
    }
}

#[derive(Clone)]
pub(crate) struct Arg {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    /// `#[call]`: facts about the call, given by the runtime.
    pub(crate) is_call: bool,
}

/// What a method returns, as far as the tokens tell.
#[derive(Clone)]
pub(crate) enum Returns {
    /// Certainly not a `Result`.
    Plain(Type),
    /// Named `Result`, with two arguments.
    Result { whole: Box<Type>, ok: Box<Type>, err: Box<Type> },
    /// An alias or an unknown name: the compiler decides, by the type.
    ByType(Type),
}

impl Returns {
    pub(crate) fn ty(&self) -> &Type {
        match self {
            Self::Plain(ty) | Self::ByType(ty) => ty,
            Self::Result { whole, .. } => whole,
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Flags {
    /// `&self`.
    pub(crate) shared: bool,
    pub(crate) concurrent: bool,
    pub(crate) idempotent: bool,
    pub(crate) cancel: bool,
    pub(crate) property: bool,
}

/// The condition under which a method exists. An attribute on an impl block sees the `cfg`s inside before
/// they are evaluated, so every generated place repeats them.
#[derive(Clone, Default)]
pub(crate) struct Cfg(Vec<TokenStream>);

impl Cfg {
    pub(crate) fn is_always(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, predicate: TokenStream) {
        self.0.push(predicate);
    }

    pub(crate) fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&other.0).cloned().collect())
    }

    pub(crate) fn not(&self) -> Self {
        let predicates = &self.0;
        Self(vec![quote!(not(all(#(#predicates),*)))])
    }
}

impl ToTokens for Cfg {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        for predicate in &self.0 {
            tokens.append_all(quote!(#[cfg(#predicate)]));
        }
    }
}

/// FNV-1a, 32 bits: the name on the wire is the identity of a method, whatever its place in the block.
pub(crate) fn method_id(wire: &str) -> u32 {
    wire.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_fnv1a() {
        // Reference values of the FNV authors.
        assert_eq!(method_id(""), 0x811c_9dc5);
        assert_eq!(method_id("a"), 0xe40c_292c);
        assert_eq!(method_id("foobar"), 0xbf9c_f968);
    }

    #[test]
    fn a_condition_repeats_every_predicate() {
        let mut cfg = Cfg::default();
        assert!(cfg.is_always());
        cfg.add(quote!(unix));
        let mut other = Cfg::default();
        other.add(quote!(test));
        assert_eq!(cfg.and(&other).into_token_stream().to_string(), "# [cfg (unix)] # [cfg (test)]");
        assert_eq!(
            cfg.and(&other).not().into_token_stream().to_string(),
            "# [cfg (not (all (unix , test)))]"
        );
    }
}
