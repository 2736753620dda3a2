//! The errors of export requests.

/// The reason why a body is not an export request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not the protobuf of a request.
    #[error("not an OTLP trace export request in protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// The text is not the JSON of a request.
    #[error("not an OTLP trace export request in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Its spans, attributes, events and links would take too much memory when decoded.
    #[error("too many spans, attributes, events and links in one request; send smaller requests")]
    TooMany,
}
