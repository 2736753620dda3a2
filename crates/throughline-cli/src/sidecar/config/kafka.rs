//! Tracing of Kafka connections, and the memory for their frames.

use std::sync::Arc;

use throughline_export::instance_id;
use throughline_intercept::kafka::Settings;
use throughline_intercept::options::{OptionReader as _, kafka_settings};
use throughline_model::byte_size;

use super::parser::ConfigParser;

// === impl ConfigParser ===

impl ConfigParser<'_> {
    pub(super) fn kafka_settings(&mut self) -> Arc<Settings> {
        let max_frame_bytes = self.max_frame();
        Arc::new(kafka_settings(self, max_frame_bytes, instance_id()))
    }

    /// Returns the memory for frames of all connections, in bytes.
    pub(super) fn memory(&mut self) -> usize {
        // An invalid size is 0, which contradicts nothing.
        self.byte_size("memory", 0)
    }

    /// Returns the maximum size of a frame: by default at most the whole memory for frames.
    fn max_frame(&mut self) -> usize {
        let max_frame = self.byte_size("max_frame", 0);
        match byte_size::parse(&self.raw.options.memory) {
            Some(memory) if !self.raw.is_set("max_frame") => max_frame.min(memory),
            _ => max_frame,
        }
    }
}
