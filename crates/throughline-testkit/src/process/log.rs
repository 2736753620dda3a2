//! The last lines a process wrote, kept in a bounded ring.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines kept; the oldest go first.
const LINES: usize = 1000;

/// Longest line kept in one piece, in bytes; a longer one continues in the next.
const LINE_BYTES: u64 = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputStream {
    Stdout,
    Stderr,
}

/// What a process has written so far. Filled by one thread a stream, read by anyone.
pub(super) struct OutputLog {
    echo: Option<String>,
    kept: Mutex<LogBuffer>,
    changed: Condvar,
}

#[derive(Default)]
struct LogBuffer {
    lines: VecDeque<(OutputStream, String)>,
    /// Lines ever written.
    total: usize,
    /// Streams still open.
    open: usize,
}

// === impl Log ===

impl OutputLog {
    /// An empty log; with a name, every line is also written to stderr under it.
    pub(super) fn new(echo: Option<String>) -> Self {
        Self {
            echo,
            kept: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// All lines kept.
    pub(super) fn lines(&self) -> Vec<String> {
        self.kept()
            .lines
            .iter()
            .map(|(_, line)| line.clone())
            .collect()
    }

    /// Looks at the stdout lines from line number `after` on; also gives the number to go on from.
    pub(super) fn find_stdout<T>(
        &self,
        after: usize,
        matches: impl Fn(&str) -> Option<T>,
    ) -> (Option<T>, usize) {
        let kept = self.kept();
        let first = kept.total - kept.lines.len();
        let unseen = kept.lines.iter().skip(after.saturating_sub(first));
        let found = unseen
            .filter(|(stream, _)| *stream == OutputStream::Stdout)
            .find_map(|(_, line)| matches(line));
        (found, kept.total)
    }

    /// Waits until there are more than `seen` lines, at most for `limit`.
    pub(super) fn wait_for_more(&self, seen: usize, limit: Duration) {
        self.wait_while(limit, |kept| kept.total == seen);
    }

    /// Waits until both streams are closed, at most for `limit`: a grandchild may hold them open.
    pub(super) fn wait_for_end(&self, limit: Duration) {
        self.wait_while(limit, |kept| kept.open > 0);
    }

    fn wait_while(&self, limit: Duration, condition: impl Fn(&LogBuffer) -> bool) {
        drop(
            self.changed
                .wait_timeout_while(self.kept(), limit, |kept| condition(kept)),
        );
    }

    fn push(&self, stream: OutputStream, line: String) {
        if let Some(name) = &self.echo {
            #[expect(clippy::print_stderr, reason = "echoing is what was asked for")]
            {
                eprintln!("{name} | {line}");
            }
        }
        let mut kept = self.kept();
        if kept.lines.len() == LINES {
            kept.lines.pop_front();
        }
        kept.lines.push_back((stream, line));
        kept.total += 1;
        self.changed.notify_all();
    }

    fn kept(&self) -> MutexGuard<'_, LogBuffer> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads `source` to its end in a thread of its own, so that the process never waits for a reader.
pub(super) fn follow(
    log: &Arc<OutputLog>,
    stream: OutputStream,
    source: impl Read + Send + 'static,
) {
    log.kept().open += 1;
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while let Ok(1..) = source
            .by_ref()
            .take(LINE_BYTES)
            .read_until(b'\n', &mut line)
        {
            log.push(stream, String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
        log.kept().open -= 1;
        log.changed.notify_all();
    });
}
