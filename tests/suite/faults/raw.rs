//! A peer made by hand: it says what it likes, byte for byte.

use opendo::Stub;
use opendo::testing::Network;
use opendo::transport::Frames;
use opendo::transport::envelope::{
    CallHeader, CancelHeader, EnvelopeKind, EnvelopeView, ReplyHeader, ReplyStatus,
};
use opendo::{ErrorKind, ObjectId};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::broker::{BrokerStub, ListenerStub, OtherStub};
use super::world::{WorkerStub, soon};

/// One end of a connection, without any manners.
pub(super) struct Raw {
    pub(super) io: DuplexStream,
}

impl Raw {
    pub(super) fn new(network: &Network) -> Self {
        Self { io: network.connect_raw().unwrap() }
    }

    /// After a proper exchange of hellos, and with class 0 described.
    pub(super) async fn greeted(network: &Network) -> Self {
        let mut raw = Self::new(network);
        raw.greet().await;
        raw.send(describe_worker(0)).await;
        raw
    }

    pub(super) async fn greet(&mut self) {
        self.send(hello()).await;
        let answer = self.receive().await.expect("a hello");
        assert_eq!(answer[..6], [EnvelopeKind::Hello as u8, b'O', b'D', b'O', 1, 0]);
    }

    /// After a proper hello: class 0 is the broker's, 1 the listener's, 2 another one, and object 1 is a broker.
    pub(super) async fn brokered(network: &Network) -> Self {
        Self::brokered_after(network, hello()).await
    }

    pub(super) async fn brokered_after(network: &Network, hello: Vec<u8>) -> Self {
        let mut raw = Self::new(network);
        raw.send(hello).await;
        raw.receive().await.expect("a hello");
        raw.send(describe_stub::<BrokerStub>(0)).await;
        raw.send(describe_stub::<ListenerStub>(1)).await;
        raw.send(describe_stub::<OtherStub>(2)).await;
        raw.send(bind(1, 0, ObjectId::<BrokerStub>::from_name("broker").as_bytes(), None)).await;
        raw
    }

    /// The next message of that kind, and how many releases came before it. Nothing else may.
    pub(super) async fn after_releases(&mut self, kind: EnvelopeKind) -> (Vec<u8>, usize) {
        let mut releases = 0;
        loop {
            let message = self.receive().await.expect("a message");
            match message[0] {
                found if found == kind as u8 => return (message, releases),
                found if found == EnvelopeKind::Release as u8 => releases += 1,
                // A class is described before it is passed, and a stream that nobody asked for is not read.
                found if [EnvelopeKind::Interface as u8, EnvelopeKind::Unread as u8].contains(&found) => {}
                _ => panic!("{message:?}"),
            }
        }
    }

    /// The answer to that call, whatever is released before it.
    pub(super) async fn answer(&mut self, call: u64) -> Result<Vec<u8>, Wire> {
        let (message, _) = self.after_releases(EnvelopeKind::Reply).await;
        let (answered, result) = read_reply(&message);
        assert_eq!(answered, call, "{result:?}");
        result
    }

    /// After that, object `import` is bound and works.
    pub(super) async fn bound(network: &Network, import: i64) -> Self {
        let mut raw = Self::greeted(network).await;
        raw.send(bind_worker(import, "hostile")).await;
        raw
    }

    pub(super) async fn send(&mut self, message: impl AsRef<[u8]>) {
        self.send_bytes(&frame(message)).await;
    }

    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        soon(self.io.write_all(bytes)).await.expect("the other side listens");
    }

    /// The next message; `None` at the end.
    pub(super) async fn receive(&mut self) -> Option<Vec<u8>> {
        soon(async {
            let mut size = [0; 4];
            let mut read = 0;
            while read < size.len() {
                match self.io.read(&mut size[read..]).await {
                    Ok(0) | Err(_) if read == 0 => return None,
                    Ok(0) | Err(_) => panic!("the connection ended inside a message"),
                    Ok(count) => read += count,
                }
            }
            let mut message = vec![0; u32::from_le_bytes(size) as usize];
            self.io.read_exact(&mut message).await.expect("a whole message");
            Some(message)
        })
        .await
    }

    /// The next reply: the call it answers, and the result's encoding or the error.
    pub(super) async fn reply(&mut self) -> (u64, Result<Vec<u8>, Wire>) {
        read_reply(&self.receive().await.expect("a reply"))
    }

    pub(super) async fn refused(&mut self) -> Wire {
        self.reply().await.1.expect_err("a refusal")
    }

    /// The reason for which the other side ends the conversation, which it does.
    pub(super) async fn aborted(&mut self) -> Wire {
        let mut reason = None;
        while let Some(message) = self.receive().await {
            assert!(reason.is_none(), "nothing follows an abort");
            if message[0] == EnvelopeKind::Abort as u8 {
                reason = Some(Wire::decode(&message[1..]));
            }
        }
        reason.expect("an abort before the end")
    }

    /// The other side ends the conversation.
    pub(super) async fn ended(&mut self) {
        while self.receive().await.is_some() {}
    }

    /// A call to object `import` that must work.
    pub(super) async fn works(&mut self, call_id: u64, import: i64) {
        self.send(call(call_id, import, "tag", &[9])).await;
        assert_eq!(self.reply().await, (call_id, Ok(vec![9])));
    }
}

fn read_reply(message: &[u8]) -> (u64, Result<Vec<u8>, Wire>) {
    let view = EnvelopeView::parse(message).unwrap();
    assert_eq!(view.kind(), EnvelopeKind::Reply, "{view:?}");
    let result = match view.status() {
        ReplyStatus::Ok => Ok(view.body().to_vec()),
        ReplyStatus::Application => panic!("a method's own error"),
        ReplyStatus::Rpc => Err(Wire::decode(view.body())),
    };
    (view.call(), result)
}

/// An error as it crosses the wire.
#[derive(Debug, PartialEq)]
pub(super) struct Wire {
    pub(super) kind: ErrorKind,
    pub(super) message: String,
    pub(super) may_have_run: bool,
}

const KINDS: [ErrorKind; 18] = [
    ErrorKind::NoSuchClass,
    ErrorKind::NoSuchMethod,
    ErrorKind::SignatureMismatch,
    ErrorKind::Encode,
    ErrorKind::Decode,
    ErrorKind::TooLarge,
    ErrorKind::Disconnected,
    ErrorKind::Deadline,
    ErrorKind::Cancelled,
    ErrorKind::Overloaded,
    ErrorKind::Reentrant,
    ErrorKind::Reset,
    ErrorKind::Unauthorized,
    ErrorKind::Protocol,
    ErrorKind::Closed,
    ErrorKind::Broken,
    ErrorKind::Failed,
    ErrorKind::Aborted,
];

impl Wire {
    fn decode(body: &[u8]) -> Self {
        let (&kind, mut rest) = body.split_first().unwrap();
        let mut size = 0;
        for shift in 0.. {
            let (&byte, tail) = rest.split_first().unwrap();
            rest = tail;
            size |= usize::from(byte & 0x7f) << (7 * shift);
            if byte < 0x80 {
                break;
            }
        }
        let (message, rest) = rest.split_at(size);
        Self {
            kind: KINDS[usize::from(kind)],
            message: String::from_utf8(message.to_vec()).unwrap(),
            may_have_run: rest[0] == 1,
        }
    }
}

pub(super) fn wire_error(kind: ErrorKind, message: &str) -> Vec<u8> {
    let kind = KINDS.iter().position(|known| *known == kind).unwrap();
    let mut out = vec![u8::try_from(kind).unwrap()];
    put_text(&mut out, message);
    out.extend([0, 0]);
    out
}

// ---- messages

pub(super) fn frame(message: impl AsRef<[u8]>) -> Vec<u8> {
    let mut frames = Frames::default();
    frames.push(message.as_ref());
    frames.as_bytes().to_vec()
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, (value << 1 ^ value >> 63) as u64);
}

pub(super) fn hello() -> Vec<u8> {
    hello_with(1 << 20, 1000, b"")
}

pub(super) fn hello_with(max_message: u64, max_calls: u32, credentials: &[u8]) -> Vec<u8> {
    hello_all(max_message, max_calls, 1000, 1 << 20, credentials)
}

pub(super) fn hello_all(
    max_message: u64,
    max_calls: u32,
    max_capabilities: u32,
    max_stream_buffer: u64,
    credentials: &[u8],
) -> Vec<u8> {
    let mut out = control(EnvelopeKind::Hello, b"ODO\x01\0");
    put_varint(&mut out, max_message);
    put_varint(&mut out, u64::from(max_calls));
    put_varint(&mut out, 1 << 20);
    put_varint(&mut out, u64::from(max_capabilities));
    put_varint(&mut out, max_stream_buffer);
    put_varint(&mut out, 0);
    put_varint(&mut out, credentials.len() as u64);
    out.extend_from_slice(credentials);
    out
}

pub(super) fn control(kind: EnvelopeKind, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    kind.encode(&mut out);
    out.extend_from_slice(body);
    out
}

pub(super) fn describe(number: u32, class: &str, methods: &[(u32, u64)]) -> Vec<u8> {
    let mut out = control(EnvelopeKind::Interface, &[]);
    put_varint(&mut out, u64::from(number));
    put_text(&mut out, class);
    put_varint(&mut out, methods.len() as u64);
    for (id, fingerprint) in methods {
        put_varint(&mut out, u64::from(*id));
        put_varint(&mut out, *fingerprint);
    }
    out
}

pub(super) fn describe_worker(number: u32) -> Vec<u8> {
    describe_stub::<WorkerStub>(number)
}

pub(super) fn describe_stub<S: Stub>(number: u32) -> Vec<u8> {
    let methods: Vec<_> = S::INTERFACE.methods.iter().map(|method| (method.id, method.fingerprint)).collect();
    describe(number, S::INTERFACE.name, &methods)
}

pub(super) fn bind(import: i64, class: u32, id: &[u8; 32], name: Option<&str>) -> Vec<u8> {
    let mut out = control(EnvelopeKind::Bind, &[]);
    put_signed(&mut out, import);
    put_varint(&mut out, u64::from(class));
    out.push(0);
    out.extend_from_slice(id);
    match name {
        None => out.push(0),
        Some(name) => {
            out.push(1);
            put_text(&mut out, name);
        }
    }
    out
}

pub(super) fn id_of(name: &str) -> [u8; 32] {
    *ObjectId::<WorkerStub>::from_name(name).as_bytes()
}

pub(super) fn bind_worker(import: i64, name: &str) -> Vec<u8> {
    bind(import, 0, &id_of(name), Some(name))
}

pub(super) fn release(import: i64) -> Vec<u8> {
    let mut out = control(EnvelopeKind::Release, &[0]);
    put_signed(&mut out, import);
    out
}

pub(super) fn release_result(call: u64) -> Vec<u8> {
    let mut out = control(EnvelopeKind::Release, &[1]);
    put_varint(&mut out, call);
    out
}

/// Names the root.
pub(super) fn bind_root(import: i64, class: u32) -> Vec<u8> {
    let mut out = control(EnvelopeKind::Bind, &[]);
    put_signed(&mut out, import);
    put_varint(&mut out, u64::from(class));
    out.push(1);
    out
}

/// Names a target that a worker makes again.
pub(super) fn bind_lasting(
    import: i64,
    worker: &str,
    target: &str,
    params: &[u8],
    seal: [u8; 16],
) -> Vec<u8> {
    let mut out = control(EnvelopeKind::Bind, &[]);
    put_signed(&mut out, import);
    put_varint(&mut out, 0);
    out.push(3);
    put_text(&mut out, "Worker");
    out.extend_from_slice(&id_of(worker));
    out.push(0);
    put_text(&mut out, target);
    put_varint(&mut out, params.len() as u64);
    out.extend_from_slice(params);
    out.extend_from_slice(&seal);
    out
}

/// Names a part of the result of a call.
pub(super) fn bind_result(import: i64, class: u32, call: u64, path: &[&str]) -> Vec<u8> {
    let mut out = control(EnvelopeKind::Bind, &[]);
    put_signed(&mut out, import);
    put_varint(&mut out, u64::from(class));
    out.push(2);
    put_varint(&mut out, call);
    put_varint(&mut out, path.len() as u64);
    path.iter().for_each(|field| put_text(&mut out, field));
    out
}

pub(super) fn method_of<S: Stub>(name: &str) -> u32 {
    S::INTERFACE.methods.iter().find(|method| method.name == name).expect("a method").id
}

pub(super) fn method(name: &str) -> u32 {
    method_of::<WorkerStub>(name)
}

pub(super) fn call(id: u64, target: i64, name: &str, args: &[u8]) -> Vec<u8> {
    call_with(&CallHeader { call: id, target, method: method(name), ..CallHeader::default() }, args)
}

pub(super) fn call_with(header: &CallHeader<'_>, args: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    header.encode(&mut out);
    out.extend_from_slice(args);
    out
}

pub(super) fn cancel(id: u64) -> Vec<u8> {
    let mut out = Vec::new();
    CancelHeader { call: id }.encode(&mut out);
    out
}

pub(super) fn reply(id: u64, status: ReplyStatus, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ReplyHeader { call: id, status, capabilities: &[] }.encode(&mut out);
    out.extend_from_slice(body);
    out
}
