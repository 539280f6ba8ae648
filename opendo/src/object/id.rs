//! Names of objects: 32 bytes, derived from a name or random, and bound to their class.
//!
//! The derivation is Cloudflare's (checklist 1.2): half of an id identifies, the other half proves the class, so
//! that an id of one class is not mistaken for one of another.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::object::name::Name;
use crate::rpc::stub::Stub;

/// A longer name is a legal name, but the object does not get to know it (checklist 1.11).
const LONGEST_KNOWN_NAME: usize = 1024;

/// How many classes a thread remembers.
const CLASSES: usize = 8;

thread_local! {
    /// The classes that were named here last.
    static NAMED: RefCell<VecDeque<Class>> = const { RefCell::new(VecDeque::new()) };
}

/// A class: its name, which all keys share, and what makes its ids.
struct Class {
    name: Arc<str>,
    keyed: Hmac<Sha256>,
}

impl Class {
    fn new(name: Arc<str>) -> Self {
        let key = Sha256::digest(name.as_bytes());
        Self { name, keyed: Hmac::new_from_slice(&key).expect("HMAC takes keys of any length") }
    }

    /// The class of that name.
    fn with<R>(name: &str, look: impl FnOnce(&Self) -> R) -> R {
        NAMED.with_borrow_mut(|named| {
            let at = named.iter().position(|class| *class.name == *name).unwrap_or_else(|| {
                named.truncate(CLASSES - 1);
                named.push_front(Self::new(name.into()));
                0
            });
            look(&named[at])
        })
    }

    fn mac(&self, message: &[u8]) -> [u8; 16] {
        let mut mac = self.keyed.clone();
        mac.update(message);
        let digest = mac.finalize().into_bytes();
        std::array::from_fn(|at| digest[at])
    }

    fn of_name(&self, name: &str) -> [u8; 32] {
        self.id_of_base(self.mac(name.as_bytes()))
    }

    fn id_of_base(&self, base: [u8; 16]) -> [u8; 32] {
        let proof = self.mac(&base);
        std::array::from_fn(|at| if at < 16 { base[at] } else { proof[at - 16] })
    }

    fn has(&self, id: &[u8; 32]) -> bool {
        self.id_of_base(std::array::from_fn(|at| id[at])) == *id
    }
}

/// The id of an object whose class has the stub `S`.
///
/// Ids are equal, ordered and hashed by their 32 bytes; the name, where it is known, takes no part. Their text is
/// 64 lower-case hex digits; parsing accepts upper case too. In serde they are 32 bytes, or the text in formats
/// for people. Making an id starts nothing.
///
/// ```
/// # use opendo::prelude::*;
/// # pub struct Room; #[rpc_target] impl Room {}
/// let lobby = ObjectId::<RoomStub>::from_name("lobby");
/// assert_eq!(lobby.name(), Some("lobby"));
/// let same: ObjectId<RoomStub> = lobby.to_string().parse().unwrap();
/// assert_eq!(same, lobby);
/// assert_eq!(same.name(), None); // the text does not hold the name
/// assert_ne!(ObjectId::<RoomStub>::unique(), ObjectId::unique());
/// ```
pub struct ObjectId<S> {
    bytes: [u8; 32],
    name: Option<Name>,
    stub: PhantomData<fn() -> S>,
}

impl<S: Stub> ObjectId<S> {
    /// The id of that name: the same in every process, for ever. Every text is a legal name, the empty one too.
    pub fn from_name(name: &str) -> Self {
        Self::named_in(S::INTERFACE.name, name)
    }

    /// A new id that nobody else has, without a name.
    ///
    /// # Panics
    /// When the operating system gives no random bytes.
    pub fn unique() -> Self {
        Self::unique_in(S::INTERFACE.name)
    }

    pub(crate) fn named_in(class: &str, name: &str) -> Self {
        let bytes = Class::with(class, |class| class.of_name(name));
        Self { bytes, name: Some(name.into()), stub: PhantomData }
    }

    pub(crate) fn unique_in(class: &str) -> Self {
        let mut base = [0; 16];
        getrandom::fill(&mut base).expect("the operating system gives random bytes");
        let bytes = Class::with(class, |class| class.id_of_base(base));
        Self { bytes, name: None, stub: PhantomData }
    }

    pub(crate) fn parse_in(class: &str, text: &str) -> Result<Self, ParseIdError> {
        let bytes = parse_hex(text)?;
        if !Class::with(class, |class| class.has(&bytes)) {
            return Err(ParseIdError::WrongClass { class: class.to_owned() });
        }
        Ok(Self { bytes, name: None, stub: PhantomData })
    }

    pub(crate) fn from_key(key: &ObjectKey) -> Self {
        Self { bytes: key.id, name: key.name.clone(), stub: PhantomData }
    }
}

impl<S> ObjectId<S> {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The name the id was made from, if it was made from one here.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

fn parse_hex(text: &str) -> Result<[u8; 32], ParseIdError> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return Err(ParseIdError::NotHex);
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(ParseIdError::NotHex);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).map_err(|_| ParseIdError::NotHex)?;
    }
    Ok(bytes)
}

fn write_hex(bytes: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Why a text is not an id of the class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIdError {
    /// Not 64 hex digits (checklist 1.6).
    #[error("invalid object id: must be 64 hex digits")]
    NotHex,
    /// An id, but of another class (checklist 1.7).
    #[error("the object id is not valid for class `{class}`: it was made for another one")]
    WrongClass {
        /// The class that was asked for.
        class: String,
    },
}

impl<S: Stub> FromStr for ObjectId<S> {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        Self::parse_in(S::INTERFACE.name, text)
    }
}

impl<S> fmt::Display for ObjectId<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.bytes, f)
    }
}

impl<S> fmt::Debug for ObjectId<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "ObjectId({name:?})"),
            None => write!(f, "ObjectId({self})"),
        }
    }
}

impl<S> Clone for ObjectId<S> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes, name: self.name.clone(), stub: PhantomData }
    }
}

impl<S> PartialEq for ObjectId<S> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<S> Eq for ObjectId<S> {}

impl<S> PartialOrd for ObjectId<S> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<S> Ord for ObjectId<S> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl<S> Hash for ObjectId<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl<S> Serialize for ObjectId<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.bytes.serialize(serializer)
        }
    }
}

impl<'de, S> Deserialize<'de> for ObjectId<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Of which class it is shows where it is used: a stub that is asked for with a wrong one refuses it.
        let bytes = if deserializer.is_human_readable() {
            parse_hex(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)?
        } else {
            <[u8; 32]>::deserialize(deserializer)?
        };
        Ok(Self { bytes, name: None, stub: PhantomData })
    }
}

/// What names an object: an id, or a text that is taken as a name (never as the text of an id).
///
/// An id of another class is refused: the calls of a stub that was asked for with one fail (checklist 1.15).
pub trait ToObjectId<S> {
    #[doc(hidden)]
    fn into_key(self, class: &str) -> Result<ObjectKey, ParseIdError>;
}

impl<S> ToObjectId<S> for ObjectId<S> {
    fn into_key(self, class: &str) -> Result<ObjectKey, ParseIdError> {
        let found = Class::with(class, |class| class.has(&self.bytes).then(|| class.name.clone()));
        match found {
            Some(class) => Ok(ObjectKey { class, id: self.bytes, name: self.name }),
            None => Err(ParseIdError::WrongClass { class: class.to_owned() }),
        }
    }
}

impl<S> ToObjectId<S> for &ObjectId<S> {
    fn into_key(self, class: &str) -> Result<ObjectKey, ParseIdError> {
        self.clone().into_key(class)
    }
}

macro_rules! names {
    ($($text:ty),*) => {$(
        impl<S> ToObjectId<S> for $text {
            fn into_key(self, class: &str) -> Result<ObjectKey, ParseIdError> {
                Ok(ObjectKey::of_name(class, self.as_ref()))
            }
        }
    )*};
}

names!(&str, String, &String);

/// An object's class and id, without types: what logs, errors and the registry call it.
///
/// Its text is `Class/name` where the name is known, `Class/64 hex digits` otherwise.
///
/// ```
/// # use opendo::prelude::*;
/// # pub struct Room; #[rpc_target] impl Room {}
/// # async fn f(room: RoomStub) {
/// if let Some(key) = room.key() {
///     println!("{key} is a {} named {:?}", key.class(), key.name());
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct ObjectKey {
    class: Arc<str>,
    id: [u8; 32],
    name: Option<Name>,
}

impl ObjectKey {
    /// Names what a stub was asked for when its id turned out to be none of the class.
    pub(crate) fn refused(class: &str) -> Self {
        Self { class: class.into(), id: [0; 32], name: None }
    }

    /// What a node keeps of its own is kept under this one. No class has that name.
    pub(crate) fn of_node() -> Self {
        Self::refused("")
    }

    /// The key of an object that an engine has kept: it was verified before.
    pub(crate) fn kept(class: Arc<str>, id: [u8; 32], name: Option<Name>) -> Self {
        Self { class, id, name }
    }

    /// The object of that name.
    pub(crate) fn of_name(class: &str, name: &str) -> Self {
        let (class, id) = Class::with(class, |class| (class.name.clone(), class.of_name(name)));
        Self { class, id, name: Some(name.into()) }
    }

    /// The object of an id that is written in hex.
    #[cfg(feature = "capnweb")]
    pub(crate) fn parse(class: &str, id: &str) -> Result<Self, ParseIdError> {
        let id = parse_hex(id)?;
        let found = Class::with(class, |class| class.has(&id).then(|| class.name.clone()));
        match found {
            Some(class) => Ok(Self { class, id, name: None }),
            None => Err(ParseIdError::WrongClass { class: class.to_owned() }),
        }
    }

    /// Its id in hex.
    #[cfg(any(feature = "capnweb", feature = "sqlite"))]
    pub(crate) fn id_text(&self) -> String {
        struct Hex<'a>(&'a [u8; 32]);
        impl fmt::Display for Hex<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(self.0, f)
            }
        }
        Hex(&self.id).to_string()
    }

    /// The key of an id that came from elsewhere; `None` when the id is not of the class.
    pub(crate) fn verified(class: &Arc<str>, id: [u8; 32], name: Option<&str>) -> Option<Self> {
        // A name that is not the id's own would be a lie in every log, and an overlong one is nobody's to keep.
        let short = name.filter(|name| name.len() <= LONGEST_KNOWN_NAME);
        Class::with(class, |keyed| {
            let own = |name: &&str| keyed.mac(name.as_bytes())[..] == id[..16];
            let name = short.filter(own).map(Name::from);
            keyed.has(&id).then(|| Self { class: class.clone(), id, name })
        })
    }

    /// The class.
    pub fn class(&self) -> &str {
        &self.class
    }

    pub(crate) fn class_arc(&self) -> &Arc<str> {
        &self.class
    }

    /// The 32 bytes of the id.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.id
    }

    /// The name, if the object was reached by one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn kept_name(&self) -> Option<Name> {
        self.name.clone()
    }

    /// The name as the object gets to know it, which is all that is worth telling others: not an overlong one.
    pub(crate) fn known_name(&self) -> Option<&str> {
        self.name().filter(|name| name.len() <= LONGEST_KNOWN_NAME)
    }

    /// As the object itself sees it: without an overlong name.
    pub(crate) fn for_object(self: &Arc<Self>) -> Arc<Self> {
        if self.name.as_ref().is_none_or(|name| name.len() <= LONGEST_KNOWN_NAME) {
            return self.clone();
        }
        Arc::new(Self { class: self.class.clone(), id: self.id, name: None })
    }
}

impl PartialEq for ObjectKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && (Arc::ptr_eq(&self.class, &other.class) || self.class == other.class)
    }
}

impl Eq for ObjectKey {}

impl Hash for ObjectKey {
    /// A part of the half that proves the class: it is a keyed hash already, and nobody can choose it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from_le_bytes(std::array::from_fn(|at| self.id[at + 16])));
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.class)?;
        match self.name() {
            Some(name) => f.write_str(name),
            None => write_hex(&self.id, f),
        }
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(class: &str, name: &str) -> String {
        ObjectKey { name: None, ..ObjectKey::of_name(class, name) }.to_string()[class.len() + 1..].to_owned()
    }

    /// Checklist 1.2b: what workerd prints for these.
    #[test]
    fn golden_vectors_of_workerd() {
        for (name, hex) in [
            ("", "95f3d5b26809a3113e3088c1e3a5bb9dfced212c469703d121e2c112c826bbbb"),
            ("a", "7ff1a519fb840f6f1e43b3ee9428f7c1b48f14180c4e5a15bf40c5786614d595"),
            ("lobby", "9a1f8fff6647ab3bbb83380dbfe523feb1ff019464f0b7f0c8145140d8418ea0"),
            ("é😀", "e6f48d11438d817eb8576a7c120b1f5330d224c652c67f8a658d13c9e233cb58"),
        ] {
            assert_eq!(named("k1", name), hex);
        }
    }

    #[test]
    fn a_name_that_is_not_the_ids_own_is_not_believed() {
        let class: Arc<str> = "k1".into();
        let id = ObjectKey::of_name("k1", "a").id;
        assert_eq!(ObjectKey::verified(&class, id, Some("a")).unwrap().name(), Some("a"));
        assert_eq!(ObjectKey::verified(&class, id, Some("b")).unwrap().name(), None);
        assert!(ObjectKey::verified(&"k2".into(), id, None).is_none());
        let long = "x".repeat(1025);
        let id = ObjectKey::of_name("k1", &long).id;
        assert_eq!(ObjectKey::verified(&class, id, Some(&long)).unwrap().name(), None);
    }
}
