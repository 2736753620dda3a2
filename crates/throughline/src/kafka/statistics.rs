//! librdkafka's statistics as metrics: the lag of a consumer, the queue of a producer.

use opentelemetry::KeyValue;
use rdkafka::statistics::Statistics;
use throughline_model::convention::{
    MESSAGING_CLIENT_ID, MESSAGING_CONSUMER_GROUP_NAME, MESSAGING_DESTINATION_NAME,
    MESSAGING_DESTINATION_PARTITION_ID, MESSAGING_SYSTEM,
};

use super::settings::Settings;
use crate::Telemetry;

impl Settings {
    /// Records librdkafka's statistics as metrics: `throughline.kafka.consumer.lag` of each
    /// assigned partition, and `throughline.kafka.producer.queue`. Call it from the client's
    /// context, which gets statistics when `statistics.interval.ms` is set:
    ///
    /// ```
    /// use rdkafka::{ClientContext, Statistics, consumer::ConsumerContext};
    /// use throughline::kafka::Settings;
    ///
    /// struct Measured(Settings);
    ///
    /// impl ClientContext for Measured {
    ///     fn stats(&self, statistics: Statistics) {
    ///         self.0.record_statistics(&statistics);
    ///     }
    /// }
    ///
    /// impl ConsumerContext for Measured {}
    /// ```
    pub fn record_statistics(&self, statistics: &Statistics) {
        let telemetry = self.0.telemetry.clone().unwrap_or_else(Telemetry::global);
        let telemetry = telemetry.resolve();
        let Some(instruments) = telemetry.instruments() else {
            return;
        };
        let client = &self.0.client;
        let named = |name, value: &Option<std::sync::Arc<str>>| {
            let value = value.clone();
            value.map(|value| KeyValue::new(name, value))
        };
        let mut shared = vec![KeyValue::new(MESSAGING_SYSTEM, "kafka")];
        shared.extend(named(MESSAGING_CLIENT_ID, &client.client_id));
        if statistics.client_type == "producer" {
            instruments
                .queued_messages
                .record(statistics.msg_cnt, &shared);
            return;
        }
        shared.extend(named(MESSAGING_CONSUMER_GROUP_NAME, &client.group));
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values() {
                // Negative: not assigned to this consumer, or not known yet. One of the entries is
                // librdkafka's internal partition -1.
                if partition.consumer_lag < 0 || partition.partition < 0 {
                    continue;
                }
                let mut attributes = shared.clone();
                attributes.push(KeyValue::new(
                    MESSAGING_DESTINATION_NAME,
                    topic.topic.clone(),
                ));
                attributes.push(KeyValue::new(
                    MESSAGING_DESTINATION_PARTITION_ID,
                    partition.partition.to_string(),
                ));
                instruments
                    .consumer_lag
                    .record(partition.consumer_lag, &attributes);
            }
        }
    }
}
