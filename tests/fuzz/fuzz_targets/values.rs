//! An expression of a peer, made into a value and written again: what is written comes back as itself.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz values tests/fuzz/corpus/values tests/fuzz/seeds/values -- -max_total_time=120`

#![no_main]

mod lines;

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use lines::Peer;
use opendo::prelude::*;
use opendo::value::Value;
use opendo::{Limits, Session};
use tokio::time::timeout;

struct Echo;

#[rpc_target]
impl Echo {
    pub fn echo(&self, value: Value) -> Value {
        value
    }
}

/// What came of an expression; `None` if it was refused, or is answered with a question.
async fn written(node: &Node, expression: &str) -> Option<String> {
    let mut peer = Peer::of(node).await;
    peer.say(&format!(r#"["push",["pipeline",0,["echo"],[{expression}]]]"#)).await;
    peer.say(r#"["pull",1]"#).await;
    let line = timeout(Duration::from_secs(1), peer.hear()).await.ok()??;
    Some(line.strip_prefix(r#"["resolve",1,"#)?.strip_suffix(']')?.to_owned())
}

/// Whether it stands for itself alone.
fn is_data(expression: &str) -> bool {
    !["export", "import", "pipeline", "promise", "readable", "writable", "remap", "blob"]
        .iter()
        .any(|tag| expression.contains(&format!("\"{tag}\"")))
}

fuzz_target!(|input: &str| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let limits = Limits { max_message: 1 << 20, ..Limits::default() };
        let root = |_: &Session| Ok(opendo::serve::<EchoStub, _>(Echo));
        let node = Node::builder().limits(limits).accept(root).start().await.unwrap();
        let Some(once) = written(&node, input).await else { return };
        if is_data(&once) {
            assert_eq!(written(&node, &once).await, Some(once));
        }
    });
});
