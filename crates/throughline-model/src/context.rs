//! The trace context that travels from one process to the next, and its wire formats.
//!
//! One codec serves HTTP headers and Kafka record headers, for the SDK, the proxies and the
//! collector alike. It is strict where the format is (W3C), lenient only where the format allows it
//! (Jaeger's short ids), and never fails the caller: a malformed header yields no context, and is
//! counted in [`PropagatedContext::rejected`].
//!
//! | [`Format`] | headers | source |
//! |---|---|---|
//! | [`Format::W3c`] | `traceparent`, `tracestate` | W3C Trace Context level 2 |
//! | [`Format::Baggage`] | `baggage` | W3C Baggage |
//! | [`Format::B3Single`] | `b3` | openzipkin/b3-propagation |
//! | [`Format::B3Multi`] | `x-b3-traceid` and others | openzipkin/b3-propagation |
//! | [`Format::Jaeger`] | `uber-trace-id`, `uberctx-*` | Jaeger clients, "Propagation format" |
//!
//! A new format is a file of its own, which ends in a `FormatCodec`, and an entry in the registry
//! of `format.rs`. Option values, `OTEL_PROPAGATORS`, header filters and their help texts follow
//! from it.
//!
//! Kafka has no standard for this: by convention the same text names are used, lower-case, with
//! UTF-8 values. Both HTTP and Kafka allow a header to repeat; the last one wins, as with Java's
//! `lastHeader`.
//!
//! ```
//! use throughline_model::context::{self, Format, HeaderList};
//!
//! let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03";
//! let mut headers = HeaderList::default();
//! headers.push("traceparent", traceparent);
//! let found = context::extract(&[Format::W3c], &headers).context.expect("a well-formed header");
//! assert!(found.sampling.is_sampled() && found.random);
//!
//! context::inject(&[Format::B3Single], &found, &context::Baggage::default(), &mut headers);
//! let b3 = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1";
//! assert_eq!(headers.get("b3"), Some(b3.as_bytes()));
//! ```

mod b3;
mod baggage;
mod baggage_header;
mod carrier;
mod codec;
mod format;
mod format_list;
mod format_set;
mod jaeger;
mod percent;
mod propagated;
mod span_context;
mod trace_state;
mod w3c;

pub use baggage::{Baggage, BaggageEntry};
pub use carrier::{Carrier, CarrierMut, HeaderList};
pub use format::{Format, extract, inject, span_id_offset};
pub use format_list::FormatList;
pub use format_set::FormatSet;
pub use propagated::PropagatedContext;
pub use span_context::{Sampling, SpanContext};
pub use trace_state::TraceState;

#[cfg(test)]
mod tests;
