//! One request and its answer.

use std::sync::Arc;

use throughline_model::context::{
    self, Baggage, Carrier, CarrierMut, Format, PropagatedContext, Sampling, SpanContext,
    TraceState,
};
use throughline_model::convention::{
    ERROR_TYPE, HTTP_RESPONSE_STATUS_CODE, PARENT_CONFIDENCE, PARENT_EVIDENCE, RPC_GRPC_STATUS_CODE,
};
use throughline_model::{KeyValue, Link, Span, SpanId, SpanKind, Status, TraceId, flag};

use super::call_signature::request_signature;
use super::describe::{Content, Description, grpc_code, is_fault_of_server, known_method};
use super::received::Received;
use super::{Direction, Failure, Peer, Request, Settings};
use crate::Timestamp;
use crate::correlate::{
    ActivityId, CallHandle, CallOutcome, CorrelatorAccess, Evidence, OutboundCall, REQUEST_ID,
    RequestOutcome, TokenSource,
};

/// One request and its answer, from the request's head to whatever ends it.
///
/// ```text
///   Idle --handle_request--> Asked --handle_response--> Answered --handle_end--> Over --poll_span--> a span, once
///                              |    (101, CONNECT: Over)    |                     ^
///                              +------- handle_failure -----+---------------------+
/// ```
///
/// What comes when it makes no sense is passed over. An exchange that is let go before it is over has a span that nobody
/// gets, so the driver ends each with [`Exchange::handle_end`] or [`Exchange::handle_failure`], and then takes the span.
#[derive(Debug)]
pub struct Exchange {
    settings: Arc<Settings>,
    direction: Direction,
    peer: Peer,
    random: fastrand::Rng,
    state: State,
    rejected: u32,
}

#[derive(Debug)]
enum State {
    Idle,
    /// Under way; the answer's status as soon as it is known.
    Open(Box<Open>),
    Over(Option<Box<Span>>),
}

/// What is known of an exchange under way.
#[derive(Debug)]
struct Open {
    place: Place,
    /// [`None`] when it is not sampled.
    span: Option<Span>,
    /// The tunnel of CONNECT begins with any good answer.
    is_connect: bool,
    is_grpc: bool,
    status: Option<u16>,
    grpc_status: Option<u32>,
}

/// What the correlator knows of it.
#[derive(Debug, Clone, Copy)]
enum Place {
    Inbound(ActivityId),
    Outbound(CallHandle),
}

/// Where a span belongs.
struct Origin {
    parent: Option<SpanContext>,
    /// A context that came but is not continued.
    distrusted: Option<SpanContext>,
    /// A decision that came without a context.
    sampling: Option<Sampling>,
    evidence: Option<(Evidence, Option<f64>)>,
}

const SWITCHING_PROTOCOLS: u16 = 101;

// === impl Exchange ===

impl Exchange {
    /// An exchange that is about to begin. `seed` is random: ids come of it.
    #[must_use]
    pub fn new(settings: Arc<Settings>, direction: Direction, peer: Peer, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self {
            settings,
            direction,
            peer,
            random,
            state: State::Idle,
            rejected: 0,
        }
    }

    /// The request's head has come; its headers are changed as they are to go on.
    pub fn handle_request(
        &mut self,
        now: Timestamp,
        request: &Request<'_>,
        headers: &mut dyn CarrierMut,
        correlator: &impl CorrelatorAccess,
    ) {
        if !matches!(self.state, State::Idle) {
            return;
        }
        let received = Received::new(&*headers);
        let (found, formats) = (
            context::extract(&self.settings.read, &received),
            received.formats(),
        );
        self.rejected = found.rejected;
        let has_request_id = headers
            .last(REQUEST_ID)
            .is_some_and(|id| !id.trim_ascii().is_empty());
        let made = (self.settings.request_id && !has_request_id).then(|| self.request_id());
        let (origin, context, place) = match self.direction {
            Direction::Inbound => {
                if let Some(id) = &made {
                    headers.replace(REQUEST_ID, id.as_bytes());
                }
                let origin = self.trusted(found);
                let context = self.child(&origin);
                let tokens = correlator.token_extractor().extract(TokenSource {
                    headers: &*headers,
                    key: None,
                    body: request.body,
                });
                let server = context.clone();
                let inbound = correlator
                    .with_correlator(|correlator| correlator.begin_request(now, server, tokens));
                (origin, context, Place::Inbound(inbound))
            }
            Direction::Outbound => {
                let tokens = correlator.token_extractor().extract(TokenSource {
                    headers: &*headers,
                    key: None,
                    body: request.body,
                });
                let method = known_method(request.method).unwrap_or("HTTP");
                let call = OutboundCall {
                    signature: request_signature(method, request.authority, request.target),
                    created_at: None,
                    carried: found.context,
                    tokens,
                    expects_response: true,
                };
                let attribution =
                    correlator.with_correlator(|correlator| correlator.attribute_call(now, &call));
                let parent = attribution.parent;
                if let Some(id) = &made {
                    let known = attribution.request_id.as_deref();
                    headers.replace(REQUEST_ID, known.unwrap_or(id.as_bytes()));
                }
                let origin = Origin {
                    parent: parent.context,
                    distrusted: None,
                    sampling: found.sampling,
                    evidence: Some((parent.evidence, parent.confidence)),
                };
                let context = self.child(&origin);
                (origin, context, Place::Outbound(attribution.call))
            }
        };
        self.write(&context, &formats, headers);
        let content = Content {
            user_agent: text(headers, "user-agent"),
            content_type: text(headers, "content-type"),
        };
        let is_grpc = content.is_grpc();
        let span = context.sampling.is_sampled().then(|| {
            let description =
                Description::of(self.direction, request, content, self.peer, &self.settings);
            self.span(now, &origin, &context, description)
        });
        let is_connect = request.method == "CONNECT";
        let open = Open {
            place,
            span,
            is_connect,
            is_grpc,
            status: None,
            grpc_status: None,
        };
        self.state = State::Open(Box::new(open));
    }

    /// The head of an answer has come. Interim ones (100, 103) are none yet; one that turns the connection into a tunnel is the
    /// last that there is to see.
    pub fn handle_response(
        &mut self,
        now: Timestamp,
        status: u16,
        headers: &dyn Carrier,
        correlator: &impl CorrelatorAccess,
    ) {
        let State::Open(open) = &mut self.state else {
            return;
        };
        if (100..200).contains(&status) && status != SWITCHING_PROTOCOLS {
            return;
        }
        open.status = Some(status);
        open.read_grpc_status(headers);
        if status == SWITCHING_PROTOCOLS || (open.is_connect && (200..300).contains(&status)) {
            self.finish(now, None, correlator);
        }
    }

    /// The answer has trailers.
    pub fn handle_trailers(&mut self, trailers: &dyn Carrier) {
        if let State::Open(open) = &mut self.state {
            open.read_grpc_status(trailers);
        }
    }

    /// The answer has gone out to its end.
    pub fn handle_end(&mut self, now: Timestamp, correlator: &impl CorrelatorAccess) {
        self.finish(now, None, correlator);
    }

    /// It came to nothing.
    pub fn handle_failure(
        &mut self,
        now: Timestamp,
        failure: Failure,
        correlator: &impl CorrelatorAccess,
    ) {
        self.finish(now, Some(failure), correlator);
    }

    /// The span, once, when the exchange is over and was sampled.
    pub fn poll_span(&mut self) -> Option<Span> {
        if let State::Over(span) = &mut self.state {
            span.take().map(|span| *span)
        } else {
            None
        }
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    /// How many headers held a context that was malformed.
    #[must_use]
    pub const fn rejected(&self) -> u32 {
        self.rejected
    }

    // --- the request ---

    fn trusted(&self, found: PropagatedContext) -> Origin {
        let is_trusted = self.settings.trust.admits(self.peer.address);
        if !is_trusted {
            return Origin {
                parent: None,
                distrusted: found.context,
                sampling: None,
                evidence: None,
            };
        }
        let evidence = found.context.is_some().then_some((Evidence::Header, None));
        Origin {
            parent: found.context,
            distrusted: None,
            sampling: found.sampling,
            evidence,
        }
    }

    /// The context of the span to be made.
    fn child(&mut self, origin: &Origin) -> SpanContext {
        let span_id = self.span_id();
        let (trace_id, random, trace_state, decided) = match &origin.parent {
            Some(parent) => (
                parent.trace_id,
                parent.random,
                parent.trace_state.clone(),
                parent.sampling,
            ),
            None => (
                self.trace_id(),
                false,
                TraceState::default(),
                origin.sampling.unwrap_or(Sampling::Deferred),
            ),
        };
        let sampling = match decided {
            Sampling::Deferred if self.is_chosen(trace_id) => Sampling::Sample,
            Sampling::Deferred => Sampling::Drop,
            decided @ (Sampling::Drop | Sampling::Sample | Sampling::Debug) => decided,
        };
        SpanContext {
            trace_id,
            span_id,
            sampling,
            random,
            trace_state,
        }
    }

    /// Puts the span's context where one was, and where one is wanted. Baggage goes on as it came.
    fn write(&self, context: &SpanContext, present: &[Format], headers: &mut dyn CarrierMut) {
        let stale = present
            .iter()
            .filter(|format| !self.settings.write.contains(format));
        let wanted = self
            .settings
            .write
            .iter()
            .chain(stale)
            .filter(|format| **format != Format::Baggage);
        let formats: Vec<Format> = wanted.copied().collect();
        if formats.contains(&Format::W3c) {
            // Of several, all go.
            headers.remove("traceparent");
        }
        context::inject(&formats, context, &Baggage::default(), headers);
    }

    fn span(
        &self,
        now: Timestamp,
        origin: &Origin,
        context: &SpanContext,
        description: Description,
    ) -> Span {
        let is_inbound = self.direction == Direction::Inbound;
        let remote = if is_inbound && origin.parent.is_some() {
            flag::IS_REMOTE
        } else {
            0
        };
        let Description {
            name,
            mut attributes,
        } = description;
        if let Some((evidence, confidence)) = origin.evidence {
            attributes.push(KeyValue::new(PARENT_EVIDENCE, evidence.name()));
            attributes
                .extend(confidence.map(|confidence| KeyValue::new(PARENT_CONFIDENCE, confidence)));
        }
        Span {
            trace_id: context.trace_id,
            span_id: context.span_id,
            parent_span_id: origin.parent.as_ref().map(|parent| parent.span_id),
            flags: u32::from(context.trace_flags()) | flag::HAS_IS_REMOTE | remote,
            trace_state: context.trace_state.as_str().to_owned(),
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
            links: origin.distrusted.iter().map(Link::follows_from).collect(),
            status: Status::Unset,
            dropped: 0,
            resource: Arc::clone(&self.settings.resource),
            scope: Arc::clone(&self.settings.scope),
        }
    }

    /// By the trace id, so that all who look at a trace decide the same.
    fn is_chosen(&self, trace_id: TraceId) -> bool {
        let low = trace_id
            .to_bytes()
            .last_chunk()
            .map_or(0, |low| u64::from_be_bytes(*low));
        let ratio = self.settings.sample_ratio;
        ratio >= 1.0 || as_part(low) < ratio
    }

    fn trace_id(&mut self) -> TraceId {
        loop {
            if let Some(id) = TraceId::from_bytes(self.random.u128(..).to_be_bytes()) {
                return id;
            }
        }
    }

    fn span_id(&mut self) -> SpanId {
        loop {
            if let Some(id) = SpanId::from_bytes(self.random.u64(..).to_be_bytes()) {
                return id;
            }
        }
    }

    /// A random UUID (RFC 9562, version 4), as Envoy makes them.
    fn request_id(&mut self) -> String {
        let bits = self.random.u128(..);
        let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let hex = format!("{bits:032x}");
        let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
        [
            part(0..8),
            part(8..12),
            part(12..16),
            part(16..20),
            part(20..32),
        ]
        .join("-")
    }

    // --- the end ---

    fn finish(
        &mut self,
        now: Timestamp,
        failure: Option<Failure>,
        correlator: &impl CorrelatorAccess,
    ) {
        let open = match std::mem::replace(&mut self.state, State::Over(None)) {
            State::Open(open) => open,
            other @ (State::Idle | State::Over(_)) => {
                self.state = other;
                return;
            }
        };
        match open.place {
            Place::Inbound(activity) => {
                let outcome = open.ending(failure);
                correlator
                    .with_correlator(|correlator| correlator.end_request(now, activity, outcome));
            }
            Place::Outbound(call) => {
                let outcome = if open.went_well(failure) {
                    CallOutcome::Succeeded
                } else {
                    CallOutcome::Failed
                };
                correlator
                    .with_correlator(|correlator| correlator.complete_call(now, call, outcome));
            }
        }
        let error = open.error(self.direction, failure);
        let Open {
            span,
            status,
            grpc_status,
            ..
        } = *open;
        self.state = State::Over(span.map(|mut span| {
            span.end = now.max(span.start);
            let code = |name, code| KeyValue::new(name, code);
            span.attributes
                .extend(status.map(|status| code(HTTP_RESPONSE_STATUS_CODE, i64::from(status))));
            span.attributes
                .extend(grpc_status.map(|status| code(RPC_GRPC_STATUS_CODE, i64::from(status))));
            if let Some((kind, is_error)) = error {
                span.attributes.push(KeyValue::new(ERROR_TYPE, kind));
                if is_error {
                    span.status = Status::Error(String::new());
                }
            }
            Box::new(span)
        }));
    }
}

// === impl Open ===

impl Open {
    fn read_grpc_status(&mut self, headers: &dyn Carrier) {
        if self.is_grpc
            && let Some(status) =
                text(headers, "grpc-status").and_then(|status| status.trim().parse().ok())
        {
            self.grpc_status = Some(status);
        }
    }

    /// Whether the service may still be at work.
    const fn ending(&self, failure: Option<Failure>) -> RequestOutcome {
        match failure {
            None | Some(Failure::Connect) => RequestOutcome::Completed,
            Some(
                Failure::Cancelled
                | Failure::Reset
                | Failure::Timeout
                | Failure::Protocol
                | Failure::Shutdown,
            ) => RequestOutcome::Aborted,
        }
    }

    /// Whether the caller has no reason to ask again.
    fn went_well(&self, failure: Option<Failure>) -> bool {
        let asks_again = |status: u16| status >= 500 || matches!(status, 408 | 425 | 429);
        failure.is_none()
            && !self.status.is_none_or(asks_again)
            && self.grpc_status.is_none_or(|status| status == 0)
    }

    /// What went wrong, and whether it was an error on this side (HTTP conventions, "Status"; gRPC conventions likewise).
    fn error(&self, direction: Direction, failure: Option<Failure>) -> Option<(String, bool)> {
        let is_client = direction == Direction::Outbound;
        if let Some(failure) = failure {
            return Some((failure.name().to_owned(), failure != Failure::Cancelled));
        }
        let fails = if is_client { 400 } else { 500 };
        if let Some(status) = self.status.filter(|status| *status >= fails) {
            return Some((status.to_string(), true));
        }
        let status = self.grpc_status.filter(|status| *status != 0)?;
        (is_client || is_fault_of_server(status)).then(|| (grpc_code(status).to_owned(), true))
    }
}

fn text<'a>(headers: &'a (impl Carrier + ?Sized), name: &str) -> Option<&'a str> {
    headers
        .last(name)
        .and_then(|value| str::from_utf8(value).ok())
}

/// Where a number lies between 0 and 1.
#[expect(
    clippy::cast_precision_loss,
    reason = "a sampling ratio needs no more than a double has"
)]
fn as_part(number: u64) -> f64 {
    number as f64 / 18_446_744_073_709_551_616.0
}
