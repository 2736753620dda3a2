//! One request and its response, as a state machine.

use std::sync::Arc;

use throughline_model::context::{
    self, Carrier, CarrierMut, Format, FormatSet, PropagatedContext, SpanContext,
};
use throughline_model::{DroppedCounts, Link, Span, SpanKind, Status};

use super::call_signature::request_signature;
use super::description::SpanDescription;
use super::headers::{RequestHeaderCarrier, has_room, replace_context};
use super::outcome::{ExchangeFailure, ExchangeOutcome};
use super::request::{Direction, HttpPeer, HttpRequestHead, RequestContent};
use super::settings::Settings;
use super::span_parent::SpanParent;
use super::telemetry::{self, TelemetrySystem};
use crate::Timestamp;
use crate::correlate::{
    ActivityId, CallHandle, CarriedContext, CorrelatorAccess, OutboundCall, PropagationObservation,
    REQUEST_ID, TokenSet, TokenSource,
};
use crate::trace::{IdGenerator, Sampler, SpanIdentity};

const STATUS_SWITCHING_PROTOCOLS: u16 = 101;

/// One request and its response, from the head of the request to its end.
///
/// ```text
///   Idle --handle_request--> Open --handle_response--> Open --handle_end--> Ended --poll_span-->
///                             |   (101, CONNECT: Ended) |                    ^
///                             +----- handle_failure ----+--------------------+
/// ```
///
/// A request with the telemetry of a service is forwarded as it came: it changes no header, makes
/// no span and is unknown to the correlator. Its state is `Untraced` in place of `Open`.
///
/// Events that make no sense in the current state are ignored. The driver ends every exchange with
/// [`HttpExchange::handle_end`] or [`HttpExchange::handle_failure`] and then takes the span: the
/// span of an exchange that is dropped before its end is lost.
#[derive(Debug)]
pub struct HttpExchange {
    settings: Arc<Settings>,
    direction: Direction,
    peer: HttpPeer,
    ids: IdGenerator,
    state: State,
    rejected: u32,
    propagation: PropagationObservation,
}

#[derive(Debug)]
enum State {
    Idle,
    Untraced {
        system: TelemetrySystem,
        is_connect: bool,
    },
    Open(Box<OpenExchange>),
    Ended(Option<Box<Span>>),
}

/// An exchange whose request has been forwarded.
#[derive(Debug)]
struct OpenExchange {
    correlation: CorrelationHandle,
    /// Unfinished span; [`None`] if the trace is not sampled.
    span: Option<Box<Span>>,
    is_connect: bool,
    is_grpc: bool,
    outcome: ExchangeOutcome,
}

/// Handle of an exchange at the correlator.
#[derive(Debug, Clone, Copy)]
enum CorrelationHandle {
    Inbound(ActivityId),
    Outbound(CallHandle),
}

/// A request with its parent and its new span ids.
struct StartedRequest {
    parent: SpanParent,
    identity: SpanIdentity,
    /// Context of the span, to be forwarded.
    context: SpanContext,
    correlation: CorrelationHandle,
    /// Formats to write the context in, beside those that the request has.
    formats: FormatSet,
}

/// The context of a request before it is replaced.
struct ReceivedContext {
    propagated: PropagatedContext,
    /// Formats that have a header in the request, valid or not.
    present: FormatSet,
    /// Formats of which the request has a valid header.
    valid: FormatSet,
}

// === impl HttpExchange ===

impl HttpExchange {
    /// Creates an exchange before its request. Ids are generated from `seed`, which must be random.
    #[must_use]
    pub fn new(settings: Arc<Settings>, direction: Direction, peer: HttpPeer, seed: u64) -> Self {
        Self {
            settings,
            direction,
            peer,
            ids: IdGenerator::new(seed),
            state: State::Idle,
            rejected: 0,
            propagation: PropagationObservation::default(),
        }
    }

    /// Handles the head of the request, and changes its headers to those to be forwarded.
    pub fn handle_request(
        &mut self,
        now: Timestamp,
        request: &HttpRequestHead<'_>,
        headers: &mut dyn CarrierMut,
        correlator: &impl CorrelatorAccess,
    ) {
        if !matches!(self.state, State::Idle) {
            return;
        }
        if let Some(system) = self.telemetry_system(request, headers) {
            self.state = State::Untraced {
                system,
                is_connect: is_connect(request),
            };
            return;
        }
        let received = ReceivedContext::read(&self.settings, &*headers);
        let present = received.present;
        self.rejected = received.propagated.rejected;
        let started = match self.direction {
            Direction::Inbound => self.start_inbound(now, request, headers, received, correlator),
            Direction::Outbound => self.start_outbound(now, request, headers, received, correlator),
        };
        // A format that is read but not written must not keep the context of the previous hop.
        let formats = started.formats.union(present);
        replace_context(headers, &started.context, formats);
        let content = RequestContent::of(headers);
        self.state = State::Open(Box::new(OpenExchange {
            correlation: started.correlation,
            is_connect: is_connect(request),
            is_grpc: content.is_grpc(),
            outcome: ExchangeOutcome::default(),
            span: started
                .context
                .sampling
                .is_sampled()
                .then(|| Box::new(self.new_span(now, started, request, content))),
        }));
    }

    /// Handles the head of a response. Interim responses (100, 103) are ignored. A response that
    /// turns the connection into a tunnel ends the exchange.
    pub fn handle_response(
        &mut self,
        now: Timestamp,
        status: u16,
        headers: &dyn Carrier,
        correlator: &impl CorrelatorAccess,
    ) {
        // RFC 9110, section 15.2: any number of interim responses may precede the final one.
        let is_upgrade = status == STATUS_SWITCHING_PROTOCOLS;
        if (100..200).contains(&status) && !is_upgrade {
            return;
        }
        let is_connect = match &mut self.state {
            State::Open(open) => {
                open.outcome.status = Some(status);
                open.read_grpc_status(headers);
                open.is_connect
            }
            State::Untraced { is_connect, .. } => *is_connect,
            State::Idle | State::Ended(_) => return,
        };
        // RFC 9110, section 9.3.6: any 2xx response to CONNECT starts the tunnel.
        if is_upgrade || (is_connect && (200..300).contains(&status)) {
            self.finish(now, None, correlator);
        }
    }

    /// Handles the trailers of the response.
    pub fn handle_trailers(&mut self, trailers: &dyn Carrier) {
        if let State::Open(open) = &mut self.state {
            open.read_grpc_status(trailers);
        }
    }

    /// Handles the end of the response, once it has been sent completely.
    pub fn handle_end(&mut self, now: Timestamp, correlator: &impl CorrelatorAccess) {
        self.finish(now, None, correlator);
    }

    /// Handles a failure that ends the exchange.
    pub fn handle_failure(
        &mut self,
        now: Timestamp,
        failure: ExchangeFailure,
        correlator: &impl CorrelatorAccess,
    ) {
        self.finish(now, Some(failure), correlator);
    }

    /// Returns the span, once, after the end of an exchange that was sampled.
    pub fn poll_span(&mut self) -> Option<Span> {
        if let State::Ended(span) = &mut self.state {
            span.take().map(|span| *span)
        } else {
            None
        }
    }

    /// Returns whether the exchange has ended.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// Returns the system whose telemetry the request carries, from the request to its end;
    /// [`None`] for an exchange that is traced.
    #[must_use]
    pub const fn telemetry(&self) -> Option<TelemetrySystem> {
        match self.state {
            State::Untraced { system, .. } => Some(system),
            State::Idle | State::Open(_) | State::Ended(_) => None,
        }
    }

    /// Returns the number of headers that held a malformed context.
    #[must_use]
    pub const fn rejected(&self) -> u32 {
        self.rejected
    }

    /// Returns what the request has shown about the propagation of the process that sent it.
    #[must_use]
    pub const fn propagation(&self) -> PropagationObservation {
        self.propagation
    }

    // --- the request ---

    fn telemetry_system(
        &self,
        request: &HttpRequestHead<'_>,
        headers: &dyn CarrierMut,
    ) -> Option<TelemetrySystem> {
        let settings = &self.settings;
        if !settings.ignore_telemetry {
            return None;
        }
        let collector = settings.collector.as_ref();
        let is_to_collector = self.direction == Direction::Outbound
            && collector.is_some_and(|collector| collector.receives(request, self.peer));
        if is_to_collector {
            Some(TelemetrySystem::Collector)
        } else {
            telemetry::recognize(request, headers)
        }
    }

    fn start_inbound(
        &mut self,
        now: Timestamp,
        request: &HttpRequestHead<'_>,
        headers: &mut dyn CarrierMut,
        received: ReceivedContext,
        correlator: &impl CorrelatorAccess,
    ) -> StartedRequest {
        // The new id is a token like one that was received, so it is set before they are extracted.
        if let Some(id) = self.new_request_id(headers) {
            headers.replace(REQUEST_ID, id.as_bytes());
        }
        let mut parent = if self.settings.trust.admits(self.peer.address) {
            SpanParent::trusted(received.propagated)
        } else {
            SpanParent::untrusted(received.propagated)
        };
        if self.settings.ignored.contains(request, &*headers) {
            parent.drop_undecided();
        }
        let (identity, context) = self.new_identity(&parent);
        let tokens = extract_tokens(correlator, request, headers);
        // The authority names the service itself, and clients can write anything there.
        let operation = request_signature(request.method, "", request.target);
        let span_context = context.clone();
        let (activity, sent) = correlator.with_correlator(|correlator| {
            let activity = correlator.begin_request(now, span_context, operation, tokens);
            (activity, correlator.sent_formats())
        });
        StartedRequest {
            parent,
            identity,
            context,
            correlation: CorrelationHandle::Inbound(activity),
            formats: self.formats_for_service(sent, headers),
        }
    }

    /// Returns the formats for the service itself: the configured ones, and those that it has been
    /// seen to send. Before it has sent a context it may read any.
    fn formats_for_service(&self, sent: FormatSet, headers: &dyn CarrierMut) -> FormatSet {
        let settings = &self.settings;
        let configured: FormatSet = settings.write.iter().copied().collect();
        if configured.is_empty() || !settings.match_propagation {
            configured
        } else if !sent.is_empty() {
            configured.union(sent)
        } else if has_room(headers) {
            configured.union(Format::contexts().collect())
        } else {
            configured
        }
    }

    fn start_outbound(
        &mut self,
        now: Timestamp,
        request: &HttpRequestHead<'_>,
        headers: &mut dyn CarrierMut,
        received: ReceivedContext,
        correlator: &impl CorrelatorAccess,
    ) -> StartedRequest {
        let new_request_id = self.new_request_id(headers);
        let mut call = OutboundCall {
            signature: request_signature(request.method, request.authority, request.target),
            created_at: None,
            carried: received.propagated.context,
            tokens: extract_tokens(correlator, request, headers),
            expects_response: true,
        };
        let (attribution, propagation) = correlator.with_correlator(|correlator| {
            let mut propagation = PropagationObservation::default();
            if let Some(context) = &mut call.carried {
                let carried = CarriedContext {
                    context,
                    formats: received.valid,
                    signature: call.signature,
                };
                propagation = correlator.observe_propagation(now, &carried);
                // The tracer of the process has cut the id: it means the trace of the activity.
                context.trace_id = propagation.full_trace_id.unwrap_or(context.trace_id);
            }
            (correlator.attribute_call(now, &call), propagation)
        });
        self.propagation = propagation;
        if let Some(id) = new_request_id {
            // The id of the request that caused this one, where that is known.
            let known_id = attribution.request_id.as_deref();
            headers.replace(REQUEST_ID, known_id.unwrap_or(id.as_bytes()));
        }
        let parent = SpanParent::attributed(attribution.parent, received.propagated.sampling);
        let (identity, context) = self.new_identity(&parent);
        StartedRequest {
            parent,
            identity,
            context,
            correlation: CorrelationHandle::Outbound(attribution.call),
            formats: self.settings.write.iter().copied().collect(),
        }
    }

    /// Returns a new `x-request-id` if the request has none and is to get one.
    fn new_request_id(&mut self, headers: &dyn CarrierMut) -> Option<String> {
        // An empty id identifies nothing, and is replaced like a missing one.
        let has_request_id = headers
            .last(REQUEST_ID)
            .is_some_and(|id| !id.trim_ascii().is_empty());
        (self.settings.request_id && !has_request_id).then(|| self.ids.request_id())
    }

    /// Returns the identity of a span below `parent`, and the context to forward.
    fn new_identity(&mut self, parent: &SpanParent) -> (SpanIdentity, SpanContext) {
        let span_id = self.ids.span_id();
        let identity = match &parent.context {
            Some(context) => SpanIdentity::child_of(context.clone(), span_id),
            None => SpanIdentity::root(self.ids.trace_id(), span_id),
        };
        // The ratio decides only where no service before has.
        let sampling = Sampler::new(self.settings.sample_ratio)
            .resolve(parent.sampling_decision(), identity.trace_id);
        let context = identity.context(sampling);
        (identity, context)
    }

    fn new_span(
        &self,
        now: Timestamp,
        started: StartedRequest,
        request: &HttpRequestHead<'_>,
        content: RequestContent<'_>,
    ) -> Span {
        let is_inbound = self.direction == Direction::Inbound;
        let StartedRequest {
            parent, identity, ..
        } = started;
        let SpanDescription {
            name,
            mut attributes,
        } = SpanDescription::of(self.direction, request, content, self.peer, &self.settings);
        if let Some(evidence) = parent.evidence {
            evidence.append_to(&mut attributes);
        }
        Span {
            // The parent of a CLIENT span is a span of the same process.
            flags: identity.span_flags(is_inbound),
            trace_id: identity.trace_id,
            span_id: identity.span_id,
            parent_span_id: identity.parent,
            trace_state: identity.trace_state.as_str().to_owned(),
            name,
            kind: if is_inbound {
                SpanKind::Server
            } else {
                SpanKind::Client
            },
            start: now,
            end: now,
            attributes,
            events: Vec::new(),
            links: parent.untrusted.iter().map(Link::follows_from).collect(),
            status: Status::Unset,
            status_message: Box::default(),
            dropped: DroppedCounts::default(),
            resource: Arc::clone(&self.settings.resource),
            scope: Arc::clone(&self.settings.scope),
        }
    }

    // --- the end ---

    fn finish(
        &mut self,
        now: Timestamp,
        failure: Option<ExchangeFailure>,
        correlator: &impl CorrelatorAccess,
    ) {
        let open = match std::mem::replace(&mut self.state, State::Ended(None)) {
            State::Open(open) => *open,
            State::Untraced { .. } => return,
            // A second end, or an end without a request, changes nothing.
            other @ (State::Idle | State::Ended(_)) => {
                self.state = other;
                return;
            }
        };
        let outcome = ExchangeOutcome {
            failure,
            ..open.outcome
        };
        match open.correlation {
            CorrelationHandle::Inbound(activity) => {
                let request_outcome = outcome.request_outcome();
                correlator.with_correlator(|correlator| {
                    correlator.end_request(now, activity, request_outcome);
                });
            }
            CorrelationHandle::Outbound(call) => {
                let call_outcome = outcome.call_outcome();
                correlator.with_correlator(|correlator| {
                    correlator.complete_call(now, call, call_outcome);
                });
            }
        }
        self.state = State::Ended(open.span.map(|mut span| {
            // Consumers of spans take a negative duration for corruption.
            span.end = now.max(span.start);
            outcome.apply_to(&mut span, self.direction);
            span
        }));
    }
}

// === impl ReceivedContext ===

impl ReceivedContext {
    fn read(settings: &Settings, headers: &dyn CarrierMut) -> Self {
        let received = RequestHeaderCarrier::new(headers);
        let present = received.context_formats();
        // Most requests have none: the headers of each format are not looked for one by one.
        if present.is_empty() {
            return Self {
                propagated: PropagatedContext::default(),
                present,
                valid: present,
            };
        }
        let propagated = context::extract(&settings.read, &received);
        let is_valid = |format: &Format| {
            let found = context::extract(std::slice::from_ref(format), &received);
            found.context.is_some() || found.sampling.is_some()
        };
        // Most requests have one format or none, which has just been read.
        let valid = match (present.iter().count(), &propagated.context) {
            (1, Some(_)) => present,
            _ => present.iter().filter(is_valid).collect(),
        };
        Self {
            propagated,
            present,
            valid,
        }
    }
}

// === impl OpenExchange ===

impl OpenExchange {
    fn read_grpc_status(&mut self, headers: &dyn Carrier) {
        // A service that is not gRPC may use the header name for something else.
        if self.is_grpc {
            self.outcome.read_grpc_status(headers);
        }
    }
}

fn is_connect(request: &HttpRequestHead<'_>) -> bool {
    request.method == "CONNECT"
}

fn extract_tokens(
    correlator: &impl CorrelatorAccess,
    request: &HttpRequestHead<'_>,
    headers: &dyn CarrierMut,
) -> TokenSet {
    correlator.token_extractor().extract(TokenSource {
        headers,
        key: None,
        body: request.body,
    })
}
