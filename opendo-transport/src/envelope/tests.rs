use super::*;

fn call(header: &CallHeader<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    header.encode(&mut out);
    out
}

fn reply(status: ReplyStatus, capabilities: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ReplyHeader { call: 127, status, capabilities }.encode(&mut out);
    out
}

fn is_cut_everywhere(header: &[u8]) {
    for end in 0..header.len() {
        let view = EnvelopeView::parse(&header[..end]);
        assert!(matches!(view, Err(EnvelopeError::Truncated { .. })), "{end} of {header:?}: {view:?}");
    }
}

/// Peers of other versions read these bytes, so they never change.
#[test]
fn golden_headers() {
    let plain =
        CallHeader { call: 300, target: -2, method: 0x0403_0201, timestamp: 0x0807, ..Default::default() };
    assert_eq!(call(&plain), b"\x01\x00\xac\x02\x03\x01\x02\x03\x04\x07\x08\0\0\0\0\0\0");
    let chain = [ChainLink { activation: 1, sequence: 2 }, ChainLink { activation: 3, sequence: 128 }];
    let trace = TraceContext { trace: [0xaa; 16], span: [0xbb; 8], flags: 1 };
    let full =
        CallHeader { call: 1, deadline: Some(5), trace: Some(trace), chain: &chain, ..Default::default() };
    let mut expected = b"\x01\x07\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x05".to_vec();
    expected.extend([0xaa; 16].iter().chain(&[0xbb; 8]).chain(b"\x01\x02"));
    expected.extend(b"\x01\0\0\0\0\0\0\0\x02\x03\0\0\0\0\0\0\0\x80\x01");
    assert_eq!(call(&full), expected);
    let pipelined =
        CallHeader { call: 1, target: -1, capabilities: b"caps", keep: true, ..Default::default() };
    let expected = b"\x01\x18\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0\x04caps";
    assert_eq!(call(&pipelined), expected);
    let keep = CallHeader { keep: true, ..Default::default() };
    assert_eq!(call(&keep), b"\x01\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(reply(ReplyStatus::Rpc, b""), b"\x02\x00\x7f\x02");
    assert_eq!(reply(ReplyStatus::Ok, b"caps"), b"\x02\x01\x7f\x00\x04caps");
    let kinds = EnvelopeKind::ALL.map(|kind| {
        let mut out = Vec::new();
        kind.encode(&mut out);
        out[0]
    });
    assert_eq!(kinds, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn every_combination_of_optional_fields() {
    let chain = [ChainLink { activation: 1, sequence: 300 }, ChainLink { activation: 3, sequence: 4 }];
    let trace = TraceContext { trace: [0xaa; 16], span: [0xbb; 8], flags: 1 };
    // The length of the long one takes two bytes.
    let (short, long) = ([7; 3], [9; 200]);
    for flags in 0..=CALL_FLAGS {
        let has = |flag| flags & flag != 0;
        let header = CallHeader {
            call: 300,
            target: -2,
            method: 3,
            timestamp: 4,
            deadline: has(HAS_DEADLINE).then_some(500),
            trace: has(HAS_TRACE).then_some(trace),
            chain: if has(HAS_CHAIN) { &chain } else { &[] },
            capabilities: if has(HAS_CAPABILITIES) { &long } else { &[] },
            keep: has(KEEP),
        };
        let mut message = call(&header);
        assert_eq!(message[1], flags);
        is_cut_everywhere(&message);
        message.extend(b"body");
        let view = EnvelopeView::parse(&message).unwrap();
        let read = CallHeader {
            call: view.call(),
            target: view.target(),
            method: view.method(),
            timestamp: view.timestamp(),
            deadline: view.deadline(),
            trace: view.trace(),
            chain: &view.chain().collect::<Vec<_>>(),
            capabilities: view.capabilities(),
            keep: view.keep(),
        };
        assert_eq!((read, view.body()), (header, &b"body"[..]));
    }
    for capabilities in [&[], &short[..], &long] {
        let mut message = reply(ReplyStatus::Application, capabilities);
        is_cut_everywhere(&message);
        message.extend(b"body");
        let view = EnvelopeView::parse(&message).unwrap();
        assert_eq!((view.call(), view.status()), (127, ReplyStatus::Application));
        assert_eq!((view.capabilities(), view.body()), (capabilities, &b"body"[..]));
        assert!(!view.keep());
    }
}

#[test]
fn what_is_refused() {
    use EnvelopeError::*;
    let flagged = |flags: u8, rest: &[u8]| [&[1, flags], &[0; 14][..], rest].concat();
    let with_chain = |count: &[u8]| [&flagged(4, count)[..], &[0; 4000]].concat();
    let table: &[(&[u8], EnvelopeError)] = &[
        (b"", Truncated { what: "kind" }),
        (b"\x0c", UnknownKind { kind: 12 }),
        (b"\xff", UnknownKind { kind: 255 }),
        (b"\x02\x00\x00\x03", UnknownStatus { status: 3 }),
        (b"\x03\x80\x00", BadVarint { what: "call id" }),
        (b"\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", BadVarint { what: "call id" }),
        (b"\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x80\x00", BadVarint { what: "call id" }),
        (b"\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff", Truncated { what: "call id" }),
        (b"\x03\x00\x00", TooLong { what: "cancellation" }),
        (&with_chain(b"\x00"), Empty { what: "chain" }),
        (&with_chain(b"\x81\x02"), TooLong { what: "chain" }),
        (&with_chain(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), TooLong { what: "chain" }),
        (&flagged(8, b"\x00caps"), Empty { what: "capabilities" }),
        (&flagged(8, b"\x84\x00caps"), BadVarint { what: "capabilities" }),
        (&flagged(8, b"\x05caps"), Truncated { what: "capabilities" }),
        (&flagged(8, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Truncated { what: "capabilities" }),
        (b"\x02\x01\x00\x00\x00", Empty { what: "capabilities" }),
        (b"\x02\x01\x00\x00\x81\x00\x07", BadVarint { what: "capabilities" }),
        (b"\x02\x01\x00\x00\x02\x07", Truncated { what: "capabilities" }),
    ];
    for flags in 0x20..=255 {
        assert_eq!(EnvelopeView::parse(&flagged(flags, b"\x01\x07")), Err(UnknownFlags { flags }));
    }
    for flags in 2..=255 {
        assert_eq!(EnvelopeView::parse(&[2, flags, 0, 0, 1, 7]), Err(UnknownFlags { flags }));
    }
    for (message, error) in table {
        assert_eq!(EnvelopeView::parse(message), Err(*error), "{:?}", &message[..message.len().min(20)]);
    }
    assert!(EnvelopeView::parse(&with_chain(b"\x80\x02")).is_ok());
    assert_eq!(
        EnvelopeView::parse(b"\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").unwrap().call(),
        u64::MAX
    );
}

#[test]
fn zigzag_reaches_both_ends() {
    for (value, encoded) in [(0, 0), (-1, 1), (1, 2), (i64::MAX, u64::MAX - 1), (i64::MIN, u64::MAX)] {
        assert_eq!((zigzag(value), unzigzag(encoded)), (encoded, value));
    }
}
