use std::collections::HashMap;

use opentelemetry::trace::{Span as _, SpanBuilder, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use throughline_model::context::HeaderList;

use super::*;
use crate::sampling::InboundSampler;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn headers(pairs: &[(&str, &str)]) -> HeaderList {
    let mut headers = HeaderList::default();
    pairs
        .iter()
        .for_each(|(name, value)| headers.push(name, value));
    headers
}

fn text<'a>(headers: &'a HeaderList, name: &str) -> Option<&'a str> {
    headers
        .get(name)
        .map(|value| str::from_utf8(value).unwrap())
}

/// Receives headers, starts a span below them with this sampler at the root, and sends its context
/// on.
fn propagated(formats: &[Format], root: Sampler, received: &HeaderList) -> (HeaderList, bool) {
    let propagation = Propagation::new(formats);
    let sampler = InboundSampler::new(root.clone(), Sampler::ParentBased(Box::new(root)));
    let tracer = SdkTracerProvider::builder()
        .with_sampler(sampler)
        .build()
        .tracer("test");
    let parent = propagation.extract(&Context::new(), received);
    let span = tracer.build_with_context(SpanBuilder::from_name("s"), &parent);
    let sampled = span.span_context().is_sampled();
    let mut sent = HeaderList::default();
    propagation.inject(&parent.with_span(span), &mut sent);
    (sent, sampled)
}

#[test]
fn random_flag_and_tracestate_are_kept_with_and_without_recording() {
    for (flags, expected) in [("03", "03"), ("02", "02"), ("01", "01"), ("00", "00")] {
        let received = headers(&[
            ("traceparent", &format!("00-{TRACE}-{SPAN}-{flags}")),
            ("tracestate", "a=1,b=2"),
        ]);
        let (sent, _) = propagated(&[Format::W3c], Sampler::AlwaysOn, &received);
        let parent = text(&sent, "traceparent").unwrap();
        assert!(
            parent.starts_with(&format!("00-{TRACE}-"))
                && parent.ends_with(&format!("-{expected}")),
            "{parent}"
        );
        assert_eq!(text(&sent, "tracestate"), Some("a=1,b=2"));
    }
}

#[test]
fn deferred_decision_is_made_by_the_root_sampler() {
    let received = headers(&[("b3", &format!("{TRACE}-{SPAN}"))]);
    let (sent, sampled) = propagated(&[Format::B3Single], Sampler::AlwaysOn, &received);
    assert!(sampled && text(&sent, "b3").unwrap().ends_with("-1"));
    let (sent, sampled) = propagated(&[Format::B3Single], Sampler::AlwaysOff, &received);
    assert!(!sampled && text(&sent, "b3").unwrap().ends_with("-0"));
}

#[test]
fn deferred_decision_stays_deferred_without_a_sampler() {
    let propagation = Propagation::new(&[Format::B3Single]);
    let received = headers(&[("b3", &format!("{TRACE}-{SPAN}"))]);
    let mut sent = HeaderList::default();
    propagation.inject(&propagation.extract(&Context::new(), &received), &mut sent);
    assert_eq!(text(&sent, "b3"), Some(format!("{TRACE}-{SPAN}").as_str()));
}

#[test]
fn debug_overrides_samplers_and_is_propagated() {
    let received = headers(&[("b3", &format!("{TRACE}-{SPAN}-d"))]);
    let (sent, sampled) = propagated(&[Format::B3Single], Sampler::AlwaysOff, &received);
    assert!(sampled && text(&sent, "b3").unwrap().ends_with("-d"));
}

#[test]
fn refusal_without_ids_is_respected() {
    let (_, sampled) = propagated(
        &[Format::B3Single],
        Sampler::AlwaysOn,
        &headers(&[("b3", "0")]),
    );
    assert!(!sampled);
}

#[test]
fn decision_of_one_trace_does_not_affect_another() {
    let propagation = Propagation::new(&[Format::B3Single]);
    let debugged = propagation.extract(
        &Context::new(),
        &headers(&[("b3", &format!("{TRACE}-{SPAN}-d"))]),
    );
    let other = headers(&[("b3", "11111111111111111111111111111111-2222222222222222-1")]);
    let mut sent = HeaderList::default();
    propagation.inject(&propagation.extract(&debugged, &other), &mut sent);
    assert!(text(&sent, "b3").unwrap().ends_with("-1"));
}

#[test]
fn nothing_is_written_without_a_span() {
    let propagation = Propagation::new(&[
        Format::W3c,
        Format::Baggage,
        Format::B3Single,
        Format::B3Multi,
        Format::Jaeger,
    ]);
    let mut sent = HeaderList::default();
    propagation.inject(&Context::new(), &mut sent);
    let refused = propagation.extract(&Context::new(), &headers(&[("b3", "0")]));
    propagation.inject(&refused, &mut sent);
    assert!(sent.is_empty());
}

#[test]
fn either_form_of_b3_is_read_when_one_is_configured() {
    let multi = headers(&[
        ("X-B3-TraceId", TRACE),
        ("X-B3-SpanId", SPAN),
        ("X-B3-Sampled", "1"),
    ]);
    let (sent, sampled) = propagated(&[Format::B3Single], Sampler::AlwaysOff, &multi);
    assert!(sampled && text(&sent, "b3").is_some() && text(&sent, "x-b3-traceid").is_none());
}

#[test]
fn repeated_format_is_written_once() {
    assert_eq!(
        Propagation::new(&[Format::B3Single, Format::B3Single])
            .fields()
            .collect::<Vec<_>>(),
        ["b3"]
    );
}

#[test]
fn first_format_that_holds_a_context_wins() {
    let other = "11111111111111111111111111111111";
    let received = headers(&[
        ("traceparent", &format!("00-{TRACE}-{SPAN}-01")),
        ("uber-trace-id", &format!("{other}:{SPAN}:0:1")),
    ]);
    let first = |formats: &[Format]| {
        let cx = Propagation::new(formats).extract(&Context::new(), &received);
        cx.span().span_context().trace_id().to_string()
    };
    assert_eq!(first(&[Format::W3c, Format::Jaeger]), TRACE);
    assert_eq!(first(&[Format::Jaeger, Format::W3c]), other);
}

#[test]
fn malformed_header_yields_no_context_and_is_counted() {
    let propagation = Propagation::default();
    let cx = propagation.extract(&Context::new(), &headers(&[("traceparent", "00-1-2-01")]));
    assert!(!cx.span().span_context().is_valid());
    assert_eq!(propagation.rejected(), 1);
}

#[test]
fn baggage_travels_with_its_metadata() {
    let received = headers(&[
        ("traceparent", &format!("00-{TRACE}-{SPAN}-01")),
        ("baggage", "user=ann%20b;secret,n=1"),
    ]);
    let (sent, _) = propagated(
        &[Format::W3c, Format::Baggage],
        Sampler::AlwaysOn,
        &received,
    );
    let mut entries: Vec<_> = text(&sent, "baggage").unwrap().split(',').collect();
    entries.sort_unstable();
    assert_eq!(entries, ["n=1", "user=ann%20b;secret"]);
}

#[test]
fn propagation_serves_as_an_opentelemetry_propagator() {
    let propagation = Propagation::default();
    let received = HashMap::from([("traceparent".to_owned(), format!("00-{TRACE}-{SPAN}-01"))]);
    let cx = propagation.extract_with_context(&Context::new(), &received);
    let mut sent = HashMap::new();
    propagation.inject_context(&cx, &mut sent);
    assert_eq!(sent, received);
    assert_eq!(
        propagation.fields().collect::<Vec<_>>(),
        ["traceparent", "tracestate", "baggage"]
    );
}
