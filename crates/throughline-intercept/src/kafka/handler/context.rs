//! Context of a connection: the state that handlers of all APIs read and change.

use std::sync::Arc;

use super::client::ClientIdentity;
use super::outbox::Outbox;
use super::span_budget::SpanBudget;
use crate::Timestamp;
use crate::kafka::cluster::{
    ClientConnection, ClusterHandle, ClusterState, ConnectionId, FetchedPartition, MemberSign,
    Scratch,
};
use crate::kafka::topic::{TopicKey, TopicNames, format_id};
use crate::kafka::{ConnectionEndpoints, SessionEvent, Settings, SkipReason};
use crate::trace::{IdGenerator, Sampler};

/// State of a connection that handlers share.
pub(in crate::kafka) struct HandlerContext<C> {
    pub(in crate::kafka) settings: Arc<Settings>,
    pub(in crate::kafka) cluster: C,
    pub(in crate::kafka) connection: ConnectionId,
    pub(in crate::kafka) client: ClientIdentity,
    pub(in crate::kafka) topics: TopicNames,
    pub(in crate::kafka) ids: IdGenerator,
    pub(in crate::kafka) budget: SpanBudget,
    pub(in crate::kafka) out: Outbox,
    /// Whether an earlier request of the connection that was changed has not been answered.
    pub(in crate::kafka) follows_change: bool,
}

// === impl HandlerContext ===

impl<C: ClusterHandle> HandlerContext<C> {
    pub(in crate::kafka) fn new(
        settings: Arc<Settings>,
        cluster: C,
        endpoints: ConnectionEndpoints,
        seed: u64,
    ) -> Self {
        Self {
            client: ClientIdentity::new(endpoints, &settings),
            budget: SpanBudget::new(settings.limits.max_open_spans),
            settings,
            connection: cluster.with_state(ClusterState::next_connection_id),
            cluster,
            topics: TopicNames::new(),
            ids: IdGenerator::new(seed),
            out: Outbox::default(),
            follows_change: false,
        }
    }

    /// Replaces the settings for the requests and records that come from here on.
    pub(in crate::kafka) fn set_settings(&mut self, settings: Arc<Settings>) {
        self.budget.set_max_open(settings.limits.max_open_spans);
        self.client.update_resource(&settings);
        self.settings = settings;
    }

    pub(super) fn sampler(&self) -> Sampler {
        Sampler::new(self.settings.sample_ratio)
    }

    /// Takes the client id of a request header.
    pub(in crate::kafka) fn set_client_id(&mut self, client_id: Option<&str>, now: Timestamp) {
        // An empty id identifies nobody: the resource keeps its own name.
        let client_id = client_id.filter(|id| !id.is_empty());
        if self.client.key.client_id.as_deref() != client_id {
            // Another client may share the connection (a proxy): its group is another one.
            self.close(now);
            self.client.set_client_id(client_id, &self.settings);
        }
    }

    /// Records the end of the connection, or that another client uses it.
    pub(in crate::kafka) fn close(&self, now: Timestamp) {
        self.cluster
            .with_state(|state| state.close_connection(&self.client.key, self.connection, now));
    }

    /// Returns the connection as groups are found for it.
    pub(super) const fn client_connection(&self) -> ClientConnection<'_> {
        ClientConnection {
            client: &self.client.key,
            id: self.connection,
            broker: self.client.endpoints.broker.as_ref(),
        }
    }

    /// Records that a member of a group named it.
    pub(super) fn learn_group(&mut self, group: &str, sign: MemberSign<'_>, now: Timestamp) {
        if group.is_empty() {
            return;
        }
        // Compared first: heartbeats name the group every few seconds.
        if self.client.group.as_deref() != Some(group) {
            self.client.group = Some(group.into());
        }
        let connection = self.client_connection();
        self.cluster
            .with_state(|state| state.learn_group(connection, group, sign, now));
    }

    /// Records that a member of a group gets the offsets from which it will read.
    pub(in crate::kafka) fn offsets_fetched(&self, now: Timestamp) {
        let connection = self.client_connection();
        self.cluster
            .with_state(|state| state.offsets_fetched(connection, now));
    }

    /// Returns the group for which this connection reads a partition; [`None`] when it is unknown
    /// or ambiguous.
    pub(super) fn reader_group(
        &self,
        partition: FetchedPartition<'_>,
        now: Timestamp,
    ) -> Option<Arc<str>> {
        let connection = self.client_connection();
        self.cluster
            .with_state(|state| state.reader_group(connection, partition, now))
    }

    /// Returns the name of a topic; its formatted id until the name is known.
    pub(super) fn topic_name(&mut self, topic: &TopicKey) -> Arc<str> {
        match topic {
            TopicKey::Name(name) => Arc::clone(name),
            TopicKey::Id(id) => {
                let known = self.cluster.with_state(|state| state.topic_name(*id));
                known.unwrap_or_else(|| self.topics.intern(&format_id(*id)))
            }
        }
    }

    /// Returns whether the name of a topic is known.
    pub(super) fn knows_topic_name(&self, topic: &TopicKey) -> bool {
        match topic {
            TopicKey::Name(_) => true,
            TopicKey::Id(id) => self
                .cluster
                .with_state(|state| state.topic_name(*id).is_some()),
        }
    }

    /// Returns unused permits for spans, and reports records and spans that were not admitted. The
    /// dispatcher calls it after each handler.
    pub(in crate::kafka) fn flush_budget(&mut self) {
        self.budget.flush(&self.cluster, &mut self.out);
    }

    /// Reports that a batch cannot be read: `records` pass and get no span.
    pub(super) fn skip_records(&mut self, reason: SkipReason, records: u32) {
        self.out.skip(reason, records);
        self.out.drop_spans(reason, records);
    }

    /// Reports an event.
    pub(super) fn report(&mut self, event: SessionEvent) {
        self.out.push_event(event);
    }

    /// Borrows scratch from the pool of the process.
    pub(super) fn take_scratch(&self) -> Box<Scratch> {
        self.cluster
            .with_state(ClusterState::take_scratch)
            .unwrap_or_default()
    }

    /// Returns scratch to the pool.
    pub(super) fn return_scratch(&self, mut scratch: Box<Scratch>) {
        // Outside of the lock: freeing megabytes takes its time.
        scratch.shrink();
        self.cluster
            .with_state(|state| state.return_scratch(scratch));
    }
}

impl<C> std::fmt::Debug for HandlerContext<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandlerContext")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}
