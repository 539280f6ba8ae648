//! Writes the interface's code from what `capnp compile -o- schema/counter.capnp > schema/counter.request` has made of its
//! schema, so that building needs no `capnp`.

use std::path::Path;

use capnpc::codegen::CodeGenerationCommand;

fn main() {
    println!("cargo:rerun-if-changed=schema/counter.request");
    let request = std::fs::File::open("schema/counter.request").expect("it is beside its schema");
    let out = std::env::var("OUT_DIR").expect("cargo says it");
    CodeGenerationCommand::new().output_directory(Path::new(&out)).run(request).expect("a schema");
}
