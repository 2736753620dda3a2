//! kafka-consumer: for each record of the topic, asks notification to send an e-mail.

use std::sync::Mutex;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use tokio::sync::oneshot;

use super::for_order;
use crate::options::Settings;
use crate::wiring::Wiring;

/// Tells once that the broker has assigned partitions.
pub(crate) struct Assignment(Mutex<Option<oneshot::Sender<()>>>);

/// Starts to receive, in a task of its own; the answer resolves when partitions have been assigned.
pub(super) fn start(
    settings: &Settings,
    wiring: &Wiring,
) -> Result<oneshot::Receiver<()>, KafkaError> {
    let (sender, assigned) = oneshot::channel();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.kafka)
        .set("group.id", "eshop")
        .set("auto.offset.reset", "earliest")
        .set("allow.auto.create.topics", "true")
        // A record counts as read once it has been handled.
        .set("enable.auto.offset.store", "false")
        .set("auto.commit.interval.ms", "500")
        .set("topic.metadata.refresh.interval.ms", "1000")
        .set("fetch.wait.max.ms", "10");
    let consumer = wiring.consumer(
        &config,
        Assignment(Mutex::new(Some(sender))),
        &settings.topic,
    )?;
    let client = wiring.client();
    let send_email = format!("{}/sendEmail", settings.notification);
    tokio::spawn(consumer.each(move |order| {
        let (client, send_email) = (client.clone(), for_order(&send_email, order.as_deref()));
        async move { client.get(&send_email).await.map(drop) }
    }));
    Ok(assigned)
}

// === impl Assignment ===

impl ClientContext for Assignment {}

impl ConsumerContext for Assignment {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(partitions) = rebalance else {
            return;
        };
        if partitions.count() == 0 {
            return;
        }
        let sender = self.0.lock().ok().and_then(|mut sender| sender.take());
        if let Some(sender) = sender {
            // Nobody waits any more when the service is stopping.
            sender.send(()).unwrap_or_default();
        }
    }
}
