//! When a batch is tried again: pauses that double, with jitter, and what the collector asked for.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;
use tokio::time::Instant;

use crate::config::Retry;

/// The pauses of one batch.
#[derive(Debug)]
pub(crate) struct Backoff {
    retry: Retry,
    next: Duration,
    begin: Instant,
}

// === impl Backoff ===

impl Backoff {
    pub(crate) fn new(retry: Retry, begin: Instant) -> Self {
        Self {
            retry,
            next: retry.first,
            begin,
        }
    }

    /// The pause before the next attempt; [`None`] when the batch has had its time. `chance` is from 0 to 1: many exporters that
    /// failed together must not come back together.
    pub(crate) fn pause(
        &mut self,
        now: Instant,
        asked: Option<Duration>,
        chance: f64,
    ) -> Option<Duration> {
        let own = self.next;
        self.next = (self.next * 2).min(self.retry.longest);
        let pause = match asked {
            // Never before the time that was asked for, as far as it is bearable.
            Some(asked) => {
                asked.min(self.retry.longest * Retry::PATIENCE) + own.mul_f64(chance / 2.0)
            }
            None => own.mul_f64(0.5 + chance / 2.0),
        };
        let left = self
            .retry
            .give_up_after
            .checked_sub(now.saturating_duration_since(self.begin))?;
        (pause <= left).then_some(pause)
    }
}

/// What the header `retry-after` asks for: seconds, or a date (RFC 9110, section 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // A date that has passed asks for nothing.
    Some(
        httpdate::parse_http_date(value)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry {
        first: Duration::from_millis(100),
        longest: Duration::from_secs(1),
        give_up_after: Duration::from_secs(10),
    };

    #[test]
    fn pauses_double_up_to_the_longest() {
        let begin = Instant::now();
        let mut backoff = Backoff::new(RETRY, begin);
        let pauses: Vec<u128> = (0..6)
            .map(|_| backoff.pause(begin, None, 1.0).unwrap().as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn jitter_takes_up_to_half_of_a_pause() {
        let begin = Instant::now();
        assert_eq!(
            Backoff::new(RETRY, begin).pause(begin, None, 0.0),
            Some(Duration::from_millis(50))
        );
    }

    #[test]
    fn a_collector_is_never_asked_before_the_time_it_wished_for_and_cannot_wish_for_too_much() {
        let begin = Instant::now();
        let asked = Duration::from_secs(3);
        assert_eq!(
            Backoff::new(RETRY, begin).pause(begin, Some(asked), 0.0),
            Some(asked)
        );
        let too_long = Duration::from_secs(u64::MAX);
        assert_eq!(
            Backoff::new(RETRY, begin).pause(begin, Some(too_long), 0.0),
            Some(Duration::from_secs(6))
        );
    }

    #[test]
    fn a_batch_is_given_up_after_its_time() {
        let begin = Instant::now();
        let mut backoff = Backoff::new(RETRY, begin);
        assert_eq!(
            backoff.pause(begin + Duration::from_millis(9950), None, 1.0),
            None
        );
        assert_eq!(
            backoff.pause(begin + Duration::from_secs(3600), None, 0.0),
            None
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let read = |value: &str| {
            retry_after(
                &HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]),
                now,
            )
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            read("Sun, 06 Nov 1994 08:49:40 GMT"),
            Some(Duration::from_secs(3))
        );
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
