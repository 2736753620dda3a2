//! The calls into Envoy that the filters make. The shim implements them over the C ABI, tests with
//! a fake.

use bytes::Bytes;
use throughline_intercept::Side;
use throughline_intercept::kafka::ConnectionEndpoints;
use throughline_model::context::HeaderList;
use throughline_model::{SpanId, TraceId};

use crate::counter::Counter;

/// One connection between a downstream client and an upstream broker, during a hook.
///
/// Any of these calls may enter a hook of the same connection again.
pub trait ConnectionHost {
    /// Returns a copy of the bytes that `from` has sent and that the running hook is to pass on.
    fn buffered(&self, from: Side) -> Bytes;

    /// Appends to the bytes that the running hook passes on.
    fn append(&self, from: Side, bytes: &[u8]);

    /// Puts bytes in front of those that the running hook passes on.
    fn prepend(&self, from: Side, bytes: &[u8]);

    /// Removes bytes from the front of those that the running hook passes on.
    fn drain(&self, from: Side, count: usize);

    /// Sends bytes to one side, past this filter; with `is_end`, the end of the stream after them.
    fn send(&self, to: Side, bytes: &[u8], is_end: bool);

    /// Stops reading from the client, or resumes it. Each stop needs its resumption.
    fn set_reading(&self, is_reading: bool);

    /// Closes the connection to the client, and with it the one to the broker.
    fn close(&self);

    /// Returns the addresses of both ends, as far as they are known.
    fn endpoints(&self) -> ConnectionEndpoints;

    /// Adds to a counter.
    fn count(&self, counter: Counter, amount: u64);
}

/// The headers of an HTTP request, during a hook.
pub trait HeaderHost {
    /// Returns a copy of the headers, with those of HTTP/2 that begin with a colon.
    fn request_headers(&self) -> HeaderList;

    /// Sets a header, in place of all of its name.
    fn set_header(&self, name: &str, value: &[u8]);

    /// Removes all headers of a name.
    fn remove_header(&self, name: &str);
}

/// One HTTP request and its response, during a hook.
pub trait StreamHost: HeaderHost {
    /// Returns the ids of the span that Envoy's tracer has started; none without a tracer. Zipkin's
    /// tracer does not give the id of the span.
    fn active_span(&self) -> Option<(TraceId, Option<SpanId>)>;

    /// Renames Envoy's span.
    fn name_span(&self, name: &str);

    /// Sets an attribute of Envoy's span.
    fn tag_span(&self, key: &str, value: &str);

    /// Adds to a counter.
    fn count(&self, counter: Counter, amount: u64);
}

/// Answer of a filter to Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum FilterStatus {
    /// The bytes go on to the next filter.
    Continue = 0,
    /// They do not.
    Stop = 1,
}
