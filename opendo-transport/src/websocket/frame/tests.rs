use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use super::*;

const LIMIT: usize = 200_000;

fn role(role: Role) -> protocol::Role {
    match role {
        Role::Client => protocol::Role::Client,
        Role::Server => protocol::Role::Server,
    }
}

fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

/// What was written, for a reader whose answers nobody wants.
struct Written(Cursor<Vec<u8>>);

impl Read for Written {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.0.read(space)
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a decoder makes of `wire`, of which it gets so much at a time.
fn decoded(decoder: &mut Decoder, wire: &[u8], step: usize) -> Result<Vec<Frame>, Error> {
    let (mut frames, mut rest) = (Vec::new(), Vec::new());
    for chunk in wire.chunks(step) {
        rest.extend_from_slice(chunk);
        loop {
            let (used, frame) = decoder.decode(&mut rest)?;
            rest.drain(..used);
            frames.extend(frame);
            if used == 0 {
                break;
            }
        }
    }
    Ok(frames)
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let message = prop_oneof![
        ".{0,40}".prop_map(Message::from),
        (65_000..67_000_usize).prop_map(|size| Message::from("x".repeat(size))),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Message::from),
        prop::collection::vec(any::<u8>(), 0..125).prop_map(|payload| Message::Ping(payload.into())),
    ];
    prop::collection::vec(message, 0..8)
}

fn as_frame(message: &Message) -> Frame {
    match message {
        Message::Text(text) => Frame::Text(text.as_str().to_owned()),
        Message::Binary(bytes) => Frame::Binary(bytes.clone()),
        Message::Ping(payload) => Frame::Ping(payload.to_vec()),
        other => unreachable!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn another_implementation_is_understood(messages in messages(), client in any::<bool>(), step in 1..5000_usize) {
        let sender = if client { Role::Client } else { Role::Server };
        let mut wire = WebSocket::from_raw_socket(Cursor::new(Vec::new()), role(sender), None);
        for message in &messages {
            wire.write(message.clone()).unwrap();
        }
        wire.flush().unwrap();
        let wire = wire.get_ref().get_ref().clone();
        let expected: Vec<_> = messages.iter().map(as_frame).collect();
        prop_assert_eq!(decoded(&mut Decoder::new(other(sender), LIMIT), &wire, step).unwrap(), expected);
    }

    #[test]
    fn another_implementation_understands(messages in messages(), client in any::<bool>()) {
        let sender = if client { Role::Client } else { Role::Server };
        let mut wire = Vec::new();
        for message in &messages {
            let (opcode, payload) = match message {
                Message::Text(text) => (OpCode::Data(Data::Text), text.as_bytes()),
                Message::Binary(bytes) => (OpCode::Data(Data::Binary), &bytes[..]),
                Message::Ping(payload) => (OpCode::Control(Control::Ping), &payload[..]),
                other => unreachable!("{other}"),
            };
            encode(sender, opcode, payload, &mut wire);
        }
        let mut reader = WebSocket::from_raw_socket(Written(Cursor::new(wire)), role(other(sender)), None);
        for message in messages {
            prop_assert_eq!(reader.read().unwrap(), message);
        }
    }

    #[test]
    fn no_bytes_are_too_strange(wire in prop::collection::vec(any::<u8>(), 0..100), step in 1..50_usize) {
        let _ = decoded(&mut Decoder::new(Role::Server, 50), &wire, step);
        let _ = decoded(&mut Decoder::new(Role::Client, 50), &wire, step);
    }
}

#[test]
fn what_is_announced_is_not_reserved_and_what_is_over_is_let_go() {
    let mut decoder = Decoder::new(Role::Client, usize::MAX);
    let announced = [&[0x82, 127][..], &(1_u64 << 40).to_be_bytes(), b"and this came"].concat();
    assert_eq!(decoded(&mut decoder, &announced, 1000).unwrap(), []);
    assert!(decoder.room().unwrap().get_ref().capacity() <= 2 * TRUSTED);

    let mut decoder = Decoder::new(Role::Client, LIMIT);
    assert_eq!(
        decoded(&mut decoder, &[0x01, 1, b'a', 0x80, 1, b'b'], 2).unwrap(),
        [Frame::Text("ab".into())]
    );
    assert!(decoder.begun.is_none() && decoder.fragments.is_none());
}

#[test]
fn masks_fit_payloads_of_every_length() {
    for length in 0..40 {
        let mut payload = vec![0; length];
        apply([1, 2, 3, 4], &mut payload);
        assert!(payload.iter().zip([1, 2, 3, 4].into_iter().cycle()).all(|(byte, mask)| *byte == mask));
    }
}

#[test]
fn a_close_says_what_may_be_said() {
    let told = |code: u16, reason: &[u8]| close(&[&code.to_be_bytes()[..], reason].concat());
    let frame = |code: u16, reason: &str| CloseFrame { code: code.into(), reason: reason.to_owned().into() };
    assert_eq!(close(&[]).unwrap(), None);
    assert_eq!(told(1000, b"bye").unwrap(), Some(frame(1000, "bye")));
    assert_eq!(told(4999, b"").unwrap(), Some(frame(4999, "")));
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        assert_eq!(told(code, b"?").unwrap(), Some(frame(1002, "Protocol violation")), "{code}");
    }
    assert!(matches!(close(&[3]), Err(Error::Protocol(ProtocolError::InvalidCloseSequence))));
    assert!(matches!(told(1000, &[0xff]), Err(Error::Utf8(_))));
}
