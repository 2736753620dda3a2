//! Outbound calls: the values that go into an attribution and come out of it.

use std::sync::Arc;

use throughline_model::context::SpanContext;

use super::activity::ActivityId;
use super::call_signature::CallSignature;
use super::evidence::{Evidence, ParentDecision};
use super::token::TokenSet;
use crate::Timestamp;

/// A request or record that the process sends. Made before the lock of the correlator is taken.
#[derive(Debug, Clone)]
pub struct OutboundCall {
    pub signature: CallSignature,
    /// Time at which the application created it: the timestamp of a record, which is earlier than
    /// its transmission. [`None`] for now.
    pub created_at: Option<Timestamp>,
    /// Context in its headers.
    pub carried: Option<SpanContext>,
    pub tokens: TokenSet,
    /// Whether a response will be reported with [`complete_call`].
    ///
    /// [`complete_call`]: super::Correlator::complete_call
    pub expects_response: bool,
}

/// Result of an attribution: the parent, and a handle for reporting how the call ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution {
    pub parent: ParentDecision,
    pub call: CallHandle,
    /// `x-request-id` of the parent, if there is an exact one that has it.
    pub request_id: Option<Arc<[u8]>>,
}

/// Handle of a call whose response is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallHandle {
    pub(super) activity: Option<ActivityId>,
    pub(super) signature: CallSignature,
    /// Number of the call in the engine.
    pub(super) number: Option<CallNumber>,
}

/// Number of a call, by which the inference knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallNumber(pub(super) u64);

/// Outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    Succeeded,
    /// The call failed in a way that makes callers retry.
    Failed,
}

// === impl Attribution ===

impl Attribution {
    pub(super) const fn open(signature: CallSignature) -> Self {
        Self::unowned(signature, ParentDecision::open())
    }

    /// Returns the attribution to the context that the message carries.
    pub(super) const fn carried(signature: CallSignature, context: SpanContext) -> Self {
        let parent = ParentDecision::exact(Evidence::Header, context);
        Self::unowned(signature, parent)
    }

    const fn unowned(signature: CallSignature, parent: ParentDecision) -> Self {
        let call = CallHandle {
            activity: None,
            signature,
            number: None,
        };
        Self {
            parent,
            call,
            request_id: None,
        }
    }
}
