//! Kafka: [`KafkaSession`] follows one connection between a client and a broker.
//!
//! | message | action |
//! |---|---|
//! | Produce | contexts are injected into records; each gets a producer span |
//! | Fetch, ShareFetch | each delivered record gets a consumer span, with queue time and lag |
//! | OffsetCommit, TxnOffsetCommit, ShareAcknowledge | a span ends the handling of a record |
//! | Metadata, group requests | names, ids and groups are learned, for attributes |
//! | responses with addresses of brokers | rewritten, if the driver has addresses of its own |
//! | ApiVersions | narrowed to the versions that are supported here |
//! | anything else | passes |
//!
//! ```text
//!   session    one connection: frames, requests in flight, SASL, versions, panic isolation
//!      v
//!   handler    one group of APIs: inspect, decide, apply
//!      v
//!   cluster    knowledge and budgets that connections share, behind the driver's lock
//! ```

mod client_id;
mod cluster;
mod endpoints;
mod error_code;
mod event;
mod fifo_map;
mod handler;
mod session;
mod settings;
mod topic;

pub use cluster::{
    BatchSize, ClientKey, ClientPartition, ClusterCapacity, ClusterHandle, ClusterState,
    PendingDelivery, SettledOffsets, TopicBatchLimits,
};
pub use endpoints::ConnectionEndpoints;
pub use event::{SessionEvent, SkipReason};
pub use session::KafkaSession;
pub use settings::{
    DEFAULT_MAX_MESSAGE_BYTES, DeliveryMode, InjectionMode, ServiceNaming, SessionLimits, Settings,
    SpanNaming, SpanRelation, TopicPattern, TopicSettings,
};
pub use throughline_kafka::api::ApiKey;
pub use throughline_kafka::frame::FramingError;
pub use throughline_kafka::types::{NodeId, Offset, PartitionIndex, TopicId};
