//! The records of a topic as a plain consumer receives them.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::OwnedMessage;
use rdkafka::{Offset, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns the first `count` records of partition 0 of a topic, in their order.
pub(crate) fn receive(bootstrap: &str, topic: &str, count: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", topic)
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions
        .add_partition_offset(topic, 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&partitions).unwrap();
    let begin = Instant::now();
    let mut received = Vec::new();
    while received.len() < count {
        let so_far = received.len();
        assert!(begin.elapsed() < TIMEOUT, "{so_far} of {count} of {topic}");
        if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
            received.push(record.detach());
        }
    }
    received
}
