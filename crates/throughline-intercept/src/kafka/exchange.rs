//! Which response answers which request: by their order on the connection, and by their number.

use std::collections::VecDeque;

use throughline_kafka::api::ApiKey;
use throughline_kafka::types::CorrelationId;

use super::{delivery, produce, settle};
use crate::Timestamp;

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) correlation: CorrelationId,
    pub(super) api: ApiKey,
    pub(super) version: i16,
    /// When its first byte came.
    pub(super) begun: Timestamp,
    /// False when it cannot be told whether there will be an answer: a Produce whose acks could not be read.
    pub(super) is_answered: bool,
    pub(super) story: Story,
}

/// What is to be told when the answer comes.
#[derive(Debug)]
pub(super) enum Story {
    /// Nothing but the order.
    Plain,
    Produce(Box<produce::Sending>),
    Fetch(Box<delivery::Asked>),
    ShareFetch(Box<settle::Acknowledging>),
    Commit(Box<settle::Commit>),
    Acknowledge(Box<settle::Acknowledging>),
}

/// What a response answers.
#[derive(Debug)]
pub(super) enum Answer {
    To(Exchange),
    /// To a request that was not the first of those that wait.
    OutOfOrder(Exchange),
    /// To none that is known.
    Unknown,
}

/// The requests of a connection that wait, in their order.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    waiting: VecDeque<Exchange>,
    /// So many of the first have been given up.
    expired: usize,
    /// What was skipped, because its answer never came and another did.
    skipped: Vec<Exchange>,
}

// === impl Exchanges ===

impl Exchanges {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn push(&mut self, exchange: Exchange) {
        self.waiting.push_back(exchange);
    }

    /// The request that this response answers; it waits no more.
    pub(super) fn answer(&mut self, correlation: CorrelationId) -> Answer {
        while self
            .waiting
            .front()
            .is_some_and(|first| first.correlation != correlation && !first.is_answered)
        {
            let skipped = self.take(0);
            self.skipped.extend(skipped);
        }
        match self
            .waiting
            .iter()
            .position(|exchange| exchange.correlation == correlation)
        {
            None => Answer::Unknown,
            Some(0) => self.take(0).map_or(Answer::Unknown, Answer::To),
            Some(at) => self.take(at).map_or(Answer::Unknown, Answer::OutOfOrder),
        }
    }

    fn take(&mut self, at: usize) -> Option<Exchange> {
        if at < self.expired {
            self.expired -= 1;
        }
        self.waiting.remove(at)
    }

    /// Requests without an answer behind which another was answered.
    pub(super) fn skipped(&mut self) -> Vec<Exchange> {
        std::mem::take(&mut self.skipped)
    }

    /// When the first request will have waited too long that has something to tell.
    pub(super) fn deadline(&self, timeout: u64) -> Option<Timestamp> {
        let first = self
            .waiting
            .iter()
            .skip(self.expired)
            .find(|exchange| exchange.story.has_spans())?;
        Some(first.begun.saturating_add(timeout))
    }

    /// The stories of those that have waited too long. They keep their places: an answer may still come.
    pub(super) fn expire(&mut self, now: Timestamp, timeout: u64) -> Vec<Story> {
        let mut stories = Vec::new();
        for exchange in self.waiting.iter_mut().skip(self.expired) {
            if exchange.begun.saturating_add(timeout) > now {
                break;
            }
            self.expired += 1;
            if exchange.story.has_spans() {
                stories.push(std::mem::replace(&mut exchange.story, Story::Plain));
            }
        }
        stories
    }

    /// Their stories. They keep their places: answers still come.
    pub(super) fn take_stories(&mut self) -> Vec<Story> {
        self.waiting
            .iter_mut()
            .map(|exchange| std::mem::replace(&mut exchange.story, Story::Plain))
            .collect()
    }

    /// All of them: nothing will be answered any more.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = Exchange> {
        self.expired = 0;
        std::mem::take(&mut self.waiting).into_iter()
    }
}

// === impl Story ===

impl Story {
    /// Whether spans wait for the answer.
    const fn has_spans(&self) -> bool {
        matches!(self, Self::Produce(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(correlation: i32, is_answered: bool) -> Exchange {
        let correlation = CorrelationId(correlation);
        Exchange {
            correlation,
            api: ApiKey(3),
            version: 0,
            begun: 0,
            is_answered,
            story: Story::Plain,
        }
    }

    fn of(numbers: &[i32]) -> Exchanges {
        let mut exchanges = Exchanges::default();
        numbers
            .iter()
            .for_each(|number| exchanges.push(exchange(*number, true)));
        exchanges
    }

    fn answered(answer: Answer) -> Option<(i32, bool)> {
        match answer {
            Answer::To(exchange) => Some((exchange.correlation.0, true)),
            Answer::OutOfOrder(exchange) => Some((exchange.correlation.0, false)),
            Answer::Unknown => None,
        }
    }

    #[test]
    fn answers_come_in_order_and_one_that_does_not_is_told_so() {
        let mut exchanges = of(&[1, 2, 3, 1]);
        assert_eq!(
            answered(exchanges.answer(CorrelationId(1))),
            Some((1, true))
        );
        assert_eq!(answered(exchanges.answer(CorrelationId(9))), None);
        assert_eq!(
            answered(exchanges.answer(CorrelationId(3))),
            Some((3, false))
        );
        assert_eq!(
            answered(exchanges.answer(CorrelationId(2))),
            Some((2, true))
        );
        assert_eq!(
            answered(exchanges.answer(CorrelationId(1))),
            Some((1, true))
        );
        assert_eq!(exchanges.len(), 0);
    }

    #[test]
    fn a_request_that_may_have_no_answer_does_not_stand_in_the_way() {
        let mut exchanges = of(&[]);
        exchanges.push(exchange(1, false));
        exchanges.push(exchange(2, true));
        assert_eq!(
            answered(exchanges.answer(CorrelationId(2))),
            Some((2, true))
        );
        assert_eq!((exchanges.skipped().len(), exchanges.len()), (1, 0));
        exchanges.push(exchange(3, false));
        assert_eq!(
            answered(exchanges.answer(CorrelationId(3))),
            Some((3, true))
        );
    }
}
