//! What is known of types, before it is text.

use std::any::TypeId;
use std::borrow::Cow;

use super::Describe;

/// A type in TypeScript.
#[derive(Clone, Debug, PartialEq)]
pub struct Type(pub(super) Kind);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// As it is written; no union, so that it can stand anywhere.
    Text(Cow<'static, str>),
    /// A string that is this one.
    Literal(Cow<'static, str>),
    /// A number; several in a row are bytes.
    Byte,
    Unit,
    Optional(Box<Type>),
    List(Box<Type>),
    Tuple(Vec<Type>),
    Object(Vec<Field>),
    Union(Vec<Type>),
    Generic(&'static str, Vec<Type>),
    Function(Box<Type>, Box<Type>),
    /// Declared under that number.
    Named(usize),
}

impl Type {
    /// A type as it is written in TypeScript: `Type::text("string")`.
    pub fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self(Kind::Text(text.into()))
    }

    /// A type of which nothing is known.
    pub fn unknown() -> Self {
        Self::text("unknown")
    }

    /// One of these.
    pub fn union(types: Vec<Self>) -> Self {
        Self(Kind::Union(types))
    }

    /// This one, or `null`.
    #[must_use]
    pub fn or_null(self) -> Self {
        match self.0 {
            // What is written for `Some(None)` is `null`, too.
            Kind::Optional(_) => self,
            _ => Self(Kind::Optional(Box::new(self))),
        }
    }

    /// An object with these fields.
    pub fn object(fields: Vec<Field>) -> Self {
        Self(Kind::Object(fields))
    }

    /// The string that is this one.
    pub fn literal(text: &'static str) -> Self {
        Self(Kind::Literal(text.into()))
    }

    /// Several of one type. Of bytes, it is a `Uint8Array`.
    pub fn list(of: Self) -> Self {
        if of.0 == Kind::Byte { Self::bytes() } else { Self(Kind::List(Box::new(of))) }
    }

    /// Some, each of its own type. Of bytes alone, it is a `Uint8Array`.
    pub fn tuple(types: Vec<Self>) -> Self {
        if !types.is_empty() && types.iter().all(|ty| ty.0 == Kind::Byte) {
            return Self::bytes();
        }
        Self(Kind::Tuple(types))
    }

    /// What a variant of an enum holds, under its name.
    #[doc(hidden)]
    pub fn variant(name: &'static str, content: Self) -> Self {
        Self::object(vec![Field { name: name.into(), docs: String::new(), optional: false, ty: content }])
    }

    /// `undefined`, or nothing.
    #[doc(hidden)]
    pub fn unit() -> Self {
        Self(Kind::Unit)
    }

    pub(super) fn bytes() -> Self {
        Self::text("Uint8Array")
    }

    pub(super) fn generic(name: &'static str, of: Vec<Self>) -> Self {
        Self(Kind::Generic(name, of))
    }

    pub(super) fn is_optional(&self) -> bool {
        matches!(self.0, Kind::Optional(_))
    }
}

/// A field of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub(super) name: Cow<'static, str>,
    pub(super) docs: String,
    pub(super) optional: bool,
    pub(super) ty: Type,
}

impl Field {
    /// A field; `optional` if it may be left out.
    pub fn new(name: impl Into<Cow<'static, str>>, docs: &[&str], optional: bool, ty: Type) -> Self {
        Self { name: name.into(), docs: docs.join("\n"), optional: optional || ty.is_optional(), ty }
    }
}

/// The types that are declared so far.
#[derive(Clone, Debug, Default)]
pub struct Types(pub(super) Vec<Declared>);

#[derive(Clone, Debug)]
pub(super) struct Declared {
    of: TypeId,
    pub(super) name: String,
    pub(super) docs: String,
    pub(super) body: Body,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    /// It is being described, and has come up in its own description.
    Open,
    Alias(Type),
    Interface(Vec<Method>),
}

#[derive(Clone, Debug)]
pub(super) struct Method {
    pub(super) name: &'static str,
    pub(super) docs: String,
    pub(super) property: bool,
    pub(super) args: Vec<(&'static str, Type)>,
    pub(super) returns: Type,
}

/// Names that mean something else in the module.
pub(super) const TAKEN: &[&str] = &[
    "Array",
    "Date",
    "MaybePromise",
    "Promise",
    "ReadableStream",
    "Record",
    "RpcStub",
    "RpcTarget",
    "Uint8Array",
    "WritableStream",
];

impl Types {
    /// Declares `T` under that name, unless it is; of two types of one name, the second gets a number.
    pub fn declare<T: 'static>(
        &mut self,
        name: &str,
        docs: &[&str],
        describe: impl FnOnce(&mut Self) -> Type,
    ) -> Type {
        self.declare_as::<T>(name, docs, |types| Body::Alias(describe(types)))
    }

    /// Declares the interface of the stub `S`.
    #[doc(hidden)]
    pub fn interface<S: 'static>(
        &mut self,
        name: &str,
        docs: &[&str],
        describe: impl FnOnce(&mut Methods<'_>),
    ) -> Type {
        let interface = self.declare_as::<S>(name, docs, |types| {
            let mut methods = Methods { types, methods: Vec::new() };
            describe(&mut methods);
            Body::Interface(methods.methods)
        });
        Type::generic("RpcStub", vec![interface])
    }

    fn declare_as<T: 'static>(
        &mut self,
        name: &str,
        docs: &[&str],
        body: impl FnOnce(&mut Self) -> Body,
    ) -> Type {
        let of = TypeId::of::<T>();
        let number = self.0.iter().position(|declared| declared.of == of).unwrap_or_else(|| {
            let number = self.0.len();
            let name = self.free_name(name);
            self.0.push(Declared { of, name, docs: docs.join("\n"), body: Body::Open });
            let body = body(self);
            self.0[number].body = body;
            number
        });
        Type(Kind::Named(number))
    }

    fn free_name(&self, name: &str) -> String {
        let is_taken =
            |name: &str| TAKEN.contains(&name) || self.0.iter().any(|declared| declared.name == name);
        if !is_taken(name) {
            return name.to_owned();
        }
        let mut numbered = (2..).map(|number| format!("{name}{number}"));
        numbered.find(|name| !is_taken(name)).expect("there are more numbers than names")
    }

    /// A map: its keys are the names of members if they have a text.
    pub(super) fn map(&self, key: Type, value: Type) -> Type {
        if self.has_text(&key) {
            Type::generic("Record", vec![Type::text("string"), value])
        } else {
            Type::list(Type::tuple(vec![key, value]))
        }
    }

    fn has_text(&self, key: &Type) -> bool {
        match &key.0 {
            Kind::Literal(_) | Kind::Byte => true,
            Kind::Text(text) => matches!(&**text, "string" | "boolean" | "number" | "bigint"),
            Kind::Union(types) => types.iter().all(|ty| self.has_text(ty)),
            Kind::Named(number) => match &self.0[*number].body {
                Body::Alias(ty) => self.has_text(ty),
                Body::Open | Body::Interface(_) => false,
            },
            _ => false,
        }
    }
}

/// The methods of an interface, one after the other.
#[doc(hidden)]
#[derive(Debug)]
pub struct Methods<'a> {
    types: &'a mut Types,
    methods: Vec<Method>,
}

impl Methods<'_> {
    /// Adds one.
    pub fn method(
        &mut self,
        name: &'static str,
        docs: &[&str],
        property: bool,
        args: &[(&'static str, Describe)],
        returns: Describe,
    ) {
        let args = args.iter().map(|(name, describe)| (*name, describe(self.types))).collect();
        let returns = returns(self.types);
        self.methods.push(Method { name, docs: docs.join("\n"), property, args, returns });
    }
}
