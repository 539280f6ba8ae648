//! Headers of any bytes: refused or read, and what was read says the same when it is written again.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz envelope -- -max_total_time=120`

#![no_main]

use libfuzzer_sys::fuzz_target;
use opendo_transport::envelope::{
    CallHeader, CancelHeader, EnvelopeKind, EnvelopeView, MAX_CHAIN, ReplyHeader, v0,
};

fuzz_target!(|message: &[u8]| {
    if let Ok(envelope) = v0::Envelope::decode(message) {
        let mut again = Vec::new();
        envelope.encode(&mut again);
        assert_eq!(again, message);
    }
    let Ok(view) = EnvelopeView::parse(message) else { return };
    let chain: Vec<_> = view.chain().collect();
    assert!(chain.len() <= MAX_CHAIN && chain.len() == view.chain().len());
    assert_eq!(view.body(), &message[view.body_offset()..]);
    let _ = format!("{view:?}");
    let mut again = Vec::new();
    match view.kind() {
        EnvelopeKind::Call => CallHeader {
            call: view.call(),
            target: view.target(),
            method: view.method(),
            timestamp: view.timestamp(),
            deadline: view.deadline(),
            trace: view.trace(),
            chain: &chain,
            capabilities: view.capabilities(),
            keep: view.keep(),
        }
        .encode(&mut again),
        EnvelopeKind::Reply => {
            let (call, status, capabilities) = (view.call(), view.status(), view.capabilities());
            ReplyHeader { call, status, capabilities }.encode(&mut again);
        }
        EnvelopeKind::Cancel => CancelHeader { call: view.call() }.encode(&mut again),
        other => other.encode(&mut again),
    }
    again.extend_from_slice(view.body());
    // A header has one encoding only.
    assert_eq!(again, message);
});
