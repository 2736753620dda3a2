//! Options from the command line and the environment, checked together before anything starts.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;
use clap::{Parser, ValueEnum};

use crate::wiring;

/// `EX_USAGE` of sysexits(3): the configuration is invalid and nothing was started.
pub(crate) const BAD_CONFIGURATION: u8 = 64;

/// Options as typed. All are text, so that [`Options::check`] reports all errors together.
#[derive(Debug, Parser)]
#[command(
    version,
    about = "One service of the eshop demo",
    after_help = "Example, all on one machine:\n  \
        eshop notification --listen 127.0.0.1:8085\n  \
        eshop kafka-consumer --listen 127.0.0.1:8084 --kafka 127.0.0.1:9092 \\\n    \
        --notification http://127.0.0.1:8085\n  \
        eshop eshop --listen 127.0.0.1:8080 --kafka 127.0.0.1:9092 \\\n    \
        --inventory http://127.0.0.1:8081 ...\n\n\
        Each option has an environment variable: ESHOP_LISTEN, ESHOP_KAFKA and so on."
)]
pub(crate) struct Options {
    /// Service: eshop, inventory, billing, delivery, kafka-consumer or notification
    #[arg(env = "ESHOP_SERVICE")]
    pub(crate) service: String,
    /// HTTP listen address; port 0 for any free port
    #[arg(
        long,
        env = "ESHOP_LISTEN",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS"
    )]
    listen: String,
    /// URL of the inventory service
    #[arg(
        long,
        env = "ESHOP_INVENTORY",
        default_value = "http://inventory:8080",
        value_name = "URL"
    )]
    inventory: String,
    /// URL of the billing service
    #[arg(
        long,
        env = "ESHOP_BILLING",
        default_value = "http://billing:8080",
        value_name = "URL"
    )]
    billing: String,
    /// URL of the delivery service
    #[arg(
        long,
        env = "ESHOP_DELIVERY",
        default_value = "http://delivery:8080",
        value_name = "URL"
    )]
    delivery: String,
    /// URL of the notification service
    #[arg(
        long,
        env = "ESHOP_NOTIFICATION",
        default_value = "http://notification:8080",
        value_name = "URL"
    )]
    notification: String,
    /// Kafka bootstrap servers, for eshop and kafka-consumer
    #[arg(
        long,
        env = "ESHOP_KAFKA",
        default_value = "kafka:9092",
        value_name = "HOST:PORT[,HOST:PORT]"
    )]
    kafka: String,
    /// Topic between eshop and kafka-consumer
    #[arg(long, env = "ESHOP_TOPIC", default_value = "eshop-topic")]
    topic: String,
    /// Compression of the records that eshop sends: none, gzip, snappy, lz4 or zstd
    #[arg(
        long,
        env = "ESHOP_COMPRESSION",
        default_value = "none",
        value_name = "CODEC"
    )]
    compression: String,
    /// Seed of the random delays
    #[arg(long, env = "ESHOP_SEED", value_name = "NUMBER")]
    seed: Option<String>,
    /// Maximum random delay of one step of work, in milliseconds
    #[arg(
        long,
        env = "ESHOP_MAX_DELAY_MS",
        default_value = "100",
        value_name = "MILLISECONDS"
    )]
    max_delay_ms: String,
    #[command(flatten)]
    pub(crate) wiring: wiring::WiringOptions,
}

/// Checked options.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) service: ServiceName,
    pub(crate) listen: SocketAddr,
    pub(crate) inventory: String,
    pub(crate) billing: String,
    pub(crate) delivery: String,
    pub(crate) notification: String,
    pub(crate) kafka: String,
    pub(crate) topic: String,
    pub(crate) compression: String,
    pub(crate) seed: Option<u64>,
    pub(crate) max_delay: Duration,
}

/// Name of one of the six services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum ServiceName {
    Eshop,
    Inventory,
    Billing,
    Delivery,
    KafkaConsumer,
    Notification,
}

// === impl Options ===

impl Options {
    pub(crate) fn read() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            // Help and version arrive here too, and are not errors.
            let code = if error.use_stderr() {
                BAD_CONFIGURATION
            } else {
                0
            };
            // If stderr is closed, there is nowhere to report.
            error.print().unwrap_or_default();
            ExitCode::from(code)
        })
    }

    /// Returns the settings, if they are valid, and every mistake in them.
    pub(crate) fn check(&self) -> (Option<Settings>, Vec<String>) {
        let mut checker = OptionChecker::default();
        let service = ServiceName::from_str(&self.service, false);
        if service.is_err() {
            let names = "eshop, inventory, billing, delivery, kafka-consumer or notification";
            let error = format!("unknown service '{}': expected {names}", self.service);
            checker.errors.push(error);
        }
        let inventory = checker.url("inventory", &self.inventory);
        let billing = checker.url("billing", &self.billing);
        let delivery = checker.url("delivery", &self.delivery);
        let notification = checker.url("notification", &self.notification);
        let address = "an address and a port, such as 127.0.0.1:8080";
        let listen = checker.parse("listen", &self.listen, address);
        if !self.kafka.split(',').all(is_host_and_port) {
            checker.report("kafka", &self.kafka, "host:port, such as localhost:9092");
        }
        if !is_topic(&self.topic) {
            let expected = "1 to 249 letters, digits, '.', '_' or '-'";
            checker.report("topic", &self.topic, expected);
        }
        if !["none", "gzip", "snappy", "lz4", "zstd"].contains(&&*self.compression) {
            let expected = "none, gzip, snappy, lz4 or zstd";
            checker.report("compression", &self.compression, expected);
        }
        let seed = self.seed.as_deref();
        let seed = seed.map(|seed| checker.parse::<u64>("seed", seed, "a whole number"));
        let milliseconds = "a whole number of milliseconds";
        let max_delay = checker.parse::<u32>("max-delay-ms", &self.max_delay_ms, milliseconds);
        // A missing value has its error in the list already.
        let settings = (|| {
            Some(Settings {
                service: service.ok()?,
                listen: listen?,
                inventory,
                billing,
                delivery,
                notification,
                kafka: self.kafka.clone(),
                topic: self.topic.clone(),
                compression: self.compression.clone(),
                seed: seed.flatten(),
                max_delay: Duration::from_millis(max_delay?.into()),
            })
        })();
        (
            settings.filter(|_| checker.errors.is_empty()),
            checker.errors,
        )
    }
}

/// Collects the mistakes of all options, so that they are reported together.
#[derive(Default)]
struct OptionChecker {
    errors: Vec<String>,
}

// === impl OptionChecker ===

impl OptionChecker {
    fn report(&mut self, option: &str, value: &str, expected: &str) {
        self.errors
            .push(format!("--{option} '{value}': expected {expected}"));
    }

    fn parse<T: FromStr>(&mut self, option: &str, value: &str, expected: &str) -> Option<T> {
        let parsed = value.parse();
        if parsed.is_err() {
            self.report(option, value, expected);
        }
        parsed.ok()
    }

    /// Returns the URL without a trailing slash. It has a host and no path.
    fn url(&mut self, option: &str, value: &str) -> String {
        // The slash would be doubled when a path is appended.
        let url = value.trim_end_matches('/');
        let authority = url.strip_prefix("http://");
        let has_no_path = authority.is_some_and(|rest| !rest.is_empty() && !rest.contains('/'));
        let uri = url.parse::<Uri>();
        let has_host = uri.is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
        if !(has_no_path && has_host) {
            self.report(
                option,
                value,
                &format!("a URL such as http://{option}:8080"),
            );
        }
        url.to_owned()
    }
}

// === impl ServiceName ===

impl std::fmt::Display for ServiceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Eshop => "eshop",
            Self::Inventory => "inventory",
            Self::Billing => "billing",
            Self::Delivery => "delivery",
            Self::KafkaConsumer => "kafka-consumer",
            Self::Notification => "notification",
        })
    }
}

fn is_host_and_port(address: &str) -> bool {
    // From the right, because an IPv6 address has colons of its own.
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// Kafka's rule for topic names (`org.apache.kafka.common.internals.Topic`).
fn is_topic(name: &str) -> bool {
    (1..=249).contains(&name.len())
        // Kafka names folders after topics.
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
