//! Cluster: the knowledge that all connections of a process to one cluster share.
//!
//! A driver keeps one [`ClusterState`] behind a lock and implements [`ClusterHandle`] for it.
//! Sessions hold the lock to look something up or to record it, never while they parse, compress
//! or copy. Every collection has a capacity.

mod attempt;
mod batch_limits;
mod capacity;
mod client;
mod commit_cadence;
mod delivery;
mod delivery_queue;
mod fetch_session;
mod group;
mod handle;
mod request_limits;
mod scratch;
mod sent_spans;
mod state;

pub use batch_limits::{BatchSize, TopicBatchLimits};
pub use capacity::ClusterCapacity;
pub use client::ClientKey;
pub use delivery::{ClientPartition, SettledOffsets};
pub use delivery_queue::PendingDelivery;
pub use handle::ClusterHandle;
pub use state::ClusterState;

pub(super) use attempt::{
    AttemptKey, AttemptState, AttemptedRecord, BatchAttempts, BatchFingerprint, FailedAttempt,
};
pub(super) use delivery::DeliveryOwner;
pub(super) use fetch_session::{CutBatch, FetchPositions, FetchSessionKey, RequestedPosition};
pub(super) use group::{
    Assignment, ClientConnection, ConnectionId, FetchedPartition, GroupMemberId, MemberSign,
    MemberStage,
};
pub(super) use request_limits::MIN_REFUSED_REQUEST;
pub(super) use scratch::{BatchReader, Scratch};
