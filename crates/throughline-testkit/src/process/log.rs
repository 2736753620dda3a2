//! A bounded buffer with the last output lines of a process.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines kept; the oldest are dropped first.
const MAX_LINES: usize = 1000;

/// Longest line kept in one piece; a longer one continues in the next entry.
const MAX_LINE_BYTES: u64 = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputStream {
    Stdout,
    Stderr,
}

/// The output of a process. One thread per stream writes; any thread reads.
pub(super) struct OutputLog {
    echo: Option<String>,
    buffer: Mutex<LogBuffer>,
    changed: Condvar,
}

#[derive(Default)]
struct LogBuffer {
    lines: VecDeque<(OutputStream, String)>,
    /// Lines written so far, dropped ones included.
    total: usize,
    /// Streams that are still open.
    open: usize,
}

// === impl OutputLog ===

impl OutputLog {
    /// Creates an empty log. With a name, every line is also written to stderr under it.
    pub(super) fn new(echo: Option<String>) -> Self {
        Self {
            echo,
            buffer: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Returns all lines in the buffer.
    pub(super) fn lines(&self) -> Vec<String> {
        self.buffer()
            .lines
            .iter()
            .map(|(_, line)| line.clone())
            .collect()
    }

    /// Searches the stdout lines from number `after` on; also returns the number to continue from.
    pub(super) fn find_stdout<T>(
        &self,
        after: usize,
        matches: impl Fn(&str) -> Option<T>,
    ) -> (Option<T>, usize) {
        let buffer = self.buffer();
        // Line numbers count dropped lines too, so the search continues at the right line.
        let first = buffer.total - buffer.lines.len();
        let unseen = buffer.lines.iter().skip(after.saturating_sub(first));
        let found = unseen
            .filter(|(stream, _)| *stream == OutputStream::Stdout)
            .find_map(|(_, line)| matches(line));
        (found, buffer.total)
    }

    /// Waits until there are more than `seen` lines, at most for `limit`.
    pub(super) fn wait_for_more(&self, seen: usize, limit: Duration) {
        self.wait_while(limit, |buffer| buffer.total == seen);
    }

    /// Waits until both streams are closed, at most for `limit`: a grandchild may hold them open.
    pub(super) fn wait_for_end(&self, limit: Duration) {
        self.wait_while(limit, |buffer| buffer.open > 0);
    }

    fn wait_while(&self, limit: Duration, condition: impl Fn(&LogBuffer) -> bool) {
        drop(
            self.changed
                .wait_timeout_while(self.buffer(), limit, |buffer| condition(buffer)),
        );
    }

    fn push(&self, stream: OutputStream, line: String) {
        if let Some(name) = &self.echo {
            #[expect(clippy::print_stderr, reason = "the caller requested the echo")]
            {
                eprintln!("{name} | {line}");
            }
        }
        let mut buffer = self.buffer();
        if buffer.lines.len() == MAX_LINES {
            buffer.lines.pop_front();
        }
        buffer.lines.push_back((stream, line));
        buffer.total += 1;
        self.changed.notify_all();
    }

    fn buffer(&self) -> MutexGuard<'_, LogBuffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads `source` to its end in a separate thread, so that the process never blocks on a full pipe.
pub(super) fn follow(
    log: &Arc<OutputLog>,
    stream: OutputStream,
    source: impl Read + Send + 'static,
) {
    log.buffer().open += 1;
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        // `take` bounds the memory: a process may write a line without end.
        while let Ok(1..) = source
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
        {
            log.push(stream, String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
        log.buffer().open -= 1;
        log.changed.notify_all();
    });
}
