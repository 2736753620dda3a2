//! Traced producers and consumers on rdkafka.
//!
//! [`Producer`] and [`Consumer`] wrap the clients of rdkafka and give back everything else about them through `Deref`.
//! A record that is sent gets a PRODUCER span that ends when the broker has acknowledged it, and the span's context in
//! its headers. A record that is received becomes a [`Delivery`], whose CONSUMER span stays active while the record is
//! handled, so that whatever the handler does (an HTTP call, another record) is a child of it without a line of code.
//!
//! ```no_run
//! use rdkafka::config::ClientConfig;
//! use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
//! use rdkafka::producer::{FutureProducer, FutureRecord};
//! use throughline::kafka::{Consumer, Producer, Settings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = ClientConfig::new();
//! config.set("bootstrap.servers", "127.0.0.1:9092").set("group.id", "mailer");
//! let settings = Settings::from(&config);
//!
//! let producer = Producer::new(config.create::<FutureProducer>()?, settings.clone());
//! producer.send(FutureRecord::<str, str>::to("orders").payload("created"), None).await.map_err(|(error, _)| error)?;
//!
//! let consumer = Consumer::new(config.create::<StreamConsumer>()?, settings);
//! consumer.subscribe(&["orders"])?;
//! let delivery = consumer.recv().await?;
//! // Inside the future the span is active.
//! delivery.handle(async { Ok::<_, std::io::Error>(()) }).await?;
//! consumer.settle(&delivery, CommitMode::Async)?;
//! # Ok(())
//! # }
//! ```
//!
//! A polled producer ([`BaseProducer`](rdkafka::producer::BaseProducer),
//! [`ThreadedProducer`](rdkafka::producer::ThreadedProducer)) hears of acknowledgements through its client context, so it is
//! created with [`AckContext`] around that: `config.create_with_context(AckContext::new(DefaultProducerContext))`. To handle
//! records in tasks of their own, [`Delivery::detach`] them; to handle many at once, [`Consumer::recv_batch`]. Streams and
//! partition queues of rdkafka are not traced by themselves: hand their records to [`Consumer::deliver`].
//!
//! Create producers and consumers after [`crate::init`]: they keep the [`Telemetry`](crate::Telemetry) they found.

mod batch;
mod consumer;
mod delivery;
mod headers;
mod instrument;
mod naming;
mod open;
mod opentracing;
mod producer;
mod settings;

pub use batch::{Batch, MOST_RECORDS};
pub use consumer::Consumer;
pub use delivery::Delivery;
pub use naming::{Failure, Naming, Record};
pub use opentracing::{OpenTracing, SpanDecorator, SpanName, StandardTags};
pub use producer::{AckContext, Pending, Producer, Tagged, Traceable};
pub use settings::{Handling, Relation, Settings};
