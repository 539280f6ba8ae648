//! One value serves two interfaces, each through its own stub.

use opendo::prelude::*;

#[opendo::interface]
pub trait Reader {
    async fn read(&self) -> u64;
}

#[opendo::interface]
pub trait Writer {
    async fn write(&mut self, value: u64);
}

struct Cell(u64);

#[rpc_target]
impl Reader for Cell {
    async fn read(&self) -> u64 {
        self.0
    }
}

#[rpc_target]
impl Writer for Cell {
    async fn write(&mut self, value: u64) {
        self.0 = value;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let reader: ReaderStub = opendo::serve(Cell(7));
    assert_eq!(reader.read().await, Ok(7));
    let writer: WriterStub = opendo::serve(Cell(7));
    assert_eq!(writer.write(8).await, Ok(()));
}
