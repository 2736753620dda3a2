//! Timer for the deadline of a session.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use throughline_intercept::Timestamp;
use tokio::time::{Instant, Sleep};

use crate::clock::SpanClock;

/// The least delay, so that a session with a timeout in the past cannot keep its task busy.
const MIN_DELAY: Duration = Duration::from_millis(1);

/// The timeout of one session.
#[derive(Default)]
pub(crate) struct SessionTimer {
    deadline: Option<Timestamp>,
    /// Kept over deadlines: most sessions change theirs with each request.
    sleep: Option<Pin<Box<Sleep>>>,
}

// === impl SessionTimer ===

impl SessionTimer {
    /// Sets the timer to the session's deadline. Ready when that has passed.
    pub(crate) fn poll(
        &mut self,
        deadline: Option<Timestamp>,
        clock: SpanClock,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(at) = deadline else {
            self.deadline = None;
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(MIN_DELAY)));
        // Resetting a timer is not free, so an unchanged deadline is kept.
        if self.deadline != Some(at) {
            let delay = Duration::from_nanos(at.saturating_sub(clock.now())).max(MIN_DELAY);
            sleep.as_mut().reset(Instant::now() + delay);
            self.deadline = Some(at);
        }
        let polled = sleep.as_mut().poll(context);
        if polled.is_ready() {
            self.deadline = None;
        }
        polled
    }
}
