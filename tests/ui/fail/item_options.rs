use opendo::prelude::*;

struct A;

#[rpc_target(nam = "x")]
impl A {}

struct B;

#[rpc_target(name = "x", name = "y")]
impl B {}

struct C;

#[rpc_target(vis = "public", crate = "opendo")]
impl C {}

struct D;

#[rpc_target("D")]
impl D {}

#[opendo::interface(vis = "pub")]
trait E {}

fn main() {}
