//! The intervals between retries: exponential back-off with jitter, and the collector's
//! `retry-after`.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;
use tokio::time::Instant;

use crate::config::RetrySettings;

/// The retry intervals of one batch.
#[derive(Debug)]
pub(crate) struct RetryBackoff {
    settings: RetrySettings,
    next_interval: Duration,
    begin: Instant,
}

// === impl RetryBackoff ===

impl RetryBackoff {
    pub(crate) fn new(settings: RetrySettings, begin: Instant) -> Self {
        Self {
            settings,
            next_interval: settings.initial_interval,
            begin,
        }
    }

    /// Returns the interval before the next attempt; [`None`] when the batch has run out of time.
    ///
    /// `random` is from 0 to 1: exporters that failed together must not return together.
    pub(crate) fn next_interval(
        &mut self,
        now: Instant,
        retry_after: Option<Duration>,
        random: f64,
    ) -> Option<Duration> {
        let own = self.next_interval;
        self.next_interval = (own * 2).min(self.settings.max_interval);
        let max_retry_after = self.settings.max_interval * RetrySettings::MAX_RETRY_AFTER_INTERVALS;
        let interval = match retry_after {
            // Jitter on top: a retry before the time that the collector named would be rejected.
            Some(retry_after) => retry_after.min(max_retry_after) + own.mul_f64(random / 2.0),
            None => own.mul_f64(0.5 + random / 2.0),
        };
        let elapsed = now.saturating_duration_since(self.begin);
        let remaining = self.settings.max_elapsed_time.checked_sub(elapsed)?;
        (interval <= remaining).then_some(interval)
    }
}

/// Parses the header `retry-after`: seconds, or a date (RFC 9110, section 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // A date in the past means: at once.
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

    const RETRY: RetrySettings = RetrySettings {
        initial_interval: Duration::from_millis(100),
        max_interval: Duration::from_secs(1),
        max_elapsed_time: Duration::from_secs(10),
    };

    #[test]
    fn intervals_double_up_to_the_longest() {
        let begin = Instant::now();
        let mut backoff = RetryBackoff::new(RETRY, begin);
        let pauses: Vec<u128> = (0..6)
            .map(|_| backoff.next_interval(begin, None, 1.0).unwrap().as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn jitter_takes_up_to_half_of_an_interval() {
        let begin = Instant::now();
        assert_eq!(
            RetryBackoff::new(RETRY, begin).next_interval(begin, None, 0.0),
            Some(Duration::from_millis(50))
        );
    }

    #[test]
    fn retry_after_is_respected_up_to_a_bound() {
        let begin = Instant::now();
        let retry_after = Duration::from_secs(3);
        assert_eq!(
            RetryBackoff::new(RETRY, begin).next_interval(begin, Some(retry_after), 0.0),
            Some(retry_after)
        );
        let too_long = Duration::from_secs(u64::MAX);
        assert_eq!(
            RetryBackoff::new(RETRY, begin).next_interval(begin, Some(too_long), 0.0),
            Some(Duration::from_secs(6))
        );
    }

    #[test]
    fn batch_is_dropped_after_its_time() {
        let begin = Instant::now();
        let mut backoff = RetryBackoff::new(RETRY, begin);
        assert_eq!(
            backoff.next_interval(begin + Duration::from_millis(9950), None, 1.0),
            None
        );
        assert_eq!(
            backoff.next_interval(begin + Duration::from_secs(3600), None, 0.0),
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
