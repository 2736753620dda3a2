//! What every part of a session needs to make spans: settings, the client's identity, random ids, and a way out.

use std::sync::Arc;

use throughline_kafka::message::TopicRef;
use throughline_model::context::{Sampling, SpanContext, TraceState};
use throughline_model::convention::SERVICE_NAME;
use throughline_model::{KeyValue, Resource, SpanId, TraceId};

use super::capped::Capped;
use super::context::Found;
use super::outbox::Outbox;
use super::tools::Tools;
use super::topic::{TopicKey, written};
use super::{ClientKey, Cluster, Notice, Peer, Reason, Relation, Service, Settings};
use crate::Timestamp;

/// Makes the decisions about spans, and knows whose they are.
pub(super) struct Tracer<C> {
    pub(super) settings: Arc<Settings>,
    pub(super) cluster: C,
    pub(super) peer: Peer,
    pub(super) out: Outbox,
    pub(super) client: ClientKey,
    /// Spans that wait for an answer.
    pub(super) open_spans: usize,
    /// The client's address, as attributes have it.
    pub(super) client_address: Option<Arc<str>>,
    pub(super) resource: Arc<Resource>,
    group: Option<Arc<str>>,
    random: fastrand::Rng,
    names: Capped<Arc<str>, Arc<str>>,
    tally: Tally,
}

/// Whose child a span is, and what it is called by.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) parent: Option<SpanId>,
    /// The W3C trace flags.
    pub(super) flags: u8,
    pub(super) trace_state: TraceState,
}

/// What is counted record by record, and told once for many.
#[derive(Debug, Default)]
struct Tally {
    unsampled: u32,
    too_fast: u32,
    too_many: u32,
}

/// Names of topics that a connection remembers, not to make them anew for each request.
const NAMES: usize = 1024;

const SAMPLED: u8 = 0x01;
pub(super) const RANDOM: u8 = 0x02;

// === impl Tracer ===

impl<C: Cluster> Tracer<C> {
    pub(super) fn new(settings: Arc<Settings>, cluster: C, peer: Peer, seed: u64) -> Self {
        let resource = Arc::clone(&settings.resource);
        Self {
            settings,
            cluster,
            client: ClientKey {
                address: peer.address,
                client_id: None,
            },
            client_address: peer.address.map(|address| address.to_string().into()),
            peer,
            out: Outbox::default(),
            open_spans: 0,
            resource,
            group: None,
            random: fastrand::Rng::with_seed(seed),
            names: Capped::new(NAMES),
            tally: Tally::default(),
        }
    }

    pub(super) fn set_settings(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
        self.resource = self.service();
    }

    // --- who it is ---

    /// The client says who it is.
    pub(super) fn see_client(&mut self, client_id: Option<&str>) {
        let client_id = client_id.filter(|id| !id.is_empty());
        if self.client.client_id.as_deref() != client_id {
            self.client.client_id = client_id.map(Arc::from);
            self.group = None;
            self.resource = self.service();
        }
    }

    /// The client says of which group it is.
    pub(super) fn see_group(&mut self, group: &str) {
        if self.group.as_deref() != Some(group) && !group.is_empty() {
            self.group = Some(group.into());
        }
        // Each time: another client of the same name may have said something else.
        self.cluster
            .known(|known| known.learn_group(&self.client, group));
    }

    /// The client's group, if that is known and certain.
    pub(super) fn group(&self) -> Option<Arc<str>> {
        self.cluster
            .known(|known| known.group(&self.client))
            .or_else(|| self.group.clone())
    }

    fn service(&self) -> Arc<Resource> {
        let base = &self.settings.resource;
        match (self.settings.service, &self.client.client_id) {
            (Service::ByClientId, Some(id)) => {
                let others = base
                    .attributes
                    .iter()
                    .filter(|attribute| attribute.key != SERVICE_NAME)
                    .cloned();
                let attributes = std::iter::once(KeyValue::new(SERVICE_NAME, id))
                    .chain(others)
                    .collect();
                Arc::new(Resource { attributes })
            }
            (Service::ByClientId | Service::Fixed, _) => Arc::clone(base),
        }
    }

    // --- topics ---

    pub(super) fn topic_key(&mut self, topic: &TopicRef<'_>) -> Option<TopicKey> {
        match topic {
            TopicRef::Id(id) => Some(TopicKey::Id(id.0)),
            TopicRef::Name(field) => field.text().map(|name| TopicKey::Name(self.name(name))),
        }
    }

    /// What the topic is called; its id as long as nobody has told.
    pub(super) fn topic_name(&mut self, topic: &TopicKey) -> Arc<str> {
        match topic {
            TopicKey::Name(name) => Arc::clone(name),
            TopicKey::Id(id) => {
                let known = self.cluster.known(|known| known.topic_name(*id));
                known.unwrap_or_else(|| self.name(&written(*id)))
            }
        }
    }

    /// Whether it is known what the topic is called.
    pub(super) fn is_named(&self, topic: &TopicKey) -> bool {
        match topic {
            TopicKey::Name(_) => true,
            TopicKey::Id(id) => self.cluster.known(|known| known.topic_name(*id)).is_some(),
        }
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name), Arc::clone(&name));
        name
    }

    // --- decisions ---

    /// A record is sent: the identity of its span, and the context that it is to get. `cause` is the span that it is of, where it
    /// does not say so itself.
    pub(super) fn send(
        &mut self,
        found: Found,
        cause: Option<SpanContext>,
        now: Timestamp,
    ) -> (Option<Identity>, Option<SpanContext>) {
        let forced = match found {
            Found::Context(context) => {
                let sampled = self.is_sampled(context.sampling, context.trace_id);
                return (self.admit(sampled, now).then(|| self.child(context)), None);
            }
            Found::Decided(Sampling::Drop | Sampling::Deferred) => {
                self.tally.unsampled = self.tally.unsampled.saturating_add(1);
                return (None, None);
            }
            Found::Decided(sampling) => Some(sampling),
            Found::Nothing => None,
        };
        if let Some(cause) = cause {
            return self.send_caused(cause, now);
        }
        let (trace_id, span_id) = (self.trace_id(), self.span_id());
        let sampled = forced.is_some() || self.is_sampled(Sampling::Deferred, trace_id);
        if !self.admit(sampled, now) {
            // Nobody behind it begins a trace either.
            let context = SpanContext::new(trace_id, span_id, Sampling::Drop);
            return (None, self.settings.inject_unsampled.then_some(context));
        }
        let context = SpanContext::new(trace_id, span_id, forced.unwrap_or(Sampling::Sample));
        let trace_state = TraceState::default();
        (
            Some(Identity {
                trace_id,
                span_id,
                parent: None,
                flags: SAMPLED,
                trace_state,
            }),
            Some(context),
        )
    }

    fn send_caused(
        &mut self,
        cause: SpanContext,
        now: Timestamp,
    ) -> (Option<Identity>, Option<SpanContext>) {
        let sampled = self.is_sampled(cause.sampling, cause.trace_id);
        let (is_made, identity) = (self.admit(sampled, now), self.child(cause));
        if is_made {
            let context = identity.context(Sampling::Sample);
            return (Some(identity), Some(context));
        }
        (
            None,
            self.settings
                .inject_unsampled
                .then(|| identity.context(Sampling::Drop)),
        )
    }

    /// A record is delivered: the identity of its span, if there is to be one.
    pub(super) fn receive(
        &mut self,
        found: &Found,
        relation: Relation,
        now: Timestamp,
    ) -> Option<Identity> {
        let sampling = match found {
            Found::Context(context) => {
                let sampled = self.is_sampled(context.sampling, context.trace_id);
                if !self.admit(sampled, now) {
                    return None;
                }
                if relation == Relation::ParentAndLink {
                    return Some(self.child(context.clone()));
                }
                Sampling::Sample
            }
            Found::Decided(sampling) => *sampling,
            Found::Nothing => Sampling::Deferred,
        };
        let (trace_id, span_id) = (self.trace_id(), self.span_id());
        let is_linked = matches!(found, Found::Context(_));
        // With a link the sender has decided, and the span has been admitted.
        let is_wanted = is_linked || {
            let sampled = self.is_sampled(sampling, trace_id);
            self.admit(sampled, now)
        };
        let trace_state = TraceState::default();
        is_wanted.then_some(Identity {
            trace_id,
            span_id,
            parent: None,
            flags: SAMPLED,
            trace_state,
        })
    }

    /// A span below one that was recorded.
    pub(super) fn admit_settled(&mut self, now: Timestamp) -> bool {
        self.admit(true, now)
    }

    pub(super) fn span_id(&mut self) -> SpanId {
        loop {
            if let Some(id) = SpanId::from_bytes(self.random.u64(..).to_be_bytes()) {
                return id;
            }
        }
    }

    pub(super) fn trace_id(&mut self) -> TraceId {
        loop {
            if let Some(id) = TraceId::from_bytes(self.random.u128(..).to_be_bytes()) {
                return id;
            }
        }
    }

    fn child(&mut self, context: SpanContext) -> Identity {
        let flags = SAMPLED | if context.random { RANDOM } else { 0 };
        let (trace_id, parent) = (context.trace_id, Some(context.span_id));
        Identity {
            trace_id,
            span_id: self.span_id(),
            parent,
            flags,
            trace_state: context.trace_state,
        }
    }

    /// By the sender's decision; where there is none by the trace id, so that all who look at a trace decide the same.
    fn is_sampled(&self, sampling: Sampling, trace_id: TraceId) -> bool {
        match sampling {
            Sampling::Drop => false,
            Sampling::Sample | Sampling::Debug => true,
            Sampling::Deferred => {
                let low = trace_id
                    .to_bytes()
                    .last_chunk()
                    .map_or(0, |low| u64::from_be_bytes(*low));
                let ratio = self.settings.sample_ratio;
                ratio >= 1.0 || as_part(low) < ratio
            }
        }
    }

    /// Whether a span is to be made; counted when not.
    fn admit(&mut self, sampled: bool, now: Timestamp) -> bool {
        let counter = if !sampled {
            &mut self.tally.unsampled
        } else if self.open_spans >= self.settings.limits.max_open_spans {
            &mut self.tally.too_many
        } else if !self.cluster.known(|known| known.admit_span(now)) {
            &mut self.tally.too_fast
        } else {
            return true;
        };
        *counter = counter.saturating_add(1);
        false
    }

    // --- what is told ---

    /// Tells what has been counted.
    pub(super) fn flush(&mut self) {
        let Tally {
            unsampled,
            too_fast,
            too_many,
        } = std::mem::take(&mut self.tally);
        if unsampled > 0 {
            self.out.notice(Notice::Unsampled { records: unsampled });
        }
        self.dropped(Reason::SpanRate, too_fast);
        self.dropped(Reason::Capacity, too_many);
    }

    /// Spans are not made.
    pub(super) fn dropped(&mut self, reason: Reason, spans: u32) {
        if spans > 0 {
            self.out.notice(Notice::SpanDropped { reason, spans });
        }
    }

    /// Something goes on as it came.
    pub(super) fn passed(&mut self, reason: Reason, records: u32) {
        self.out.notice(Notice::Passed { reason, records });
    }

    // --- tools ---

    /// Lends the tools for as long as `work` takes.
    pub(super) fn with_tools<T>(&mut self, work: impl FnOnce(&mut Self, &mut Tools) -> T) -> T {
        let mut tools = self
            .cluster
            .known(super::Known::take_tools)
            .unwrap_or_default();
        let done = work(self, &mut tools);
        tools.tidy();
        self.cluster.known(|known| known.give_tools(tools));
        done
    }
}

/// Where a number lies between 0 and 1.
#[expect(
    clippy::cast_precision_loss,
    reason = "a sampling ratio needs no more than a double has"
)]
fn as_part(number: u64) -> f64 {
    number as f64 / 18_446_744_073_709_551_616.0
}

impl<C> std::fmt::Debug for Tracer<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer")
            .field("client", &self.client)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
