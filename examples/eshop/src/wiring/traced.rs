//! Wiring with tracing by the SDK. It has the same functions as `bare.rs`, so the services are
//! the same in both variants.

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

use crate::{output, record};

#[derive(Debug, Args)]
pub(crate) struct WiringOptions {
    /// Instrumentation: rest (HTTP only), kafka (also producer and consumer), or linked (also keeps
    /// the consumer span active while a record is handled)
    #[arg(long, env = "ESHOP_MODE", default_value = "linked")]
    mode: String,
}

/// The states of the article's trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TraceMode {
    Rest,
    Kafka,
    Linked,
}

pub(crate) struct ServiceWiring {
    mode: TraceMode,
    telemetry: throughline::Guard,
}

#[derive(Clone)]
pub(crate) struct HttpClient(ClientWithMiddleware);

pub(crate) enum OrderProducer {
    Plain(FutureProducer),
    Traced(kafka::Producer<FutureProducer>),
}

pub(crate) enum OrderConsumer<C: ConsumerContext + 'static> {
    Plain(StreamConsumer<C>),
    Traced(kafka::Consumer<StreamConsumer<C>>),
}

/// Time for a service to respond.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

// === impl ServiceWiring ===

impl ServiceWiring {
    /// Configures telemetry from the `OTEL_*` variables.
    ///
    /// # Errors
    /// Lists every mistake in the variables and in the mode.
    pub(crate) fn start(options: &WiringOptions, service: &str) -> Result<Self, Vec<String>> {
        let mode = TraceMode::parse(&options.mode);
        // Both are tried, so that all errors are reported together.
        match (mode, throughline::try_init(service)) {
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

    pub(crate) fn client(&self) -> HttpClient {
        HttpClient(
            ClientBuilder::new(reqwest::Client::new())
                .with(ClientTracing::new())
                .build(),
        )
    }

    pub(crate) fn producer(&self, config: &ClientConfig) -> Result<OrderProducer, KafkaError> {
        let producer: FutureProducer = config.create()?;
        Ok(match self.settings() {
            None => OrderProducer::Plain(producer),
            Some(settings) => OrderProducer::Traced(kafka::Producer::new(producer, settings)),
        })
    }

    pub(crate) fn consumer<C: ConsumerContext + 'static>(
        &self,
        config: &ClientConfig,
        context: C,
        topic: &str,
    ) -> Result<OrderConsumer<C>, KafkaError> {
        let consumer: StreamConsumer<C> = config.create_with_context(context)?;
        consumer.subscribe(&[topic])?;
        Ok(match self.settings() {
            None => OrderConsumer::Plain(consumer),
            Some(settings) => OrderConsumer::Traced(kafka::Consumer::new(consumer, settings)),
        })
    }

    /// Sends the remaining spans.
    pub(crate) async fn stop(self) {
        // The shutdown blocks until the collector has the spans.
        let flush = tokio::task::spawn_blocking(move || self.telemetry.shutdown());
        if let Err(error) = flush.await {
            output::log(&format!("telemetry shutdown failed: {error}"));
        }
    }

    /// Returns the Kafka settings; none in mode `rest`.
    fn settings(&self) -> Option<Settings> {
        let handling = match self.mode {
            TraceMode::Rest => return None,
            TraceMode::Kafka => Handling::Interceptor,
            TraceMode::Linked => Handling::Active,
        };
        Some(
            Settings::default()
                // The names of the article's spans are those of opentracing-kafka-client.
                .naming(Naming::opentracing())
                .handling(handling),
        )
    }
}

// === impl TraceMode ===

impl TraceMode {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "rest" => Ok(Self::Rest),
            "kafka" => Ok(Self::Kafka),
            "linked" => Ok(Self::Linked),
            _ => Err(format!("--mode {text}: expected rest, kafka or linked")),
        }
    }
}

fn texts(error: &throughline::InitError) -> Vec<String> {
    error.iter().map(ToString::to_string).collect()
}

// === impl HttpClient ===

impl HttpClient {
    /// Returns the body of a successful response.
    ///
    /// # Errors
    /// With a sentence for the log.
    pub(crate) async fn get(&self, url: &str) -> Result<String, String> {
        let response = async {
            let response = self.0.get(url).timeout(RESPONSE_TIMEOUT).send().await?;
            let status = response.status();
            let body = response.text().await?;
            Ok::<_, reqwest_middleware::Error>((status, body))
        };
        match response.await {
            Ok((status, body)) if status.is_success() => Ok(body),
            Ok((status, body)) => Err(format!("GET {url}: {status} {body}")),
            // The alternate form prints the chain of causes.
            Err(error) => Err(format!("GET {url}: {:#}", anyhow::Error::from(error))),
        }
    }
}

// === impl OrderProducer ===

impl OrderProducer {
    /// Enqueues the record and logs a failed delivery.
    pub(crate) fn send(&self, topic: &str, key: Option<&str>, value: &str) {
        let email = FutureRecord {
            key,
            ..FutureRecord::to(topic).payload(value)
        };
        match self {
            Self::Plain(producer) => record::log_delivery(producer.send_result(email)),
            Self::Traced(producer) => record::log_delivery(producer.send_result(email)),
        }
    }
}

// === impl OrderConsumer ===

impl<C: ConsumerContext + 'static> OrderConsumer<C> {
    /// Calls `handle` with the key of each record, one after the other, forever.
    pub(crate) async fn for_each<F, H>(self, handle: F)
    where
        F: Fn(Option<String>) -> H + Send + 'static,
        H: Future<Output = Result<(), String>> + Send,
    {
        loop {
            let received = match &self {
                Self::Plain(consumer) => match consumer.recv().await {
                    Ok(message) => Ok((
                        // The handler runs before the offset is stored, so that a crash repeats it.
                        handle(record::key(&message)).await,
                        consumer.store_offset_from_message(&message),
                    )),
                    Err(error) => Err(error),
                },
                Self::Traced(consumer) => match consumer.recv().await {
                    Ok(delivery) => {
                        let message = delivery.message();
                        // In mode linked, the consumer span is active while the handler runs.
                        let handled = delivery.handle(handle(record::key(message))).await;
                        Ok((handled, consumer.store_offset_from_message(message)))
                    }
                    Err(error) => Err(error),
                },
            };
            record::log_failure(received);
        }
    }
}
