//! Envoy's log as the subscriber of `tracing`.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Writes a line to Envoy's log.
pub type WriteLine = fn(Level, &str);

/// Subscriber whose events are lines of Envoy's log. It has no spans.
#[derive(Debug)]
pub struct EnvoyLog {
    write: WriteLine,
}

struct LineVisitor(String);

// === impl EnvoyLog ===

impl EnvoyLog {
    /// Sends the events of this module to `write`.
    pub fn install(write: WriteLine) {
        // Fails only if it is installed already, by an earlier load of the same file.
        drop(tracing::subscriber::set_global_default(Self { write }));
    }
}

impl Subscriber for EnvoyLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries log their details below INFO, one line for each request.
        metadata.is_event() && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = LineVisitor("throughline:".to_owned());
        event.record(&mut line);
        (self.write)(*event.metadata().level(), &line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

// === impl LineVisitor ===

impl Visit for LineVisitor {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        // A String takes any text.
        debug_assert!(written.is_ok(), "writing to a String");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    static LINES: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());

    #[test]
    fn events_become_lines_with_their_fields() {
        let write = |level, line: &str| LINES.lock().unwrap().push((level, line.to_owned()));
        let log = EnvoyLog { write };
        tracing::subscriber::with_default(log, || {
            tracing::warn!(spans = 3, "dropped");
            tracing::debug!("not written");
        });
        let lines = LINES.lock().unwrap();
        let expected = (Level::WARN, "throughline: dropped spans=3".to_owned());
        assert_eq!(*lines, [expected]);
    }
}
