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

struct F;

#[rpc_target(rename_all = "kebab-case")]
impl F {}

struct G;

#[rpc_target(rename_all = "camelCase")]
impl G {
    pub fn next_value(&self) {}

    #[method(name = "nextValue")]
    pub fn next(&self) {}
}

struct H;

#[rpc_target(rename_all = "camelCase")]
impl E for H {}

struct I;

#[rpc_target(inline = "no")]
impl I {}

fn main() {}
