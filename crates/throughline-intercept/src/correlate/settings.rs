//! Settings of a correlator.

use super::token::CorrelationKey;

const MILLISECOND_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000 * MILLISECOND_NS;

/// Settings of a correlator.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Keys whose values are tokens.
    pub keys: Vec<CorrelationKey>,
    pub single_in_flight: SingleInFlightPolicy,
    /// Posterior from which a parent that the steps of requests show is used; [`None`] never.
    pub inference_threshold: Option<f64>,
    pub limits: CorrelationLimits,
}

/// Policy for inferring the parent from the only request or record in flight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SingleInFlightPolicy {
    /// Infer nothing: only exact evidence counts.
    Never,
    /// Infer while the expected share of wrong parents among such calls is at most `max_doubt`.
    Measured { max_doubt: f64 },
    /// Infer always: the user knows that the process only ever calls to answer a request.
    Assumed,
}

/// Bounds of a correlator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorrelationLimits {
    /// Requests and records that are remembered, in flight or ended. Beyond it no parent is
    /// inferred.
    pub max_activities: usize,
    /// Requests and records among which a parent is looked for. Beyond it no parent is inferred.
    pub max_candidates: usize,
    /// Call signatures with statistics of their own.
    pub max_signatures: usize,
    /// Longest body that is searched for tokens.
    pub max_body_bytes: usize,
    /// Time for which an ended request or record is found by its tokens.
    pub retention_ns: u64,
    /// Time after its response in which a handler may still make calls.
    pub linger_ns: u64,
    /// Longest time for which a producer is expected to hold a record back: until its topic exists
    /// and has a leader, for example.
    pub max_hold_ns: u64,
    /// Largest reordering between two connections that were written to at the same time.
    pub skew_ns: u64,
    /// Age at which a request no longer counts as the possible cause of a call.
    pub ambient_after_ns: u64,
    /// Age at which a record that was never settled counts as handled.
    pub handling_timeout_ns: u64,
}

// === impl Settings ===

impl Settings {
    /// Default of [`inference_threshold`](Self::inference_threshold).
    pub const INFERENCE_THRESHOLD: f64 = 0.998;
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: vec![CorrelationKey::request_id()],
            single_in_flight: SingleInFlightPolicy::default(),
            inference_threshold: Some(Self::INFERENCE_THRESHOLD),
            limits: CorrelationLimits::default(),
        }
    }
}

// === impl SingleInFlightPolicy ===

impl Default for SingleInFlightPolicy {
    fn default() -> Self {
        Self::Measured { max_doubt: 0.01 }
    }
}

// === impl CorrelationLimits ===

impl CorrelationLimits {
    /// Returns the age at which a request turns ambient, or a record counts as handled.
    pub(super) const fn max_age_ns(&self, is_record: bool) -> u64 {
        if is_record {
            self.handling_timeout_ns
        } else {
            self.ambient_after_ns
        }
    }
}

impl Default for CorrelationLimits {
    fn default() -> Self {
        Self {
            max_activities: 16 * 1024,
            max_candidates: 64,
            max_signatures: 1024,
            max_body_bytes: 64 * 1024,
            retention_ns: 60 * SECOND_NS,
            linger_ns: SECOND_NS,
            // Default of `topic.metadata.propagation.max.ms` in librdkafka.
            max_hold_ns: 30 * SECOND_NS,
            skew_ns: MILLISECOND_NS,
            ambient_after_ns: 60 * SECOND_NS,
            // Default of `max.poll.interval.ms` in the Java client: a consumer that takes longer
            // has lost its partitions.
            handling_timeout_ns: 300 * SECOND_NS,
        }
    }
}
