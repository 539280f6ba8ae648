//! What the two sides of a session hold of each other, and the numbers they know it by.
//!
//! As in Cap'n Web, numbers are never reused: positive ones are chosen by the side that calls (for what it names:
//! objects, the root, parts of results, pipes), negative ones by the side that is called (for what it passes in
//! arguments and results; each occurrence gets its own, so a count of one is all there is to release). Calls have a
//! count of their own, since a plain one leaves nothing behind.

use std::sync::{Arc, Weak};

use opendo_transport::Frames;
use opendo_transport::envelope::EnvelopeKind as Kind;
use rustc_hash::FxHashMap;

use crate::encoding::{Encoded, Form};
use crate::object::id::ObjectKey;
use crate::object::lasting::{LastingName, MAX_PARAMS};
use crate::rpc::arg::Value;
use crate::rpc::cap::{Cap, Capability, Known, Passed, PeerInterface, Reference};
use crate::rpc::core::{Core, push_control};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::remote::{Place, Remote, RemoteObject};
use crate::rpc::wire::{
    Bind, Bound, CapDescriptor, Describe, Descriptor, MAX_CLASSES, WireKey, WirePlace, WireTarget,
    encode_body,
};
use crate::stream::Chunks;

/// Our half of a session's numbers.
pub(crate) struct Tables {
    pub(crate) next_call: u64,
    /// For the next thing to be named.
    next_name: i64,
    /// Names that the peer holds for us, and results.
    pub(crate) names: usize,
    /// Classes that the peer was told about: by name, and by the interface that is meant, which is kept so that its
    /// address stays its own.
    described: FxHashMap<(Arc<str>, usize), (u32, Known)>,
    last_export: i64,
    pub(crate) exports: FxHashMap<i64, Cap>,
    /// Pipes of the peer's that we write to.
    pub(crate) streams: FxHashMap<i64, Weak<RemoteObject>>,
    pub(crate) imports: usize,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            next_call: 1,
            next_name: 1,
            names: 0,
            described: FxHashMap::default(),
            last_export: 0,
            exports: FxHashMap::default(),
            streams: FxHashMap::default(),
            imports: 0,
        }
    }
}

impl Tables {
    fn take_name(&mut self) -> i64 {
        let name = self.next_name;
        self.next_name += 1;
        name
    }
}

/// A stream and the number of the peer's pipe for it.
pub(crate) type PassedStream = (i64, Arc<parking_lot::Mutex<Option<Chunks>>>);

/// What goes beside a message, not exported yet. Most messages have nothing.
pub(crate) struct Prepared(Option<Box<Parts>>);

#[derive(Default)]
struct Parts {
    descriptors: Vec<u8>,
    exports: Vec<(i64, Cap)>,
    streams: Vec<PassedStream>,
}

impl Prepared {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |parts| &parts.descriptors)
    }

    /// How many new things the peer has to hold under names of ours.
    pub(crate) fn names(&self) -> usize {
        self.0.as_ref().map_or(0, |parts| parts.streams.len())
    }
}

/// A message on its way out, under the session's lock.
pub(crate) struct Out<'a> {
    pub(crate) core: &'a Core,
    pub(crate) tables: &'a mut Tables,
    pub(crate) frames: &'a mut Frames,
}

impl Out<'_> {
    /// The number of what is called, if it has one, unless it is broken.
    pub(crate) fn target(&self, object: &RemoteObject) -> Result<Option<i64>, RpcError> {
        let binding = object.binding.lock();
        match &binding.broken {
            Some(error) => Err(error.clone()),
            None => Ok((binding.session == self.core.life.number).then_some(binding.import)),
        }
    }

    /// The number of what is called or passed; names it to the peer the first time.
    pub(crate) fn place(&mut self, object: &Arc<RemoteObject>) -> Result<i64, RpcError> {
        let mut binding = object.binding.lock();
        if binding.session == self.core.life.number {
            return Ok(binding.import);
        }
        let (class, place) = match &object.place {
            Place::Object(key) => {
                let bound = Bound::Object { id: *key.bytes(), name: key.known_name() };
                (key.class_arc().clone(), bound)
            }
            Place::Lasting(name) => (object.known().name().into(), Bound::Lasting(wire_target(name))),
            Place::Root => (object.known().name().into(), Bound::Root),
            Place::Result(call, path) => {
                let call = call.number_in(&self.core.life).ok_or_else(|| call.failure())?;
                let path = path.iter().map(|field| &**field).collect();
                (object.known().name().into(), Bound::Result { call, path })
            }
            Place::Import | Place::Promise(_) | Place::Nowhere(_) | Place::Group => {
                return Err(RpcError::new(
                    ErrorKind::Broken,
                    "it belongs to an earlier session; get a new one",
                ));
            }
        };
        self.has_room(1)?;
        let class = self.describe(class, &object.known())?;
        let import = self.tables.take_name();
        self.tables.names += 1;
        push_control(self.frames, Kind::Bind, |out| encode_body(&Bind { import, class, place }, out));
        binding.session = self.core.life.number;
        binding.import = import;
        Ok(import)
    }

    /// Whether the peer holds so many more things under names of ours: it would end the session.
    #[inline]
    pub(crate) fn has_room(&self, more: usize) -> Result<(), RpcError> {
        if more == 0 || self.tables.names + more <= self.core.theirs.max_bindings as usize {
            return Ok(());
        }
        Err(self.is_full())
    }

    #[cold]
    fn is_full(&self) -> RpcError {
        let (held, allowed) = (self.tables.names, self.core.theirs.max_bindings);
        let text = format!(
            "{} holds {held} names and results for us, and {allowed} are allowed",
            self.core.life.peer
        );
        RpcError::new(ErrorKind::Overloaded, text)
    }

    /// The number of a class, which is described to the peer the first time.
    fn describe(&mut self, class: Arc<str>, known: &Known) -> Result<u32, RpcError> {
        let place = (class, known.address());
        if let Some((number, _)) = self.tables.described.get(&place) {
            return Ok(*number);
        }
        let number = self.tables.described.len();
        if number >= MAX_CLASSES {
            return Err(RpcError::new(ErrorKind::Overloaded, "too many different interfaces in one session"));
        }
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let describe = Describe { number, class: place.0.to_string(), methods: known.methods() };
        push_control(self.frames, Kind::Interface, |out| encode_body(&describe, out));
        self.tables.described.insert(place, (number, known.clone()));
        Ok(number)
    }

    /// Writes down what is passed. Nothing is exported yet: the message may still come to nothing.
    #[inline]
    pub(crate) fn describe_passed(&mut self, passed: &[Passed]) -> Result<Prepared, RpcError> {
        Ok(Prepared(if passed.is_empty() { None } else { Some(self.describe_all(passed)?) }))
    }

    fn describe_all(&mut self, passed: &[Passed]) -> Result<Box<Parts>, RpcError> {
        let mut prepared = Box::<Parts>::default();
        for passed in passed {
            match passed {
                Passed::Value(Value::Call(call)) => {
                    let id = call.number_in(&self.core.life).ok_or_else(|| call.failure())?;
                    encode_body(&Descriptor::Result(id), &mut prepared.descriptors);
                }
                Passed::Value(Value::There(Encoded { form: Form::Postcard, bytes: body, passed: inner })) => {
                    let mut passed = Vec::with_capacity(inner.len());
                    for inner in &**inner {
                        passed.push(self.describe_cap(inner, &mut prepared)?);
                    }
                    let count = u32::try_from(passed.len()).unwrap_or(u32::MAX);
                    encode_body(&Descriptor::Value { body, passed: count }, &mut prepared.descriptors);
                    passed.iter().for_each(|cap| encode_body(cap, &mut prepared.descriptors));
                }
                passed => {
                    let cap = self.describe_cap(passed, &mut prepared)?;
                    encode_body(&Descriptor::Cap(cap), &mut prepared.descriptors);
                }
            }
        }
        let (exports, streams) = (&prepared.exports, &prepared.streams);
        let held = self.tables.exports.len() + exports.len() + self.tables.streams.len() + streams.len();
        let allowed = self.core.theirs.max_capabilities.min(self.core.life.limits.max_capabilities) as usize;
        if !(exports.is_empty() && streams.is_empty()) && held > allowed {
            let text =
                format!("{} would hold {held} capabilities, and {allowed} are allowed", self.core.life.peer);
            return Err(RpcError::new(ErrorKind::Overloaded, text));
        }
        Ok(prepared)
    }

    fn describe_cap<'p>(
        &mut self,
        passed: &'p Passed,
        prepared: &mut Parts,
    ) -> Result<CapDescriptor<'p>, RpcError> {
        match passed {
            Passed::Cap(cap) => {
                if let Some(remote) = cap.remote()
                    && self.is_theirs(remote)
                {
                    return Ok(CapDescriptor::Yours(self.place(remote.object())?));
                }
                let place = match cap.hosted(&self.core.life.objects.0) {
                    None => WirePlace::Nowhere,
                    Some(Reference::Object(key)) => WirePlace::Object(wire_key(key)),
                    Some(Reference::Lasting(name)) => WirePlace::Lasting(wire_target(name)),
                };
                let interface = cap.interface();
                let class = self.describe(interface.name().into(), &interface)?;
                let planned = i64::try_from(prepared.exports.len()).unwrap_or(i64::MAX);
                let id = self.tables.last_export - 1 - planned;
                prepared.exports.push((id, cap.clone()));
                Ok(CapDescriptor::Mine { id, class, place })
            }
            Passed::Chunks(chunks) => {
                let id = self.tables.take_name();
                prepared.streams.push((id, chunks.clone()));
                Ok(CapDescriptor::Stream(id))
            }
            Passed::Value(_) => {
                Err(RpcError::new(ErrorKind::Encode, "the result of a call is not there in time"))
            }
            #[cfg(feature = "capnweb")]
            Passed::Blob(_) => {
                Err(RpcError::new(ErrorKind::Encode, "a blob of a text message in a binary one"))
            }
        }
    }

    /// Whether the peer of this session has what that leads to.
    fn is_theirs(&self, remote: &Remote) -> bool {
        let object = remote.object();
        match &object.place {
            Place::Import => object.binding.lock().session == self.core.life.number,
            Place::Object(_) | Place::Lasting(_) | Place::Root => self.core.life.is_reached_by(object.number),
            Place::Result(call, _) => call.number_in(&self.core.life).is_some(),
            Place::Promise(_) | Place::Nowhere(_) | Place::Group => false,
        }
    }

    /// The message is on its way: what was passed is the peer's to hold now. The streams are to be written, once the
    /// lock is free.
    #[inline(always)]
    pub(crate) fn commit(&mut self, prepared: Prepared) -> Option<Vec<PassedStream>> {
        prepared.0.map(|parts| self.commit_all(*parts))
    }

    fn commit_all(&mut self, prepared: Parts) -> Vec<PassedStream> {
        for (id, cap) in prepared.exports {
            self.tables.last_export = id;
            self.tables.exports.insert(id, cap);
        }
        self.tables.names += prepared.streams.len();
        self.tables.streams.extend(prepared.streams.iter().map(|(id, _)| (*id, Weak::new())));
        prepared.streams
    }
}

fn wire_key(key: &ObjectKey) -> WireKey<'_> {
    WireKey { class: key.class(), id: *key.bytes(), name: key.known_name() }
}

fn wire_target(name: &LastingName) -> WireTarget<'_> {
    let LastingName { object, target, params, seal } = name;
    WireTarget { object: wire_key(object), target, params, seal: *seal }
}

/// An object as the peer names it.
fn key_of(wire: &WireKey<'_>) -> Result<Arc<ObjectKey>, RpcError> {
    let WireKey { class, id, name } = wire;
    let key = ObjectKey::verified(&(*class).into(), *id, *name);
    key.map(Arc::new).ok_or_else(|| {
        let text = format!("the peer sent an object of `{class}` under another class's id");
        RpcError::new(ErrorKind::Protocol, text)
    })
}

/// A target as the peer names it. Its parameters count as long as they are kept.
pub(crate) fn name_of(core: &Core, wire: &WireTarget<'_>) -> Result<Arc<LastingName>, RpcError> {
    let WireTarget { object, target, params, seal } = wire;
    if params.len() > MAX_PARAMS {
        return Err(RpcError::new(ErrorKind::Protocol, "the peer sent a target with too long parameters"));
    }
    let (object, params) = (key_of(object)?, core.life.keep(*params)?);
    Ok(Arc::new(LastingName { object, target: (*target).into(), params, seal: *seal }))
}

/// What the peer passes to us under a number of its own: a way to it.
pub(crate) fn import(
    core: &Arc<Core>,
    id: i64,
    peer: Arc<PeerInterface>,
    place: &WirePlace<'_>,
) -> Result<Cap, RpcError> {
    let place = match place {
        WirePlace::Nowhere => None,
        WirePlace::Object(key) => Some(Place::Object(key_of(key)?)),
        WirePlace::Lasting(target) => Some(Place::Lasting(name_of(core, target)?)),
    };
    let cap: Arc<dyn Capability> = Arc::new(Remote::import(core.clone(), id, Some(peer), place));
    Ok(cap)
}
