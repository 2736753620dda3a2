//! The trace context that travels from one process to the next, and the formats it travels in.
//!
//! One codec serves HTTP headers and Kafka record headers, for the SDK, the proxies and the collector alike. It is
//! strict where the format is (W3C), forgiving only where the format says so (Jaeger's short ids), and it never fails
//! the caller: a malformed header is no context, and is counted in [`Extracted::rejected`].
//!
//! | [`Format`] | headers | source |
//! |---|---|---|
//! | [`Format::W3c`] | `traceparent`, `tracestate` | W3C Trace Context level 2 |
//! | [`Format::Baggage`] | `baggage` | W3C Baggage |
//! | [`Format::B3Single`] | `b3` | openzipkin/b3-propagation |
//! | [`Format::B3Multi`] | `x-b3-traceid`, `-spanid`, `-sampled`, `-flags` | openzipkin/b3-propagation |
//! | [`Format::Jaeger`] | `uber-trace-id`, `uberctx-*` | Jaeger client libraries, "Propagation format" |
//!
//! Kafka has no standard for this: by convention the same text names are used, lower-case, with UTF-8 values. Both
//! worlds allow a header to repeat; the last one wins, as with Java's `lastHeader`.
//!
//! ```
//! use throughline_model::context::{self, Format, HeaderList};
//!
//! let mut headers = HeaderList::default();
//! headers.push("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03");
//! let found = context::extract(&[Format::W3c], &headers).context.expect("a well-formed header");
//! assert!(found.sampling.is_sampled() && found.random);
//!
//! context::inject(&[Format::B3Single], &found, &context::Baggage::default(), &mut headers);
//! assert_eq!(headers.get("b3"), Some("0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1".as_bytes()));
//! ```

mod b3;
mod baggage;
mod carrier;
mod jaeger;
mod percent;
mod trace_state;
mod w3c;

pub use baggage::{Baggage, Entry};
pub use carrier::{Carrier, CarrierMut, HeaderList};
pub use trace_state::TraceState;

use crate::{SpanId, TraceId};

/// Where a message came from: the span that sent it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpanContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that sent the message.
    pub span_id: SpanId,
    /// What the sender decided about recording.
    pub sampling: Sampling,
    /// W3C level 2 flag 0x02: the low 7 bytes of the trace id are random. Kept as it came, never set or cleared.
    pub random: bool,
    /// Data of other tracing systems, passed on unread.
    pub trace_state: TraceState,
}

/// What a sender says about recording the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sampling {
    /// It leaves the decision to the receiver (B3 without a sampling field).
    Deferred,
    /// Do not record.
    Drop,
    /// Record.
    Sample,
    /// Record, past any sampler (B3 `d`, Jaeger's debug flag).
    Debug,
}

/// A way to write a context into headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `traceparent` and `tracestate`.
    W3c,
    /// `baggage`. Carries no context, only baggage.
    Baggage,
    /// `b3`.
    B3Single,
    /// `x-b3-traceid` and its kin.
    B3Multi,
    /// `uber-trace-id`, with baggage as `uberctx-<key>`.
    Jaeger,
}

/// What [`extract`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// The sender's context, when one of the formats held a well-formed one.
    pub context: Option<SpanContext>,
    /// A decision that came without ids (`b3: 0`), of the first format that has one. Only when there is no context.
    pub sampling: Option<Sampling>,
    /// Baggage of all formats together.
    pub baggage: Baggage,
    /// How many headers were there but malformed, and so ignored.
    pub rejected: u32,
}

/// Reads a context. The first of `formats` that yields one wins; formats after it are read for their baggage only.
#[must_use]
pub fn extract(formats: &[Format], carrier: &(impl Carrier + ?Sized)) -> Extracted {
    let mut found = Extracted::default();
    for format in formats {
        match format {
            Format::Baggage => baggage::extract(carrier, &mut found),
            Format::Jaeger => jaeger::extract(carrier, &mut found),
            Format::W3c if found.context.is_none() => w3c::extract(carrier, &mut found),
            Format::B3Single if found.context.is_none() => b3::extract_single(carrier, &mut found),
            Format::B3Multi if found.context.is_none() => b3::extract_multi(carrier, &mut found),
            Format::W3c | Format::B3Single | Format::B3Multi => {}
        }
    }
    if found.context.is_some() {
        found.sampling = None;
    }
    found
}

/// Writes a context in each of `formats`. Whatever the carrier held under the same names is replaced, never added to.
pub fn inject(
    formats: &[Format],
    context: &SpanContext,
    baggage: &Baggage,
    carrier: &mut (impl CarrierMut + ?Sized),
) {
    for format in formats {
        match format {
            Format::W3c => w3c::inject(context, carrier),
            Format::Baggage => baggage::inject(baggage, carrier),
            Format::B3Single => b3::inject_single(context, carrier),
            Format::B3Multi => b3::inject_multi(context, carrier),
            Format::Jaeger => jaeger::inject(context, baggage, carrier),
        }
    }
}

// === impl SpanContext ===

impl SpanContext {
    /// A context with no flags but the decision and no `tracestate`.
    #[must_use]
    pub fn new(trace_id: TraceId, span_id: SpanId, sampling: Sampling) -> Self {
        Self {
            trace_id,
            span_id,
            sampling,
            random: false,
            trace_state: TraceState::default(),
        }
    }
}

// === impl Sampling ===

impl Sampling {
    /// Whether the sender asks for recording.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        matches!(self, Self::Sample | Self::Debug)
    }
}

// === impl Extracted ===

impl Extracted {
    /// Counts a header that was there but malformed.
    fn reject(&mut self) {
        self.rejected = self.rejected.saturating_add(1);
    }
}

#[cfg(test)]
mod tests;
