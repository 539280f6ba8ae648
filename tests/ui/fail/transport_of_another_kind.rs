//! What a transport carries is in its type: who wants text is not given bytes, nor the other way round.

use opendo::transport::{Connection, Transport, kind, memory};

fn speaks_text(_: Connection<kind::Text>) {}

fn speaks_bytes(_: impl Transport<Kind = kind::Bytes>) {}

fn main() {
    let (bytes, _) = memory::pair::<kind::Bytes>(1);
    speaks_text(Connection::new(bytes));
    let (text, _) = memory::pair::<kind::Text>(1);
    speaks_bytes(text);
}
