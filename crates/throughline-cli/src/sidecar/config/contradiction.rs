//! Options that contradict each other, or have no effect beside the others.

use throughline_intercept::kafka::Settings;

use super::parser::ConfigParser;

/// Options for Kafka clients that connect to the sidecar, which need `--kafka`.
const ONLY_WITH_KAFKA: [&str; 5] = [
    "broker_ports",
    "advertise",
    "state_dir",
    "client_tls_cert",
    "client_tls_key",
];

// === impl ConfigParser ===

impl ConfigParser<'_> {
    /// Records the contradictions between limits of Kafka, which a reload may change.
    pub(super) fn contradicting_limits(&mut self, settings: &Settings, max_held_bytes: usize) {
        let max_frame_bytes = settings.limits.max_frame_bytes;
        // A size of 0 is invalid, and reported.
        if max_held_bytes != 0 && max_frame_bytes > max_held_bytes {
            let memory = self.raw.name("memory");
            let text = format!(
                "is larger than {memory} ({max_held_bytes} bytes), which frames of this size \
                 exceed; lower it or raise {memory}"
            );
            self.error("max_frame", &text);
        }
        let batches = settings.topics.iter();
        let batches = batches.filter_map(|(_, topic)| topic.max_message_bytes);
        for max_message_bytes in batches {
            if max_message_bytes == 0 {
                self.error("topics", "max_message_bytes must not be 0; leave it out");
            } else if max_frame_bytes != 0 && max_message_bytes > max_frame_bytes {
                let max_frame = self.raw.name("max_frame");
                let text = format!(
                    "max_message_bytes {max_message_bytes} is larger than {max_frame} \
                     ({max_frame_bytes} bytes), and longer frames pass unread; raise {max_frame}"
                );
                self.error("topics", &text);
            }
        }
    }

    /// Records the options that have no effect, because others are missing.
    pub(super) fn options_without_effect(&mut self) {
        let options = &self.raw.options;
        let (has_kafka, is_transparent) = (options.kafka.is_some(), options.transparent);
        // With --transparent, and without any mode, other errors are reported for them.
        if !has_kafka && !is_transparent && self.has_http() {
            for key in ONLY_WITH_KAFKA {
                self.reject_without_effect(key, "--kafka");
            }
        }
        if !is_transparent {
            self.reject_without_effect("listen_inbound", "--transparent");
        }
        let ports = options.connect_ports.as_deref().map(str::trim);
        if let Some(ports) = ports.filter(|ports| options.allow_connect && *ports != "all") {
            let connect_ports = self.raw.name("connect_ports");
            let text = format!(
                "allows CONNECT to all ports, and {connect_ports} {ports:?} does not; remove one \
                 of them"
            );
            self.error("allow_connect", &text);
        }
    }

    fn reject_without_effect(&mut self, key: &str, needed: &str) {
        if self.raw.is_set(key) {
            let text = format!("has no effect without {needed}; remove it or add {needed}");
            self.error(key, &text);
        }
    }
}
