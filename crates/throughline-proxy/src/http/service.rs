//! One request: parsed, traced, forwarded, and its response forwarded back.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::response;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use throughline_intercept::http::{Direction, ExchangeFailure, HttpRequestHead};
use tokio_util::task::TaskTracker;

use super::config::HttpLimits;
use super::connect::{ConnectRequest, ConnectTunnel, ListenAddresses};
use super::downstream::DownstreamConnection;
use super::error::{DownstreamAbort, ProxyError, Termination, is_grpc};
use super::header::{accepts_trailers, forwarded_coding, normalize_length, strip_hop_by_hop};
use super::idle_tracker::RequestGuard;
use super::pool::UpstreamLease;
use super::request_body::RequestBody;
use super::response_body::{ResponseBody, ResponseGuard};
use super::span::{ExchangeContext, ExchangeSpan};
use super::target::RequestTarget;
use super::upstream::UpstreamClient;
use crate::transport::tunnel;

/// The method of a request that was not parsed, as the semantic conventions have it.
const UNKNOWN_METHOD: &str = "_OTHER";

/// Forwards requests. One for all connections of a proxy.
pub(super) struct ProxyService {
    pub(super) tracing: Arc<ExchangeContext>,
    pub(super) limits: HttpLimits,
    /// Maximum size of a body that is searched for correlation keys; [`None`] without keys in
    /// bodies.
    pub(super) max_searched_body_bytes: Option<usize>,
    pub(super) inbound: UpstreamClient,
    pub(super) outbound: UpstreamClient,
    pub(super) serve_tunnel: TunnelHandler,
    /// A tunnel to one of them would lead back here.
    pub(super) listen_addresses: ListenAddresses,
    /// Tasks of tunnels, which outlive the tasks of their connections.
    pub(super) tunnels: TaskTracker,
}

/// Serves a tunnel until it ends. Passed in, because tunnels serve requests themselves.
pub(super) type TunnelHandler =
    fn(Arc<ProxyService>, ConnectTunnel) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// A request that is ready to be forwarded.
struct PreparedRequest {
    target: RequestTarget,
    span: ExchangeSpan,
    /// The downstream connection after an upgrade.
    upgrade: Option<OnUpgrade>,
    request_guard: RequestGuard,
}

/// The client of a request, and the features of a response that it understands.
struct ResponseRecipient {
    version: Version,
    accepts_trailers: bool,
}

/// A response with status 101, after which the connection leaves HTTP.
struct UpgradeResponse {
    response: Response<Incoming>,
    connection: UpstreamLease,
    span: ExchangeSpan,
    upgrade: Option<OnUpgrade>,
    request_guard: RequestGuard,
}

// === impl ProxyService ===

impl ProxyService {
    /// Responds to one request.
    pub(super) async fn respond(
        self: Arc<Self>,
        downstream: Arc<DownstreamConnection>,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, DownstreamAbort> {
        let is_grpc = is_grpc(request.headers());
        let is_http2 = request.version() == Version::HTTP_2;
        let is_head = request.method() == Method::HEAD;
        let may_upgrade =
            request.method() == Method::CONNECT || request.headers().contains_key(UPGRADE);
        downstream
            .interim
            .begin_request(expects_continue(&request), may_upgrade);
        let error = match self.forward(&downstream, request).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let metrics = &self.tracing.metrics;
        metrics.responded_by_proxy(downstream.direction(), error);
        if error.is_refused_tunnel() {
            self.tracing.report_refused_tunnel(error);
        }
        if let Some(termination) = error.termination(is_http2, is_grpc) {
            if termination == Termination::Reset && !is_http2 {
                downstream.tracker.reset_on_close();
            }
            return Err(termination.abort());
        }
        let mut response = error.response(is_grpc);
        if is_head {
            // A response to HEAD has no body (RFC 9110, section 9.3.2). hyper drops it in HTTP/1
            // only.
            *response.body_mut() = ResponseBody::from(Bytes::new());
        }
        // The bytes that follow a malformed request may be a part of it (RFC 9112, section 11.2).
        if !is_http2 && error.status().is_client_error() {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    async fn forward(
        self: &Arc<Self>,
        downstream: &Arc<DownstreamConnection>,
        mut request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        let request_guard = downstream.tracker.begin_request();
        let upstream = self.upstream(downstream.direction());
        if downstream.is_own_connection(upstream) {
            return Err(ProxyError::ProxyLoop);
        }
        let target = match RequestTarget::parse(&request, &downstream.route) {
            Ok(target) => target,
            Err(error) => {
                let (parts, _) = request.into_parts();
                return Err(self.refuse(downstream, Some(parts), error));
            }
        };
        if target.is_connect {
            let upgrade = hyper::upgrade::on(&mut request);
            let connect = ConnectRequest {
                downstream: Arc::clone(downstream),
                target,
                head: request.into_parts().0,
                started_at_ns: self.tracing.now_ns(),
            };
            // Boxed: CONNECT is rare, and would enlarge the future of every request.
            return Box::pin(self.connect(connect, upgrade, request_guard)).await;
        }
        let coding = forwarded_coding(request.headers());
        // HTTP/2 has no transfer codings (RFC 9113, section 8.2.2).
        if coding.is_some() && target.is_http2 {
            let (parts, _) = request.into_parts();
            return Err(self.refuse(downstream, Some(parts), ProxyError::UnsupportedCoding));
        }
        let may_upgrade = request.version() == Version::HTTP_11 && !target.is_http2;
        let is_upgrade = strip_hop_by_hop(request.headers_mut(), may_upgrade).is_some();
        if let Some(coding) = coding {
            request.headers_mut().insert(TRANSFER_ENCODING, coding);
        }
        // The handle of an upgrade is in the extensions, which are not forwarded.
        let upgrade = is_upgrade.then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        // An HTTP/2 stream has flow control and RST_STREAM: a stalled body holds no connection.
        let idle_timeout =
            (parts.version != Version::HTTP_2).then_some(self.limits.body_idle_timeout);
        let counters = self.tracing.metrics.body_counters(downstream.direction());
        let mut body = RequestBody::new(body, &counters.request, idle_timeout);
        if parts.version != Version::HTTP_2 {
            body = body.watching(&downstream.interim);
        }
        // A head with a length of 0 is a whole request in HTTP/1, and would be sent before frames
        // that contradict it (RFC 9113, section 8.1.1).
        if !target.is_http2 && body.may_contradict_length() && !body.ends_without_data().await {
            let error = ProxyError::IncompleteRequest;
            return Err(self.refuse(downstream, Some(parts), error));
        }
        let text = if self.is_searched(&parts, &body) {
            body.buffer().await
        } else {
            None
        };
        let span = self.start_span(downstream, &target, &mut parts, text.as_deref());
        let prepared = PreparedRequest {
            target,
            span,
            upgrade,
            request_guard,
        };
        self.exchange(downstream, prepared, parts, body).await
    }

    /// Records a request that is refused: a span with what is known of it.
    fn refuse(
        &self,
        downstream: &DownstreamConnection,
        parts: Option<Parts>,
        error: ProxyError,
    ) -> ProxyError {
        let (scheme, peer) = (downstream.scheme(), downstream.peer());
        // Nothing is known of a request that was not parsed.
        let parts = parts.unwrap_or_else(|| {
            let mut parts = Request::new(()).into_parts().0;
            parts.method = UNKNOWN_METHOD.parse().unwrap_or_default();
            parts
        });
        let head = HttpRequestHead {
            method: parts.method.as_str(),
            scheme,
            authority: parts.uri.authority().map_or("", Authority::as_str),
            target: parts.uri.path_and_query().map_or("", PathAndQuery::as_str),
            version: version_label(parts.version),
            body: None,
        };
        let mut headers = parts.headers;
        let direction = downstream.direction();
        let span = ExchangeSpan::start(&self.tracing, direction, peer, &head, &mut headers);
        fail_span(downstream, span, error)
    }

    /// Records a request that hyper has refused.
    pub(super) fn record_refusal(&self, downstream: &DownstreamConnection, error: ProxyError) {
        let metrics = &self.tracing.metrics;
        metrics.responded_by_proxy(downstream.direction(), error);
        self.refuse(downstream, None, error);
    }

    /// Whether a body may hold a correlation key, and is short enough to wait for it. A client that
    /// expects `100 Continue` sends no body before the upstream has responded.
    fn is_searched(&self, parts: &Parts, body: &RequestBody) -> bool {
        let Some(max_bytes) = self.max_searched_body_bytes else {
            return false;
        };
        let length = body
            .size_hint()
            .exact()
            .and_then(|length| usize::try_from(length).ok());
        let is_json = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().windows(4).any(|part| part == b"json"));
        is_json
            && length.is_some_and(|length| (1..=max_bytes).contains(&length))
            && !parts.headers.contains_key(EXPECT)
    }

    fn start_span(
        &self,
        downstream: &DownstreamConnection,
        target: &RequestTarget,
        parts: &mut Parts,
        body: Option<&[u8]>,
    ) -> ExchangeSpan {
        let direction = downstream.direction();
        let (scheme, peer) = match direction {
            Direction::Inbound => (downstream.scheme(), downstream.peer()),
            Direction::Outbound => (target.scheme(), target.peer()),
        };
        // The headers are borrowed mutably below.
        let method = parts.method.clone();
        let description = HttpRequestHead {
            method: method.as_str(),
            scheme,
            authority: target.authority.as_str(),
            target: target.path_and_query.as_str(),
            version: version_label(parts.version),
            body,
        };
        ExchangeSpan::start(
            &self.tracing,
            direction,
            peer,
            &description,
            &mut parts.headers,
        )
    }

    /// Forwards a request and its response.
    async fn exchange(
        &self,
        downstream: &DownstreamConnection,
        prepared: PreparedRequest,
        parts: Parts,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        let PreparedRequest {
            target,
            span,
            upgrade,
            request_guard,
        } = prepared;
        let progress = body.progress();
        let caller = ResponseRecipient::of(&parts);
        let request = rewrite_request(&target, parts, body);
        // Clients of HTTP/1.0 take no interim responses (RFC 9110, section 15.2).
        let takes_interim = caller.version == Version::HTTP_11;
        let interim = takes_interim.then(|| Arc::clone(&downstream.interim));
        let watched = (caller.version != Version::HTTP_2).then(|| downstream.tracker.clone());
        let upstream = self.upstream(downstream.direction());
        let sent = upstream.send(&target, request, watched, interim, &downstream.pool);
        match sent.await {
            Ok((response, connection)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.upgrade(UpgradeResponse {
                    response,
                    connection,
                    span,
                    upgrade,
                    request_guard,
                })
            }
            Ok((response, connection)) => {
                let (mut parts, body) = response.into_parts();
                if caller.rewrite(&mut parts).is_err() {
                    let error = ProxyError::InvalidResponse;
                    return Err(fail_span(downstream, span, error));
                }
                let mut guard = ResponseGuard {
                    span,
                    connection,
                    progress,
                    request_guard,
                    ends_by_close: caller.ends_by_close(&parts.headers),
                };
                if guard.connection.ends_downstream() && caller.version != Version::HTTP_2 {
                    let close = HeaderValue::from_static("close");
                    parts.headers.insert(CONNECTION, close);
                }
                guard
                    .span
                    .record_response(parts.status.as_u16(), &parts.headers);
                let body = ResponseBody::proxied(body, guard);
                Ok(Response::from_parts(parts, body))
            }
            Err(error) => {
                // An upstream often closes the connection because the request closed early.
                let error = progress.error().unwrap_or(error);
                Err(fail_span(downstream, span, error))
            }
        }
    }

    /// Forwards a 101 response and tunnels the bytes that follow.
    fn upgrade(&self, upgrade: UpgradeResponse) -> Result<Response<ResponseBody>, ProxyError> {
        let UpgradeResponse {
            mut response,
            connection,
            mut span,
            upgrade,
            request_guard,
        } = upgrade;
        // The upstream switches protocols although no upgrade was forwarded to it.
        let Some(downstream) = upgrade else {
            span.fail(ExchangeFailure::Protocol);
            return Err(ProxyError::InvalidResponse);
        };
        let upstream = hyper::upgrade::on(&mut response);
        connection.detach();
        let mut headers = std::mem::take(response.headers_mut());
        // The `upgrade` field names the protocol that was agreed on, and is forwarded.
        strip_hop_by_hop(&mut headers, true);
        span.record_response(StatusCode::SWITCHING_PROTOCOLS.as_u16(), &headers);
        self.tracing.metrics.upgrades.inc();
        let drain = self.tracing.drain.clone();
        self.tunnels.spawn(async move {
            tunnel::join_upgrades(downstream, upstream, &drain).await;
            drop((request_guard, connection));
        });
        let mut response = Response::new(ResponseBody::from(Bytes::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// Responds to a CONNECT. The tunnel is served in a task of its own.
    async fn connect(
        self: &Arc<Self>,
        mut connect: ConnectRequest,
        upgrade: OnUpgrade,
        request_guard: RequestGuard,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        let upstream = self.upstream(connect.downstream.direction());
        // Dialed before the response, as other proxies do: the client gets the error in HTTP.
        let socket = match upstream.open_tunnel(&connect.target.origin).await {
            Ok(socket) if self.listen_addresses.are_reached_by(&socket) => {
                return Err(ProxyError::TunnelLoop);
            }
            Ok(socket) => socket,
            Err(error) => {
                let span = connect.start_span(&self.tracing);
                return Err(fail_span(&connect.downstream, span, error));
            }
        };
        let tunnel = ConnectTunnel {
            connect,
            socket,
            upgrade,
            request_guard,
        };
        self.tunnels
            .spawn((self.serve_tunnel)(Arc::clone(self), tunnel));
        Ok(Response::new(ResponseBody::from(Bytes::new())))
    }

    pub(super) const fn upstream(&self, direction: Direction) -> &UpstreamClient {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        }
    }
}

// === impl ResponseRecipient ===

impl ResponseRecipient {
    fn of(request: &Parts) -> Self {
        Self {
            version: request.version,
            accepts_trailers: accepts_trailers(&request.headers),
        }
    }

    /// Whether the recipient takes the close of the connection for the end of the body: HTTP/1.0
    /// has no chunks.
    fn ends_by_close(&self, headers: &HeaderMap) -> bool {
        self.version == Version::HTTP_10 && !headers.contains_key(CONTENT_LENGTH)
    }

    /// Changes the head of a response to the one to forward. Fails if its body has codings that the
    /// recipient has no field for.
    fn rewrite(&self, response: &mut response::Parts) -> Result<(), ProxyError> {
        let coding = forwarded_coding(&response.headers);
        normalize_length(&mut response.headers);
        strip_hop_by_hop(&mut response.headers, false);
        // hyper sends trailers in HTTP/1.1 to clients that ask for them: the others must not wait
        // for what is announced.
        if self.version != Version::HTTP_2 && !self.accepts_trailers {
            response.headers.remove(TRAILER);
        }
        if let Some(coding) = coding {
            if self.version != Version::HTTP_11 {
                return Err(ProxyError::InvalidResponse);
            }
            response.headers.insert(TRANSFER_ENCODING, coding);
        }
        // hyper writes the version of the request. The extensions hold the spelling of the fields
        // and the reason phrase.
        response.version = Version::HTTP_11;
        Ok(())
    }
}

/// Whether a client waits for `100 Continue` before it sends the body. In HTTP/1.0 it does not
/// (RFC 9110, section 10.1.1).
fn expects_continue<B>(request: &Request<B>) -> bool {
    let is_continue = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    request.version() == Version::HTTP_11
        && request.headers().get_all(EXPECT).iter().any(is_continue)
}

/// Ends a span with an error, and returns the error.
fn fail_span(
    downstream: &DownstreamConnection,
    span: ExchangeSpan,
    error: ProxyError,
) -> ProxyError {
    let is_terminated = matches!(error, ProxyError::ConnectionTerminated(_));
    let failure = if is_terminated && downstream.tracker.is_client_closed() {
        // The upstream gave up because the client had closed its side.
        ExchangeFailure::Cancelled
    } else {
        error.failure()
    };
    span.fail_with(error, failure);
    error
}

/// Builds the request to forward. Of the extensions, HTTP/1 reads the spelling of the fields.
fn rewrite_request(
    target: &RequestTarget,
    parts: Parts,
    body: RequestBody,
) -> Request<RequestBody> {
    let Parts {
        method,
        mut uri,
        mut version,
        mut headers,
        extensions,
        ..
    } = parts;
    target.apply(&mut uri, &mut version, &mut headers);
    // Set explicitly: hyper assumes that methods such as GET have no body.
    if !target.is_http2 && !body.is_end_stream() && body.size_hint().exact().is_none() {
        headers
            .entry(TRANSFER_ENCODING)
            .or_insert(HeaderValue::from_static("chunked"));
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    if !target.is_http2 {
        *request.extensions_mut() = extensions;
    }
    request
}

/// Returns the value of `network.protocol.version`.
const fn version_label(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}
