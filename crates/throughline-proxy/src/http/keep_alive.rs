//! The time for which a server keeps idle HTTP/1 connections: learned from what it announces and
//! from when it closes them.
//!
//! A request that is sent while the server closes its connection is lost, and only some requests
//! may be repeated (RFC 9110, section 9.2.2). The others must not use a connection that may be at
//! the server's limit. Usual limits are 2 s (gunicorn), 5 s (uvicorn, Node.js, Apache) and 75 s
//! (nginx).

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Idle time that is safe with a server of which nothing is known: below all usual limits.
const UNKNOWN_LIMIT: Duration = Duration::from_millis(900);

/// Time after which a close is forgotten: a restart closes idle connections as well.
const CLOSE_MEMORY: Duration = Duration::from_secs(600);

/// Least distance from a limit, for the way of the server's FIN.
const MIN_MARGIN: Duration = Duration::from_millis(500);

/// The limit of one server.
#[derive(Debug, Default)]
pub(super) struct KeepAliveLimit {
    /// From `Keep-Alive: timeout=5`.
    announced: Option<Duration>,
    /// The shortest idle time after which the server closed a connection, and when.
    closed_after: Option<(Duration, Instant)>,
    /// The longest idle time that a connection has survived.
    survived: Duration,
}

// === impl KeepAliveLimit ===

impl KeepAliveLimit {
    /// Returns the time that a response announces.
    pub(super) fn announced_in(headers: &HeaderMap) -> Option<Duration> {
        let value = headers.get(KEEP_ALIVE)?.to_str().ok()?;
        value.split(',').find_map(|parameter| {
            let (name, seconds) = parameter.split_once('=')?;
            let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
            let seconds = seconds.trim().trim_matches('"').parse().ok()?;
            is_timeout.then(|| Duration::from_secs(seconds))
        })
    }

    pub(super) fn record_announcement(&mut self, timeout: Duration) {
        self.announced = Some(timeout);
    }

    /// Records that the server closed a connection that had been idle for so long.
    pub(super) fn record_close(&mut self, idle: Duration, now: Instant) {
        let shortest = match self.recent_close(now) {
            Some(known) if known <= idle => return,
            _ => idle,
        };
        self.closed_after = Some((shortest, now));
        // The server may have a new configuration.
        self.survived = self.survived.min(shortest);
    }

    /// Records that a connection is open after it has been idle for so long.
    pub(super) fn record_survival(&mut self, idle: Duration) {
        self.survived = self.survived.max(idle);
    }

    /// Returns the idle time up to which a connection may carry a request.
    pub(super) fn max_idle(&self, now: Instant, is_repeatable: bool) -> Option<Duration> {
        let announced = self.announced.map(below);
        let closed = self.recent_close(now).map(below);
        let known = match (announced, closed) {
            (Some(announced), Some(closed)) => Some(announced.min(closed)),
            (announced, closed) => announced.or(closed),
        };
        // A lost request that can be repeated costs a round trip; any other one must be safe.
        if is_repeatable {
            return known;
        }
        known.or_else(|| Some(UNKNOWN_LIMIT.max(below(self.survived))))
    }

    fn recent_close(&self, now: Instant) -> Option<Duration> {
        let (idle, at) = self.closed_after?;
        (now.saturating_duration_since(at) < CLOSE_MEMORY).then_some(idle)
    }
}

/// Returns a time below a limit: by a fifth, and by half a second where the limit allows that.
fn below(limit: Duration) -> Duration {
    let margin = (limit / 5).max(MIN_MARGIN).min(limit / 2);
    limit.saturating_sub(margin)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn announced_timeouts_are_read() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(KEEP_ALIVE, value.parse().unwrap());
            KeepAliveLimit::announced_in(&headers)
        };
        assert_eq!(read("timeout=5"), Some(seconds(5)));
        assert_eq!(read("max=100, Timeout = 15"), Some(seconds(15)));
        for value in ["max=100", "timeout", "timeout=x", "timeout=-1", ""] {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn requests_that_cannot_be_repeated_stay_below_the_limit() {
        let now = Instant::now();
        let mut limit = KeepAliveLimit::default();
        assert_eq!(limit.max_idle(now, false), Some(UNKNOWN_LIMIT));
        assert_eq!(limit.max_idle(now, true), None);
        limit.record_survival(seconds(10));
        assert_eq!(limit.max_idle(now, false), Some(seconds(8)));
        limit.record_close(seconds(5), now);
        assert_eq!(limit.max_idle(now, false), Some(seconds(4)));
        assert_eq!(limit.max_idle(now, true), Some(seconds(4)));
        limit.record_close(seconds(60), now);
        assert_eq!(limit.max_idle(now, true), Some(seconds(4)), "the shortest");
        limit.record_announcement(seconds(2));
        assert_eq!(
            limit.max_idle(now, false),
            Some(Duration::from_millis(1500))
        );
    }

    #[test]
    fn closes_are_forgotten_after_a_while() {
        let now = Instant::now();
        let mut limit = KeepAliveLimit::default();
        limit.record_close(Duration::from_millis(10), now);
        assert_eq!(limit.max_idle(now, true), Some(Duration::from_millis(5)));
        assert_eq!(limit.max_idle(now + CLOSE_MEMORY, true), None);
    }
}
