//! The bodies of control messages, and the hello with which a session begins.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::rpc::error::{ErrorKind, RpcError};

/// The version of the binary protocol. Peers of different versions refuse each other in words.
pub(crate) const VERSION: u16 = 1;

const MAGIC: [u8; 3] = *b"ODO";

/// What each side says first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The largest message this side accepts, in bytes.
    pub(crate) max_message: u64,
    /// How many unanswered calls this side accepts.
    pub(crate) max_calls: u32,
    /// How many names and results this side holds for the other.
    pub(crate) max_bindings: u32,
    /// How many capabilities this side holds of the other.
    pub(crate) max_capabilities: u32,
    /// How many bytes of one stream this side keeps for its reader.
    pub(crate) max_stream_buffer: u64,
    /// Optional parts of the protocol that this side speaks, one bit each. None are defined yet.
    pub(crate) features: u64,
    /// What an authenticator of the other side looks at.
    pub(crate) credentials: Vec<u8>,
}

impl Hello {
    /// Magic and version stand before everything whose shape a version could change.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        encode_body(self, out);
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, RpcError> {
        let protocol = |message: String| RpcError::new(ErrorKind::Protocol, message);
        let rest = body.strip_prefix(&MAGIC).ok_or_else(|| {
            protocol(
                "the peer's first message is not an opendo hello; does it speak another protocol?".into(),
            )
        })?;
        let (version, rest) = rest
            .split_first_chunk::<2>()
            .ok_or_else(|| protocol("the peer's hello ends before its version".into()))?;
        let version = u16::from_le_bytes(*version);
        if version != VERSION {
            return Err(protocol(format!(
                "the peer speaks version {version} of the protocol and this side version {VERSION}; \
                 use the same opendo release on both sides"
            )));
        }
        decode_body(rest, "the hello")
    }
}

/// A class and the methods that its caller knows, sent before the first object of it is named.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Describe {
    /// The sender's number for this class: 0, 1, 2, …
    pub(crate) number: u32,
    pub(crate) class: String,
    /// Method id and fingerprint of each method.
    pub(crate) methods: Vec<(u32, u64)>,
}

/// Classes one session may describe: far above any program's, far below what hurts.
pub(crate) const MAX_CLASSES: usize = 65_536;

/// Names what is to be called, so that calls can name it by a short number.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bind<'a> {
    /// Positive, chosen by the caller's side, never reused.
    pub(crate) import: i64,
    /// By a [`Describe::number`]: how the caller knows it.
    pub(crate) class: u32,
    #[serde(borrow)]
    pub(crate) place: Bound<'a>,
}

/// What is named.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Bound<'a> {
    Object {
        id: [u8; 32],
        #[serde(borrow)]
        name: Option<&'a str>,
    },
    /// The callee's main interface.
    Root,
    /// A part of the result of a call that is kept, arrived or not.
    Result {
        call: u64,
        #[serde(borrow)]
        path: Vec<&'a str>,
    },
    /// A target that an object of the callee's makes again.
    #[serde(borrow)]
    Lasting(WireTarget<'a>),
}

/// One thing that travels beside a body. They stand one behind the other, without a count.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Descriptor<'a> {
    #[serde(borrow)]
    Cap(CapDescriptor<'a>),
    /// The value of a result that the receiver keeps.
    Result(u64),
    /// The value of a result; so many capabilities that were passed beside it stand behind.
    Value { body: &'a [u8], passed: u32 },
}

/// A capability as one side names it to the other.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum CapDescriptor<'a> {
    /// The sender's, under a new number of its choice: negative.
    Mine {
        id: i64,
        /// By a [`Describe::number`] of the sender's.
        class: u32,
        /// Where to find it in other sessions.
        #[serde(borrow)]
        place: WirePlace<'a>,
    },
    /// The receiver's, by the number that the sender calls it by.
    Yours(i64),
    /// A stream: the sender will write into what this new positive number names.
    Stream(i64),
}

/// What the other side need not keep any longer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Released {
    /// What has this number: a name that the sender gave, or a capability that the receiver passed.
    Number(i64),
    /// The result of this call.
    Result(u64),
}

/// An object's class, id and name.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WireKey<'a> {
    pub(crate) class: &'a str,
    pub(crate) id: [u8; 32],
    pub(crate) name: Option<&'a str>,
}

/// Where something is found in other sessions.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum WirePlace<'a> {
    Nowhere,
    #[serde(borrow)]
    Object(WireKey<'a>),
    #[serde(borrow)]
    Lasting(WireTarget<'a>),
}

/// A target that an object makes again. Only its node reads the parameters, and knows by the seal that they are its own.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WireTarget<'a> {
    #[serde(borrow)]
    pub(crate) object: WireKey<'a>,
    pub(crate) target: &'a str,
    pub(crate) params: &'a [u8],
    pub(crate) seal: [u8; 16],
}

/// A [`RpcError`] as it crosses the wire.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireError {
    kind: u8,
    message: String,
    may_have_run: bool,
    /// For a signature mismatch: the signature on the side that refused.
    signature: Option<String>,
}

impl WireError {
    pub(crate) fn from_rpc(error: &RpcError) -> Self {
        Self {
            kind: error.kind().to_wire(),
            message: error.message().to_owned(),
            may_have_run: error.may_have_run(),
            signature: error.signatures().map(|(own, _)| own.to_owned()),
        }
    }

    /// The error for a caller whose own signature of the method is `ours`.
    pub(crate) fn into_rpc(self, ours: Option<&str>) -> RpcError {
        let error = RpcError::new(ErrorKind::from_wire(self.kind), self.message).may_run(self.may_have_run);
        match (ours, self.signature) {
            (Some(ours), Some(theirs)) => error.with_signatures(ours, &theirs),
            _ => error,
        }
    }
}

/// An error can be part of what a method returns: without the name of what was called.
impl Serialize for RpcError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WireError::from_rpc(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RpcError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WireError::deserialize(deserializer).map(|error| error.into_rpc(None))
    }
}

pub(crate) fn encode_body<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let bytes = std::mem::take(out);
    *out = postcard::to_extend(value, bytes).expect("a control message has a fixed, encodable shape");
}

pub(crate) fn decode_body<'a, T: Deserialize<'a>>(body: &'a [u8], what: &str) -> Result<T, RpcError> {
    let wrong = |why: &str| RpcError::new(ErrorKind::Protocol, format!("{what} from the peer {why}"));
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(wrong("is followed by bytes that do not belong to it")),
        Err(_) => Err(wrong("cannot be decoded")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> (Hello, Vec<u8>) {
        let hello = Hello {
            max_message: 1,
            max_calls: 2,
            max_bindings: 7,
            max_capabilities: 5,
            max_stream_buffer: 6,
            features: 3,
            credentials: vec![4],
        };
        let mut bytes = Vec::new();
        hello.encode(&mut bytes);
        (hello, bytes)
    }

    #[test]
    fn a_hello_is_pinned_byte_for_byte() {
        let (hello, bytes) = hello();
        assert_eq!(bytes, [b'O', b'D', b'O', 1, 0, 1, 2, 7, 5, 6, 3, 1, 4]);
        assert_eq!(Hello::decode(&bytes).unwrap(), hello);
    }

    #[test]
    fn wrong_magic_wrong_version_and_truncation_say_so() {
        let (_, bytes) = hello();
        assert!(Hello::decode(b"GET / HTTP/1.1").unwrap_err().message().contains("another protocol"));
        let mut newer = bytes.clone();
        newer[3] = 9;
        assert!(Hello::decode(&newer).unwrap_err().message().contains("version 9"));
        for end in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..end]).unwrap_err().kind(), ErrorKind::Protocol);
        }
    }
}
