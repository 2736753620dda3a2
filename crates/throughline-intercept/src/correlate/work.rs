//! What a process has been asked to do: inbound exchanges and delivered records, while they last and a while longer.

use std::collections::{BTreeSet, HashMap, VecDeque};

use throughline_model::context::SpanContext;

use super::token::{Token, Tokens};
use super::{Kind, Limits};
use crate::Timestamp;

/// A piece of work, as its number. Numbers grow.
pub(super) type Id = u64;

/// Something a process was asked to do.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) context: SpanContext,
    pub(super) from: Timestamp,
    pub(super) state: State,
    /// The topic, when it is a record.
    pub(super) topic: Option<std::sync::Arc<str>>,
    /// What it has asked of others, by kind. Kept for records only.
    pub(super) calls: Vec<Calls>,
    /// It may have made a call that was not given to it.
    pub(super) is_unsure: bool,
    /// When it was last seen to do something.
    pub(super) active: Timestamp,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Live,
    /// It lasts so long that it says nothing any more about what is called meanwhile.
    Ambient,
    Ended {
        until: Timestamp,
        /// Whoever asked went away; the work may go on.
        broken: bool,
    },
}

/// The calls of one kind that a piece of work has made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calls {
    pub(super) kind: Kind,
    /// Those that went well, and those that wait for their answers.
    pub(super) made: u32,
    pub(super) waiting: u32,
    /// The last one went wrong and has not been made again.
    pub(super) failed: bool,
}

/// All of it, capped.
#[derive(Debug)]
pub(super) struct Works {
    limits: Limits,
    works: HashMap<Id, Work>,
    live: BTreeSet<Id>,
    /// When what lasts becomes ambient, or is forgotten.
    due: BTreeSet<(Timestamp, Id)>,
    ended: VecDeque<(Timestamp, Id)>,
    broken: VecDeque<(Timestamp, Id)>,
    by_token: HashMap<Token, Vec<Id>>,
    next: Id,
}

/// After so long even what is ambient is forgotten.
const FORGOTTEN: u64 = 3_600_000_000_000;
/// More works with the same token tell nothing.
const MOST_NAMESAKES: usize = 16;

// === impl Works ===

impl Works {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            works: HashMap::new(),
            live: BTreeSet::new(),
            due: BTreeSet::new(),
            ended: VecDeque::new(),
            broken: VecDeque::new(),
            by_token: HashMap::new(),
            next: 0,
        }
    }

    /// Takes in a piece of work; says whether there was room for it.
    pub(super) fn begin(
        &mut self,
        now: Timestamp,
        context: SpanContext,
        topic: Option<std::sync::Arc<str>>,
    ) -> (Id, bool) {
        self.next += 1;
        let id = self.next;
        if self.works.len() >= self.limits.max_inbound
            && let Some((_, oldest)) = self.ended.pop_front()
        {
            self.forget(oldest);
        }
        if self.works.len() >= self.limits.max_inbound {
            return (id, false);
        }
        let lasts = if topic.is_some() {
            self.limits.handling
        } else {
            self.limits.ambient
        };
        self.due.insert((now.saturating_add(lasts), id));
        self.live.insert(id);
        let work = Work {
            context,
            from: now,
            state: State::Live,
            topic,
            calls: Vec::new(),
            is_unsure: false,
            active: now,
            tokens: Vec::new(),
        };
        self.works.insert(id, work);
        (id, true)
    }

    /// It is known by these tokens as well.
    pub(super) fn learn(&mut self, id: Id, tokens: Tokens) {
        let Some(work) = self.works.get_mut(&id) else {
            return;
        };
        for token in tokens.0 {
            if work.tokens.contains(&token) || work.tokens.len() >= MOST_NAMESAKES {
                continue;
            }
            let namesakes = self.by_token.entry(token.clone()).or_default();
            if namesakes.len() >= MOST_NAMESAKES {
                namesakes.remove(0);
            }
            namesakes.push(id);
            work.tokens.push(token);
        }
    }

    /// It is over, as far as can be seen from outside.
    pub(super) fn end(&mut self, id: Id, now: Timestamp, broken: bool) {
        let Some(work) = self.works.get_mut(&id) else {
            return;
        };
        if matches!(work.state, State::Ended { .. }) {
            return;
        }
        let was_ambient = work.state == State::Ambient;
        work.state = State::Ended { until: now, broken };
        self.live.remove(&id);
        // What is ambient was entered again when it became so: its entry finds it ended, and passes.
        let lasts = if work.topic.is_some() {
            self.limits.handling
        } else {
            self.limits.ambient
        };
        let due = work.from.saturating_add(lasts);
        self.due.remove(&(
            if was_ambient {
                due.saturating_add(FORGOTTEN)
            } else {
                due
            },
            id,
        ));
        self.ended.push_back((now, id));
        if broken {
            // Only the last ones are ever asked for.
            if self.broken.len() >= self.limits.max_candidates {
                self.broken.pop_front();
            }
            self.broken.push_back((now, id));
        }
    }

    /// Lets go of what has lasted, or been kept, long enough.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some(&(at, id)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            self.outlast(id, at);
        }
        while let Some(&(until, id)) = self.ended.front()
            && until.saturating_add(self.limits.keep) <= now
        {
            self.ended.pop_front();
            self.forget(id);
        }
        while let Some(&(until, _)) = self.broken.front()
            && until.saturating_add(self.limits.keep) <= now
        {
            self.broken.pop_front();
        }
    }

    /// Sizes of all that could grow.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 6] {
        let tokens = self.by_token.values().map(Vec::len).sum();
        [
            self.works.len(),
            self.live.len(),
            self.due.len(),
            self.ended.len(),
            self.broken.len(),
            tokens,
        ]
    }

    pub(super) fn get(&self, id: Id) -> Option<&Work> {
        self.works.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Work> {
        self.works.get_mut(&id)
    }

    /// A call may have been its own, and was not given to it.
    pub(super) fn doubt(&mut self, id: Id) {
        if let Some(work) = self.works.get_mut(&id) {
            work.is_unsure = true;
        }
    }

    /// How many are being worked at, as far as can be seen.
    pub(super) fn live(&self) -> usize {
        self.live.len()
    }

    /// Those that were worked at in some moment since then; [`None`] when there are too many to be told apart.
    pub(super) fn since(&self, since: Timestamp) -> Option<Vec<Id>> {
        let just_ended = self
            .ended
            .iter()
            .rev()
            .take_while(|(until, _)| *until >= since)
            .map(|(_, id)| *id);
        let most = self.limits.max_candidates;
        let found: Vec<Id> = self
            .live
            .iter()
            .copied()
            .chain(just_ended)
            .take(most + 1)
            .collect();
        (found.len() <= most).then_some(found)
    }

    /// Whether any but this one ended after `since` (`broken` only: was broken off).
    pub(super) fn has_ended_since(&self, since: Timestamp, broken: bool, but: Id) -> bool {
        let ended = if broken { &self.broken } else { &self.ended };
        ended
            .iter()
            .rev()
            .take_while(|(until, _)| *until >= since)
            .any(|(_, id)| *id != but)
    }

    /// The one that any of the tokens names: the only one known by it, or the only one of several that can still be at work.
    pub(super) fn named(&self, tokens: &Tokens, now: Timestamp) -> Option<Id> {
        tokens
            .0
            .iter()
            .find_map(|token| match self.by_token.get(token)?.as_slice() {
                [only] => Some(*only),
                several => {
                    let mut possible = several.iter().filter(|id| self.may_work(**id, now));
                    possible
                        .next()
                        .filter(|_| possible.next().is_none())
                        .copied()
                }
            })
    }

    /// Whether it may still call out, as far as that can be told: what was broken off, such as a request that was then sent again
    /// under the same id, may for as long as it is remembered.
    fn may_work(&self, id: Id, now: Timestamp) -> bool {
        self.works.get(&id).is_some_and(|work| match work.state {
            State::Live | State::Ambient | State::Ended { broken: true, .. } => true,
            State::Ended {
                until,
                broken: false,
            } => until.saturating_add(self.limits.linger) > now,
        })
    }

    /// It has lasted longer than what is asked and answered lasts.
    fn outlast(&mut self, id: Id, at: Timestamp) {
        let Some(work) = self.works.get_mut(&id) else {
            return;
        };
        match (work.state, &work.topic) {
            (State::Live, None) => {
                work.state = State::Ambient;
                self.live.remove(&id);
                self.due.insert((at.saturating_add(FORGOTTEN), id));
            }
            (State::Live, Some(_)) => self.end(id, at, false),
            (State::Ambient, _) => self.forget(id),
            (State::Ended { .. }, _) => {}
        }
    }

    fn forget(&mut self, id: Id) {
        let Some(work) = self.works.remove(&id) else {
            return;
        };
        for token in &work.tokens {
            if let Some(namesakes) = self.by_token.get_mut(token) {
                namesakes.retain(|other| *other != id);
                if namesakes.is_empty() {
                    self.by_token.remove(token);
                }
            }
        }
    }
}

// === impl Work ===

impl Work {
    pub(super) fn calls_of(&self, kind: Kind) -> Option<&Calls> {
        self.calls.iter().find(|calls| calls.kind == kind)
    }

    /// The first token that this key found.
    pub(super) fn token(&self, key: usize) -> Option<&[u8]> {
        self.tokens.iter().find_map(|token| token.of(key))
    }

    /// Whether a call waits for its answer.
    pub(super) fn waits(&self) -> bool {
        self.calls.iter().any(|calls| calls.waiting > 0)
    }

    /// Whether a call went wrong, and may be made again.
    pub(super) fn may_retry(&self) -> bool {
        self.calls.iter().any(|calls| calls.failed)
    }

    /// It has made a call. Gives how long it took to come to that.
    pub(super) fn call(&mut self, kind: Kind, now: Timestamp, answered: bool) -> u64 {
        let pause = now.saturating_sub(self.active);
        self.active = now;
        if !self.calls.iter().any(|calls| calls.kind == kind) && self.calls.len() < MOST_NAMESAKES {
            self.calls.push(Calls {
                kind,
                made: 0,
                waiting: 0,
                failed: false,
            });
        }
        if let Some(calls) = self.calls.iter_mut().find(|calls| calls.kind == kind) {
            calls.made = calls.made.saturating_add(1);
            calls.waiting = calls.waiting.saturating_add(u32::from(!answered));
            calls.failed = false;
        }
        pause
    }

    /// One of its calls has been answered, or has come to nothing.
    pub(super) fn answered(&mut self, kind: Kind, now: Timestamp, well: bool) {
        self.active = now;
        if let Some(calls) = self
            .calls
            .iter_mut()
            .find(|calls| calls.kind == kind && calls.waiting > 0)
        {
            calls.waiting -= 1;
            calls.failed = !well;
            calls.made = calls.made.saturating_sub(u32::from(!well));
        }
    }
}
