//! Settlement: a client commits or acknowledges records, and their deliveries end.

use std::sync::Arc;

use super::context::HandlerContext;
use super::correlation;
use super::span::{PartitionAttributes, RecordAttributes, RecordOperation, RecordSpan};
use crate::Timestamp;
use crate::kafka::cluster::{ClientPartition, ClusterHandle, PendingDelivery, SettledOffsets};
use crate::kafka::topic::PartitionKey;
use crate::trace::{SpanIdentity, seconds};

/// Records of a partition that a broker accepted as settled.
#[derive(Debug)]
pub(super) struct Settlement<'a> {
    pub(super) partition: &'a PartitionKey,
    pub(super) group: Option<&'a Arc<str>>,
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
        // Also when no delivery is known: spans may be off while the process is correlated.
        correlation::report_settled(&context.cluster, &partition, offsets, self.now);
        let group = self.group.cloned().or_else(|| context.group());
        let (deliveries, cluster_id) = context.cluster.with_state(|state| {
            let deliveries = state.settle(&partition, group.as_ref(), offsets);
            (deliveries, state.cluster_id())
        });
        if deliveries.is_empty() {
            return;
        }
        let (topic, index) = (partition.topic, partition.partition);
        let operation = RecordOperation::Commit;
        let spans = u32::try_from(deliveries.len()).unwrap_or(u32::MAX);
        context.budget.expect_records(spans);
        let attributes = PartitionAttributes::new(operation, topic, index, group, cluster_id);
        for delivery in deliveries {
            self.emit_span(context, &attributes, delivery);
        }
    }

    fn emit_span<C: ClusterHandle>(
        &self,
        context: &mut HandlerContext<C>,
        partition: &PartitionAttributes,
        delivery: PendingDelivery,
    ) {
        // The consumer span was recorded, so its child is sampled.
        if !context.budget.admit(&context.cluster, true, self.now) {
            return;
        }
        let handled = self.now.saturating_sub(delivery.at);
        let span = RecordSpan {
            identity: SpanIdentity {
                trace_id: delivery.trace_id,
                span_id: context.ids.span_id(),
                parent: Some(delivery.span_id),
                // The same trace as the consumer span, whose flags it shares.
                flags: delivery.flags,
                trace_state: delivery.trace_state,
            },
            start: self.sent_at,
            end: self.now,
            partition,
            record: RecordAttributes {
                offset: Some(delivery.offset),
                handled: Some(seconds(handled)),
                acknowledged: self.acknowledgement,
                ..RecordAttributes::default()
            },
            links: Vec::new(),
        };
        let span = span.build(&context.settings, &context.client);
        context.out.push_span(span);
    }
}
