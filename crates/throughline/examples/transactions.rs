//! A transaction: records are read, and others written, with the offsets in the same transaction.
//! The transaction itself is rdkafka's, through `Deref`; its records are children of the record
//! that is handled.
//!
//! `cargo run --example transactions --features kafka -- localhost:9092`

use std::error::Error;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use throughline::kafka::{Consumer, Producer, Settings};

const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = std::env::args().nth(1);
    let servers = servers.unwrap_or_else(|| "localhost:9092".to_owned());
    let _telemetry = throughline::init("invoices");
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("group.id", "invoices")
        .set("enable.auto.commit", "false")
        .set("transactional.id", "invoices-1");
    let settings = Settings::from(&config);
    let producer = Producer::new(config.create::<FutureProducer>()?, settings.clone());
    let consumer = Consumer::new(config.create::<StreamConsumer>()?, settings);
    producer.init_transactions(TIMEOUT)?;
    consumer.subscribe(&["orders"])?;
    loop {
        let delivery = consumer.recv().await?;
        let work = async {
            producer.begin_transaction()?;
            let record = FutureRecord::<[u8], [u8]>::to("invoices");
            let record = record.payload(delivery.payload().unwrap_or_default());
            producer
                .send(record, TIMEOUT)
                .await
                .map_err(|(error, _)| error)?;
            let mut offsets = TopicPartitionList::new();
            let next = Offset::Offset(delivery.offset() + 1);
            offsets.add_partition_offset(delivery.topic(), delivery.partition(), next)?;
            let group = consumer.group_metadata().ok_or(KafkaError::Canceled)?;
            producer.send_offsets_to_transaction(&offsets, &group, TIMEOUT)?;
            producer.commit_transaction(TIMEOUT)
        };
        if let Err(error) = delivery.handle(work).await {
            // The record is read again after a restart; its error is on the span.
            producer.abort_transaction(TIMEOUT)?;
            return Err(error.into());
        }
    }
}
