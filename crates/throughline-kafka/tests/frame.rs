//! Framing: frame boundaries, headers, and independence of the chunks.

#![expect(clippy::expect_used, reason = "a test may fail by panicking")]

mod checks {
    pub(crate) mod frame;
}

use bytes::Bytes;
use checks::frame::{check_stream, frames, header_count, run_framer};
use proptest::prelude::*;
use throughline_kafka::api::ApiKey;
use throughline_kafka::frame::{
    FrameEvent, FrameHeader, Framer, FramingError, RequestHeader, ResponseHeader,
};
use throughline_kafka::types::CorrelationId;

fn events(mut framer: Framer, stream: &[u8]) -> Vec<FrameEvent> {
    let mut input = Bytes::copy_from_slice(stream);
    std::iter::from_fn(|| framer.next(&mut input)).collect()
}

#[test]
fn header_is_returned_before_the_frame_is_complete() {
    let stream = [&100i32.to_be_bytes()[..], &[0, 0, 0, 9, 0, 0, 0, 7]].concat();
    let expected = FrameHeader::Request {
        size: 104,
        api_key: ApiKey::PRODUCE,
        version: 9,
        correlation_id: CorrelationId(7),
    };
    assert_eq!(
        events(Framer::requests(), &stream)[0],
        FrameEvent::Header(expected)
    );
    assert_eq!(events(Framer::requests(), &stream[..11]), []);
}

#[test]
fn complete_frame_is_collected_without_a_copy() {
    let stream = Bytes::from(frames(&[vec![1; 50]]));
    let (mut framer, mut input) = (Framer::requests(), stream.clone());
    assert!(matches!(
        framer.next(&mut input),
        Some(FrameEvent::Header(_))
    ));
    assert!(framer.collect(1000));
    let Some(FrameEvent::Frame(frame)) = framer.next(&mut input) else {
        panic!("not collected")
    };
    assert_eq!(frame.as_ptr(), stream.as_ptr());
    assert_eq!(frame, stream);
}

#[test]
fn frame_above_the_limit_passes_unbuffered() {
    let mut framer = Framer::responses();
    let mut input = Bytes::from([&(1i32 << 30).to_be_bytes()[..], &[0; 4]].concat());
    assert!(matches!(
        framer.next(&mut input),
        Some(FrameEvent::Header(_))
    ));
    assert!(!framer.collect(1 << 20));
    for _ in 0..100 {
        let mut more = Bytes::from(vec![0; 64 * 1024]);
        while framer.next(&mut more).is_some() {}
        assert_eq!(framer.buffered_bytes(), 0);
    }
}

#[test]
fn stream_without_frames_becomes_opaque_and_passes_unmodified() {
    for (stream, error) in [
        (&[0x16, 3, 1, 2, 0, 1][..], FramingError::Tls),
        (
            &[0xff, 0xff, 0xff, 0xff, 9, 9],
            FramingError::InvalidLength(-1),
        ),
        (&[0, 0, 0, 0, 9, 9], FramingError::InvalidLength(0)),
        (&[0, 0, 0, 7, 9, 9], FramingError::InvalidLength(7)),
    ] {
        for step in 1..=stream.len() {
            let output = run_framer(Framer::requests(), stream.chunks(step));
            assert_eq!(output, run_framer(Framer::requests(), [stream]), "{error}");
        }
        let events = events(Framer::requests(), stream);
        assert_eq!(events[0], FrameEvent::FramingFailed(error));
        assert_eq!(
            events[1],
            FrameEvent::Passthrough(Bytes::copy_from_slice(stream))
        );
    }
}

#[test]
fn buffered_bytes_pass_when_the_framer_is_set_opaque() {
    let mut framer = Framer::requests();
    let mut input = Bytes::from_static(&[0, 0, 0]);
    assert_eq!(framer.next(&mut input), None);
    framer.set_opaque();
    let mut input = Bytes::from_static(b"token");
    assert_eq!(
        framer.next(&mut input),
        Some(FrameEvent::Passthrough(Bytes::from_static(&[0, 0, 0])))
    );
    assert_eq!(
        framer.next(&mut input),
        Some(FrameEvent::Passthrough(Bytes::from_static(b"token")))
    );
    assert_eq!(framer.next(&mut input), None);
}

#[test]
fn request_header_never_has_a_compact_client_id() {
    let header_bytes = |version: i16| {
        [
            &[0, 0, 0, 0, 0, 3][..],
            &version.to_be_bytes(),
            &[0, 0, 0, 5, 0, 2, b'm', b'e'],
        ]
        .concat()
    };
    let plain = [header_bytes(8), vec![1, 2]].concat();
    let header = RequestHeader::parse(&plain).unwrap();
    assert_eq!(
        (header.api_key, header.version, header.correlation_id),
        (ApiKey::METADATA, 8, CorrelationId(5))
    );
    assert_eq!(
        (header.client_id.unwrap().text(), header.body_start),
        (Some("me"), Some(16))
    );
    let flexible = [header_bytes(9), vec![1, 7, 2, 9, 9, 1]].concat();
    assert_eq!(
        RequestHeader::parse(&flexible).unwrap().body_start,
        Some(21)
    );
    let mut unknown = plain.clone();
    unknown[4] = 0x70;
    assert_eq!(RequestHeader::parse(&unknown).unwrap().body_start, None);
    let mut without_client_id = plain;
    without_client_id[12..14].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(
        RequestHeader::parse(&without_client_id).unwrap().client_id,
        None
    );
    for end in 0..flexible.len() - 1 {
        assert!(RequestHeader::parse(&flexible[..end]).is_err());
    }
}

#[test]
fn response_header_is_flexible_except_for_api_versions() {
    let frame = [0, 0, 0, 0, 0, 0, 0, 5, 0, 1];
    let body = |api, version| {
        ResponseHeader::parse(&frame, api, version)
            .unwrap()
            .body_start
    };
    assert_eq!(body(ApiKey::METADATA, 8), Some(8));
    assert_eq!(body(ApiKey::METADATA, 9), Some(9));
    assert_eq!(body(ApiKey::API_VERSIONS, 3), Some(8));
    assert_eq!(body(ApiKey(999), 0), None);
}

proptest! {
    #[test]
    fn frames_do_not_depend_on_the_chunk_size(
        bodies in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..200),
            0..20,
        ),
        step in 1usize..300,
    ) {
        let stream = frames(&bodies);
        let whole = run_framer(Framer::requests(), [&stream[..]]);
        prop_assert_eq!(header_count(&whole), bodies.len());
        prop_assert_eq!(run_framer(Framer::requests(), stream.chunks(step)), whole);
    }

    #[test]
    fn arbitrary_bytes_do_not_depend_on_the_chunk_size(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        check_stream(&bytes);
    }

    #[test]
    fn arbitrary_headers_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        key in 0i16..90,
        version in -1i16..20,
    ) {
        let request = RequestHeader::parse(&bytes);
        prop_assert!(request.is_err() || bytes.len() >= 14);
        let response = ResponseHeader::parse(&bytes, ApiKey(key), version);
        prop_assert_eq!(response.is_err(), response.is_err_and(|error| error.at <= bytes.len()));
    }
}

/// The seeds of the fuzz target, which include every input that once failed.
#[test]
fn fuzz_seeds_pass() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/kafka_frame");
    let mut count = 0;
    for entry in std::fs::read_dir(seeds).unwrap() {
        check_stream(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 4, "seeds are missing");
}
