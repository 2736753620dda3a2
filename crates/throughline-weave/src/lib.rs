//! Finds which inbound message of a process caused which outbound one, from when they began and
//! ended.
//!
//! A request is a walk through states: the calls that it has made, and whether it waits for one.
//! Life tables ([`life_table`]) know when requests leave a state, and with which step. Where
//! several requests could have made a call, all ways are kept, jointly, until the next steps decide
//! ([`joint_cluster`]); whether the process takes requests in turn weighs as well ([`order`]).
//!
//! [`LiveDecider`] decides at the moment of a call, [`Weaver`] when the requests that may have made
//! it have settled, and [`weave_recording`] passes a whole recording several times.
//! Pure: no socket, no clock, no randomness; the same events give the same decisions.
#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "indices and casts are of numbers that the crate made itself"
)]

mod batch;
mod branching;
mod call_balance;
mod call_decision;
mod coincidence;
mod commit_habit;
mod decision;
mod done_count;
mod event;
mod evidence_tier;
mod guard;
mod handled_records;
mod joint_cluster;
mod lane;
mod lane_path;
mod learning;
mod life_table;
mod live_decider;
mod message;
mod order;
mod plan;
mod process_state;
mod request_order;
mod standing;
mod step_model;
mod step_trail;
mod stray;
mod tokens;
mod turns;
mod weaver;
mod weaver_settings;

#[cfg(test)]
mod tests;

pub use batch::{WovenRecording, weave_recording};
pub use decision::{Alternative, Decision};
pub use event::{
    InboundId, InboundOutcome, InboundStart, Nanos, OperationKey, OutboundId, OutboundStart,
    QueuePosition, WeaveEvent,
};
pub use evidence_tier::EvidenceTier;
pub use live_decider::LiveDecider;
pub use plan::{PlanError, ProcessPlan};
pub use weaver::Weaver;
pub use weaver_settings::{LiveChecks, WeaverLosses, WeaverSettings};

/// Tokens of a message that are kept.
pub const MAX_TOKENS: usize = 32;
