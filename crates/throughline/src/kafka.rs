//! Traced producers and consumers on rdkafka.
//!
//! [`Producer`] and [`Consumer`] wrap the clients of rdkafka, and provide their other methods
//! through `Deref`. A sent record gets a PRODUCER span that ends at the broker's acknowledgement,
//! and the span's context in its headers. A received record becomes a [`Delivery`], whose CONSUMER
//! span is active while the record is handled, so that an HTTP call or another record of the
//! handler is its child.
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
//! let record = FutureRecord::<str, str>::to("orders").payload("created");
//! producer.send(record, None).await.map_err(|(error, _)| error)?;
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
//! [`ThreadedProducer`](rdkafka::producer::ThreadedProducer)) learns of acknowledgements through
//! its client context, and needs an [`AckContext`] around it:
//! `config.create_with_context(AckContext::new(DefaultProducerContext))`. [`Delivery::detach`]
//! allows to handle records in separate tasks, [`Consumer::recv_batch`] to handle many at once.
//! Streams and partition queues of rdkafka are not traced: pass their records to
//! [`Consumer::deliver`].

mod batch;
mod client_attributes;
mod consumer;
mod consumer_span;
mod delivery;
mod headers;
mod kafka_tracing;
mod naming;
mod opentracing;
mod operation;
mod producer;
mod settings;
mod span_error;
mod span_hooks;
mod statistics;
mod traceable_consumer;

pub use batch::{DeliveryBatch, MAX_BATCH_RECORDS};
pub use consumer::Consumer;
/// [`Consumer`] under a name that rdkafka's trait does not have.
pub use consumer::Consumer as TracedConsumer;
pub use delivery::Delivery;
pub use naming::Naming;
pub use opentracing::{OpenTracing, SpanDecorator, SpanName, StandardTags};
pub use operation::{KafkaOperation, RecordMetadata};
/// [`Producer`] under a name that rdkafka's trait does not have.
pub use producer::Producer as TracedProducer;
pub use producer::{AckContext, PendingAck, Producer, TraceableProducer, TracedOpaque};
pub use settings::{Handling, SenderRelation, Settings};
pub use span_error::SpanError;
pub use traceable_consumer::{TraceableConsumer, TraceablePoll, TraceableStream};
