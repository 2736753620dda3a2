//! Topic profiles: the calls that handling a record of a topic makes, learned from records that
//! were handled alone in the process.

use std::collections::HashMap;
use std::sync::Arc;

use super::activity::{Activity, CallProgress};
use super::call_signature::CallSignature;
use crate::Timestamp;

/// Topics with a profile.
const MAX_TOPIC_PROFILES: usize = 1024;
/// Call signatures in a profile.
const MAX_CALL_PATTERNS: usize = 16;
/// Equal records in a row after which a record with these calls counts as exhausted.
const MIN_RECORDS_FOR_EXHAUSTION: u32 = 16;
/// Equal records in a row after which the next of several waiting records is inferred.
const MIN_RECORDS_FOR_ORDER: u32 = 64;
/// A record counts as handled after this many times the longest pause between calls.
const QUIET_PAUSES: u64 = 4;
/// Part of the longest pause that is forgotten with each shorter one: 1 / 128.
const PAUSE_DECAY: u64 = 128;

/// Profiles of all topics, capped.
#[derive(Debug, Default)]
pub(super) struct TopicProfiles(HashMap<Arc<str>, TopicProfile>);

/// Calls that each record of a topic causes.
#[derive(Debug, Default)]
pub(super) struct TopicProfile {
    patterns: Vec<CallPattern>,
    /// Longest pause of a record before a call, slowly decaying.
    longest_pause_ns: u64,
    /// Whether records of one partition were seen to be handled concurrently.
    pub(super) is_concurrent: bool,
}

/// Number of calls with one signature that each record makes.
#[derive(Debug)]
struct CallPattern {
    signature: CallSignature,
    calls_per_record: u32,
    /// Consecutive records that made exactly this number.
    consecutive_records: u32,
}

// === impl TopicProfiles ===

impl TopicProfiles {
    /// Returns the profile of the activity's topic, if the activity is a record.
    pub(super) fn of(&self, activity: &Activity) -> Option<&TopicProfile> {
        self.0.get(activity.topic.as_ref()?)
    }

    pub(super) fn of_mut(&mut self, activity: &Activity) -> Option<&mut TopicProfile> {
        self.0.get_mut(activity.topic.as_ref()?)
    }

    /// Returns the profile of a topic, created if there is room for one more.
    pub(super) fn get_or_create(&mut self, topic: &Arc<str>) -> Option<&mut TopicProfile> {
        // Records of a topic beyond the cap are never exhausted: that costs attributions, but makes
        // none wrong.
        let has_room = self.0.len() < MAX_TOPIC_PROFILES || self.0.contains_key(topic);
        has_room.then(|| self.0.entry(Arc::clone(topic)).or_default())
    }
}

// === impl TopicProfile ===

impl TopicProfile {
    /// Records the pause of a record before a call.
    pub(super) fn record_pause(&mut self, pause_ns: u64) {
        let decayed = self.longest_pause_ns - self.longest_pause_ns / PAUSE_DECAY;
        self.longest_pause_ns = pause_ns.max(decayed);
    }

    /// Learns from a record that was alone in the process until now, if it is known to be handled:
    /// either settled, or quiet for much longer than records of its topic pause.
    pub(super) fn learn(&mut self, record: &Activity, now: Timestamp, is_settled: bool) {
        let quiet_ns = now.saturating_sub(record.last_active_at);
        let is_quiet = self.longest_pause_ns > 0
            && quiet_ns > self.longest_pause_ns.saturating_mul(QUIET_PAUSES);
        // A pending or failed call may be followed by more, so the number of calls is not known
        // yet.
        if record.has_pending_call() || record.may_retry() || !(is_settled || is_quiet) {
            return;
        }
        // A new pattern starts with no records; the loop below counts this one.
        for calls in &record.calls {
            if self.pattern(calls.signature).is_none() && self.patterns.len() < MAX_CALL_PATTERNS {
                self.patterns.push(CallPattern {
                    signature: calls.signature,
                    calls_per_record: calls.made,
                    consecutive_records: 0,
                });
            }
        }
        // Includes signatures that this record did not call: zero is a number of calls, too.
        for pattern in &mut self.patterns {
            pattern.observe(record.calls_made(pattern.signature));
        }
    }

    /// Returns whether the record has made all its calls of this signature.
    pub(super) fn is_exhausted(&self, signature: CallSignature, record: &Activity) -> bool {
        self.pattern(signature)
            .is_some_and(|pattern| pattern.is_exhausted(record))
    }

    /// Returns whether the record has made all its calls.
    pub(super) fn is_finished(&self, record: &Activity) -> bool {
        // A record of a topic without calls gives no sign that it is handled.
        let patterns = &self.patterns;
        patterns.iter().any(|pattern| pattern.calls_per_record > 0)
            && patterns.iter().all(|pattern| pattern.is_exhausted(record))
    }

    /// Returns the number of records that support the pattern of this signature, if it is reliable
    /// enough to infer whose turn it is.
    pub(super) fn reliable_records(&self, signature: CallSignature) -> Option<u32> {
        let pattern = self.pattern(signature)?;
        let is_reliable = !self.is_concurrent
            && pattern.calls_per_record > 0
            && pattern.consecutive_records >= MIN_RECORDS_FOR_ORDER;
        is_reliable.then_some(pattern.consecutive_records)
    }

    /// Returns whether the record has started all its calls of this signature, so that one more
    /// belongs to another record.
    pub(super) fn has_started_all(&self, signature: CallSignature, record: &Activity) -> bool {
        let started = record.calls_made(signature);
        self.pattern(signature)
            .is_some_and(|pattern| started >= pattern.calls_per_record)
    }

    /// Forgets the pattern of a signature after a call that no record should have made.
    pub(super) fn forget_pattern(&mut self, signature: CallSignature) {
        self.patterns
            .retain(|pattern| pattern.signature != signature);
    }

    /// Forgets the reliable patterns that a settled record deviated from.
    pub(super) fn verify(&mut self, record: &Activity) {
        self.patterns.retain(|pattern| {
            // The missing call may be one that was left open, which proves nothing against the
            // pattern.
            record.may_lack_call
                || pattern.consecutive_records < MIN_RECORDS_FOR_ORDER
                || record.calls_made(pattern.signature) == pattern.calls_per_record
        });
    }

    fn pattern(&self, signature: CallSignature) -> Option<&CallPattern> {
        self.patterns
            .iter()
            .find(|pattern| pattern.signature == signature)
    }
}

// === impl CallPattern ===

impl CallPattern {
    fn observe(&mut self, calls: u32) {
        if calls == self.calls_per_record {
            self.consecutive_records = self.consecutive_records.saturating_add(1);
        } else {
            // One deviation discards the whole run: a pattern must hold without exception.
            (self.calls_per_record, self.consecutive_records) = (calls, 1);
        }
    }

    fn is_exhausted(&self, record: &Activity) -> bool {
        let are_done = |calls: &CallProgress| {
            calls.made >= self.calls_per_record && calls.pending == 0 && !calls.has_failed
        };
        self.consecutive_records >= MIN_RECORDS_FOR_EXHAUSTION
            && record
                .calls_of(self.signature)
                // A record without any call is exhausted only if its profile expects none.
                .map_or(self.calls_per_record == 0, are_done)
    }
}
