//! The ways in which a lane can have come to where it is, while its events are still happening.

use std::sync::Arc;

use crate::event::Nanos;
use crate::handled_records::{HandledRecord, HandledRecords};
use crate::life_table::{FAILURE, Step};
use crate::message::{Inbound, OPEN, RECORD_TICK_NS};
use crate::step_model::{HistoryId, Standing, StepModel};
use crate::step_trail::StepTrail;

/// Weight of the end of a request in the choice between paths: requests end for reasons that life
/// tables do not know.
const END_EXPONENT: f64 = 0.7;
/// Records that a consumer may pass over before it makes a call.
const MAX_SKIPPED: usize = 3;
/// Probability that a record is done although one of its calls is outstanding.
const OVERLAP: f64 = 0.02;
/// Probability that a committed record is done.
const COMMITTED_DONE: f64 = 0.9;
/// Histories of the records of one path that are distinguished before they are learned from.
const MAX_RECENT_HISTORIES: usize = 16;
/// Steps of one path that are remembered.
const MAX_TRAIL: u32 = 128;
/// One way in which a lane may have come to where it is.
#[derive(Debug, Clone)]
pub(crate) struct LanePath {
    /// The request; for a queue the record that is being handled, if one is.
    pub(crate) member: Option<u32>,
    pub(crate) standing: Standing,
    /// Calls without a response.
    pub(crate) outstanding: Vec<u32>,
    pub(crate) trail: Arc<StepTrail>,
    pub(crate) length: u32,
    /// Whether earlier steps are forgotten.
    pub(crate) is_cut: bool,
    /// Where an ended request stood before its end.
    pub(crate) before_end: Option<Standing>,
    /// When the record before the current one was last busy with a call.
    pub(crate) done_since: Nanos,
    /// Records that were handled before, and those that were passed over.
    pub(crate) handled: HandledRecords,
    /// When these were done.
    pub(crate) turns: RecentTurns,
}

/// How often records of a path were done after a history, and how often they were not. A consumer
/// that has passed over no record will most likely not pass over the next.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecentTurns {
    counts: Vec<(HistoryId, f64, f64)>,
}

/// A step that a path may take: the member that makes the call, and the density of that.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StepOption {
    pub(crate) member: u32,
    pub(crate) density: f64,
}

/// The possible next steps of a path at some time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PathOutlook {
    /// Probability that nothing has happened since its last step.
    pub(crate) survival: f64,
    options: [StepOption; MAX_SKIPPED + 2],
    count: usize,
}

/// The members of a lane with what is known of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneMembers<'a> {
    pub(crate) members: &'a [u32],
    pub(crate) inbound: &'a [Inbound],
    pub(crate) is_queue: bool,
}

/// A call as a path takes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallStep {
    pub(crate) slot: u32,
    pub(crate) kind: Step,
    pub(crate) at: Nanos,
    pub(crate) is_record: bool,
}

// === impl PathOutlook ===

impl PathOutlook {
    /// Returns the outlook of a path that takes no step.
    pub(crate) fn surviving(survival: f64) -> Self {
        Self {
            survival,
            ..Self::default()
        }
    }

    pub(crate) fn options(&self) -> &[StepOption] {
        &self.options[..self.count]
    }

    pub(crate) fn scale(&mut self, factor: impl Fn(u32) -> f64) {
        for option in &mut self.options[..self.count] {
            option.density *= factor(option.member);
        }
    }

    fn push(&mut self, member: u32, density: f64) {
        self.options[self.count] = StepOption { member, density };
        self.count += 1;
    }
}

// === impl RecentTurns ===

impl RecentTurns {
    fn get(&self, history: HistoryId) -> (f64, f64) {
        let mut counts = self.counts.iter();
        let count = counts.find(|(known, ..)| *known == history);
        count.map_or((0.0, 0.0), |(_, done, went_on)| (*done, *went_on))
    }

    fn note(&mut self, history: HistoryId, (done, went_on): (f64, f64)) {
        if let Some(count) = self.counts.iter_mut().find(|it| it.0 == history) {
            count.1 += done;
            count.2 += went_on;
        } else if self.counts.len() < MAX_RECENT_HISTORIES {
            self.counts.push((history, done, went_on));
        }
    }
}

// === impl LanePath ===

impl LanePath {
    pub(crate) fn new(member: Option<u32>, history: HistoryId, at: Nanos) -> Self {
        Self {
            member,
            standing: Standing {
                history,
                last_start: at,
                free_since: at,
                ended: false,
            },
            outstanding: Vec::new(),
            trail: Arc::default(),
            length: 0,
            is_cut: false,
            before_end: None,
            done_since: at,
            handled: HandledRecords::default(),
            turns: RecentTurns::default(),
        }
    }

    /// Returns whether both paths go on in the same way.
    pub(crate) fn is_same_state(&self, other: &Self) -> bool {
        self.member == other.member
            && self.standing == other.standing
            && self.before_end == other.before_end
            && self.outstanding == other.outstanding
    }

    /// Returns the probability that nothing has happened since the last step.
    pub(crate) fn survival(&self, lane: LaneMembers<'_>, at: Nanos, model: &mut StepModel) -> f64 {
        if lane.is_queue {
            return self.queue_outlook(lane, at, None, model).survival;
        }
        let stays = self.standing.stays(at.max(self.standing.last_start), None);
        model.split_likelihood(&stays).0
    }

    /// Returns what the path may do at `at`: a call of `kind`.
    pub(crate) fn outlook(
        &self,
        lane: LaneMembers<'_>,
        at: Nanos,
        kind: Step,
        model: &mut StepModel,
    ) -> PathOutlook {
        if lane.is_queue {
            return self.queue_outlook(lane, at, Some(kind), model);
        }
        let mut outlook = PathOutlook::default();
        let Some(member) = self.member else {
            return outlook;
        };
        let end = lane.inbound[member as usize].end;
        let tick_ns = if model.record_kinds.contains(&kind) {
            RECORD_TICK_NS
        } else {
            0
        };
        if let Some(before) = self
            .before_end
            .filter(|_| at <= end.saturating_add(tick_ns))
        {
            // A record that was made before the end, and sent after it.
            let at = at.min(end).max(before.last_start);
            let after = before.after_call(model.after(before.history, kind), at, at);
            let ratio = end_likelihood(&after, end, model) / end_likelihood(&before, end, model);
            outlook.survival = 1.0;
            outlook.push(member, before.density(at, tick_ns, kind, model) * ratio);
            return outlook;
        }
        let at = at.max(self.standing.last_start);
        outlook.survival = model.split_likelihood(&self.standing.stays(at, None)).0;
        outlook.push(member, self.standing.density(at, tick_ns, kind, model));
        outlook
    }

    fn queue_outlook(
        &self,
        lane: LaneMembers<'_>,
        at: Nanos,
        kind: Option<Step>,
        model: &mut StepModel,
    ) -> PathOutlook {
        let mut outlook = PathOutlook::default();
        let (next, done) = self.turn(lane, model);
        let hazard_of = |hazard: f64| if kind.is_some() { hazard } else { 0.0 };
        if let Some(member) = self.member {
            let stays = self.standing.stays(at.max(self.standing.last_start), kind);
            let (survival, hazard) = model.split_likelihood(&stays);
            outlook.survival += (1.0 - done) * survival;
            outlook.push(member, (1.0 - done) * survival * hazard_of(hazard));
        }
        let mut reached = done;
        let waiting = lane.members.get(next..).unwrap_or_default();
        for member in waiting.iter().take(MAX_SKIPPED + 1) {
            let inbound = &lane.inbound[*member as usize];
            if inbound.start > at {
                break;
            }
            let standing = self.next_standing(inbound, model);
            let mut skip = self.done_probability(standing.history, model);
            if inbound.end != OPEN {
                skip = skip.max(COMMITTED_DONE);
            }
            let (survival, hazard) =
                model.split_likelihood(&standing.stays(at.max(standing.last_start), kind));
            let share = reached * (1.0 - skip);
            outlook.survival += share * survival;
            outlook.push(*member, share * survival * hazard_of(hazard));
            reached *= skip;
        }
        outlook.survival += reached;
        outlook
    }

    pub(crate) fn done_probability(&self, history: HistoryId, model: &StepModel) -> f64 {
        model.done_probability(history, self.turns.get(history))
    }

    /// Returns the index of the next record, and the probability that the current one is done.
    fn turn(&self, lane: LaneMembers<'_>, model: &StepModel) -> (usize, f64) {
        let Some(member) = self.member else {
            return (0, 1.0);
        };
        let place = lane.inbound[member as usize].position;
        let members = lane.members;
        let next = members.partition_point(|other| lane.inbound[*other as usize].position <= place);
        if !self.outstanding.is_empty() {
            return (next, OVERLAP);
        }
        let done = self.done_probability(self.standing.history, model);
        let is_committed = lane.inbound[member as usize].end != OPEN;
        let least = if is_committed { COMMITTED_DONE } else { 0.0 };
        (next, done.max(least))
    }

    /// Returns whether a queue most likely has nothing to do.
    pub(crate) fn is_queue_idle(&self, lane: LaneMembers<'_>, model: &StepModel) -> bool {
        let (next, done) = self.turn(lane, model);
        done > 0.5 && next >= lane.members.len()
    }

    pub(crate) fn last_event(&self) -> Nanos {
        self.standing.last_event()
    }

    /// Where a record stands that is taken after the last step of this path.
    fn next_standing(&self, inbound: &Inbound, model: &mut StepModel) -> Standing {
        let start = inbound.start.max(self.last_event());
        Standing {
            history: model.fresh(inbound.operation),
            last_start: start,
            free_since: start,
            ended: false,
        }
    }

    /// Returns the path after a call by `member`.
    pub(crate) fn after_call(
        &self,
        lane: LaneMembers<'_>,
        member: u32,
        call: CallStep,
        model: &mut StepModel,
    ) -> Self {
        let mut path = self.clone();
        let inbound = &lane.inbound[member as usize];
        if lane.is_queue && self.member != Some(member) {
            path.begin_record(lane, member, model);
        }
        let tick_ns = if call.is_record { RECORD_TICK_NS } else { 0 };
        let is_late = path
            .before_end
            .filter(|_| call.at <= inbound.end.saturating_add(tick_ns));
        let standing = is_late.unwrap_or(path.standing);
        let at = if is_late.is_some() {
            call.at.min(inbound.end)
        } else {
            call.at
        };
        let at = at.max(standing.last_start);
        let stays = standing.stays(at, Some(call.kind));
        if lane.is_queue {
            path.turns.note(standing.history, (0.0, 1.0));
        }
        let end = if call.is_record { at } else { OPEN };
        let history = model.after(standing.history, call.kind);
        let mut after = standing.after_call(history, at, end);
        if call.is_record && standing.free_since == OPEN {
            after.free_since = OPEN;
        }
        if is_late.is_some() {
            path.before_end = Some(after);
            after = after.after_end(inbound.end);
        }
        path.standing = after;
        if !call.is_record {
            path.outstanding.push(call.slot);
        }
        path.length += 1;
        let before = if path.length > MAX_TRAIL {
            path.is_cut = true;
            path.length = 1;
            Arc::default()
        } else {
            Arc::clone(&path.trail)
        };
        path.trail = Arc::new(StepTrail::Step {
            before,
            stays,
            call: call.slot,
            kind: call.kind,
        });
        path
    }

    fn begin_record(&mut self, lane: LaneMembers<'_>, member: u32, model: &mut StepModel) {
        let (next, _) = self.turn(lane, model);
        let overlaps = !self.outstanding.is_empty();
        let standing = self.next_standing(&lane.inbound[member as usize], model);
        self.finish_record(overlaps);
        let passed = lane.members.get(next..).unwrap_or_default().iter();
        for other in passed.take_while(|other| **other != member) {
            self.pass_over(lane, *other, model);
        }
        self.done_since = self.last_event();
        self.member = Some(member);
        self.standing = standing;
        self.outstanding.clear();
        self.length = 0;
    }

    /// Is done with the records up to the one at index `last`.
    pub(crate) fn pass_records(
        &mut self,
        lane: LaneMembers<'_>,
        last: usize,
        model: &mut StepModel,
    ) {
        let (next, _) = self.turn(lane, model);
        if next <= last + 1 {
            self.finish_record(false);
            self.outstanding.clear();
        }
        for member in lane.members.get(next..=last).unwrap_or_default() {
            self.pass_over(lane, *member, model);
        }
    }

    fn pass_over(&mut self, lane: LaneMembers<'_>, member: u32, model: &mut StepModel) {
        let history = model.fresh(lane.inbound[member as usize].operation);
        self.turns.note(history, (1.0, 0.0));
        self.handled.push(HandledRecord {
            member,
            history,
            trail: Arc::default(),
            is_overlapped: false,
        });
    }

    /// Is done with the current record.
    fn finish_record(&mut self, is_overlapped: bool) {
        if let Some(member) = self.member.take() {
            self.turns.note(self.standing.history, (1.0, 0.0));
            self.handled.push(HandledRecord {
                member,
                history: self.standing.history,
                trail: std::mem::take(&mut self.trail),
                is_overlapped,
            });
        }
    }

    /// Takes the response to a call. A failure is a step of its own: another attempt follows it.
    pub(crate) fn end_call(&mut self, slot: u32, at: Nanos, failed: bool, model: &mut StepModel) {
        let count = self.outstanding.len();
        self.outstanding.retain(|other| *other != slot);
        if count == self.outstanding.len() || self.standing.ended {
            return;
        }
        if self.outstanding.is_empty() {
            self.standing.free_since = at.max(self.standing.last_start);
        }
        if failed {
            self.standing.history = model.after(self.standing.history, FAILURE);
        }
    }

    /// Takes the end of the request, and returns how likely it was.
    pub(crate) fn end(&mut self, at: Nanos, model: &mut StepModel) -> f64 {
        let end = at.max(self.standing.last_start);
        let likelihood = end_likelihood(&self.standing, end, model);
        self.before_end = Some(self.standing);
        self.standing = self.standing.after_end(end);
        likelihood
    }
}

fn end_likelihood(standing: &Standing, end: Nanos, model: &mut StepModel) -> f64 {
    let end = end.max(standing.last_start);
    let (survival, hazard) = model.split_likelihood(&standing.stays_to_end(end));
    (survival * hazard.powf(END_EXPONENT)).max(f64::MIN_POSITIVE)
}
