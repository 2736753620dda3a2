//! Properties of the context codec, over any bytes and over every well-formed context.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

mod checks {
    pub(crate) mod context;
}

use checks::context::{headers, reading_and_writing_agree};
use proptest::prelude::*;
use throughline_model::context::{
    self, Baggage, Format, HeaderList, Sampling, SpanContext, TraceState,
};
use throughline_model::{SpanId, TraceId};

fn any_context() -> impl Strategy<Value = SpanContext> {
    let sampling = prop_oneof![
        Just(Sampling::Drop),
        Just(Sampling::Sample),
        Just(Sampling::Debug),
        Just(Sampling::Deferred)
    ];
    let state = proptest::collection::vec("[a-z0-9][a-z0-9_*/@-]{0,20}=[!-+.-<>-~]{1,20}", 0..8);
    (1..=u128::MAX, 1..=u64::MAX, sampling, any::<bool>(), state).prop_map(
        |(trace, span, sampling, random, state)| SpanContext {
            trace_id: TraceId::from_bytes(trace.to_be_bytes()).unwrap(),
            span_id: SpanId::from_bytes(span.to_be_bytes()).unwrap(),
            sampling,
            random,
            trace_state: TraceState::parse(&state.join(",")).unwrap_or_default(),
        },
    )
}

/// Returns the part of a context that a format can express.
fn expressible(format: Format, context: &SpanContext) -> SpanContext {
    let mut expected = SpanContext::new(context.trace_id, context.span_id, context.sampling);
    if format == Format::W3c {
        expected.sampling = if context.sampling.is_sampled() {
            Sampling::Sample
        } else {
            Sampling::Drop
        };
        expected.random = context.random;
        expected.trace_state = context.trace_state.clone();
    }
    if format == Format::Jaeger && context.sampling == Sampling::Deferred {
        expected.sampling = Sampling::Drop;
    }
    expected
}

/// Returns the number of cases: ten times as many in the long run, `cargo xtask test --full`.
fn cases() -> u32 {
    if std::env::var_os("THROUGHLINE_FULL").is_some_and(|full| full == "1") {
        20_000
    } else {
        2_000
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn every_context_survives_every_format(original in any_context()) {
        for format in Format::contexts() {
            let mut list = HeaderList::default();
            context::inject(&[format], &original, &Baggage::default(), &mut list);
            let found = context::extract(&[format], &list);
            prop_assert_eq!(found.context, Some(expressible(format, &original)), "{:?}", format);
            prop_assert_eq!(found.rejected, 0);
        }
    }

    #[test]
    fn baggage_survives(
        pairs in proptest::collection::vec(("[a-z!#$&'*+.^_`|~-]{1,10}", "\\PC{0,30}"), 0..20)
    ) {
        let mut baggage = Baggage::default();
        for (key, value) in &pairs {
            baggage.insert(key, value.as_str(), "");
        }
        let mut list = HeaderList::default();
        let (trace, span) = (TraceId::from_hex("1").unwrap(), SpanId::from_hex("1").unwrap());
        let context = SpanContext::new(trace, span, Sampling::Sample);
        context::inject(&[Format::Baggage], &context, &baggage, &mut list);
        let found = context::extract(&[Format::Baggage], &list);
        prop_assert_eq!(found.baggage, baggage);
        prop_assert_eq!(found.rejected, 0);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        reading_and_writing_agree(&headers(&bytes));
    }

    #[test]
    fn damaged_traceparent_is_rejected_or_well_formed(at in 0usize..55, byte in any::<u8>()) {
        let mut value = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03".to_vec();
        value[at] = byte;
        let mut list = HeaderList::default();
        list.push("traceparent", value);
        let found = context::extract(&[Format::W3c], &list);
        prop_assert_eq!(u32::from(found.context.is_none()), found.rejected);
        reading_and_writing_agree(&list);
    }
}

/// Replays the inputs that fuzzing starts from, and every one that once failed.
#[test]
fn fuzz_seeds_pass() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/context");
    let mut count = 0;
    for entry in std::fs::read_dir(seeds).unwrap() {
        reading_and_writing_agree(&headers(&std::fs::read(entry.unwrap().path()).unwrap()));
        count += 1;
    }
    assert!(count >= 8, "fuzz seeds are missing");
}
