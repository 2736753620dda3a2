//! Activities: inbound requests and delivered records, with the calls that they made.

use std::sync::Arc;

use throughline_model::context::SpanContext;

use super::call_signature::CallSignature;
use super::token::CorrelationToken;
use crate::Timestamp;

/// Signatures for which an activity counts its calls.
const MAX_CALL_SIGNATURES: usize = 16;

/// Identifier of an inbound request or a delivered record. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivityId(pub(super) u64);

/// An inbound request or a delivered record.
#[derive(Debug)]
pub(super) struct Activity {
    pub(super) context: SpanContext,
    pub(super) started_at: Timestamp,
    /// Signature of requests of its kind; [`None`] for a record.
    pub(super) operation: Option<CallSignature>,
    pub(super) state: ActivityState,
    /// Topic of a record; [`None`] for a request.
    pub(super) topic: Option<Arc<str>>,
    /// Calls by signature. Counted for records only.
    pub(super) calls: Vec<CallProgress>,
    /// Whether a call was left open that this activity may have made.
    pub(super) may_lack_call: bool,
    /// Time of the last call, or of the last response to one.
    pub(super) last_active_at: Timestamp,
    pub(super) tokens: Vec<CorrelationToken>,
    /// Calls by signature that were made while it was the only candidate.
    single_calls: Vec<(CallSignature, u32)>,
    /// Whether it may not have made a call that came late, and that no other activity has shown.
    pub(super) has_doubtful_call: bool,
    /// Calls without a response.
    pub(super) outstanding: u32,
}

/// Kind of an activity, with what describes it.
#[derive(Debug)]
pub(super) enum ActivityKind {
    /// A request, with the signature of those of its kind.
    Request(CallSignature),
    /// A record of a topic.
    Record(Arc<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ActivityState {
    InFlight,
    /// Running for so long (a stream, a long poll) that it no longer counts as a possible cause.
    Ambient,
    Ended {
        at: Timestamp,
        /// Whether the client went away while the handler may still be running.
        is_aborted: bool,
    },
}

/// Calls of one signature that an activity made.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallProgress {
    pub(super) signature: CallSignature,
    /// Calls that succeeded or are pending.
    pub(super) made: u32,
    pub(super) pending: u32,
    /// Whether the last call failed and has not been retried.
    pub(super) has_failed: bool,
}

// === impl ActivityKind ===

impl ActivityKind {
    pub(super) const fn is_record(&self) -> bool {
        matches!(self, Self::Record(_))
    }
}

// === impl Activity ===

impl Activity {
    pub(super) fn new(now: Timestamp, context: SpanContext, kind: ActivityKind) -> Self {
        let (operation, topic) = match kind {
            ActivityKind::Request(operation) => (Some(operation), None),
            ActivityKind::Record(topic) => (None, Some(topic)),
        };
        Self {
            context,
            started_at: now,
            operation,
            state: ActivityState::InFlight,
            topic,
            calls: Vec::new(),
            may_lack_call: false,
            last_active_at: now,
            tokens: Vec::new(),
            single_calls: Vec::new(),
            has_doubtful_call: false,
            outstanding: 0,
        }
    }

    /// Returns the signature of activities of its kind.
    pub(super) fn signature(&self) -> CallSignature {
        let of_topic = || CallSignature::new(&("record", &self.topic));
        self.operation.unwrap_or_else(of_topic)
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.state == ActivityState::InFlight
    }

    pub(super) fn calls_of(&self, signature: CallSignature) -> Option<&CallProgress> {
        self.calls.iter().find(|calls| calls.signature == signature)
    }

    pub(super) fn calls_made(&self, signature: CallSignature) -> u32 {
        self.calls_of(signature).map_or(0, |calls| calls.made)
    }

    /// Returns the value of the first token that was found under this key.
    pub(super) fn token_value(&self, key_index: usize) -> Option<&Arc<[u8]>> {
        self.tokens
            .iter()
            .find_map(|token| token.value_of(key_index))
    }

    pub(super) fn has_pending_call(&self) -> bool {
        self.calls.iter().any(|calls| calls.pending > 0)
    }

    /// Returns whether a call failed that may still be retried.
    pub(super) fn may_retry(&self) -> bool {
        self.calls.iter().any(|calls| calls.has_failed)
    }

    /// Counts a call that was made while it was the only candidate. Returns the number of calls of
    /// the signature before.
    pub(super) fn record_single(&mut self, signature: CallSignature) -> u32 {
        let known = self.single_calls.iter_mut();
        if let Some((_, count)) = known.into_iter().find(|(it, _)| *it == signature) {
            *count = count.saturating_add(1);
            return *count - 1;
        }
        if self.single_calls.len() < MAX_CALL_SIGNATURES {
            self.single_calls.push((signature, 1));
            return 0;
        }
        // Beyond the limit of signatures, an activity shows nothing more.
        u32::MAX
    }

    /// Counts a call and returns the pause before it in nanoseconds.
    pub(super) fn record_call(
        &mut self,
        signature: CallSignature,
        now: Timestamp,
        expects_response: bool,
    ) -> u64 {
        let pause_ns = now.saturating_sub(self.last_active_at);
        self.last_active_at = now;
        // Beyond the cap a signature is not counted, and the record is never exhausted for it.
        if self.calls_of(signature).is_none() && self.calls.len() < MAX_CALL_SIGNATURES {
            self.calls.push(CallProgress {
                signature,
                made: 0,
                pending: 0,
                has_failed: false,
            });
        }
        if let Some(calls) = self
            .calls
            .iter_mut()
            .find(|calls| calls.signature == signature)
        {
            calls.made = calls.made.saturating_add(1);
            calls.pending = calls.pending.saturating_add(u32::from(expects_response));
            calls.has_failed = false;
        }
        pause_ns
    }

    /// Counts the response to a call, or its failure.
    pub(super) fn record_outcome(
        &mut self,
        signature: CallSignature,
        now: Timestamp,
        is_success: bool,
    ) {
        self.last_active_at = now;
        self.outstanding = self.outstanding.saturating_sub(1);
        if !is_success {
            // It will be made again, and is then the same call.
            self.single_calls.retain(|(known, _)| *known != signature);
        }
        if let Some(calls) = self
            .calls
            .iter_mut()
            .find(|calls| calls.signature == signature && calls.pending > 0)
        {
            calls.pending -= 1;
            calls.has_failed = !is_success;
            // A failed call will be made again: only one of the two attempts counts.
            calls.made = calls.made.saturating_sub(u32::from(!is_success));
        }
    }
}
