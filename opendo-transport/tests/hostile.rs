//! Whatever a peer sends: a value or a typed error, never a panic, and exactly one encoding of each value.

use std::collections::VecDeque;
use std::io::Cursor;

use opendo_transport::envelope::{
    CallHeader, CancelHeader, ChainLink, EnvelopeError, EnvelopeKind, EnvelopeView, MAX_CHAIN, ReplyHeader,
    ReplyStatus, TraceContext, v0,
};
use opendo_transport::{Address, ByteStream, Frames, Limits, Peer, Transport, TransportError};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

/// The same cases in every run; `PROPTEST_RNG_SEED` finds others.
fn config() -> Config {
    let config = Config { cases: 512, failure_persistence: None, ..Config::default() };
    match config.rng_seed {
        RngSeed::Random => Config { rng_seed: RngSeed::Fixed(0x0d0), ..config },
        RngSeed::Fixed(_) => config,
    }
}

/// Numbers of every encoded length alike.
fn number() -> impl Strategy<Value = u64> + Clone {
    (any::<u64>(), 0..64u32).prop_map(|(value, shift)| value >> shift)
}

fn signed() -> impl Strategy<Value = i64> {
    (any::<i64>(), 0..64u32).prop_map(|(value, shift)| value >> shift)
}

fn trace() -> impl Strategy<Value = TraceContext> {
    any::<([u8; 16], [u8; 8], u8)>().prop_map(|(trace, span, flags)| TraceContext { trace, span, flags })
}

fn chain() -> impl Strategy<Value = Vec<ChainLink>> {
    let link = (any::<u64>(), number()).prop_map(|(activation, sequence)| ChainLink { activation, sequence });
    prop_oneof![40 => vec(link.clone(), 0..4), 1 => vec(link, MAX_CHAIN - 1..=MAX_CHAIN)]
}

/// Bytes behind their length, of which there may be none; where the length grows by a byte, too.
fn block() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![20 => vec(any::<u8>(), 0..4), 1 => vec(any::<u8>(), 126..=129)]
}

/// What the header of a call only borrows.
#[derive(Debug, Clone)]
struct Borrowed {
    chain: Vec<ChainLink>,
    capabilities: Vec<u8>,
}

impl Borrowed {
    fn by<'a>(&'a self, header: &CallHeader<'a>) -> CallHeader<'a> {
        CallHeader { chain: &self.chain, capabilities: &self.capabilities, ..*header }
    }
}

prop_compose! {
    /// A call with what its header is to borrow.
    fn call()(
        call in number(),
        target in signed(),
        method: u32,
        timestamp: u64,
        deadline in proptest::option::of(number()),
        trace in proptest::option::of(trace()),
        chain in chain(),
        capabilities in block(),
        keep: bool,
    ) -> (CallHeader<'static>, Borrowed) {
        let header =
            CallHeader { call, target, method, timestamp, deadline, trace, keep, ..CallHeader::default() };
        (header, Borrowed { chain, capabilities })
    }
}

fn status() -> impl Strategy<Value = ReplyStatus> {
    prop_oneof![Just(ReplyStatus::Ok), Just(ReplyStatus::Application), Just(ReplyStatus::Rpc)]
}

/// A valid header of any kind that has one.
fn header() -> impl Strategy<Value = Vec<u8>> {
    let call = call().prop_map(|(header, borrowed)| encode(|out| borrowed.by(&header).encode(out)));
    let reply = (number(), status(), block()).prop_map(|(call, status, capabilities)| {
        encode(|out| ReplyHeader { call, status, capabilities: &capabilities }.encode(out))
    });
    let cancel = number().prop_map(|call| encode(|out| CancelHeader { call }.encode(out)));
    prop_oneof![3 => call, 1 => reply, 1 => cancel]
}

fn encode(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// The header that a view shows, encoded again.
fn encode_again(view: &EnvelopeView<'_>) -> Vec<u8> {
    let chain = view.chain().collect::<Vec<_>>();
    assert_eq!(chain.len(), view.chain().len());
    encode(|out| match view.kind() {
        EnvelopeKind::Call => CallHeader {
            call: view.call(),
            target: view.target(),
            method: view.method(),
            timestamp: view.timestamp(),
            deadline: view.deadline(),
            trace: view.trace(),
            chain: &chain,
            capabilities: view.capabilities(),
            keep: view.keep(),
        }
        .encode(out),
        EnvelopeKind::Reply => {
            let (call, status, capabilities) = (view.call(), view.status(), view.capabilities());
            ReplyHeader { call, status, capabilities }.encode(out);
        }
        EnvelopeKind::Cancel => CancelHeader { call: view.call() }.encode(out),
        kind => kind.encode(out),
    })
}

/// What every view of anything must satisfy.
fn check_view(message: &[u8]) -> Result<(), EnvelopeError> {
    let view = EnvelopeView::parse(message)?;
    assert_eq!(view.body(), &message[view.body_offset()..]);
    assert_eq!(encode_again(&view), message[..view.body_offset()]);
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn calls_are_read_as_written((header, borrowed) in call(), body in vec(any::<u8>(), 0..64)) {
        let header = borrowed.by(&header);
        let mut message = encode(|out| header.encode(out));
        let size = message.len();
        message.extend_from_slice(&body);
        let view = EnvelopeView::parse(&message).unwrap();
        prop_assert_eq!((view.kind(), view.call(), view.target()), (EnvelopeKind::Call, header.call, header.target));
        prop_assert_eq!((view.method(), view.timestamp()), (header.method, header.timestamp));
        prop_assert_eq!((view.deadline(), view.trace()), (header.deadline, header.trace));
        prop_assert_eq!(view.chain().collect::<Vec<_>>(), header.chain);
        prop_assert_eq!((view.capabilities(), view.keep()), (header.capabilities, header.keep));
        prop_assert_eq!((view.body_offset(), view.body()), (size, &body[..]));
    }

    #[test]
    fn replies_and_cancellations_are_read_as_written(
        call in number(),
        status in status(),
        capabilities in block(),
        body: Vec<u8>,
    ) {
        let mut message =
            encode(|out| ReplyHeader { call, status, capabilities: &capabilities }.encode(out));
        message.extend_from_slice(&body);
        let view = EnvelopeView::parse(&message).unwrap();
        prop_assert_eq!((view.kind(), view.call(), view.status()), (EnvelopeKind::Reply, call, status));
        prop_assert_eq!((view.capabilities(), view.body()), (&capabilities[..], &body[..]));

        let message = encode(|out| CancelHeader { call }.encode(out));
        let view = EnvelopeView::parse(&message).unwrap();
        prop_assert_eq!((view.kind(), view.call(), view.body()), (EnvelopeKind::Cancel, call, &b""[..]));
    }

    #[test]
    fn every_cut_header_is_truncated(header in header()) {
        for end in 0..header.len() {
            let error = EnvelopeView::parse(&header[..end]).unwrap_err();
            prop_assert!(matches!(error, EnvelopeError::Truncated { .. }), "{end}: {error}");
        }
    }

    #[test]
    fn any_bytes_are_a_view_or_an_error(kind in 0..12u8, flags in 0..33u8, rest: Vec<u8>) {
        let _ = check_view(&rest);
        let _ = check_view(&[&[kind, flags], &rest[..]].concat());
        if let Ok(envelope) = v0::Envelope::decode(&rest) {
            prop_assert_eq!(encode(|out| envelope.encode(out)), rest);
        }
    }

    #[test]
    fn damaged_headers_are_a_view_or_an_error(mut header in header(), at: prop::sample::Index, byte: u8) {
        let at = at.index(header.len());
        header[at] = byte;
        let _ = check_view(&header);
    }

    #[test]
    fn v0_is_read_as_written(id: String, method: String, params: Vec<u8>, timestamp: u64) {
        let envelope = v0::Envelope { id: &id, method: &method, params: &params, timestamp };
        let bytes = encode(|out| envelope.encode(out));
        prop_assert_eq!(bytes.len(), envelope.encoded_len());
        prop_assert_eq!(v0::Envelope::decode(&bytes), Ok(envelope));
        for end in 0..bytes.len() {
            let error = v0::Envelope::decode(&bytes[..end]).unwrap_err();
            prop_assert!(matches!(error, EnvelopeError::Truncated { .. }), "{end}: {error}");
        }
    }

    #[test]
    fn any_stream_is_messages_and_an_end(bytes in vec(prop_oneof![3 => 0..3u8, 1 => any::<u8>()], 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let limits = Limits { max_message: 1000 };
        let peer = Peer::remote("test", "hostile");
        let stream = ByteStream::new(Cursor::new(bytes.clone()), tokio::io::sink(), peer, &limits);
        let (_, mut receiver) = stream.split();
        let mut frames = Frames::default();
        let end = runtime.block_on(async {
            loop {
                match receiver.receive().await {
                    Some(Ok(message)) => frames.push(&message),
                    Some(Err(error)) => break Some(error),
                    None => break None,
                }
            }
        });
        // What came through is exactly what the stream said, and the rest is what the error says.
        let (read, rest) = bytes.split_at(frames.byte_len());
        prop_assert_eq!(frames.as_bytes(), read);
        let announced = rest.first_chunk().map(|size| u32::from_le_bytes(*size) as usize);
        match end {
            None => prop_assert!(rest.is_empty()),
            Some(TransportError::TooLarge { size, limit: 1000 }) => {
                prop_assert!(announced == Some(size) && size > 1000);
            }
            Some(TransportError::Truncated) => {
                prop_assert!(announced.is_none_or(|size| size <= 1000 && rest.len() < 4 + size));
            }
            Some(other) => panic!("{other}"),
        }
    }

    #[test]
    fn any_text_is_an_address_or_an_error(scheme in "(tcp://|unix:|memory:|[a-z:/]{0,4})", rest in "\\PC{0,12}") {
        let text = scheme + &rest;
        if let Ok(address) = text.parse::<Address>() {
            let _ = address.is_local();
            prop_assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn frames_are_a_queue_of_messages(steps in vec(step(), 0..50)) {
        let mut frames = Frames::default();
        // The messages as their bytes go: each with what is left of it, length included.
        let mut model = VecDeque::<(Vec<u8>, usize)>::new();
        for step in steps {
            match step {
                Step::Push(message) => {
                    frames.push(&message);
                    model.push_back((message.clone(), message.len() + 4));
                }
                Step::PushWith(message, fails) => {
                    let pushed = frames.push_with(|out| {
                        out.extend_from_slice(&message);
                        if fails { Err(()) } else { Ok(()) }
                    });
                    prop_assert_eq!(pushed, if fails { Err(()) } else { Ok(message.len()) });
                    if !fails {
                        model.push_back((message.clone(), message.len() + 4));
                    }
                }
                Step::Advance(share) => {
                    let mut count = share.index(frames.byte_len() + 1);
                    frames.advance(count);
                    while count > 0 {
                        let (_, left) = &mut model[0];
                        let gone = count.min(*left);
                        (*left, count) = (*left - gone, count - gone);
                        if *left == 0 {
                            model.pop_front();
                        }
                    }
                }
                Step::Pop => {
                    frames.pop_front();
                    if model.front().is_some_and(|(message, left)| *left < message.len() + 4) {
                        model.pop_front();
                    }
                    model.pop_front();
                }
                Step::Clear => {
                    frames.clear();
                    model.clear();
                }
            }
            prop_assert_eq!((frames.len(), frames.is_empty()), (model.len(), model.is_empty()));
            let whole = model.iter().filter(|(message, left)| *left == message.len() + 4);
            prop_assert!(frames.iter().eq(whole.map(|(message, _)| &message[..])));
            let wire = model.iter().map(|(message, left)| {
                let framed = [&(message.len() as u32).to_le_bytes(), &message[..]].concat();
                framed[framed.len() - left..].to_vec()
            });
            prop_assert_eq!(frames.as_bytes(), wire.collect::<Vec<_>>().concat());
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push(Vec<u8>),
    PushWith(Vec<u8>, bool),
    Advance(prop::sample::Index),
    Pop,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let message = (any::<u8>(), 0..2000usize).prop_map(|(byte, size)| vec![byte; size]);
    prop_oneof![
        4 => message.clone().prop_map(Step::Push),
        4 => (message, any::<bool>()).prop_map(|(message, fails)| Step::PushWith(message, fails)),
        4 => any::<prop::sample::Index>().prop_map(Step::Advance),
        2 => Just(Step::Pop),
        1 => Just(Step::Clear),
    ]
}
