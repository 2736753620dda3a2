//! Settlement: a client commits or acknowledges records, and their deliveries end.

use std::sync::Arc;

use super::context::HandlerContext;
use super::correlation::SettledQueues;
use super::span::{
    BatchAttributes, PartitionAttributes, RecordAttributes, RecordOperation, RecordSpans,
};
use crate::Timestamp;
use crate::kafka::cluster::{ClientPartition, ClusterHandle, PendingDelivery, SettledOffsets};
use crate::kafka::topic::PartitionKey;
use crate::trace::{SpanIdentity, seconds};

/// Records of a partition that a broker accepted as settled.
#[derive(Debug)]
pub(super) struct Settlement<'a> {
    pub(super) partition: &'a PartitionKey,
    pub(super) group: Option<&'a Arc<str>>,
    /// Whether the offsets belong to a transaction, and come from its producer.
    pub(super) is_transaction: bool,
    /// Arrival of the first byte of the request.
    pub(super) sent_at: Timestamp,
    /// Arrival of the response.
    pub(super) now: Timestamp,
    /// Acknowledgement type of a share group.
    pub(super) acknowledgement: Option<&'static str>,
}

// === impl Settlement ===

impl Settlement<'_> {
    /// Ends the deliveries that `offsets` cover; each of them gets a span.
    pub(super) fn apply<C: ClusterHandle>(
        &self,
        context: &mut HandlerContext<C>,
        offsets: &SettledOffsets,
    ) {
        let partition = ClientPartition {
            client: context.client.key.clone(),
            topic: context.topic_name(&self.partition.topic),
            partition: self.partition.index,
        };
        let group = self.group.or(context.client.group.as_ref()).cloned();
        let (settled, cluster_id) = context.cluster.with_state(|state| {
            let settled = match &group {
                Some(group) if self.is_transaction => {
                    state.settle_transaction(&partition, group, offsets, self.sent_at)
                }
                group => state.settle(&partition, group.as_ref(), offsets, self.sent_at),
            };
            (settled, state.cluster_id())
        });
        // Also when no delivery is known: spans may be off while the process is correlated.
        let queues = SettledQueues {
            partition: &partition,
            group: group.as_ref(),
            is_only_group: settled.is_only_group,
        };
        queues.report(&context.cluster, offsets, self.sent_at, self.now);
        if settled.deliveries.is_empty() {
            return;
        }
        // Members of share groups acknowledge the records that they have handled.
        let is_handling_known = settled.is_after_work || self.acknowledgement.is_some();
        let (topic, index) = (partition.topic, partition.partition);
        let operation = RecordOperation::Commit;
        let spans = u32::try_from(settled.deliveries.len()).unwrap_or(u32::MAX);
        context.budget.expect_records(spans);
        let partition = PartitionAttributes::new(operation, topic, index, group, cluster_id);
        let batch = BatchAttributes {
            start: self.sent_at,
            end: self.now,
            acknowledged: self.acknowledgement,
            ..BatchAttributes::default()
        };
        let (settings, client) = (&context.settings, &context.client);
        let expected = settled.deliveries.len();
        let mut spans = RecordSpans::new(&partition, &batch, settings, client, expected);
        for delivery in settled.deliveries {
            let handled = self.now.saturating_sub(delivery.at);
            let handled = is_handling_known.then(|| seconds(handled));
            self.push_span(context, &mut spans, delivery, handled);
        }
        context.out.push_spans(spans.into_group());
    }

    fn push_span<C: ClusterHandle>(
        &self,
        context: &mut HandlerContext<C>,
        spans: &mut RecordSpans,
        delivery: PendingDelivery,
        handled: Option<f64>,
    ) {
        // The consumer span was recorded, so its child is sampled.
        if !context.budget.admit(&context.cluster, true, self.now) {
            return;
        }
        let identity = SpanIdentity {
            trace_id: delivery.trace_id,
            span_id: context.ids.span_id(),
            parent: Some(delivery.span_id),
            // The same trace as the consumer span, whose flags it shares.
            flags: delivery.flags,
            trace_state: delivery.trace_state,
        };
        let record = RecordAttributes {
            offset: Some(delivery.offset),
            handled,
            ..RecordAttributes::default()
        };
        spans.push(identity, &record, None);
    }
}
