//! What happened, for metrics and logs.

use std::sync::Arc;

use throughline_kafka::api::ApiKey;
use throughline_kafka::batch;
use throughline_kafka::frame::FramingError;

use crate::Side;

/// Something that the driver counts, or says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A request began.
    Request(ApiKey),
    /// Records got a context.
    Injected { records: u32 },
    /// Something went on as it came that might have been read or changed. `records` is 0 where they are not known.
    Passed { reason: Reason, records: u32 },
    /// Records that are not sampled.
    Unsampled { records: u32 },
    /// Spans that were due and were not made.
    SpanDropped { reason: Reason, spans: u32 },
    /// Deliveries that nobody committed in time, or for which there was no room.
    Unsettled { records: u32 },
    /// A frame was held for so long, in nanoseconds, before it went on.
    Held { nanoseconds: u64 },
    /// Records of a partition that its consumer has still before it.
    Lag {
        group: Option<Arc<str>>,
        topic: Arc<str>,
        partition: i32,
        lag: i64,
    },
    /// The broker refused what was injected; the topic gets less from here on, or nothing.
    Refused { topic: Arc<str>, error_code: i16 },
    /// The stream of this side is no Kafka; all of it passes from here on.
    Lost { side: Side, loss: FramingError },
    /// The client speaks TLS to a port that expects none.
    ClientSpeaksTls,
}

/// Why something was not read, changed or made into spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A version that is not known here.
    Version,
    /// The frame is longer than [`super::Limits::max_frame_bytes`].
    FrameTooLarge,
    /// The process holds as much as it may.
    Budget,
    /// The frame is not what its version says.
    Malformed,
    /// SASL tokens without headers follow (SaslHandshake v0), which pass.
    SaslTokens,
    /// Injection would make the batch larger than the topic takes, or the request larger than the broker takes.
    BatchTooLarge,
    /// The records inflate to more than [`super::Limits::max_inflated_bytes`].
    Inflated,
    /// A codec that is not known, or records that do not inflate.
    Codec,
    /// The checksum of the batch is wrong.
    Checksum,
    /// A message format before Kafka 0.11, which has no headers.
    OldFormat,
    /// The broker refused an injected batch of this topic before.
    RefusedBefore,
    /// Some topics get nothing, and of this one only the id is known: it may be one of them.
    UnknownTopic,
    /// The answer to no request that is known, or not to the first of them.
    OutOfOrder,
    /// More requests, partitions or open spans than are remembered.
    Capacity,
    /// More spans in a second than [`super::Capacity::max_spans_per_second`].
    SpanRate,
    /// The connection ended before the response.
    Disconnected,
    /// An error of our own (a panic). Nothing on the connection is read from there on, but what must be changed.
    Panic,
}

// === impl Reason ===

impl Reason {
    /// Its name in metrics.
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
            Self::UnknownTopic => "unknown_topic",
            Self::OutOfOrder => "out_of_order",
            Self::Capacity => "capacity",
            Self::SpanRate => "span_rate",
            Self::Disconnected => "disconnected",
            Self::Panic => "panic",
        }
    }

    /// All of them, for metrics that show zeros.
    pub const ALL: [Self; 17] = [
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
        Self::UnknownTopic,
        Self::OutOfOrder,
        Self::Capacity,
        Self::SpanRate,
        Self::Disconnected,
        Self::Panic,
    ];
}

impl From<batch::BatchError> for Reason {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is to come is malformed until it is known"
    )]
    fn from(reason: batch::BatchError) -> Self {
        match reason {
            batch::BatchError::ChecksumMismatch => Self::Checksum,
            batch::BatchError::UnknownCodec(_) | batch::BatchError::CorruptCompression => {
                Self::Codec
            }
            batch::BatchError::InflatedTooLarge { .. } => Self::Inflated,
            batch::BatchError::BatchTooLarge { .. } => Self::BatchTooLarge,
            // Control, Empty: no client sends these.
            _ => Self::Malformed,
        }
    }
}
