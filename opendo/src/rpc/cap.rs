//! Capabilities: what stubs hold, without their types, and how they travel inside serde values.
//!
//! A stub inside an argument or a result is encoded as a number: its place in a table beside the body. The table is
//! a thread-local of the scope in which the value is encoded or decoded, which never awaits, so that any derive and
//! any nesting works; outside of such a scope there is an error, not a number without a meaning. What is in the
//! table is exported only when everything was encoded, so a value that fails half-way leaks nothing.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{self, Serializer};

use crate::node::WeakNode;
use crate::object::id::ObjectKey;
use crate::object::lasting::LastingName;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::Incoming;
use crate::rpc::method::{Interface, MethodDesc};
use crate::rpc::remote::{Remote, nowhere_cap};
use crate::rpc::stub::{Broken, Calls, Stub, StubCore};

mod passed;

pub(crate) use self::passed::{AllPassed, Passed};

/// What calls can be delivered to: an object or target of this process, or a way to one elsewhere.
pub(crate) trait Capability: Send + Sync + 'static {
    /// Queues the call. Returns before the method has finished.
    fn deliver(&self, call: Incoming);

    /// Where it leads, unless it is in this process.
    fn remote(&self) -> Option<&Remote>;

    fn interface(&self) -> Known;

    /// What it is of that node, if it is found again there.
    fn hosted(&self, node: &WeakNode) -> Option<Reference<'_>>;

    fn broken(&self) -> Broken;

    /// A call on it was refused before it got here.
    fn missed(&self, _: &RpcError) {}

    fn as_any(&self) -> &dyn Any;
}

pub(crate) type Cap = Arc<dyn Capability>;

impl<S: Stub> Capability for S {
    fn deliver(&self, call: Incoming) {
        if let Some(error) = call.mismatch(|id| S::INTERFACE.method(id).copied()) {
            return call.reply.fail(error);
        }
        // Only these: to take any call through it would copy each.
        #[cfg(feature = "capnweb")]
        if call.member.is_some() {
            if let Some(call) = crate::rpc::capnweb::call_of(self, call) {
                S::deliver(self.core().calls(), call);
            }
            return;
        }
        S::deliver(self.core().calls(), call);
    }

    fn remote(&self) -> Option<&Remote> {
        self.core().calls().remote()
    }

    fn interface(&self) -> Known {
        Known::Here(S::INTERFACE)
    }

    fn hosted(&self, node: &WeakNode) -> Option<Reference<'_>> {
        let calls = self.core().calls();
        if !calls.node().is_some_and(|home| home.is(node)) {
            return None;
        }
        calls.key().map(Reference::Object).or_else(|| calls.lasting().map(Reference::Lasting))
    }

    fn broken(&self) -> Broken {
        self.core().calls().broken()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What is found again when memory and sessions are gone.
pub(crate) enum Reference<'a> {
    Object(&'a ObjectKey),
    Lasting(&'a LastingName),
}

/// The methods of a capability: as this program knows them, or as a peer described them.
#[derive(Clone)]
pub(crate) enum Known {
    Here(&'static Interface),
    ByPeer(Arc<PeerInterface>),
}

impl Known {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Here(interface) => interface.name,
            Self::ByPeer(interface) => &interface.name,
        }
    }

    /// Id and fingerprint of each method.
    pub(crate) fn methods(&self) -> Vec<(u32, u64)> {
        match self {
            Self::Here(interface) => interface.methods.iter().map(|it| (it.id, it.fingerprint)).collect(),
            Self::ByPeer(interface) => interface.methods.iter().map(|(id, print)| (*id, *print)).collect(),
        }
    }

    /// Tells interfaces apart as long as they are held.
    pub(crate) fn address(&self) -> usize {
        match self {
            Self::Here(interface) => std::ptr::from_ref(*interface).addr(),
            Self::ByPeer(interface) => Arc::as_ptr(interface).addr(),
        }
    }
}

/// What a peer said about a class: its name, and the fingerprint of each method.
#[derive(Debug, Default)]
pub(crate) struct PeerInterface {
    pub(crate) name: String,
    pub(crate) methods: FxHashMap<u32, u64>,
}

impl PeerInterface {
    /// The writing end of a stream.
    pub(crate) fn of_sink() -> Self {
        Self { name: crate::stream::SINK_INTERFACE.to_owned(), ..Self::default() }
    }

    /// Why a method, as this program knows it, cannot be called there. A fingerprint of zero fits all.
    pub(crate) fn refusal(&self, method: &MethodDesc) -> Option<RpcError> {
        match self.methods.get(&method.id) {
            Some(theirs) if *theirs == method.fingerprint || method.fingerprint == 0 || *theirs == 0 => None,
            Some(_) => {
                let text = format!(
                    "`{}` of `{}` has another signature at the peer than `{}`; build both sides against the same one",
                    method.name, self.name, method.signature
                );
                Some(RpcError::new(ErrorKind::SignatureMismatch, text).with_signatures(method.signature, ""))
            }
            None => {
                let text = format!("the peer's `{}` has no method `{}`", self.name, method.name);
                Some(RpcError::new(ErrorKind::NoSuchMethod, text))
            }
        }
    }
}

// ---- the scope

thread_local! {
    /// What this thread is at. Apart from the table, which most values have no use for.
    static SCOPE: Cell<Scope> = const { Cell::new(Scope { doing: Doing::Nothing, from: 0, to: 0 }) };
    /// The tables of all scopes, the innermost last.
    static TABLE: RefCell<Vec<Passed>> = const { RefCell::new(Vec::new()) };
    static STORAGE: RefCell<Option<WeakNode>> = const { RefCell::new(None) };
}

#[derive(Clone, Copy)]
struct Scope {
    doing: Doing,
    /// Which part of the table is its own.
    from: u32,
    to: u32,
}

// As wide as its neighbours, so that a scope is copied whole.
#[derive(Clone, Copy, PartialEq)]
#[repr(u32)]
enum Doing {
    Nothing,
    Encoding,
    Decoding,
    /// A value is on its way into or out of an object's storage.
    Storing,
}

/// Restores the outer scope, also when a `Serialize` panics or makes a call itself.
struct Outer(Scope);

impl Outer {
    #[inline]
    fn enter(doing: Doing) -> Self {
        let outer = SCOPE.get();
        SCOPE.set(Scope { doing, from: outer.to, to: outer.to });
        Self(outer)
    }

    #[cold]
    fn add(&mut self, passed: AllPassed) {
        let count = u32::try_from(passed.len()).expect("a message has fewer bytes than that");
        TABLE.with_borrow_mut(|table| table.extend(passed));
        let scope = SCOPE.get();
        SCOPE.set(Scope { to: scope.to + count, ..scope });
    }

    /// What is in the inner one's table.
    #[inline]
    fn take() -> AllPassed {
        let scope = SCOPE.get();
        if scope.from == scope.to { AllPassed::NOTHING } else { Self::take_all(scope) }
    }

    #[cold]
    fn take_all(scope: Scope) -> AllPassed {
        SCOPE.set(Scope { to: scope.from, ..scope });
        TABLE.with_borrow_mut(|table| table.split_off(scope.from as usize)).into()
    }
}

impl Drop for Outer {
    #[inline]
    fn drop(&mut self) {
        let scope = SCOPE.get();
        if scope.from != scope.to {
            // Not under the borrow: it may be the last of something.
            drop(Self::take_all(scope));
        }
        SCOPE.set(self.0);
    }
}

/// Collects what `encode` passes.
pub(crate) fn encoding<R>(encode: impl FnOnce() -> R) -> (R, AllPassed) {
    let _outer = Outer::enter(Doing::Encoding);
    let result = encode();
    (result, Outer::take())
}

/// Lets `decode` take from what was passed. What it leaves is let go.
pub(crate) fn decoding<R>(passed: AllPassed, decode: impl FnOnce() -> R) -> R {
    let mut outer = Outer::enter(Doing::Decoding);
    // Most messages pass nothing.
    if !passed.is_empty() {
        outer.add(passed);
    }
    decode()
}

/// Lets stubs of objects of `node` be stored by name.
pub(crate) fn storing<R>(node: &WeakNode, access: impl FnOnce() -> R) -> R {
    /// Of the scope around this one.
    struct Before(Option<WeakNode>);
    impl Drop for Before {
        fn drop(&mut self) {
            STORAGE.replace(self.0.take());
        }
    }
    let _before = Before(STORAGE.replace(Some(node.clone())));
    let _outer = Outer::enter(Doing::Storing);
    access()
}

/// The node in whose storage a value is put, or found.
fn storage() -> Option<WeakNode> {
    if SCOPE.get().doing == Doing::Storing { STORAGE.with_borrow(Clone::clone) } else { None }
}

/// Adds to the table; the place of what was added.
pub(crate) fn pass(what: impl FnOnce() -> Passed) -> Result<u32, &'static str> {
    if SCOPE.get().doing != Doing::Encoding {
        return Err(OUTSIDE);
    }
    let what = what();
    let scope = SCOPE.get();
    let to = scope.to.checked_add(1).ok_or("too many capabilities in one message")?;
    TABLE.with_borrow_mut(|table| table.push(what));
    SCOPE.replace(Scope { to, ..scope });
    Ok(scope.to - scope.from)
}

/// What is at that place of the table. A copy: a value may be decoded twice on the way to its type.
pub(crate) fn passed(place: u32) -> Result<Passed, &'static str> {
    let Scope { doing, from, to } = SCOPE.get();
    if doing != Doing::Decoding {
        return Err(OUTSIDE);
    }
    let own =
        from.checked_add(place).filter(|at| *at < to).ok_or("a capability that is not in the message")?;
    TABLE
        .with_borrow(|table| table.get(own as usize).cloned())
        .ok_or("a capability that is not in the message")
}

/// Adds to the table of what is decoded, for something that has its place in another one; the place.
#[cfg(feature = "capnweb")]
pub(crate) fn adopt(what: Passed) -> Result<u32, &'static str> {
    let scope = SCOPE.get();
    if scope.doing != Doing::Decoding {
        return Err(OUTSIDE);
    }
    let to = scope.to.checked_add(1).ok_or("too many capabilities in one message")?;
    TABLE.with_borrow_mut(|table| table.push(what));
    SCOPE.replace(Scope { to, ..scope });
    Ok(scope.to - scope.from)
}

const OUTSIDE: &str = "stubs and streams travel in arguments and results of remote methods only; \
                       stubs of a node's own objects and of their lasting targets can also be stored by its objects";

// ---- stubs in serde

thread_local! {
    /// What postcard's errors have no room for.
    static WHY: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Why the last stub or stream of this thread could not be encoded or decoded, if it has not been told yet.
pub(crate) fn why() -> Option<String> {
    WHY.take()
}

/// Has [`why`] say that.
pub(crate) fn complain(why: impl Into<String>) -> String {
    let why = why.into();
    // Outside of a scope nobody asks: what fails later must not say this.
    if SCOPE.get().doing != Doing::Nothing {
        WHY.replace(Some(why.clone()));
    }
    why
}

/// By this name an encoding that has a form of its own for capabilities recognises one.
pub(crate) const CAP: &str = "$opendo::cap";

/// Something that is passed, where its type says nothing of it: the number that stands for it.
#[cfg(feature = "capnweb")]
pub(crate) struct Marker(pub(crate) u32);

#[cfg(feature = "capnweb")]
impl serde::Serialize for Marker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(CAP, &self.0)
    }
}

/// What is stored of a stub.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct StoredStub {
    class: String,
    id: [u8; 32],
    name: Option<String>,
    /// The name and the parameters of a target that the object makes again.
    target: Option<(String, Vec<u8>)>,
}

impl From<Reference<'_>> for StoredStub {
    fn from(reference: Reference<'_>) -> Self {
        let (key, target) = match reference {
            Reference::Object(key) => (key, None),
            Reference::Lasting(name) => {
                (&*name.object, Some((name.target.to_string(), name.params.to_vec())))
            }
        };
        let name = key.known_name().map(str::to_owned);
        Self { class: key.class().to_owned(), id: *key.bytes(), name, target }
    }
}

impl StoredStub {
    /// The object; `None` when that is not an id of its class.
    fn key(&self) -> Option<ObjectKey> {
        ObjectKey::verified(&self.class.as_str().into(), self.id, self.name.as_deref())
    }

    /// What it is a stub of.
    pub(crate) fn cap(&self, node: &WeakNode) -> Cap {
        match (self.key(), &self.target) {
            (Some(key), None) => node.cap_of(&key),
            (Some(key), Some((target, params))) => node.cap_of_lasting(key, target, params),
            (None, _) => nowhere_cap(RpcError::new(ErrorKind::NoSuchClass, NO_ID)),
        }
    }
}

const NO_ID: &str = "what is stored is not the id of an object";

enum StoredOrPassed {
    Stored(StoredStub),
    Passed(u32),
}

/// Encodes a stub.
pub fn serialize_stub<S: Stub, Z: Serializer>(stub: &S, serializer: Z) -> Result<Z::Ok, Z::Error> {
    if let Some(node) = storage() {
        let reference = stub.hosted(&node).ok_or_else(|| {
            ser::Error::custom(complain(
                "only stubs of this node's own objects, and of their lasting targets, can be stored: others end with \
                 their session",
            ))
        })?;
        return serializer.serialize_newtype_struct(CAP, &StoredStub::from(reference));
    }
    let place =
        pass(|| Passed::Cap(Arc::new(stub.clone()))).map_err(|why| ser::Error::custom(complain(why)))?;
    serializer.serialize_newtype_struct(CAP, &place)
}

/// Decodes a stub.
pub fn deserialize_stub<'de, S: Stub, D: Deserializer<'de>>(deserializer: D) -> Result<S, D::Error> {
    struct Newtype;

    impl<'de> Visitor<'de> for Newtype {
        type Value = StoredOrPassed;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a stub")
        }

        fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<StoredOrPassed, D::Error> {
            if SCOPE.get().doing == Doing::Storing {
                StoredStub::deserialize(inner).map(StoredOrPassed::Stored)
            } else {
                u32::deserialize(inner).map(StoredOrPassed::Passed)
            }
        }
    }

    match deserializer.deserialize_newtype_struct(CAP, Newtype)? {
        StoredOrPassed::Stored(stored) => {
            let node = storage().ok_or_else(|| de::Error::custom(complain(OUTSIDE)))?;
            let key = stored.key().ok_or_else(|| de::Error::custom(complain(NO_ID)))?;
            Ok(match stored.target {
                None => node.stub_of(key),
                Some((target, params)) => node.lasting(key, &target, params),
            })
        }
        StoredOrPassed::Passed(place) => {
            match passed(place).map_err(|why| de::Error::custom(complain(why)))? {
                Passed::Cap(cap) => stub_of(&cap).map_err(|why| de::Error::custom(complain(why))),
                _ => Err(de::Error::custom(complain("a stream or value where a stub was expected"))),
            }
        }
    }
}

/// The stub of a capability: the very one it was made from, if it is in this process.
pub(crate) fn stub_of<S: Stub>(cap: &Cap) -> Result<S, String> {
    if let Some(stub) = cap.as_any().downcast_ref::<S>() {
        return Ok(stub.clone());
    }
    match cap.remote() {
        Some(remote) => Ok(S::from_core(StubCore::new(S::remote(remote.known_as(S::INTERFACE))))),
        None => Err(format!("a `{}` where a `{}` was expected", cap.interface().name(), S::INTERFACE.name)),
    }
}

/// The capabilities in a result, by the names of its fields: what is kept of it for calls on what it holds.
#[derive(Clone, Default)]
pub enum Capabilities {
    /// Here is none.
    #[default]
    None,
    #[doc(hidden)]
    One(Erased),
    /// They are in fields.
    Fields(Vec<(&'static str, Capabilities)>),
}

/// A capability of some stub.
#[derive(Clone)]
pub struct Erased(pub(crate) Cap);

impl fmt::Debug for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.interface().name())
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::One(cap) => cap.fmt(f),
            Self::Fields(fields) => {
                f.debug_map().entries(fields.iter().map(|(name, it)| (name, it))).finish()
            }
        }
    }
}

impl Capabilities {
    pub(crate) fn at<P: AsRef<str>>(&self, path: &[P]) -> Option<Cap> {
        match (self, path) {
            (Self::One(cap), []) => Some(cap.0.clone()),
            (Self::Fields(fields), [first, rest @ ..]) => {
                fields.iter().find(|(name, _)| *name == first.as_ref())?.1.at(rest)
            }
            _ => None,
        }
    }
}
