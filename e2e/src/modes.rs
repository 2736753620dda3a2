//! Assertions for each mode of the demo: the states of the trace in the article.

use std::collections::BTreeSet;

use crate::{TraceSet, TraceSpan};

/// Asserts that only HTTP is traced: the checkout's trace ends at eshop, and calls behind Kafka
/// form another trace.
///
/// # Panics
/// Panics if a trace does not show that.
pub fn assert_rest(traces: &TraceSet) {
    let checkout = assert_checkout(traces);
    assert_services(
        traces,
        checkout,
        &["billing", "delivery", "eshop", "inventory"],
    );
    assert_notification_apart(traces, checkout);
    // Neither eshop nor kafka-consumer may record a messaging span in this mode.
    for span in &traces.spans {
        let kind = span.tag("span.kind");
        assert!(
            kind != "producer" && kind != "consumer",
            "{} is a Kafka span in:\n{traces}",
            span.name
        );
    }
}

/// Asserts that producer and consumer are traced, but no span is active while the record is
/// handled: the consumer span is in the checkout's trace, has no duration and no children;
/// notification is in another trace.
///
/// # Panics
/// Panics if a trace does not show that.
pub fn assert_kafka(traces: &TraceSet) {
    let checkout = assert_checkout(traces);
    let consumer = assert_message(traces, checkout);
    assert_services(
        traces,
        checkout,
        &[
            "billing",
            "delivery",
            "eshop",
            "inventory",
            "kafka-consumer",
        ],
    );
    assert_notification_apart(traces, checkout);
    assert!(
        // The interceptor starts and ends the span in one call.
        consumer.duration < 1_000,
        "the interceptor's span has no length, but lasted {} us",
        consumer.duration
    );
    assert!(
        traces.children(consumer).is_empty(),
        "something is below {} in:\n{traces}",
        consumer.name
    );
}

/// Asserts that the consumer span is active while the record is handled: one trace holds
/// everything, with notification below the consumer.
///
/// # Panics
/// Panics if the trace does not show that.
pub fn assert_linked(traces: &TraceSet) {
    let checkout = assert_checkout(traces);
    let (consumer, call) = assert_complete(traces, checkout);
    assert!(
        consumer.end() >= call.end(),
        "the consumer span ended before the call that it waited for:\n{traces}"
    );
}

/// Asserts that sidecars beside uninstrumented services produce one complete trace. Each span
/// records the evidence for its parent; work inside of a service is not visible.
///
/// # Panics
/// Panics if the trace does not show that.
pub fn assert_sidecar(traces: &TraceSet) {
    assert_sidecar_by(traces, "header");
}

/// Asserts the same of a record that carried no context: the collector found the sender of the
/// consumer's span by the record's offset.
///
/// # Panics
/// Panics if the trace does not show that.
pub fn assert_sidecar_by_offset(traces: &TraceSet) {
    assert_sidecar_by(traces, "offset");
}

fn assert_sidecar_by(traces: &TraceSet, record_evidence: &str) {
    let checkout = assert_calls(traces);
    assert_complete(traces, checkout);
    for span in traces.spans.iter().filter(|span| span.id != checkout.id) {
        // A context from the wire is exact. An outbound call is attributed to the inbound request
        // by evidence, with a confidence.
        let within = matches!(span.tag("span.kind"), "client" | "producer");
        let evidence = span.tag("throughline.parent.evidence");
        assert_eq!(
            evidence,
            // Only one request is in flight in this test, so the evidence is the single in-flight
            // request.
            match span.tag("span.kind") {
                "client" | "producer" => "sole",
                "consumer" => record_evidence,
                _ => "header",
            },
            "{} in:\n{traces}",
            span.name
        );
        let confidence = span
            .tags
            .get("throughline.parent.confidence")
            .and_then(serde_json::Value::as_f64);
        assert_eq!(
            confidence.is_some_and(|share| share > 0.98),
            within,
            "{}: {confidence:?}",
            span.name
        );
    }
    // Five server spans, four client spans, one producer and one consumer span.
    assert_eq!(traces.spans.len(), 11, "{traces}");
}

/// Asserts that Envoy's own tracer and our module beside uninstrumented services produce the same
/// complete trace: HTTP spans are Envoy's, Kafka spans ours, none is made twice.
///
/// # Panics
/// Panics if the trace does not show that.
pub fn assert_envoy(traces: &TraceSet) {
    let checkout = assert_calls(traces);
    assert_complete(traces, checkout);
    for span in traces.spans.iter().filter(|span| span.id != checkout.id) {
        let within = matches!(span.tag("span.kind"), "client" | "producer");
        let evidence = if within { "sole" } else { "header" };
        let found = span.tag("throughline.parent.evidence");
        assert_eq!(found, evidence, "{} in:\n{traces}", span.name);
        let is_http = matches!(span.tag("span.kind"), "client" | "server");
        // Envoy marks its spans so.
        let is_envoys = span.tag("component") == "proxy";
        assert_eq!(is_envoys, is_http, "{} in:\n{traces}", span.name);
    }
    // Five server spans, four client spans, one producer and one consumer span.
    assert_eq!(traces.spans.len(), 11, "{traces}");
}

/// Asserts that one trace holds everything: the record below the checkout, and the receiver's call
/// below the record. Returns consumer span and call.
fn assert_complete<'a>(
    traces: &'a TraceSet,
    checkout: &TraceSpan,
) -> (&'a TraceSpan, &'a TraceSpan) {
    let consumer = assert_message(traces, checkout);
    assert_eq!(traces.count(), 1, "more than one trace:\n{traces}");
    let all = [
        "billing",
        "delivery",
        "eshop",
        "inventory",
        "kafka-consumer",
        "notification",
    ];
    assert_services(traces, checkout, &all);
    let call = assert_call(traces, "kafka-consumer", "notification", "GET /sendEmail");
    assert!(
        traces.is_below(call, consumer),
        "notification is not below {} in:\n{traces}",
        consumer.name
    );
    (consumer, call)
}

/// Asserts the part that all instrumented modes share: the calls of a checkout, and billing's two
/// methods.
fn assert_checkout(traces: &TraceSet) -> &TraceSpan {
    let checkout = assert_calls(traces);
    let payment = traces.only("GET /payment");
    for method in ["BankTransaction.transfer", "DBAccess.save2db"] {
        let span = traces.only(method);
        assert_eq!(
            traces.parent(span).map(|parent| &parent.id),
            Some(&payment.id),
            "{method} in:\n{traces}"
        );
        assert_eq!(
            (span.service.as_str(), span.reference()),
            ("billing", "CHILD_OF")
        );
    }
    checkout
}

/// Asserts the part that all modes share: eshop's request is the root of three calls.
fn assert_calls(traces: &TraceSet) -> &TraceSpan {
    let checkout = traces.only("GET /checkout");
    assert_eq!(checkout.service, "eshop");
    assert_eq!(checkout.tag("span.kind"), "server");
    assert!(
        checkout.references.is_empty(),
        "the request's first span is not a root"
    );
    for (service, name) in [
        ("inventory", "GET /createOrder"),
        ("billing", "GET /payment"),
        ("delivery", "GET /arrangeDelivery"),
    ] {
        let call = assert_call(traces, "eshop", service, name);
        assert!(
            traces.is_below(call, checkout),
            "{name} is not below the checkout in:\n{traces}"
        );
    }
    checkout
}

/// Asserts that `caller` called `callee`: a client span with a server span below it. Returns the
/// server span.
fn assert_call<'a>(traces: &'a TraceSet, caller: &str, callee: &str, name: &str) -> &'a TraceSpan {
    let server = traces.only(name);
    assert_eq!(
        (
            server.service.as_str(),
            server.tag("span.kind"),
            server.reference()
        ),
        (callee, "server", "CHILD_OF")
    );
    let client = traces
        .parent(server)
        .unwrap_or_else(|| panic!("{name} has no parent in:\n{traces}"));
    assert_eq!(
        (client.service.as_str(), client.tag("span.kind")),
        (caller, "client"),
        "{name} in:\n{traces}"
    );
    assert_eq!(client.name, "GET");
    server
}

/// Asserts the record: produced below the checkout, and consumed in the same trace with a single
/// FOLLOWS_FROM reference to the producer span.
fn assert_message<'a>(traces: &'a TraceSet, checkout: &TraceSpan) -> &'a TraceSpan {
    let sent = traces.only("To_eshop-topic");
    assert_eq!(
        (sent.service.as_str(), sent.tag("span.kind")),
        ("eshop", "producer")
    );
    assert_eq!(sent.reference(), "CHILD_OF");
    assert_eq!(
        traces.parent(sent).map(|parent| &parent.id),
        Some(&checkout.id),
        "{traces}"
    );
    let received = traces.only("From_eshop-topic");
    assert_eq!(
        (received.service.as_str(), received.tag("span.kind")),
        ("kafka-consumer", "consumer")
    );
    // The producer does not wait for the consumer, so the relation is not CHILD_OF.
    assert_eq!(received.reference(), "FOLLOWS_FROM");
    assert_eq!(
        traces.parent(received).map(|parent| &parent.id),
        Some(&sent.id),
        "{traces}"
    );
    assert_eq!(received.trace, checkout.trace);
    for span in [sent, received] {
        assert_eq!(span.tag("peer.service"), "kafka");
        assert_eq!(span.tag("message_bus.destination"), "eshop-topic");
    }
    assert!(received.tags.contains_key("partition") && received.tags.contains_key("offset"));
    received
}

/// Asserts that the call to notification is in another trace, with the consumer's call as its root.
fn assert_notification_apart(traces: &TraceSet, checkout: &TraceSpan) {
    let call = assert_call(traces, "kafka-consumer", "notification", "GET /sendEmail");
    assert_ne!(
        call.trace, checkout.trace,
        "notification is in the checkout's trace:\n{traces}"
    );
    assert_services(traces, call, &["kafka-consumer", "notification"]);
    assert_eq!(traces.count(), 2, "{traces}");
}

fn assert_services(traces: &TraceSet, of: &TraceSpan, expected: &[&str]) {
    let expected: BTreeSet<&str> = expected.iter().copied().collect();
    assert_eq!(
        traces.services(&of.trace),
        expected,
        "services of the trace of {} in:\n{traces}",
        of.name
    );
}
