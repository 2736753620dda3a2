//! Options that have no effect beside the others.

use throughline_intercept::options::OptionReader as _;

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
