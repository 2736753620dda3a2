//! Wiring without tracing: hyper and rdkafka, and no tracing crate among the dependencies.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Uri, header};
use clap::Args;
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, ConsumerContext, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::net::TcpStream;

use crate::record;

/// No options.
#[derive(Debug, Args)]
pub(crate) struct WiringOptions {}

pub(crate) struct ServiceWiring;

#[derive(Clone)]
pub(crate) struct HttpClient;

pub(crate) struct OrderProducer(FutureProducer);

pub(crate) struct OrderConsumer<C: ConsumerContext + 'static>(StreamConsumer<C>);

/// Time for a service to respond.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

// === impl ServiceWiring ===

impl ServiceWiring {
    #[expect(clippy::unnecessary_wraps, reason = "the traced variant can fail")]
    pub(crate) fn start(_: &WiringOptions, _service: &str) -> Result<Self, Vec<String>> {
        Ok(Self)
    }

    pub(crate) fn routes(&self, routes: Router) -> Router {
        routes
    }

    pub(crate) fn client(&self) -> HttpClient {
        HttpClient
    }

    pub(crate) fn producer(&self, config: &ClientConfig) -> Result<OrderProducer, KafkaError> {
        Ok(OrderProducer(config.create()?))
    }

    pub(crate) fn consumer<C: ConsumerContext + 'static>(
        &self,
        config: &ClientConfig,
        context: C,
        topic: &str,
    ) -> Result<OrderConsumer<C>, KafkaError> {
        let consumer: StreamConsumer<C> = config.create_with_context(context)?;
        consumer.subscribe(&[topic])?;
        Ok(OrderConsumer(consumer))
    }

    #[expect(
        clippy::unused_async,
        reason = "the traced variant waits for its last spans"
    )]
    pub(crate) async fn stop(self) {}
}

// === impl HttpClient ===

impl HttpClient {
    /// Returns the body of a successful response.
    ///
    /// # Errors
    /// With a sentence for the log.
    pub(crate) async fn get(&self, url: &str) -> Result<String, String> {
        // The limit includes connecting and reading the body, as in the traced variant.
        let response = tokio::time::timeout(RESPONSE_TIMEOUT, fetch(url)).await;
        response
            .unwrap_or_else(|_| Err("timed out".into()))
            .map_err(|error| format!("GET {url}: {error}"))
    }
}

async fn fetch(url: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let uri: Uri = url.parse()?;
    let authority = uri.authority().ok_or("the URL has no host")?;
    let stream = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80))).await?;
    // One connection for each request: the example needs no pool.
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The task ends with the exchange; its error also fails the request.
    tokio::spawn(async move { connection.await.unwrap_or_default() });
    let request = Request::get(uri.path_and_query().map_or("/", |target| target.as_str()))
        // hyper adds no Host here, and HTTP/1.1 requires it (RFC 9112, section 3.2).
        .header(header::HOST, authority.as_str())
        .body(Body::empty())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = String::from_utf8(response.into_body().collect().await?.to_bytes().into())?;
    if status.is_success() {
        Ok(body)
    } else {
        Err(format!("{status} {body}").into())
    }
}

// === impl OrderProducer ===

impl OrderProducer {
    /// Enqueues the record and logs a failed delivery.
    pub(crate) fn send(&self, topic: &str, key: Option<&str>, value: &str) {
        record::log_delivery(self.0.send_result(FutureRecord {
            key,
            ..FutureRecord::to(topic).payload(value)
        }));
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
            record::log_failure(match self.0.recv().await {
                Ok(message) => Ok((
                    // The handler runs before the offset is stored, so that a crash repeats it.
                    handle(record::key(&message)).await,
                    self.0.store_offset_from_message(&message),
                )),
                Err(error) => Err(error),
            });
        }
    }
}
