//! Frames, to bytes and from bytes.
//!
//! Written out rather than left to tungstenite, whose headers, close codes and errors these are: it holds a buffer to
//! read into as long as a connection is open, and room for whatever a peer announces. Here nothing is held between
//! messages, and of a message as much as has come.

use std::borrow::Cow;
use std::io::Cursor;

use bytes::Bytes;
use bytes::buf::{BufMut as _, Limit};
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{FrameHeader, Utf8Bytes};

use super::Role;

#[cfg(test)]
mod tests;

/// What a control frame may carry.
const MOST_CONTROL: usize = 125;

/// How much is reserved for a payload because the peer announces it.
const TRUSTED: usize = 64 * 1024;

/// A payload of which more than that is missing is read to where it stays.
const DETOUR: usize = 16 * 1024;

/// What came: a message, whole, or a control frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Text(String),
    Binary(Bytes),
    Ping(Vec<u8>),
    Pong,
    Close(Option<CloseFrame>),
}

/// Appends a frame, which is the whole of what it carries.
pub(super) fn encode(role: Role, opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    let mask = (role == Role::Client).then(rand::random);
    let header = FrameHeader { opcode, mask, ..FrameHeader::default() };
    let size = payload.len() as u64;
    out.reserve(header.len(size) + payload.len());
    header.format(size, out).expect("a vector takes everything");
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply(mask, &mut out[start..]);
    }
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    let wide = u32::from_ne_bytes(mask);
    let wide = u64::from(wide) << 32 | u64::from(wide);
    let (words, rest) = payload.as_chunks_mut();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    rest.iter_mut().zip(mask.into_iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

/// Makes frames of bytes, however these are cut.
pub(super) struct Decoder {
    role: Role,
    /// What a message may have.
    limit: usize,
    begun: Option<Begun>,
    /// The fragments of a message whose last one has not come.
    fragments: Option<(Data, Vec<u8>)>,
}

/// A frame whose payload has not all come.
struct Begun {
    header: FrameHeader,
    payload: Vec<u8>,
    missing: usize,
}

impl Decoder {
    /// Of what the peer of `role` says.
    pub(super) fn new(role: Role, limit: usize) -> Self {
        Self { role, limit, begun: None, fragments: None }
    }

    /// Takes something off the front of `input`, and tells how much. That is nothing as long as there is less than a
    /// header, and everything if more is to come.
    pub(super) fn decode(&mut self, input: &mut [u8]) -> Result<(usize, Option<Frame>), Error> {
        if let Some(begun) = &mut self.begun {
            let count = begun.missing.min(input.len());
            begun.payload.extend_from_slice(&input[..count]);
            return Ok((count, self.came(count)?));
        }
        let mut cursor = Cursor::new(&*input);
        let Some((header, size)) = FrameHeader::parse(&mut cursor)? else { return Ok((0, None)) };
        let start = cursor.position() as usize;
        let size = self.check(&header, size)?;
        let here = &mut input[start..];
        if here.len() < size {
            let mut payload = Vec::with_capacity(size.min(TRUSTED));
            payload.extend_from_slice(here);
            self.begun = Some(Begun { header, missing: size - payload.len(), payload });
            return Ok((input.len(), None));
        }
        let payload = &mut here[..size];
        if let Some(mask) = header.mask {
            apply(mask, payload);
        }
        Ok((start + size, self.complete(&header, Cow::Borrowed(payload))?))
    }

    /// Where to read what is missing of a payload, if that is much.
    pub(super) fn room(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        let Begun { payload, missing, .. } = self.begun.as_mut().filter(|begun| begun.missing > DETOUR)?;
        payload.reserve((*missing).min(payload.len().max(TRUSTED)));
        Some(payload.limit(*missing))
    }

    /// That much of a payload has come to where it stays.
    pub(super) fn came(&mut self, count: usize) -> Result<Option<Frame>, Error> {
        let Some(begun) = &mut self.begun else { return Ok(None) };
        begun.missing -= count;
        let Some(Begun { header, mut payload, .. }) = self.begun.take_if(|begun| begun.missing == 0) else {
            return Ok(None);
        };
        if let Some(mask) = header.mask {
            apply(mask, &mut payload);
        }
        self.complete(&header, Cow::Owned(payload))
    }

    /// The size of a payload, of a frame that may come now.
    fn check(&self, header: &FrameHeader, size: u64) -> Result<usize, Error> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let refused = match (header.opcode, &self.fragments, header.mask, self.role) {
            _ if header.rsv1 || header.rsv2 || header.rsv3 => ProtocolError::NonZeroReservedBits,
            (_, _, None, Role::Server) => ProtocolError::UnmaskedFrameFromClient,
            (_, _, Some(_), Role::Client) => ProtocolError::MaskedFrameFromServer,
            (OpCode::Control(_), ..) if !header.is_final => ProtocolError::FragmentedControlFrame,
            (OpCode::Control(_), ..) if size > MOST_CONTROL => ProtocolError::ControlFrameTooBig,
            (OpCode::Data(Data::Continue), None, ..) => ProtocolError::UnexpectedContinueFrame,
            (OpCode::Data(kind @ (Data::Text | Data::Binary)), Some(_), ..) => {
                ProtocolError::ExpectedFragment(kind)
            }
            (opcode, fragments, ..) => {
                let before = match (opcode, fragments) {
                    (OpCode::Data(_), Some((_, before))) => before.len(),
                    _ => 0,
                };
                let total = before.saturating_add(size);
                if total > self.limit {
                    let error = CapacityError::MessageTooLong { size: total, max_size: self.limit };
                    return Err(Error::Capacity(error));
                }
                return Ok(size);
            }
        };
        Err(Error::Protocol(refused))
    }

    fn complete(&mut self, header: &FrameHeader, payload: Cow<'_, [u8]>) -> Result<Option<Frame>, Error> {
        let (kind, payload) = match (header.opcode, self.fragments.take()) {
            (OpCode::Control(control), fragments) => {
                self.fragments = fragments;
                return Ok(Some(match control {
                    Control::Close => Frame::Close(close(&payload)?),
                    Control::Ping => Frame::Ping(payload.into_owned()),
                    // Those that mean nothing are no headers.
                    Control::Pong | Control::Reserved(_) => Frame::Pong,
                }));
            }
            (OpCode::Data(_), Some((kind, mut message))) => {
                message.extend_from_slice(&payload);
                (kind, message)
            }
            (OpCode::Data(kind), None) => (kind, payload.into_owned()),
        };
        if !header.is_final {
            self.fragments = Some((kind, payload));
            return Ok(None);
        }
        Ok(Some(match kind {
            Data::Text => Frame::Text(String::from_utf8(payload).map_err(not_utf8)?),
            _ => Frame::Binary(payload.into()),
        }))
    }
}

fn not_utf8(error: impl std::fmt::Display) -> Error {
    Error::Utf8(error.to_string())
}

/// What a close frame says. A code that must not be sent counts as what it is.
fn close(payload: &[u8]) -> Result<Option<CloseFrame>, Error> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        let malformed = Error::Protocol(ProtocolError::InvalidCloseSequence);
        return if payload.is_empty() { Ok(None) } else { Err(malformed) };
    };
    let code = CloseCode::from(u16::from_be_bytes(*code));
    let reason = std::str::from_utf8(reason).map_err(not_utf8)?;
    Ok(Some(if code.is_allowed() {
        CloseFrame { code, reason: Utf8Bytes::from(reason) }
    } else {
        CloseFrame { code: CloseCode::Protocol, reason: Utf8Bytes::from_static("Protocol violation") }
    }))
}
