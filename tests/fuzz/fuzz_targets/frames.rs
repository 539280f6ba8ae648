//! A stream of any bytes in pieces of any size: the messages are the same, however it was cut up.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz frames -- -max_total_time=120`

#![no_main]

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use opendo_transport::{ByteStream, Limits, Peer, Transport, TransportError};
use tokio::io::{AsyncRead, ReadBuf, empty};

const LIMIT: usize = 256;

/// Gives its bytes in pieces whose sizes `sizes` says, and has to be waited for in between.
struct Pieces {
    bytes: Vec<u8>,
    sizes: Vec<u8>,
    at: usize,
    turn: usize,
    ready: bool,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.ready = !self.ready;
        if !self.ready {
            return Poll::Pending;
        }
        let size = match self.sizes.get(self.turn) {
            Some(size) => usize::from(*size).max(1),
            None => usize::MAX,
        };
        self.turn += 1;
        let size = size.min(self.bytes.len() - self.at).min(buf.remaining());
        buf.put_slice(&self.bytes[self.at..self.at + size]);
        self.at += size;
        Poll::Ready(Ok(()))
    }
}

fn read(bytes: &[u8], sizes: &[u8]) -> (Vec<Vec<u8>>, Option<String>) {
    let pieces = Pieces { bytes: bytes.to_vec(), sizes: sizes.to_vec(), at: 0, turn: 0, ready: true };
    let limits = Limits { max_message: LIMIT };
    let stream = ByteStream::new(pieces, empty(), Peer::local("fuzz", "frames"), &limits);
    let (_sender, mut receiver) = stream.split();
    let mut messages = Vec::new();
    loop {
        match receiver.poll_receive(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(message))) => messages.push(message.to_vec()),
            Poll::Ready(Some(Err(error))) => return (messages, Some(error.to_string())),
            Poll::Ready(None) => return (messages, None),
        }
    }
}

/// What must come out, said as simply as possible.
fn expected(mut bytes: &[u8]) -> (Vec<Vec<u8>>, Option<String>) {
    let mut messages = Vec::new();
    loop {
        if bytes.is_empty() {
            return (messages, None);
        }
        let Some((prefix, rest)) = bytes.split_first_chunk::<4>() else {
            return (messages, Some(TransportError::Truncated.to_string()));
        };
        let size = u32::from_le_bytes(*prefix) as usize;
        if size > LIMIT {
            return (messages, Some(TransportError::TooLarge { size, limit: LIMIT }.to_string()));
        }
        let Some((message, rest)) = rest.split_at_checked(size) else {
            return (messages, Some(TransportError::Truncated.to_string()));
        };
        messages.push(message.to_vec());
        bytes = rest;
    }
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (bytes, sizes) = input;
    assert_eq!(read(&bytes, &sizes), expected(&bytes));
});
