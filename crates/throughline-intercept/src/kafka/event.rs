//! Events of a session, for metrics and logs.

use std::sync::Arc;

use throughline_kafka::api::ApiKey;
use throughline_kafka::batch::BatchError;
use throughline_kafka::frame::FramingError;
use throughline_kafka::types::PartitionIndex;

use crate::Side;
use crate::correlate::PropagationObservation;

/// Event that the driver counts or logs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// A request began.
    Request(ApiKey),
    /// Records got a context.
    Injected { records: u32 },
    /// Bytes passed unmodified that might have been read or changed. `records` is 0 where their
    /// number is unknown.
    Skipped { reason: SkipReason, records: u32 },
    /// A request passed unread because of its version, as its response will.
    VersionUnsupported { api: ApiKey, version: i16 },
    /// Records are not sampled.
    Unsampled { records: u32 },
    /// Spans were due and were not made.
    SpansDropped { reason: SkipReason, spans: u32 },
    /// Deliveries were not committed in time, or exceeded the capacity.
    Unsettled { records: u32 },
    /// A frame was buffered for this time before it was forwarded.
    Held { nanoseconds: u64 },
    /// Distance of a consumer from the end of a partition, in records.
    Lag {
        group: Option<Arc<str>>,
        topic: Arc<str>,
        partition: PartitionIndex,
        lag: i64,
    },
    /// The broker rejected records that were injected into. From here on the topic gets smaller
    /// contexts or none.
    InjectionRejected { topic: Arc<str>, error_code: i16 },
    /// A broker closed the connection at a request that was injected into. From here on requests of
    /// this size are not enlarged.
    RequestRefused { bytes: usize },
    /// Original batches of this number of partitions were sent, after the broker rejected the ones
    /// that were injected into. The client does not see the rejection.
    Replayed { partitions: u32 },
    /// A producer sent records again: their spans are those of the first attempt.
    Retried { records: u32 },
    /// The stream of this side is not Kafka; all of it passes from here on.
    FramingFailed { side: Side, error: FramingError },
    /// The client speaks TLS to a plaintext port.
    ClientSpeaksTls,
    /// Records have shown something new about the propagation of their process.
    PropagationObserved(PropagationObservation),
}

/// Reason for which bytes were not read, not changed, or got no span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// The API version is not supported.
    Version,
    /// The frame is longer than [`super::SessionLimits::max_frame_bytes`].
    FrameTooLarge,
    /// The process already buffers [`super::ClusterCapacity::max_held_bytes`].
    Budget,
    /// The frame does not follow the schema of its version.
    Malformed,
    /// SASL tokens without headers follow (SaslHandshake v0); they pass.
    SaslTokens,
    /// Injection would exceed the maximum size of the topic's batches or of the broker's requests.
    BatchTooLarge,
    /// The records decompress to more than [`super::SessionLimits::max_inflated_bytes`].
    Inflated,
    /// The compression codec is unknown, or the records do not decompress.
    Codec,
    /// The checksum of the batch is wrong.
    Checksum,
    /// The message format predates Kafka 0.11 and has no headers.
    OldFormat,
    /// The broker rejected an injected batch of this topic before.
    RefusedBefore,
    /// The batch is compressed, and [`super::InjectionMode::Uncompressed`] leaves it as it is.
    Compressed,
    /// Some topics are excluded from injection, and only the id of this one is known.
    UnknownTopic,
    /// The response matches no request, or not the first one in flight.
    OutOfOrder,
    /// The limit of requests, partitions or open spans is reached.
    Capacity,
    /// The limit [`super::ClusterCapacity::max_spans_per_second`] is reached.
    SpanRate,
    /// The consumer span is not in the trace of the record's context, which it can not replace.
    LinksOnly,
    /// The connection ended within the frame.
    Disconnected,
    /// An internal error (a panic). From there on only frames that must be changed are read.
    Panic,
}

// === impl SkipReason ===

impl SkipReason {
    /// All reasons, for metrics that show zeros.
    pub const ALL: [Self; 19] = [
        Self::Version,
        Self::FrameTooLarge,
        Self::Budget,
        Self::Malformed,
        Self::SaslTokens,
        Self::BatchTooLarge,
        Self::Inflated,
        Self::Codec,
        Self::Checksum,
        Self::OldFormat,
        Self::RefusedBefore,
        Self::Compressed,
        Self::UnknownTopic,
        Self::OutOfOrder,
        Self::Capacity,
        Self::SpanRate,
        Self::LinksOnly,
        Self::Disconnected,
        Self::Panic,
    ];

    /// Returns the value of the metric label and of `throughline.kafka.not_injected`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::FrameTooLarge => "frame_too_large",
            Self::Budget => "budget",
            Self::Malformed => "malformed",
            Self::SaslTokens => "sasl_tokens",
            Self::BatchTooLarge => "batch_too_large",
            Self::Inflated => "inflated",
            Self::Codec => "codec",
            Self::Checksum => "checksum",
            Self::OldFormat => "old_format",
            Self::RefusedBefore => "refused_before",
            Self::Compressed => "compressed",
            Self::UnknownTopic => "unknown_topic",
            Self::OutOfOrder => "out_of_order",
            Self::Capacity => "capacity",
            Self::SpanRate => "span_rate",
            Self::LinksOnly => "links_only",
            Self::Disconnected => "disconnected",
            Self::Panic => "panic",
        }
    }
}

impl From<BatchError> for SkipReason {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "an error of a later version counts as malformed until it has a reason of its own"
    )]
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::ChecksumMismatch => Self::Checksum,
            BatchError::UnknownCodec(_) | BatchError::CorruptCompression => Self::Codec,
            BatchError::InflatedTooLarge { .. } => Self::Inflated,
            BatchError::BatchTooLarge { .. } => Self::BatchTooLarge,
            // ControlBatch, NoRecords: clients never send these.
            _ => Self::Malformed,
        }
    }
}
