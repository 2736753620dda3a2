//! The table of activities: those in flight, and those that ended a short while ago.

use std::collections::{BTreeSet, HashMap, VecDeque};

use throughline_model::TraceId;
use throughline_model::context::SpanContext;

use super::activity::{Activity, ActivityId, ActivityKind, ActivityState};
use super::activity_map::ActivityMap;
use super::activity_traces::ActivityTraces;
use super::settings::CorrelationLimits;
use super::shared_tokens::SharedTokens;
use super::token::{CorrelationToken, TokenSet};
use crate::Timestamp;

/// Age after which an ambient activity is removed once it has turned ambient: one hour.
const AMBIENT_RETENTION_NS: u64 = 3_600_000_000_000;
/// Activities that one token can name, and tokens that one activity can have.
const MAX_TOKEN_ACTIVITIES: usize = 16;
/// Ended activities that are remembered of a process that has made no call yet: the first call is
/// rarely made for one that has long ended, and most services make none. Their memory is near.
const MAX_ENDED_WITHOUT_CALLS: usize = 1024;
/// Part of the longest duration that is forgotten with each shorter one: 1 / 128.
const LONGEST_DECAY: u64 = 128;
/// A handler whose client went away is expected to end within this many times the longest request,
/// within the two bounds below.
const ABORTED_WORK_FACTOR: u64 = 4;
const MIN_ABORTED_WORK_NS: u64 = 250_000_000;
const MAX_ABORTED_WORK_NS: u64 = 30_000_000_000;
/// Of a handler that has already run this many times the longest request nothing is known.
const OUTLIER_FACTOR: u64 = 2;

/// All activities, capped by [`CorrelationLimits::max_activities`].
#[derive(Debug)]
pub(super) struct ActivityTable {
    limits: CorrelationLimits,
    activities: ActivityMap<Activity>,
    in_flight: BTreeSet<ActivityId>,
    /// Times at which activities that did not end turn ambient or are removed.
    deadlines: BTreeSet<(Timestamp, ActivityId)>,
    /// In the order of time.
    ended: VecDeque<(Timestamp, ActivityId)>,
    /// Aborted activities, with the time until which their handlers may be running.
    aborted: VecDeque<(Timestamp, ActivityId)>,
    by_token: HashMap<CorrelationToken, Vec<ActivityId>>,
    /// [`None`] until a call carries a context: most services make none that does, and the index
    /// would cost each request more than the rest of the table.
    traces: Option<ActivityTraces>,
    /// Tokens that more than one activity had, with the number of these.
    shared_tokens: SharedTokens,
    has_calls: bool,
    /// Duration of the longest request, slowly decaying.
    longest_request_ns: u64,
    last_id: u64,
}

// === impl ActivityTable ===

impl ActivityTable {
    pub(super) fn new(limits: CorrelationLimits) -> Self {
        Self {
            limits,
            activities: ActivityMap::default(),
            in_flight: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            ended: VecDeque::new(),
            aborted: VecDeque::new(),
            by_token: HashMap::new(),
            traces: None,
            shared_tokens: SharedTokens::default(),
            has_calls: false,
            longest_request_ns: 0,
            last_id: 0,
        }
    }

    /// Inserts an activity, unless the table is full of activities in flight. Its identifier is
    /// then found nowhere.
    pub(super) fn insert(
        &mut self,
        now: Timestamp,
        context: SpanContext,
        kind: ActivityKind,
    ) -> ActivityId {
        self.last_id += 1;
        let id = ActivityId(self.last_id);
        // An ended activity is remembered for its tokens only, so it makes room first.
        if self.activities.len() >= self.limits.max_activities
            && let Some((_, oldest)) = self.ended.pop_front()
        {
            self.remove(oldest);
        }
        if self.activities.len() >= self.limits.max_activities {
            return id;
        }
        let max_age_ns = self.limits.max_age_ns(kind.is_record());
        self.deadlines.insert((now.saturating_add(max_age_ns), id));
        self.in_flight.insert(id);
        if let Some(traces) = &mut self.traces {
            traces.insert(context.trace_id);
        }
        self.activities
            .insert(id, Activity::new(now, context, kind));
        id
    }

    /// Makes an activity findable by tokens.
    pub(super) fn index_tokens(&mut self, id: ActivityId, tokens: TokenSet) {
        let Some(activity) = self.activities.get_mut(&id) else {
            return;
        };
        let tokens = tokens.into_tokens();
        // Most messages have one token, or none: nothing is kept in reserve for more.
        activity.tokens.reserve_exact(tokens.len());
        for token in tokens {
            let is_known = activity.tokens.contains(&token);
            if is_known || activity.tokens.len() >= MAX_TOKEN_ACTIVITIES {
                continue;
            }
            let owners = self.by_token.entry(token.clone()).or_default();
            if owners.len() >= MAX_TOKEN_ACTIVITIES {
                // The oldest owner of a token is the least likely to be running.
                owners.remove(0);
            }
            if !owners.is_empty() {
                self.shared_tokens.record(token.value_hash());
            }
            owners.reserve_exact(usize::from(owners.is_empty()));
            owners.push(id);
            activity.tokens.push(token);
        }
    }

    /// Records that the process makes calls.
    pub(super) const fn record_call(&mut self) {
        self.has_calls = true;
    }

    /// Marks an activity as ended. A second call changes nothing.
    pub(super) fn end(&mut self, id: ActivityId, now: Timestamp, is_aborted: bool) {
        let Some(activity) = self.activities.get_mut(&id) else {
            return;
        };
        let is_record = activity.topic.is_some();
        let max_age_ns = self.limits.max_age_ns(is_record);
        let ran_ns = now.saturating_sub(activity.started_at);
        let is_outlier = ran_ns > self.longest_request_ns.saturating_mul(OUTLIER_FACTOR);
        let mut deadline = activity.started_at.saturating_add(max_age_ns);
        match activity.state {
            ActivityState::Ended { .. } => return,
            // It was given a second deadline when it turned ambient.
            ActivityState::Ambient => deadline = deadline.saturating_add(AMBIENT_RETENTION_NS),
            ActivityState::InFlight if !is_record => {
                let decayed = self.longest_request_ns - self.longest_request_ns / LONGEST_DECAY;
                self.longest_request_ns = ran_ns.max(decayed);
            }
            ActivityState::InFlight => {}
        }
        activity.state = ActivityState::Ended {
            at: now,
            is_aborted,
        };
        self.in_flight.remove(&id);
        self.deadlines.remove(&(deadline, id));
        self.ended.push_back((now, id));
        if !self.has_calls
            && self.ended.len() > MAX_ENDED_WITHOUT_CALLS
            && let Some((_, oldest)) = self.ended.pop_front()
        {
            self.remove(oldest);
        }
        if is_aborted {
            let work_ns = if is_outlier {
                MAX_ABORTED_WORK_NS
            } else {
                self.aborted_work_ns()
            };
            self.push_aborted(now.saturating_add(work_ns), id);
        }
    }

    fn push_aborted(&mut self, until: Timestamp, id: ActivityId) {
        // Queries look at the newest entries only.
        if self.aborted.len() >= self.limits.max_candidates {
            self.aborted.pop_front();
        }
        self.aborted.push_back((until, id));
    }

    /// Returns how long the handler of an aborted request is expected to go on.
    fn aborted_work_ns(&self) -> u64 {
        self.longest_request_ns
            .saturating_mul(ABORTED_WORK_FACTOR)
            .clamp(MIN_ABORTED_WORK_NS, MAX_ABORTED_WORK_NS)
    }

    /// Notes that the handler of an aborted activity has received a response, and goes on.
    pub(super) fn continue_aborted(&mut self, id: ActivityId, now: Timestamp) {
        if self.is_aborted(id) {
            self.push_aborted(now.saturating_add(self.aborted_work_ns()), id);
        }
    }

    /// Turns activities ambient or removes them when their time has come.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            self.expire(id, deadline);
        }
        let retention_ns = self.limits.retention_ns;
        // The queues are in the order of time: the correlator's time never steps back.
        while let Some(&(ended_at, id)) = self.ended.front()
            && ended_at.saturating_add(retention_ns) <= now
        {
            self.ended.pop_front();
            self.remove(id);
        }
        while let Some(&(until, _)) = self.aborted.front()
            && until.saturating_add(retention_ns) <= now
        {
            self.aborted.pop_front();
        }
    }

    /// Returns the sizes of all collections.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 7] {
        let tokens = self.by_token.values().map(Vec::len).sum();
        [
            self.activities.len(),
            self.in_flight.len(),
            self.deadlines.len(),
            self.ended.len(),
            self.aborted.len(),
            tokens,
            self.traces.as_ref().map_or(0, ActivityTraces::len),
        ]
    }

    pub(super) fn get(&self, id: ActivityId) -> Option<&Activity> {
        self.activities.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ActivityId) -> Option<&mut Activity> {
        self.activities.get_mut(&id)
    }

    pub(super) fn is_in_flight(&self, id: ActivityId) -> bool {
        self.in_flight.contains(&id)
    }

    /// Returns the latest `max` activities in flight, in the order in which they began.
    pub(super) fn latest_in_flight(&self, max: usize) -> Vec<ActivityId> {
        let mut latest: Vec<_> = self.in_flight.iter().rev().take(max).copied().collect();
        latest.reverse();
        latest
    }

    pub(super) fn in_flight_count(&self) -> usize {
        self.in_flight.len()
    }

    /// Returns the activities that were in flight at some time since `since`, or [`None`] if there
    /// are more than [`CorrelationLimits::max_candidates`].
    pub(super) fn in_flight_since(&self, since: Timestamp) -> Option<Vec<ActivityId>> {
        let just_ended = self
            .ended
            .iter()
            .rev()
            .take_while(|(ended_at, _)| *ended_at >= since)
            .map(|(_, id)| *id);
        let max_candidates = self.limits.max_candidates;
        let found: Vec<ActivityId> = self
            .in_flight
            .iter()
            .copied()
            .chain(just_ended)
            // One more than allowed shows that there are too many.
            .take(max_candidates + 1)
            .collect();
        (found.len() <= max_candidates).then_some(found)
    }

    /// Returns whether an activity other than `except` ended within the linger time before `time`.
    pub(super) fn has_ended_before(&self, time: Timestamp, except: Option<ActivityId>) -> bool {
        let since = time.saturating_sub(self.limits.linger_ns);
        is_any_since(&self.ended, since, except)
    }

    /// Returns whether the handler of an aborted activity other than `except` may have been running
    /// at `time`.
    pub(super) fn has_aborted_before(&self, time: Timestamp, except: Option<ActivityId>) -> bool {
        self.aborted.iter().any(|(until, id)| {
            let is_waiting = || self.get(*id).is_some_and(|it| it.outstanding > 0);
            Some(*id) != except && (*until >= time || is_waiting())
        })
    }

    /// Returns whether an activity that is remembered has one of the tokens.
    pub(super) fn knows_token(&self, tokens: &TokenSet) -> bool {
        tokens.iter().any(|token| self.by_token.contains_key(token))
    }

    /// Returns whether an aborted activity has one of the tokens. Its client may have sent the
    /// request again: nothing distinguishes the two handlers.
    pub(super) fn knows_aborted_token(&self, tokens: &TokenSet) -> bool {
        let owners = tokens.iter().filter_map(|token| self.by_token.get(token));
        owners.flatten().any(|id| self.is_aborted(*id))
    }

    fn is_aborted(&self, id: ActivityId) -> bool {
        let state = self.get(id).map(|activity| activity.state);
        matches!(
            state,
            Some(ActivityState::Ended {
                is_aborted: true,
                ..
            })
        )
    }

    /// Returns the activity that one of the tokens names: the only one with it, or the only one of
    /// several that can still make calls. A token of many activities is a constant, and names none.
    pub(super) fn find_by_token(&self, tokens: &TokenSet, now: Timestamp) -> Option<ActivityId> {
        let is_key = |token: &&CorrelationToken| !self.shared_tokens.is_common(token.value_hash());
        tokens
            .iter()
            .filter(is_key)
            .find_map(|token| match self.by_token.get(token)?.as_slice() {
                [only] => Some(*only),
                several => {
                    let mut running = several.iter().filter(|id| self.may_be_running(**id, now));
                    running.next().filter(|_| running.next().is_none()).copied()
                }
            })
    }

    /// Returns the trace of an activity that an id names, in full or by its low 64 bits.
    pub(super) fn find_trace(&mut self, trace_id: TraceId) -> Option<TraceId> {
        let activities = &self.activities;
        let traces = self.traces.get_or_insert_with(|| {
            let mut traces = ActivityTraces::default();
            for activity in activities.values() {
                traces.insert(activity.context.trace_id);
            }
            traces
        });
        traces.find(trace_id)
    }

    /// Returns whether an activity can still make calls. The handler of an aborted request can for
    /// as long as it is remembered: the client may have sent the request again under the same id.
    fn may_be_running(&self, id: ActivityId, now: Timestamp) -> bool {
        self.get(id).is_some_and(|activity| match activity.state {
            ActivityState::Ended {
                at,
                is_aborted: false,
            } => at.saturating_add(self.limits.linger_ns) > now,
            ActivityState::InFlight | ActivityState::Ambient | ActivityState::Ended { .. } => true,
        })
    }

    /// Handles the deadline of an activity.
    fn expire(&mut self, id: ActivityId, deadline: Timestamp) {
        let Some(activity) = self.activities.get_mut(&id) else {
            return;
        };
        match (activity.state, &activity.topic) {
            (ActivityState::InFlight, None) => {
                activity.state = ActivityState::Ambient;
                self.in_flight.remove(&id);
                let removal = deadline.saturating_add(AMBIENT_RETENTION_NS);
                self.deadlines.insert((removal, id));
            }
            (ActivityState::InFlight, Some(_)) => self.end(id, deadline, false),
            (ActivityState::Ambient, _) => self.remove(id),
            (ActivityState::Ended { .. }, _) => {}
        }
    }

    fn remove(&mut self, id: ActivityId) {
        let Some(activity) = self.activities.remove(&id) else {
            return;
        };
        if let Some(traces) = &mut self.traces {
            traces.remove(activity.context.trace_id);
        }
        for token in &activity.tokens {
            if let Some(owners) = self.by_token.get_mut(token) {
                // An empty entry would keep the value of a client alive for ever.
                owners.retain(|other| *other != id);
                if owners.is_empty() {
                    self.by_token.remove(token);
                }
            }
        }
    }
}

/// Returns whether a queue in order of time has an entry since `since` that is not `except`'s.
fn is_any_since(
    queue: &VecDeque<(Timestamp, ActivityId)>,
    since: Timestamp,
    except: Option<ActivityId>,
) -> bool {
    queue
        .iter()
        .rev()
        .take_while(|(ended_at, _)| *ended_at >= since)
        .any(|(_, id)| Some(*id) != except)
}
