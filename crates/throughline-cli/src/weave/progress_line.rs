//! The progress of long work, on stderr.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Time between two lines of progress, where nobody looks on.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// A line on stderr that says how far the work is: rewritten on a terminal, and written now and
/// then elsewhere.
pub(super) struct ProgressLine {
    is_terminal: bool,
    last: Option<Instant>,
    begin: Instant,
}

// === impl ProgressLine ===

impl ProgressLine {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            last: None,
            begin: Instant::now(),
        }
    }

    pub(super) fn show(&mut self, text: &str) {
        let interval = if self.is_terminal {
            Duration::from_millis(100)
        } else {
            PROGRESS_INTERVAL
        };
        // Short work has no progress.
        let since = self.last.unwrap_or(self.begin);
        if since.elapsed() < interval {
            return;
        }
        self.last = Some(Instant::now());
        let mut out = io::stderr().lock();
        // If stderr is closed, nobody reads it.
        let written = if self.is_terminal {
            write!(out, "\r\x1b[K{text}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{text}")
        };
        written.unwrap_or_default();
    }

    pub(super) fn clear(&self) {
        if self.is_terminal && self.last.is_some() {
            write!(io::stderr().lock(), "\r\x1b[K").unwrap_or_default();
        }
    }
}
