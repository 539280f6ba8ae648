//! A peer made of arbitrary bytes that knows how messages look: most of what it says gets past the header.

use opendo::Stub;

pub fn put(out: &mut Vec<u8>, message: &[u8]) {
    out.extend_from_slice(&(message.len() as u32).to_le_bytes());
    out.extend_from_slice(message);
}

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, (value << 1 ^ value >> 63) as u64);
}

pub fn describe<S: Stub>(number: u8) -> Vec<u8> {
    let interface = S::INTERFACE;
    let mut describe = vec![4, number, interface.name.len() as u8];
    describe.extend_from_slice(interface.name.as_bytes());
    describe.push(interface.methods.len() as u8);
    for method in interface.methods {
        put_varint(&mut describe, u64::from(method.id));
        put_varint(&mut describe, method.fingerprint);
    }
    describe
}

/// What was said so far, so that most of what follows makes sense.
pub struct Script {
    methods: Vec<u32>,
    calls: u64,
    last_name: i64,
    last_export: i64,
    /// Calls whose results are kept.
    kept: Vec<u64>,
    /// What was named and not released.
    names: Vec<i64>,
    streams: Vec<i64>,
}

/// Takes bytes off the front; zeros when there are none.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
}

/// Mostly one that there is, sometimes any.
fn pick<T: Copy>(known: &[T], byte: u8, any: impl Fn(u8) -> T) -> T {
    match known {
        [] => any(byte),
        _ if byte >= 0xf0 => any(byte),
        _ => known[usize::from(byte) % known.len()],
    }
}

impl Script {
    /// Methods by the number they have in a script, and how many names there are in the beginning.
    pub fn new(methods: Vec<u32>, names: i64) -> Self {
        let (last_name, names) = (names, (1..=names).collect());
        Self { methods, calls: 0, last_name, last_export: 0, kept: Vec::new(), names, streams: Vec::new() }
    }

    fn kept(&self, byte: u8) -> u64 {
        pick(&self.kept, byte, u64::from)
    }

    /// What this side has named, or was given.
    fn name(&self, byte: u8) -> i64 {
        match byte {
            0xd0..0xf0 => -1 - i64::from(byte % 4),
            _ => pick(&self.names, byte, |byte| i64::from(byte as i8)),
        }
    }

    fn cap(&mut self, input: &mut Input<'_>, out: &mut Vec<u8>) {
        match input.byte() % 8 {
            0..3 => {
                self.last_export -= 1;
                out.push(0);
                put_signed(out, self.last_export);
                out.extend([input.byte() % 8 != 7, false].map(u8::from));
            }
            3..6 => {
                out.push(1);
                put_signed(out, self.name(input.byte()));
            }
            _ => {
                self.last_name += 1;
                self.streams.push(self.last_name);
                out.push(2);
                put_signed(out, self.last_name);
            }
        }
    }

    fn passes(&mut self, count: u8, input: &mut Input<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..count {
            match input.byte() % 8 {
                0 if !self.kept.is_empty() => {
                    out.push(1);
                    put_varint(&mut out, self.kept(input.byte()));
                }
                1 => {
                    let inner = input.byte() % 3;
                    out.extend([2, 1, input.byte(), inner]);
                    for _ in 0..inner {
                        self.cap(input, &mut out);
                    }
                }
                _ => {
                    out.push(0);
                    self.cap(input, &mut out);
                }
            }
        }
        out
    }

    /// A piece of the input as a message: what begins like one that is known here is completed, all else left.
    fn message(&mut self, piece: &[u8]) -> Vec<u8> {
        let Some((kind, rest)) = piece.split_first() else { return Vec::new() };
        let mut input = Input(rest);
        match kind {
            0x40 => {
                let (method, how) = (input.byte(), input.byte());
                let target = match how >> 3 {
                    31 => pick(&self.streams, input.byte(), i64::from),
                    _ => self.name(input.byte()),
                };
                let passes = self.passes(how >> 1 & 3, &mut input);
                self.calls += 1;
                if how & 1 == 1 {
                    self.kept.push(self.calls);
                }
                let flags = if passes.is_empty() { 0 } else { 8 } | if how & 1 == 1 { 16 } else { 0 };
                let mut out = vec![1, flags];
                put_varint(&mut out, self.calls);
                put_signed(&mut out, target);
                let method = self.methods[usize::from(method) % self.methods.len()];
                out.extend_from_slice(&method.to_le_bytes());
                out.extend_from_slice(&[0; 8]);
                if !passes.is_empty() {
                    put_varint(&mut out, passes.len() as u64);
                    out.extend_from_slice(&passes);
                }
                out.extend_from_slice(input.0);
                out
            }
            0x41 => {
                let (call, how) = (input.byte(), input.byte());
                let passes = self.passes(how >> 2 & 3, &mut input);
                let mut out = vec![2, u8::from(!passes.is_empty())];
                put_varint(&mut out, u64::from(call));
                out.push(how % 3);
                if !passes.is_empty() {
                    put_varint(&mut out, passes.len() as u64);
                    out.extend_from_slice(&passes);
                }
                out.extend_from_slice(input.0);
                out
            }
            0x42 => {
                let call = self.kept(input.byte());
                self.last_name += 1;
                self.names.push(self.last_name);
                let mut out = vec![5];
                put_signed(&mut out, self.last_name);
                out.extend([1, 2]);
                put_varint(&mut out, call);
                match input.byte() % 3 {
                    0 => out.push(0),
                    1 => out.extend(b"\x01\x05first"),
                    _ => out.extend(b"\x01\x06second"),
                }
                out
            }
            0x43 => {
                let mut out = vec![6, 0];
                let (what, byte) = (input.byte() % 4, input.byte());
                match what {
                    0 if !self.kept.is_empty() => {
                        let call = self.kept(byte);
                        self.kept.retain(|it| *it != call);
                        out[1] = 1;
                        put_varint(&mut out, call);
                    }
                    1 if !self.streams.is_empty() => {
                        let stream = pick(&self.streams, byte, i64::from);
                        self.streams.retain(|it| *it != stream);
                        put_signed(&mut out, stream);
                    }
                    _ => {
                        let name = self.name(byte);
                        self.names.retain(|it| *it != name);
                        put_signed(&mut out, name);
                    }
                }
                out
            }
            0x44 => {
                let mut out = vec![3];
                put_varint(&mut out, 1 + u64::from(input.byte()) % self.calls.max(1));
                out
            }
            _ => piece.to_vec(),
        }
    }

    /// What is said: the first byte decides whether the rest is raw bytes or messages, each behind a byte that is its
    /// size.
    pub fn says(&mut self, input: &[u8]) -> Vec<Vec<u8>> {
        let Some((mode, mut rest)) = input.split_first() else { return Vec::new() };
        if mode % 8 == 7 {
            return vec![rest.to_vec()];
        }
        let mut all = Vec::new();
        while let Some((size, tail)) = rest.split_first() {
            let (piece, tail) = tail.split_at(usize::from(*size).min(tail.len()));
            let mut framed = Vec::new();
            put(&mut framed, &self.message(piece));
            all.push(framed);
            rest = tail;
        }
        all
    }
}
