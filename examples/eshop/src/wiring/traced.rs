//! How the services talk when the SDK traces them. The twin of `bare.rs`, with the same functions; the services know no
//! difference.

use std::time::Duration;

use axum::Router;
use clap::Args;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, ConsumerContext, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use throughline::http::{ClientTracing, ServerLayer};
use throughline::kafka::{self, Handling, Naming, Settings};

use crate::record;

#[derive(Debug, Args)]
pub(crate) struct WiringOptions {
    /// What leaves spans: rest (HTTP only), kafka (the producer and the consumer too, but nothing is active while a record
    /// is handled) or linked (the consumer's span is active while a record is handled)
    #[arg(long, env = "ESHOP_MODE", default_value = "linked")]
    mode: String,
}

/// The states of the article's trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Rest,
    Kafka,
    Linked,
}

pub(crate) struct Wiring {
    mode: Mode,
    telemetry: throughline::Guard,
}

#[derive(Clone)]
pub(crate) struct Client(ClientWithMiddleware);

pub(crate) enum Producer {
    Plain(FutureProducer),
    Traced(kafka::Producer<FutureProducer>),
}

pub(crate) enum Consumer<C: ConsumerContext + 'static> {
    Plain(StreamConsumer<C>),
    Traced(kafka::Consumer<StreamConsumer<C>>),
}

/// A service that does not answer within this time counts as failed.
const TIMEOUT: Duration = Duration::from_secs(10);

// === impl Wiring ===

impl Wiring {
    /// Sets up telemetry by the `OTEL_*` variables; tells every mistake in them, and in the mode.
    pub(crate) fn start(options: &crate::options::Options) -> Result<Self, Vec<String>> {
        let mode = Mode::read(&options.wiring.mode);
        match (mode, throughline::init(&options.service)) {
            (Ok(mode), Ok(telemetry)) => Ok(Self { mode, telemetry }),
            (mode, telemetry) => {
                let others = telemetry
                    .err()
                    .into_iter()
                    .flat_map(|mistakes| texts(&mistakes));
                Err(mode.err().into_iter().chain(others).collect())
            }
        }
    }

    pub(crate) fn routes(&self, routes: Router) -> Router {
        routes.layer(ServerLayer::new())
    }

    pub(crate) fn client(&self) -> Client {
        Client(
            ClientBuilder::new(reqwest::Client::new())
                .with(ClientTracing::new())
                .build(),
        )
    }

    pub(crate) fn producer(&self, config: &ClientConfig) -> Result<Producer, KafkaError> {
        let producer: FutureProducer = config.create()?;
        Ok(match self.settings() {
            None => Producer::Plain(producer),
            Some(settings) => Producer::Traced(kafka::Producer::new(producer, settings)),
        })
    }

    pub(crate) fn consumer<C: ConsumerContext + 'static>(
        &self,
        config: &ClientConfig,
        context: C,
        topic: &str,
    ) -> Result<Consumer<C>, KafkaError> {
        let consumer: StreamConsumer<C> = config.create_with_context(context)?;
        consumer.subscribe(&[topic])?;
        Ok(match self.settings() {
            None => Consumer::Plain(consumer),
            Some(settings) => Consumer::Traced(kafka::Consumer::new(consumer, settings)),
        })
    }

    /// Waits for the last spans to go out.
    pub(crate) async fn stop(self) {
        let flush = tokio::task::spawn_blocking(move || self.telemetry.shutdown());
        if let Err(error) = flush.await {
            crate::log(&format!("telemetry did not stop: {error}"));
        }
    }

    /// How Kafka is traced; not at all in mode `rest`.
    fn settings(&self) -> Option<Settings> {
        let handling = match self.mode {
            Mode::Rest => return None,
            Mode::Kafka => Handling::Interceptor,
            Mode::Linked => Handling::Active,
        };
        Some(
            Settings::default()
                .naming(Naming::opentracing())
                .handling(handling),
        )
    }
}

// === impl Mode ===

impl Mode {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "rest" => Ok(Self::Rest),
            "kafka" => Ok(Self::Kafka),
            "linked" => Ok(Self::Linked),
            _ => Err(format!("--mode is '{text}': give rest, kafka or linked")),
        }
    }
}

fn texts(error: &throughline::InitError) -> Vec<String> {
    error.iter().map(ToString::to_string).collect()
}

// === impl Client ===

impl Client {
    /// The body of a successful answer, else what went wrong.
    pub(crate) async fn get(&self, url: &str) -> Result<String, String> {
        let answer = async {
            let answer = self.0.get(url).timeout(TIMEOUT).send().await?;
            let status = answer.status();
            let body = answer.text().await?;
            Ok::<_, reqwest_middleware::Error>((status, body))
        };
        match answer.await {
            Ok((status, body)) if status.is_success() => Ok(body),
            Ok((status, body)) => Err(format!("GET {url}: {status} {body}")),
            Err(error) => Err(format!("GET {url}: {:#}", anyhow::Error::from(error))),
        }
    }
}

// === impl Producer ===

impl Producer {
    /// Hands the record to the client library; its fate is only logged.
    pub(crate) fn send(&self, topic: &str, order: Option<&str>, value: &str) {
        let email = FutureRecord {
            key: order,
            ..FutureRecord::to(topic).payload(value)
        };
        match self {
            Self::Plain(producer) => record::watch(producer.send_result(email)),
            Self::Traced(producer) => record::watch(producer.send_result(email)),
        }
    }
}

// === impl Consumer ===

impl<C: ConsumerContext + 'static> Consumer<C> {
    /// Hands each record's order to `handle`, one after the other, for ever.
    pub(crate) async fn each<F, H>(self, handle: F)
    where
        F: Fn(Option<String>) -> H + Send + 'static,
        H: Future<Output = Result<(), String>> + Send,
    {
        loop {
            let received = match &self {
                Self::Plain(consumer) => match consumer.recv().await {
                    Ok(message) => Ok((
                        handle(record::order(&message)).await,
                        consumer.store_offset_from_message(&message),
                    )),
                    Err(error) => Err(error),
                },
                Self::Traced(consumer) => match consumer.recv().await {
                    Ok(delivery) => {
                        let message = delivery.message();
                        let handled = delivery.handle(handle(record::order(message))).await;
                        Ok((handled, consumer.store_offset_from_message(message)))
                    }
                    Err(error) => Err(error),
                },
            };
            record::log_failure(received);
        }
    }
}
