//! The correlator of one process.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::context::SpanContext;

use super::kind::{Habit, Habits};
use super::load::Load;
use super::queue::{Partition, Queues};
use super::routine::Routine;
use super::token::{Message, REQUEST_ID, Tokens};
use super::work::{Id, State, Work, Works};
use super::{Evidence, Kind, Parent, Settings, Sole};
use crate::Timestamp;

/// Finds the parents of what one process sends, among what it has been sent. One for each process: what is in flight in
/// another says nothing.
///
/// The driver keeps it behind a lock, and calls it for moments. Time may step back by what passes between reading the clock and
/// getting the lock, no more.
#[derive(Debug)]
pub struct Correlator {
    settings: Settings,
    works: Works,
    queues: Queues,
    load: Load,
    habits: Habits,
    /// Of all kinds together.
    common: Habit,
    routines: HashMap<Arc<str>, Routine>,
    /// The record that is alone in the process.
    alone: Option<Id>,
    /// How long exchanges last, at the longest.
    longest: u64,
    /// Until then something is in flight for which there was no room.
    blind_until: Timestamp,
    /// How many parents were found in each way, in the order of [`Evidence::ALL`].
    found: [u64; Evidence::ALL.len()],
    next_tidy: Timestamp,
}

/// An inbound exchange or a delivered record that has been taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Inbound(pub(super) Id);

/// How an inbound exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The answer has gone out to its end.
    Answered,
    /// Whoever asked went away, or waited too long: the process may still be working at it.
    Broken,
}

/// A request or a record that a process sends.
#[derive(Debug)]
pub struct Outbound<'a> {
    pub kind: Kind,
    /// When the application made it: a record's own timestamp, which is before it was sent. [`None`] where that is now.
    pub made: Option<Timestamp>,
    /// The context that it carries.
    pub carried: Option<&'a SpanContext>,
    pub tokens: Tokens,
    /// Whether there will be an answer, told by [`Correlator::answered`].
    pub is_answered: bool,
}

/// A call that has been given its parent. Kept by whoever made it, until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    inbound: Option<Id>,
    kind: Kind,
}

/// What is held to have strayed of a kind that has not, in a process where others have: the prior of Jeffreys for a rate.
const JEFFREYS: f64 = 0.5;
/// Calls that are held to have come by themselves before any has been seen to.
const UNSEEN: f64 = 0.1;
/// Calls that are held to have come after an answer before any has been seen to.
const UNSEEN_LATE: f64 = 0.05;
/// A call when nothing had ended for long tells more: a kind that comes late seldom comes in time as well.
const CLEAR: f64 = 4.0;
/// A kind of which so many have carried a known token carries them.
const TOLD: f64 = 0.5;
/// Records told by their timestamps to be of a moment to come are of clocks that disagree.
const DISAGREEMENT: u64 = 1_000_000;
/// Who was left may go on working for so many times the longest exchange, within these bounds.
const OUTLIVES: u64 = 4;
const OUTLIVES_LEAST: u64 = 250_000_000;
const OUTLIVES_MOST: u64 = 30_000_000_000;
const MOST_ROUTINES: usize = 1024;
const TIDY: u64 = 1_000_000_000;

// === impl Correlator ===

impl Correlator {
    /// Of a process that has nothing to do yet.
    #[must_use]
    pub fn new(settings: Settings, now: Timestamp) -> Self {
        let mut load = Load::default();
        load.change(now, 0);
        let (works, habits) = (
            Works::new(settings.limits),
            Habits::new(settings.limits.max_kinds),
        );
        Self {
            settings,
            works,
            queues: Queues::default(),
            load,
            habits,
            common: Habit::default(),
            routines: HashMap::new(),
            alone: None,
            longest: 0,
            blind_until: 0,
            found: [0; Evidence::ALL.len()],
            next_tidy: 0,
        }
    }

    /// The configured tokens of a message.
    #[must_use]
    pub fn tokens(&self, message: Message<'_>) -> Tokens {
        Tokens::of(
            &self.settings.keys,
            message,
            self.settings.limits.max_body_bytes,
        )
    }

    /// Whether bodies are of any use, and up to which size.
    #[must_use]
    pub fn wants_bodies(&self) -> Option<usize> {
        self.settings
            .reads_bodies()
            .then_some(self.settings.limits.max_body_bytes)
    }

    /// A request has come in. `context` is that of the span that it makes here.
    pub fn begin(&mut self, now: Timestamp, context: &SpanContext, tokens: Tokens) -> Inbound {
        self.advance(now);
        self.take_in(now, context, tokens, None)
    }

    /// An inbound exchange is over. Twice is once.
    pub fn end(&mut self, inbound: Inbound, now: Timestamp, end: End) {
        self.advance(now);
        if let Some(work) = self
            .works
            .get(inbound.0)
            .filter(|work| work.state == State::Live)
        {
            let lasted = now.saturating_sub(work.from);
            self.longest = lasted.max(self.longest - self.longest / 128);
        }
        self.over(inbound.0, now, end == End::Broken);
    }

    /// A record has been delivered. `context` is that of its consumer span.
    pub fn deliver(
        &mut self,
        now: Timestamp,
        place: &Partition<'_>,
        offset: i64,
        context: &SpanContext,
        tokens: Tokens,
    ) {
        self.advance(now);
        let was_idle = self.works.live() == 0;
        let inbound = self.take_in(now, context, tokens, Some(Arc::clone(place.topic)));
        self.tidy(now);
        let again = self
            .queues
            .push(place, offset, inbound.0, self.settings.limits.max_inbound);
        again.into_iter().for_each(|id| self.over(id, now, false));
        if was_idle {
            self.alone = Some(inbound.0);
        }
    }

    /// Records have been delivered that could not be read: until they must have been handled nothing is guessed.
    pub fn lose_sight(&mut self, now: Timestamp) {
        self.blind_until = self
            .blind_until
            .max(now.saturating_add(self.settings.limits.handling));
    }

    /// A consumer asks for the records of a partition from this offset on. Says nothing of clients that fetch ahead.
    pub fn fetch(&mut self, now: Timestamp, place: &Partition<'_>, offset: i64) {
        self.advance(now);
        let handled = self.queues.fetched(place, offset);
        self.settle(now, &handled);
    }

    /// A consumer has told that it has handled these offsets: a commit of `n` is all before `n`.
    pub fn commit(
        &mut self,
        now: Timestamp,
        place: &Partition<'_>,
        offsets: std::ops::RangeInclusive<i64>,
    ) {
        self.advance(now);
        let handled = self.queues.settled(place, &offsets);
        self.settle(now, &handled);
    }

    /// Finds the parent of what the process sends.
    pub fn parent(&mut self, now: Timestamp, outbound: &Outbound<'_>) -> (Parent, Call) {
        let (parent, call) = self.find(now, outbound);
        let counts = self.found.iter_mut().zip(Evidence::ALL);
        counts
            .filter(|(_, evidence)| *evidence == parent.evidence)
            .for_each(|(count, _)| *count += 1);
        (parent, call)
    }

    fn find(&mut self, now: Timestamp, outbound: &Outbound<'_>) -> (Parent, Call) {
        self.advance(now);
        let kind = outbound.kind;
        if let Some(context) = outbound.carried {
            return (
                Parent::of(Evidence::Header, Some(context), None),
                Call {
                    inbound: None,
                    kind,
                },
            );
        }
        if let Some(id) = self.works.named(&outbound.tokens, now) {
            self.habits.of(kind, now).told.add(now, 1.0);
            self.reach(now, id);
            return self.found(now, outbound, id, Evidence::RequestId, None);
        }
        self.guess(now, outbound)
    }

    /// A call has been answered well, or has come to nothing.
    pub fn answered(&mut self, now: Timestamp, call: Call, well: bool) {
        self.advance(now);
        let Some(id) = call.inbound else { return };
        let Some(work) = self.works.get_mut(id) else {
            return;
        };
        work.answered(call.kind, now, well);
        let is_done = work
            .topic
            .as_ref()
            .and_then(|topic| self.routines.get(topic))
            .is_some_and(|routine| routine.is_done(work));
        if is_done && work.state == State::Live {
            self.finish(id, now);
        }
    }

    /// The `x-request-id` of what a call was found to belong to.
    #[must_use]
    pub fn request_id(&self, call: Call) -> Option<&[u8]> {
        let key = self
            .settings
            .keys
            .iter()
            .position(|key| key.name == REQUEST_ID)?;
        self.works.get(call.inbound?)?.token(key)
    }

    /// Inbound exchanges and records that are held to be worked at.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.works.live()
    }

    /// How many parents were found in each way so far.
    pub fn counts(&self) -> impl Iterator<Item = (Evidence, u64)> {
        Evidence::ALL.into_iter().zip(self.found)
    }

    /// For how many seconds the process has had nothing to do, of late: with none of them nothing can be told by `sole`.
    pub fn idle_seconds(&mut self, now: Timestamp) -> f64 {
        self.advance(now);
        self.load.idle(now)
    }

    /// Sizes of all that could grow with what comes in.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> Vec<usize> {
        self.works
            .sizes()
            .into_iter()
            .chain([self.queues.len()])
            .collect()
    }

    // --- taking in and letting go ---

    /// Records of consumers that do not commit are over at some time, and still in their queues.
    fn tidy(&mut self, now: Timestamp) {
        if self.queues.len() >= self.settings.limits.max_inbound && now >= self.next_tidy {
            self.next_tidy = now.saturating_add(TIDY);
            self.queues.retain(|id| {
                self.works
                    .get(id)
                    .is_some_and(|work| work.state == State::Live)
            });
        }
    }

    fn advance(&mut self, now: Timestamp) {
        self.works.advance(now);
        self.load.change(now, self.works.live());
    }

    fn take_in(
        &mut self,
        now: Timestamp,
        context: &SpanContext,
        tokens: Tokens,
        topic: Option<Arc<str>>,
    ) -> Inbound {
        if let Some(alone) = self.alone.take() {
            self.draw_lesson(alone, now, false);
        }
        let limits = &self.settings.limits;
        let lasts = if topic.is_some() {
            limits.handling
        } else {
            limits.ambient
        };
        let (id, had_room) = self.works.begin(now, context.clone(), topic);
        if had_room {
            self.works.learn(id, tokens);
        } else {
            self.blind_until = self.blind_until.max(now.saturating_add(lasts));
        }
        self.load.change(now, self.works.live());
        Inbound(id)
    }

    /// A record is being handled for certain, and so those before it in its partition have been; unless it was held to have
    /// been itself.
    fn reach(&mut self, now: Timestamp, id: Id) {
        let Some(work) = self.works.get(id) else {
            return;
        };
        let Some(topic) = &work.topic else { return };
        let has_room = self.routines.len() < MOST_ROUTINES || self.routines.contains_key(topic);
        if work.state != State::Live && has_room {
            self.routines.entry(Arc::clone(topic)).or_default().parallel = true;
        }
        if !self
            .routines
            .get(topic)
            .is_some_and(|routine| routine.parallel)
        {
            self.queues
                .reached(id)
                .into_iter()
                .for_each(|before| self.finish(before, now));
        }
    }

    fn settle(&mut self, now: Timestamp, handled: &[Id]) {
        for id in handled {
            if let Some(work) = self.works.get(*id)
                && let Some(routine) = work
                    .topic
                    .as_ref()
                    .and_then(|topic| self.routines.get_mut(topic))
            {
                routine.check(work);
            }
            self.finish(*id, now);
        }
    }

    /// A record has been handled: its consumer says so, or it has done all that records do.
    fn finish(&mut self, id: Id, now: Timestamp) {
        if self.alone == Some(id) {
            self.alone = None;
            self.draw_lesson(id, now, true);
        }
        self.over(id, now, false);
    }

    fn over(&mut self, id: Id, now: Timestamp, broken: bool) {
        self.works.end(id, now, broken);
        self.load.change(now, self.works.live());
        self.load
            .end(now.saturating_add(self.settings.limits.linger));
    }

    fn draw_lesson(&mut self, id: Id, now: Timestamp, settled: bool) {
        let Some(work) = self.works.get(id) else {
            return;
        };
        let Some(topic) = &work.topic else { return };
        if let Some(routine) = self.routines.get_mut(topic) {
            routine.learn(work, now, settled);
        }
    }

    // --- finding ---

    /// Nothing in the message tells where it belongs.
    fn guess(&mut self, now: Timestamp, outbound: &Outbound<'_>) -> (Parent, Call) {
        let open = (
            Parent::open(),
            Call {
                inbound: None,
                kind: outbound.kind,
            },
        );
        let made = outbound.made.unwrap_or(now);
        let limits = &self.settings.limits;
        let is_of_another_clock = made > now.saturating_add(DISAGREEMENT);
        if is_of_another_clock || now.saturating_sub(made) > limits.linger || now < self.blind_until
        {
            return open;
        }
        let since = made.min(now).saturating_sub(limits.skew);
        let Some(present) = self.works.since(since) else {
            return open;
        };
        let candidates: Vec<Id> = present
            .iter()
            .copied()
            .filter(|id| !self.is_spent(*id, outbound.kind))
            .collect();
        match candidates.as_slice() {
            [] => {
                self.astray(now, outbound.kind, &present);
                open
            }
            [only] => self.sole(now, since, outbound, *only),
            several => {
                if let Some(found) = self.in_turn(now, since, outbound, several) {
                    return found;
                }
                several.iter().for_each(|id| self.works.doubt(*id));
                open
            }
        }
    }

    /// Nobody could have asked for it: it is of the process's own, of something unseen, or of work that outlives its answer.
    fn astray(&mut self, now: Timestamp, kind: Kind, spent: &[Id]) {
        // What was broken off explains it.
        if !self
            .works
            .has_ended_since(now.saturating_sub(self.outlives()), true, 0)
        {
            let is_after = self.works.has_ended_since(
                now.saturating_sub(self.settings.limits.linger),
                false,
                0,
            );
            for habit in [self.habits.of(kind, now), &mut self.common] {
                habit.stray.add(now, 1.0);
                habit.late.add(now, f64::from(u8::from(is_after)));
            }
        }
        for id in spent {
            if let Some(topic) = self.works.get(*id).and_then(|work| work.topic.as_ref())
                && let Some(routine) = self.routines.get_mut(topic)
            {
                routine.surprise(kind);
            }
        }
    }

    /// Exactly one could have asked for it.
    fn sole(
        &mut self,
        now: Timestamp,
        since: Timestamp,
        outbound: &Outbound<'_>,
        id: Id,
    ) -> (Parent, Call) {
        let believed = self.weigh(now, since, outbound.kind, id, 0.0);
        if let Some(doubt) = believed {
            return self.found(now, outbound, id, Evidence::Sole, Some(1.0 - doubt));
        }
        // It is no parent, and yet tells of what records do.
        let (_, call) = self.found(now, outbound, id, Evidence::Open, None);
        (Parent::open(), call)
    }

    /// The doubt that it was this one's doing, with what doubt there is `already`; [`None`] when it is too much.
    fn weigh(
        &mut self,
        now: Timestamp,
        since: Timestamp,
        kind: Kind,
        id: Id,
        already: f64,
    ) -> Option<f64> {
        if self
            .works
            .has_ended_since(since.saturating_sub(self.outlives()), true, id)
        {
            return None;
        }
        let is_after = self.works.has_ended_since(
            since.saturating_sub(self.settings.limits.linger),
            false,
            id,
        );
        let habit = self.habits.of(kind, now);
        let doubt = (already + doubt(habit, &self.common, &self.load, now, is_after)).min(1.0);
        habit.lone.add(now, 1.0);
        habit.clear.add(now, f64::from(u8::from(!is_after)));
        let is_told = habit.told.at(now) > TOLD;
        match self.settings.sole {
            Sole::Measured { doubt: most } => (!is_told && doubt <= most).then_some(doubt),
            Sole::Assumed => (!is_told && already == 0.0).then_some(doubt),
            Sole::Never => None,
        }
    }

    /// Several could have asked for it, all of them records of one partition that are handled in turn.
    fn in_turn(
        &mut self,
        now: Timestamp,
        since: Timestamp,
        outbound: &Outbound<'_>,
        several: &[Id],
    ) -> Option<(Parent, Call)> {
        let first = *several.iter().min()?;
        let topic = Arc::clone(self.works.get(first)?.topic.as_ref()?);
        let routine = self.routines.get_mut(&topic)?;
        let records = routine.counted_on(outbound.kind)?;
        let works = || several.iter().filter_map(|id| self.works.get(*id));
        if !self.queues.are_of_one(several)
            || works().any(|work| work.is_unsure || work.may_retry())
        {
            return None;
        }
        let begun = self
            .works
            .get(first)
            .is_some_and(|work| routine.has_begun_all(outbound.kind, work));
        if begun
            || several
                .iter()
                .filter(|id| **id != first)
                .filter_map(|id| self.works.get(*id))
                .any(Work::waits)
        {
            routine.parallel = true;
            return None;
        }
        // A record that does less than the others shifts all that wait behind it.
        let shifted = f64::from(u32::try_from(several.len()).unwrap_or(u32::MAX))
            / f64::from(records.saturating_add(2));
        let doubt = self.weigh(now, since, outbound.kind, first, shifted)?;
        Some(self.found(now, outbound, first, Evidence::Order, Some(1.0 - doubt)))
    }

    /// How long what was broken off may go on.
    fn outlives(&self) -> u64 {
        self.longest
            .saturating_mul(OUTLIVES)
            .clamp(OUTLIVES_LEAST, OUTLIVES_MOST)
    }

    fn is_spent(&self, id: Id, kind: Kind) -> bool {
        let Some(work) = self.works.get(id) else {
            return true;
        };
        let routine = work
            .topic
            .as_ref()
            .and_then(|topic| self.routines.get(topic));
        routine.is_some_and(|routine| routine.is_spent(kind, work))
    }

    fn found(
        &mut self,
        now: Timestamp,
        outbound: &Outbound<'_>,
        id: Id,
        evidence: Evidence,
        confidence: Option<f64>,
    ) -> (Parent, Call) {
        let kind = outbound.kind;
        let Some(work) = self.works.get_mut(id) else {
            return (
                Parent::open(),
                Call {
                    inbound: None,
                    kind,
                },
            );
        };
        let parent = Parent::of(evidence, Some(&work.context), confidence);
        if let Some(topic) = work.topic.clone() {
            let pause = work.call(kind, now, !outbound.is_answered);
            if self.routines.len() < MOST_ROUTINES || self.routines.contains_key(&topic) {
                self.routines.entry(topic).or_default().paused(pause);
            }
        }
        (
            parent,
            Call {
                inbound: Some(id),
                kind,
            },
        )
    }
}

/// The expected share of calls of this kind, among those that came while one alone was in flight, that were not of its doing.
///
/// What nobody asked for comes as often in a second of idleness as in a second with one in flight. What has to do with load
/// does so only in the time after something ended, so that when that is now, that time counts, too: hours of sleep say nothing
/// about what happens by day.
fn doubt(habit: &Habit, common: &Habit, load: &Load, now: Timestamp, is_after: bool) -> f64 {
    let (lone, clear) = (habit.lone.at(now), habit.clear.at(now));
    // Where some calls stray, those of another kind may well.
    let unseen = UNSEEN.max(common.stray.at(now).min(JEFFREYS));
    let always = (habit.stray.at(now) + unseen) * load.one_per_idle(now) / (lone + 1.0);
    if !is_after {
        return always;
    }
    let in_time = CLEAR * clear + (lone - clear).max(0.0) + 1.0;
    let unseen = UNSEEN_LATE.max(common.late.at(now).min(JEFFREYS));
    always.max((habit.late.at(now) + unseen) * load.one_per_idle_after(now) / in_time)
}
