//! Evaluates a query over one trace.
//!
//! Where a field has several values (an array, the events of a span), one of them must satisfy a
//! comparison; for `!=` and `!~` all of them must. A missing field is neither equal nor unequal to
//! anything but `nil`. That is what the store's filters do as well.

mod pipeline;
mod span_value;
mod structure;
mod trace_view;

pub use self::pipeline::MatchedSpanset;
pub(crate) use self::pipeline::matched_spansets;
pub(crate) use self::span_value::{first_value, satisfies};
pub use self::trace_view::TraceView;
