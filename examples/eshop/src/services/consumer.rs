//! kafka-consumer: calls notification to send an e-mail for each record of the topic.

use std::sync::Mutex;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use tokio::sync::oneshot;

use super::call::call_url;
use crate::options::Settings;
use crate::wiring::ServiceWiring;

/// Notifies once when the broker has assigned partitions.
pub(crate) struct AssignmentNotifier(Mutex<Option<oneshot::Sender<()>>>);

/// Starts the consumer in a task; the returned channel resolves when partitions are assigned.
pub(super) fn start(
    settings: &Settings,
    wiring: &ServiceWiring,
) -> Result<oneshot::Receiver<()>, KafkaError> {
    let (sender, assigned) = oneshot::channel();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.kafka)
        .set("group.id", "eshop")
        // A new group begins with the records that were sent before it existed.
        .set("auto.offset.reset", "earliest")
        // The consumer may start before the first record creates the topic.
        .set("allow.auto.create.topics", "true")
        // At least once: the offset is stored when the record has been handled.
        .set("enable.auto.offset.store", "false")
        .set("auto.commit.interval.ms", "500")
        // A new topic is found after a second instead of five minutes.
        .set("topic.metadata.refresh.interval.ms", "1000")
        .set("fetch.wait.max.ms", "10");
    let consumer = wiring.consumer(
        &config,
        AssignmentNotifier(Mutex::new(Some(sender))),
        &settings.topic,
    )?;
    let client = wiring.client();
    let send_email = format!("{}/sendEmail", settings.notification);
    tokio::spawn(consumer.for_each(move |reference| {
        let (client, send_email) = (client.clone(), call_url(&send_email, reference.as_deref()));
        async move { client.get(&send_email).await.map(drop) }
    }));
    Ok(assigned)
}

// === impl AssignmentNotifier ===

impl ClientContext for AssignmentNotifier {}

impl ConsumerContext for AssignmentNotifier {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(partitions) = rebalance else {
            return;
        };
        // A member without partitions receives nothing until the next rebalance.
        if partitions.count() == 0 {
            return;
        }
        // Rebalances repeat; only the first assignment is awaited.
        let sender = self.0.lock().ok().and_then(|mut sender| sender.take());
        if let Some(sender) = sender {
            // The receiver is gone when the service is stopping.
            sender.send(()).unwrap_or_default();
        }
    }
}
