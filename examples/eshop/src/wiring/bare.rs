//! How the services talk when nothing traces them: hyper and rdkafka, and not one tracing crate below them.

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

/// Nothing more to set.
#[derive(Debug, Args)]
pub(crate) struct WiringOptions {}

pub(crate) struct Wiring;

#[derive(Clone)]
pub(crate) struct Client;

pub(crate) struct Producer(FutureProducer);

pub(crate) struct Consumer<C: ConsumerContext + 'static>(StreamConsumer<C>);

/// A service that does not answer within this time counts as failed.
const TIMEOUT: Duration = Duration::from_secs(10);

// === impl Wiring ===

impl Wiring {
    #[expect(clippy::unnecessary_wraps, reason = "the traced twin can fail")]
    pub(crate) fn start(_: &crate::options::Options) -> Result<Self, Vec<String>> {
        Ok(Self)
    }

    pub(crate) fn routes(&self, routes: Router) -> Router {
        routes
    }

    pub(crate) fn client(&self) -> Client {
        Client
    }

    pub(crate) fn producer(&self, config: &ClientConfig) -> Result<Producer, KafkaError> {
        Ok(Producer(config.create()?))
    }

    pub(crate) fn consumer<C: ConsumerContext + 'static>(
        &self,
        config: &ClientConfig,
        context: C,
        topic: &str,
    ) -> Result<Consumer<C>, KafkaError> {
        let consumer: StreamConsumer<C> = config.create_with_context(context)?;
        consumer.subscribe(&[topic])?;
        Ok(Consumer(consumer))
    }

    #[expect(
        clippy::unused_async,
        reason = "the traced twin waits for its last spans"
    )]
    pub(crate) async fn stop(self) {}
}

// === impl Client ===

impl Client {
    /// The body of a successful answer, else what went wrong.
    pub(crate) async fn get(&self, url: &str) -> Result<String, String> {
        let answer = tokio::time::timeout(TIMEOUT, fetch(url)).await;
        answer
            .unwrap_or_else(|_| Err("no answer in time".into()))
            .map_err(|error| format!("GET {url}: {error}"))
    }
}

async fn fetch(url: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let uri: Uri = url.parse()?;
    let authority = uri.authority().ok_or("the URL has no host")?;
    let stream = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the exchange; an error of its own reaches us through the request as well.
    tokio::spawn(async move { connection.await.unwrap_or_default() });
    let request = Request::get(uri.path_and_query().map_or("/", |target| target.as_str()))
        .header(header::HOST, authority.as_str())
        .body(Body::empty())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = String::from_utf8(answer.into_body().collect().await?.to_bytes().into())?;
    if status.is_success() {
        Ok(body)
    } else {
        Err(format!("{status} {body}").into())
    }
}

// === impl Producer ===

impl Producer {
    /// Hands the record to the client library; its fate is only logged.
    pub(crate) fn send(&self, topic: &str, order: Option<&str>, value: &str) {
        record::watch(self.0.send_result(FutureRecord {
            key: order,
            ..FutureRecord::to(topic).payload(value)
        }));
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
            record::log_failure(match self.0.recv().await {
                Ok(message) => Ok((
                    handle(record::order(&message)).await,
                    self.0.store_offset_from_message(&message),
                )),
                Err(error) => Err(error),
            });
        }
    }
}
