//! The OTLP exporter: OpenTelemetry's variables, and `--collector`.

use throughline_export::{Config, ExportProtocol, OtlpEndpoint};
use throughline_intercept::options::OptionReader as _;

use super::parser::ConfigParser;

// === impl ConfigParser ===

impl ConfigParser<'_> {
    pub(super) fn export(&mut self) -> Config {
        let mut config = match Config::from_environment(self.environment) {
            Ok(config) => config,
            Err(errors) => {
                self.errors.extend(errors.iter().map(ToString::to_string));
                Config::to(OtlpEndpoint::local(ExportProtocol::default()))
            }
        };
        if let Some(url) = self.raw.options.collector.as_deref() {
            match OtlpEndpoint::collector(url, config.endpoint.protocol()) {
                Ok(endpoint) => config.endpoint = endpoint,
                // The URL is not quoted: it may hold a password.
                Err(error) => self.error("collector", &format!("is {error}")),
            }
        }
        config
    }
}
