//! Jaeger's own clients: batches in Thrift over HTTP and over UDP, and their remote sampling
//! (jaegertracing/jaeger-idl, `thrift/jaeger.thrift`, `thrift/agent.thrift`).
//!
//! * [`http`]: `POST /api/traces`, port 14268, one batch per request.
//! * [`agent`]: UDP, ports 6831 (compact protocol) and 6832 (binary), one batch per datagram.
//! * [`sampling`]: port 5778, which answers that every trace is to be sampled.

pub(crate) mod agent;
mod batch;
pub(crate) mod http;
pub(crate) mod json;
pub(crate) mod sampling;
mod span;
mod thrift;

/// Decodes bytes in every form in which a batch comes, for checks of the parsers.
#[cfg(any(test, fuzzing))]
pub(crate) fn decode_every_form(bytes: &[u8]) -> Vec<throughline_otlp::DecodedSpans> {
    use self::thrift::ThriftProtocol;
    [
        batch::decode_batch(bytes, ThriftProtocol::Binary),
        batch::decode_batch(bytes, ThriftProtocol::Compact),
        batch::decode_agent_call(bytes),
    ]
    .into_iter()
    .filter_map(Result::ok)
    .collect()
}

#[cfg(test)]
mod tests;
