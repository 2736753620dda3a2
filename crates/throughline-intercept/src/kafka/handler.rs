//! Handlers: one for each group of APIs that a session reads or changes.
//!
//! A handler gets a whole message and returns a decision; the session carries it out. Within a
//! handler a message goes through three steps:
//!
//! ```text
//!   inspect: parse the message, read record headers      no lock, no change
//!   decide:  sampling, budgets, parents, shared state    locks for many records at once
//!   apply:   spans and events, splices in the message    no lock
//! ```
//!
//! | handler | APIs |
//! |---|---|
//! | [`produce`] | Produce |
//! | [`fetch`] | Fetch |
//! | [`share`] | ShareFetch, ShareAcknowledge |
//! | [`commit`] | OffsetCommit, TxnOffsetCommit |
//! | [`configs`] | AlterConfigs, IncrementalAlterConfigs; responses of CreateTopics and others |
//! | [`group`] | JoinGroup, SyncGroup, LeaveGroup, heartbeats |
//! | [`addresses`] | Metadata, FindCoordinator, DescribeCluster, and endpoints in other responses |

mod addresses;
mod api_frame;
mod client;
mod commit;
mod configs;
mod context;
mod correlation;
mod decision;
mod delivery;
mod dispatch;
mod fetch;
mod group;
mod message;
mod outbox;
mod patch;
mod produce;
mod record_context;
mod selection;
mod settlement;
mod share;
mod span;
mod span_budget;
mod workload;

pub(super) use context::HandlerContext;
pub(super) use dispatch::{Handlers, PendingRequest};
pub(super) use message::{ApiFrame, RequestDecision};
pub(super) use produce::original::{BatchKey, OriginalProduce};
