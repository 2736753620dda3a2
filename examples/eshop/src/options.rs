//! What can be set, by option or by environment, and how it is checked: all mistakes are found before anything starts.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::http::Uri;
use clap::{Parser, ValueEnum};

use crate::wiring;

/// What was typed. Everything is text yet, so that [`Options::check`] can tell all mistakes together.
#[derive(Debug, Parser)]
#[command(
    version,
    about = "One service of the eshop demo",
    after_help = "Example, all on one machine:\n  \
        eshop notification --listen 127.0.0.1:8085\n  \
        eshop kafka-consumer --listen 127.0.0.1:8084 --notification http://127.0.0.1:8085 --kafka 127.0.0.1:9092\n  \
        eshop eshop --listen 127.0.0.1:8080 --inventory http://127.0.0.1:8081 ... --kafka 127.0.0.1:9092\n\n\
        Every option can be given in the environment instead: ESHOP_LISTEN, ESHOP_KAFKA and so on."
)]
pub(crate) struct Options {
    /// Which service to be: eshop, inventory, billing, delivery, kafka-consumer or notification
    #[arg(env = "ESHOP_SERVICE")]
    pub(crate) service: String,
    /// Address to serve HTTP on; port 0 takes any free one
    #[arg(
        long,
        env = "ESHOP_LISTEN",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS"
    )]
    listen: String,
    /// Where the inventory service is
    #[arg(
        long,
        env = "ESHOP_INVENTORY",
        default_value = "http://inventory:8080",
        value_name = "URL"
    )]
    inventory: String,
    /// Where the billing service is
    #[arg(
        long,
        env = "ESHOP_BILLING",
        default_value = "http://billing:8080",
        value_name = "URL"
    )]
    billing: String,
    /// Where the delivery service is
    #[arg(
        long,
        env = "ESHOP_DELIVERY",
        default_value = "http://delivery:8080",
        value_name = "URL"
    )]
    delivery: String,
    /// Where the notification service is
    #[arg(
        long,
        env = "ESHOP_NOTIFICATION",
        default_value = "http://notification:8080",
        value_name = "URL"
    )]
    notification: String,
    /// Kafka's bootstrap servers (eshop sends there, kafka-consumer reads there)
    #[arg(
        long,
        env = "ESHOP_KAFKA",
        default_value = "kafka:9092",
        value_name = "HOST:PORT[,HOST:PORT]"
    )]
    kafka: String,
    /// The topic between them
    #[arg(long, env = "ESHOP_TOPIC", default_value = "eshop-topic")]
    topic: String,
    /// Makes the random delays repeatable
    #[arg(long, env = "ESHOP_SEED", value_name = "NUMBER")]
    seed: Option<String>,
    /// The longest random delay of one step of work, in milliseconds
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

/// What is meant.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) service: Service,
    pub(crate) listen: SocketAddr,
    pub(crate) inventory: String,
    pub(crate) billing: String,
    pub(crate) delivery: String,
    pub(crate) notification: String,
    pub(crate) kafka: String,
    pub(crate) topic: String,
    pub(crate) seed: Option<u64>,
    pub(crate) max_delay: Duration,
}

/// The six services of the article.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Service {
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
            let code = if error.use_stderr() {
                crate::BAD_CONFIGURATION
            } else {
                0
            };
            error.print().unwrap_or_default();
            ExitCode::from(code)
        })
    }

    /// The settings, if they are right, and every mistake in them.
    pub(crate) fn check(&self) -> (Option<Settings>, Vec<String>) {
        let mut mistakes = Vec::new();
        let service = Service::from_str(&self.service, false);
        if service.is_err() {
            let names = "eshop, inventory, billing, delivery, kafka-consumer or notification";
            mistakes.push(format!("'{}' is no service: give {names}", self.service));
        }
        let mut url = |option: &str, value: &str| {
            let authority = value
                .strip_prefix("http://")
                .map(|rest| rest.trim_end_matches('/'));
            let right = authority.is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
                && value
                    .parse::<Uri>()
                    .is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
            if !right {
                mistakes.push(format!(
                    "--{option} is '{value}': give a URL such as http://{option}:8080"
                ));
            }
            value.trim_end_matches('/').to_owned()
        };
        let inventory = url("inventory", &self.inventory);
        let billing = url("billing", &self.billing);
        let delivery = url("delivery", &self.delivery);
        let notification = url("notification", &self.notification);
        let listen = self.listen.parse::<SocketAddr>();
        if listen.is_err() {
            mistakes.push(format!(
                "--listen is '{}': give an address and a port, such as 127.0.0.1:8080",
                self.listen
            ));
        }
        if !self.kafka.split(',').all(is_host_and_port) {
            mistakes.push(format!(
                "--kafka is '{}': give host:port, such as localhost:9092",
                self.kafka
            ));
        }
        if !is_topic(&self.topic) {
            mistakes.push(format!(
                "--topic is '{}': give 1 to 249 letters, digits, '.', '_' or '-'",
                self.topic
            ));
        }
        let seed = self.seed.as_deref().map(str::parse::<u64>).transpose();
        if seed.is_err() {
            mistakes.push(format!(
                "--seed is '{}': give a whole number",
                self.seed.as_deref().unwrap_or_default()
            ));
        }
        let max_delay = self.max_delay_ms.parse::<u32>();
        if max_delay.is_err() {
            mistakes.push(format!(
                "--max-delay-ms is '{}': give a whole number of milliseconds",
                self.max_delay_ms
            ));
        }
        let (Ok(service), Ok(listen), Ok(seed), Ok(max_delay), true) =
            (service, listen, seed, max_delay, mistakes.is_empty())
        else {
            return (None, mistakes);
        };
        let settings = Settings {
            service,
            listen,
            inventory,
            billing,
            delivery,
            notification,
            kafka: self.kafka.clone(),
            topic: self.topic.clone(),
            seed,
            max_delay: Duration::from_millis(max_delay.into()),
        };
        (Some(settings), mistakes)
    }
}

// === impl Service ===

impl std::fmt::Display for Service {
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
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// Kafka's own rule for topic names.
fn is_topic(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
