use std::sync::Mutex;

use rdkafka::client::ClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;

const TOPIC: &str = "decisions";
const REFUSAL: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;

fn topic<C: ClientContext>(cluster: &MockCluster<'_, C>) -> DecisionTopic {
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    let settings = SpanTopicSettings {
        brokers: cluster.bootstrap_servers(),
        topic: TOPIC.to_owned(),
        properties: Vec::new(),
    };
    DecisionTopic::on(&settings, 1).unwrap()
}

/// Reads this number of entries.
fn read(topic: &DecisionTopic, count: usize) -> Vec<String> {
    let (values, stopping) = (Mutex::new(Vec::new()), CancellationToken::new());
    let take = |value: Option<&[u8]>| {
        let mut values = values.lock().unwrap();
        values.push(String::from_utf8(value.unwrap().to_vec()).unwrap());
        if values.len() == count {
            stopping.cancel();
        }
        None
    };
    topic.read(&take, &stopping);
    values.into_inner().unwrap()
}

#[test]
fn refused_entries_are_sent_again_and_nothing_counts_as_kept_before() {
    let cluster = MockCluster::new(1).unwrap();
    let topic = topic(&cluster);
    // As without a right to write: the first entry, and the first attempt to send it again.
    cluster.request_errors(RDKafkaApiKey::Produce, &[REFUSAL, REFUSAL]);
    assert!(topic.append("a", b"first"));
    let error = topic.flush().unwrap_err().to_string();
    assert!(error.contains("decisions: "), "{error}");
    assert_eq!(topic.written(), 0);
    // Meanwhile nothing is taken that would be refused as well.
    assert!(!topic.append("b", b"second"));
    while topic.flush().is_err() {}
    assert_eq!(topic.written(), 1);
    assert!(topic.append("b", b"second"));
    topic.flush().unwrap();
    assert_eq!(topic.written(), 2);
    assert_eq!(read(&topic, 2), ["first", "second"]);
}
