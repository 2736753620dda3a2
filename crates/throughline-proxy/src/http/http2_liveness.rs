//! Probes that show whether the other end of an HTTP/2 connection still answers.
//!
//! A flow that is dropped silently (a failed node, a full NAT table) shows in nothing but silence,
//! and so does a service that takes its time. A PING is answered by the latter at once (RFC 9113,
//! section 6.7). Servers count PINGs that come without traffic as abuse: gRPC's close the
//! connection after the third one within five minutes without a response of theirs. The probe stays
//! below that.

use std::time::Duration;

/// Silence of a connection with requests in flight after which it is probed.
const PROBE_DELAY: Duration = Duration::from_millis(300);

/// Time for the answer to a probe after which no new request uses the connection.
const SUSPECT_DELAY: Duration = Duration::from_millis(500);

/// Time for the answer to a probe after which requests that can be repeated move to another
/// connection. A service that is busy for a moment must not get them twice.
const ABANDON_DELAY: Duration = Duration::from_secs(5);

/// Time for the answer to a probe after which the connection is closed.
const DEAD_DELAY: Duration = Duration::from_secs(20);

/// Number of probes without a response in between.
const MAX_QUICK_PROBES: u32 = 2;

/// Silence before the second of these probes.
const SECOND_PROBE_DELAY: Duration = Duration::from_secs(10);

/// Time between further probes.
const SLOW_PROBE_INTERVAL: Duration = Duration::from_secs(330);

/// Probes one connection. Times are durations since the start of the connection.
#[derive(Debug, Default)]
pub(super) struct LivenessProbe {
    /// When a probe was sent that has not been answered.
    pending_since: Option<Duration>,
    last_probe: Duration,
    /// Probes since the last response.
    probes: u32,
    /// Number of response frames at the last check.
    responses: u64,
}

/// A view of the activity of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionActivity {
    pub(super) now: Duration,
    /// Time of the last byte from the server.
    pub(super) last_read: Duration,
    /// Time of the first request since then.
    pub(super) waiting_since: Duration,
    /// Number of HEADERS and DATA frames from the server.
    pub(super) responses: u64,
    pub(super) in_flight: usize,
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LivenessAction {
    Keep,
    Probe,
    /// Send new requests on another connection.
    Leave,
    /// Repeat the requests in flight that can be repeated, as well.
    Abandon,
    Close,
}

// === impl LivenessProbe ===

impl LivenessProbe {
    pub(super) fn check(&mut self, activity: ConnectionActivity) -> LivenessAction {
        let ConnectionActivity {
            now,
            last_read,
            waiting_since,
            responses,
            in_flight,
        } = activity;
        if responses != self.responses {
            (self.responses, self.probes) = (responses, 0);
        }
        if let Some(since) = self.pending_since {
            if last_read < since {
                let silence = now.saturating_sub(since);
                return if silence >= DEAD_DELAY {
                    LivenessAction::Close
                } else if silence >= ABANDON_DELAY {
                    LivenessAction::Abandon
                } else if silence >= SUSPECT_DELAY {
                    LivenessAction::Leave
                } else {
                    LivenessAction::Keep
                };
            }
            self.pending_since = None;
        }
        let silence = now.saturating_sub(last_read.max(waiting_since));
        let since_probe = now.saturating_sub(self.last_probe);
        let is_due = match self.probes {
            0 => silence >= PROBE_DELAY,
            probes if probes < MAX_QUICK_PROBES => silence >= SECOND_PROBE_DELAY,
            _ => silence >= PROBE_DELAY && since_probe >= SLOW_PROBE_INTERVAL,
        };
        if in_flight == 0 || !is_due {
            return LivenessAction::Keep;
        }
        self.pending_since = Some(now);
        self.last_probe = now;
        self.probes += 1;
        LivenessAction::Probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks every 100 ms and returns the times with an action.
    fn actions(
        until_ms: u64,
        last_read: impl Fn(u64) -> u64,
        responses: impl Fn(u64) -> u64,
    ) -> Vec<(u64, LivenessAction)> {
        let mut probe = LivenessProbe::default();
        (0..until_ms / 100)
            .map(|tick| tick * 100)
            .map(|now| {
                let action = probe.check(ConnectionActivity {
                    now: Duration::from_millis(now),
                    last_read: Duration::from_millis(last_read(now)),
                    waiting_since: Duration::ZERO,
                    responses: responses(now),
                    in_flight: 1,
                });
                (now, action)
            })
            .filter(|(_, action)| *action != LivenessAction::Keep)
            .collect()
    }

    #[test]
    fn silent_connection_is_left_and_closed() {
        let actions = actions(21_000, |_| 0, |_| 0);
        assert_eq!(
            actions[..2],
            [(300, LivenessAction::Probe), (800, LivenessAction::Leave)]
        );
        assert!(actions.contains(&(5_200, LivenessAction::Leave)));
        assert!(actions.contains(&(5_300, LivenessAction::Abandon)));
        assert!(actions.contains(&(20_300, LivenessAction::Close)));
    }

    #[test]
    fn slow_service_that_answers_probes_gets_few_of_them() {
        // The answer to each probe arrives at once; a response never does.
        let answered = |now: u64| match now {
            0..=300 => 0,
            301..=10_300 => 300,
            10_301..=340_300 => 10_300,
            _ => 340_300,
        };
        let all = actions(600_000, answered, |_| 0);
        let times: Vec<u64> = all.iter().map(|(now, _)| *now).collect();
        assert_eq!(times, [300, 10_300, 340_300]);
        assert!(
            all.iter()
                .all(|(_, action)| *action == LivenessAction::Probe)
        );
    }

    #[test]
    fn responses_allow_further_probes() {
        // A response every 700 ms.
        let at = |now: u64| now / 700 * 700;
        let all = actions(7_000, at, |now| now / 700);
        assert!(
            all.len() >= 5
                && all
                    .iter()
                    .all(|(_, action)| *action == LivenessAction::Probe),
            "{all:?}"
        );
    }
}
