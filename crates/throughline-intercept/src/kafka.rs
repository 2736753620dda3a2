//! Kafka: [`Session`], what happens on one connection between a client and a broker.
//!
//! | seen | done |
//! |---|---|
//! | Produce | contexts into records, a producer span for each, closed by the response |
//! | Fetch, ShareFetch | a consumer span for each record delivered, with queue time and lag |
//! | OffsetCommit, ShareAcknowledge | a span that tells how long the handling took |
//! | Metadata, group requests | names, ids and groups learned, for the attributes |
//! | responses with addresses of brokers | rewritten, when the driver has addresses of its own |
//! | ApiVersions | narrowed to what can be read here |
//! | anything else | passes |

mod capped;
mod cause;
mod cluster;
mod context;
mod delivery;
mod error;
mod exchange;
mod known;
mod notice;
mod outbox;
mod produce;
mod session;
mod settings;
mod settle;
mod span;
mod tools;
mod topic;
mod tracer;

pub use cluster::{ClientKey, Cluster};
pub use known::{Capacity, Delivery, Known, Place, Progress};
pub use notice::{Notice, Reason};
pub use session::{Peer, Session};
pub use settings::{
    DEFAULT_MAX_MESSAGE_BYTES, Deliver, Limits, Naming, Relation, Service, Settings, TopicPattern,
    TopicSettings,
};
pub use throughline_kafka::api::ApiKey;
pub use throughline_kafka::frame::FramingError;
